//! The helper inside the guests of `tests/vm`: loads a crash kernel, fills memory with pages of
//! every kind, and measures a program while it runs in the crash kernel.
//!
//! ```text
//! vm_guest kexec-load KERNEL INITRD COMMAND_LINE   kexec_file_load(2), for the case of a crash
//! vm_guest load MIB DISK_DIR TMPFS_DIR             fill about MIB of memory, leave sleepers behind
//! vm_guest mark MIB DISK_DIR TMPFS_DIR             the same with pages that each name themselves
//! vm_guest dm NAME 'START LENGTH TYPE PARAMETERS'...   a device of device-mapper, as dmsetup does
//! vm_guest measure RESULT_FILE PROGRAM [ARG]...    run it; exit status, memory, time as key=value
//! ```
//!
//! It runs as root in a throw-away guest with busybox and nothing else. The load is made from a
//! fixed seed, so that two runs hold the same bytes (not at the same addresses).

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, exit};
use std::ptr;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
const GIGANTIC: usize = 1 << 30;
const MIB: usize = 1 << 20;

/// Number of kexec_file_load(2), which the libc crate does not have everywhere: 294 is
/// `include/uapi/asm-generic/unistd.h`.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["kexec-load", kernel, initrd, line] => kexec_load(kernel, initrd, line),
        ["load", mib, disk, tmpfs] => match mib.parse() {
            Ok(mib) => load(mib, Path::new(disk), Path::new(tmpfs)),
            Err(_) => Err(io::Error::other(format!("not a number of MiB: {mib}"))),
        },
        ["mark", mib, disk, tmpfs] => match mib.parse() {
            Ok(mib) => mark(mib, Path::new(disk), Path::new(tmpfs)),
            Err(_) => Err(io::Error::other(format!("not a number of MiB: {mib}"))),
        },
        ["dm", name, table @ ..] => device_mapper(name, table),
        ["measure", result, program, args @ ..] => measure(result, program, args),
        _ => Err(io::Error::other("usage: vm_guest kexec-load|load|mark|dm|measure ...")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm_guest: {}: {error}", words.first().unwrap_or(&""));
            ExitCode::FAILURE
        }
    }
}

/// Turns the -1 of a system call into the error it left behind.
fn checked(what: &str, returned: impl Into<i64>) -> io::Result<i64> {
    let returned = returned.into();
    if returned == -1 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("{what}: {error}")));
    }
    Ok(returned)
}

/// Names the file in an I/O error.
fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Loads the kernel that runs after a panic.
fn kexec_load(kernel: &str, initrd: &str, line: &str) -> io::Result<()> {
    const KEXEC_FILE_ON_CRASH: libc::c_ulong = 2;
    let kernel = at(Path::new(kernel), File::open(kernel))?;
    let initrd = at(Path::new(initrd), File::open(initrd))?;
    let line = CString::new(line).map_err(io::Error::other)?;
    // SAFETY: both descriptors are open, and the length counts the NUL, as the call wants it.
    let returned = unsafe {
        libc::syscall(
            KEXEC_FILE_LOAD,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            line.as_bytes_with_nul().len(),
            line.as_ptr(),
            KEXEC_FILE_ON_CRASH,
        )
    };
    checked("kexec_file_load", returned)?;
    Ok(())
}

/// Creates a device of device-mapper with a table and starts it: `/dev/dm-0` if it is the first one.
fn device_mapper(name: &str, table: &[&str]) -> io::Result<()> {
    // `struct dm_ioctl` and `struct dm_target_spec` (Linux include/uapi/linux/dm-ioctl.h), the
    // commands of the same file, and where the fields are.
    const HEAD: usize = 312;
    const SPEC: usize = 40;
    const CREATE: u64 = 3;
    const SUSPEND_OR_RESUME: u64 = 6;
    const LOAD: u64 = 9;
    let control = Path::new("/dev/mapper/control");
    let control = at(control, fs::OpenOptions::new().read(true).write(true).open(control))?;
    let mut specs = Vec::new();
    for line in table {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().ok_or_else(|| io::Error::other(format!("no table: {line}")));
        let (start, length, kind) = (word()?, word()?, word()?);
        let parameters = words.next().unwrap_or("");
        let size = (SPEC + parameters.len() + 1).next_multiple_of(8);
        let mut spec = vec![0; size];
        spec[..8].copy_from_slice(&start.parse::<u64>().map_err(io::Error::other)?.to_le_bytes());
        spec[8..16]
            .copy_from_slice(&length.parse::<u64>().map_err(io::Error::other)?.to_le_bytes());
        spec[20..24].copy_from_slice(&(size as u32).to_le_bytes());
        spec[24..24 + kind.len()].copy_from_slice(kind.as_bytes());
        spec[SPEC..SPEC + parameters.len()].copy_from_slice(parameters.as_bytes());
        specs.extend_from_slice(&spec);
    }
    for command in [CREATE, LOAD, SUSPEND_OR_RESUME] {
        let mut request = vec![0; HEAD];
        if command == LOAD {
            request.extend_from_slice(&specs);
        }
        let size = request.len() as u32;
        request[..4].copy_from_slice(&4u32.to_le_bytes());
        request[12..16].copy_from_slice(&size.to_le_bytes());
        request[16..20].copy_from_slice(&(HEAD as u32).to_le_bytes());
        let count = if command == LOAD { table.len() as u32 } else { 0 };
        request[20..24].copy_from_slice(&count.to_le_bytes());
        request[48..48 + name.len()].copy_from_slice(name.as_bytes());
        // _IOWR(0xfd, command, struct dm_ioctl)
        let number = 3 << 30 | (HEAD as u64) << 16 | 0xfd << 8 | command;
        // SAFETY: an open file descriptor, and a buffer of the length that it says itself.
        let returned = unsafe {
            libc::ioctl(control.as_raw_fd(), number as libc::Ioctl, request.as_mut_ptr())
        };
        checked("device-mapper", returned)?;
    }
    Ok(())
}

/// Runs a program and writes down how it ended, its peak memory, and the lowest MemFree seen.
fn measure(result: &str, program: &str, args: &[&str]) -> io::Result<()> {
    let before = meminfo("MemFree")?;
    let available = meminfo("MemAvailable")?;
    let started = Instant::now();
    let mut child = Command::new(program).args(args).spawn()?;
    let mut lowest = before;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        lowest = lowest.min(meminfo("MemFree")?);
        thread::sleep(Duration::from_millis(20));
    };
    let seconds = started.elapsed().as_secs_f64();
    // SAFETY: an all-zero rusage is a valid value, and the call fills it.
    let peak = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        checked("getrusage", libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage))?;
        usage.ru_maxrss
    };
    let after = meminfo("MemFree")?;
    let text = format!(
        "exit_status={}\nsignal={}\nseconds={seconds:.3}\npeak_rss_kb={peak}\n\
         memfree_before_kb={before}\nmemfree_lowest_kb={lowest}\nmemfree_after_kb={after}\n\
         memavailable_before_kb={available}\n",
        status.code().unwrap_or(-1),
        status.signal().unwrap_or(0),
    );
    at(Path::new(result), fs::write(result, text))
}

/// One line of /proc/meminfo, in kB.
fn meminfo(key: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok()
        })
        .ok_or_else(|| io::Error::other(format!("no {key} in /proc/meminfo")))
}

/// What a page of the load holds.
#[derive(Clone, Copy)]
enum Content {
    Text,
    Pointers,
    Zeros,
    OneByte,
    Noise,
}

/// The usual mixture, page after page.
const MIXED: [Content; 8] = [
    Content::Text,
    Content::Pointers,
    Content::Noise,
    Content::Text,
    Content::Zeros,
    Content::Pointers,
    Content::OneByte,
    Content::Text,
];

/// A small generator of pseudo-random numbers (xorshift64*); the seed must not be zero.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Fills one page.
fn fill_page(page: &mut [u8], content: Content, random: &mut Random) {
    const WORDS: [&str; 12] = [
        "systemd[1]: ",
        "Started ",
        "session ",
        "kernel: ",
        "eth0: ",
        "link is up ",
        "user root ",
        "from 10.0.0.",
        "accepted ",
        "error -",
        "retry in ",
        "\n",
    ];
    match content {
        Content::Text => {
            let mut rest = page;
            while !rest.is_empty() {
                let number = random.next();
                let word = WORDS[(number >> 8) as usize % WORDS.len()];
                let text = if number & 3 == 0 { &format!("{} ", number >> 48) } else { word };
                let length = text.len().min(rest.len());
                rest[..length].copy_from_slice(&text.as_bytes()[..length]);
                rest = &mut rest[length..];
            }
        }
        Content::Pointers => {
            for (index, word) in page.chunks_exact_mut(8).enumerate() {
                let number = random.next();
                let value = match index % 4 {
                    0 | 1 => 0xffff_8880_0000_0000 | (number & 0x1fff_ffc0),
                    2 => number & 0xff,
                    _ => 0,
                };
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        Content::Zeros => page.fill(0),
        Content::OneByte => page.fill(0x5a),
        Content::Noise => {
            for word in page.chunks_exact_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes());
            }
        }
    }
}

/// Fills memory with the mixture.
fn fill(memory: &mut [u8], random: &mut Random) {
    for (index, page) in memory.chunks_exact_mut(PAGE).enumerate() {
        fill_page(page, MIXED[index % MIXED.len()], random);
    }
}

/// Writes `bytes` of the mixture to a file.
fn write_file(path: &Path, bytes: usize, random: &mut Random) -> io::Result<()> {
    let mut file = at(path, File::create(path))?;
    let mut block = vec![0; 64 * PAGE];
    for _ in 0..bytes / block.len() {
        fill(&mut block, random);
        at(path, file.write_all(&block))?;
    }
    Ok(())
}

/// Reads a file to its end, for the page cache.
fn read_file(path: &Path) -> io::Result<()> {
    let mut file = at(path, File::open(path))?;
    let mut block = vec![0; 64 * PAGE];
    while at(path, file.read(&mut block))? > 0 {}
    Ok(())
}

/// Anonymous memory with extra mmap flags, aligned to 2 MiB; mapped until the process ends.
fn map(bytes: usize, flags: libc::c_int) -> io::Result<&'static mut [u8]> {
    let extra = if flags & libc::MAP_HUGETLB == 0 { HUGE } else { 0 };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes + extra,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    checked("mmap", if start == libc::MAP_FAILED { -1 } else { 0 })?;
    let aligned = (start as usize).next_multiple_of(HUGE);
    // SAFETY: `extra` bytes more than `bytes` were mapped, so the aligned range lies inside; nobody
    // else holds it, and it is never unmapped as a whole.
    Ok(unsafe { slice::from_raw_parts_mut(aligned as *mut u8, bytes) })
}

/// madvise(2) on part of a mapping of our own.
fn advise(memory: &mut [u8], advice: libc::c_int) -> io::Result<()> {
    if advice == libc::MADV_NOHUGEPAGE && !Path::new(TRANSPARENT).exists() {
        return Ok(());
    }
    // SAFETY: the range is a live mapping that this process owns; what the advice does to its
    // contents (free, poison) is what the caller wants.
    let returned = unsafe { libc::madvise(memory.as_mut_ptr().cast(), memory.len(), advice) };
    checked("madvise", returned)?;
    Ok(())
}

/// Runs `work` in a child that then sleeps for ever with its memory; waits until it is ready.
///
/// A child whose work fails says so and ends; the load goes on, because some kinds of memory are
/// not there on every kernel, and `tests/vm` sees from the counts what a dump held.
fn sleeper(name: &str, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let (mut reader, mut writer) = io::pipe()?;
    // SAFETY: this program has no other threads, so the child may go on as usual.
    let pid = checked("fork", unsafe { libc::fork() })?;
    if pid == 0 {
        drop(reader);
        let done = work();
        match &done {
            Ok(()) => println!("VM: load {name} ready"),
            Err(error) => println!("VM: load {name} left out: {error}"),
        }
        if done.is_err() || writer.write_all(b".").is_err() {
            exit(1);
        }
        loop {
            thread::sleep(Duration::from_secs(3600));
        }
    }
    drop(writer);
    // One byte when it is ready; the end of the pipe if it died: then what it had is given back once it
    // can be waited for.
    if reader.read(&mut [0])? == 0 {
        // SAFETY: a child of ours, and no place for its status.
        checked("waitpid", unsafe { libc::waitpid(pid as i32, ptr::null_mut(), 0) })?;
    }
    Ok(())
}

/// What stands in a marked page, every [`MARK_STEP`] bytes: this, the kind of page (2 bytes), and the
/// number of the frame that the page is in (8 bytes), little-endian. `vmlib/markers.py` knows it, too.
const MARK: &[u8; 6] = b"TMSMRK";
const MARK_STEP: usize = 512;

/// Writes into each page which frame it is in; the memory stays where it is. Gives their number.
fn mark_pages(memory: &mut [u8], kind: u16) -> io::Result<usize> {
    let pagemap = Path::new("/proc/self/pagemap");
    let pagemap = at(pagemap, File::open(pagemap))?;
    let mut marked = 0;
    for page in memory.chunks_exact_mut(PAGE) {
        // There, and writable, before it is asked where it is.
        page[0] = 1;
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, page.as_ptr() as u64 / PAGE as u64 * 8)?;
        let entry = u64::from_le_bytes(entry);
        let frame = entry & ((1 << 55) - 1);
        if entry >> 63 == 0 || frame == 0 {
            continue;
        }
        for place in page.chunks_exact_mut(MARK_STEP) {
            place[..6].copy_from_slice(MARK);
            place[6..8].copy_from_slice(&kind.to_le_bytes());
            place[8..16].copy_from_slice(&frame.to_le_bytes());
        }
        marked += 1;
    }
    println!("VM: marked {marked} pages of kind {kind}");
    Ok(marked)
}

/// Marks the pages of a file, through a mapping of it.
fn mark_file(path: &Path, bytes: usize, kind: u16) -> io::Result<()> {
    let file = at(path, fs::OpenOptions::new().read(true).write(true).create_new(true).open(path))?;
    at(path, file.set_len(bytes as u64))?;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a file that only this process knows.
    let start = unsafe {
        libc::mmap(ptr::null_mut(), bytes, rights, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    checked("mmap", if start == libc::MAP_FAILED { -1 } else { 0 })?;
    // SAFETY: the mapping has so many bytes, and is never unmapped while the process lives.
    let memory = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), bytes) };
    mark_pages(memory, kind)?;
    at(path, file.sync_all())
}

/// Fills about `mib` MiB with marked pages of the kinds that a dump leaves out: user pages
/// (1 small, 2 huge, 3 hugetlb), page cache (4 tmpfs, 5 disk), free (6 of a process, 7 of a file).
fn mark(mib: usize, disk: &Path, tmpfs: &Path) -> io::Result<()> {
    let bytes = (mib * MIB / 7).next_multiple_of(HUGE);
    // The load has some in use.
    let pool = Path::new("/proc/sys/vm/nr_hugepages");
    let there: usize = at(pool, fs::read_to_string(pool))?.trim().parse().unwrap_or(0);
    at(pool, fs::write(pool, format!("{}\n", there + bytes / HUGE)))?;
    fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise\n")?;
    for (name, kind, flags, advice) in [
        ("hugetlb", 3, libc::MAP_HUGETLB, None),
        ("huge", 2, 0, Some(libc::MADV_HUGEPAGE)),
        ("small", 1, 0, Some(libc::MADV_NOHUGEPAGE)),
    ] {
        sleeper(name, || {
            let memory = map(bytes, flags)?;
            advice.map_or(Ok(()), |advice| advise(memory, advice))?;
            mark_pages(memory, kind).map(drop)
        })?;
    }
    let (kept, gone) = (tmpfs.join("marked"), tmpfs.join("marked-and-deleted"));
    sleeper("tmpfs", || mark_file(&kept, bytes, 4))?;
    sleeper("disk", || mark_file(&disk.join("marked"), bytes, 5))?;
    sleeper("file to be free", || {
        mark_file(&gone, bytes, 7)?;
        Err(io::Error::other("on purpose"))
    })?;
    // Last, so that nothing takes them again: a process ends, and with it its memory; and the file.
    sleeper("to be free", || {
        let memory = map(bytes, 0)?;
        advise(memory, libc::MADV_NOHUGEPAGE)?;
        mark_pages(memory, 6)?;
        Err(io::Error::other("on purpose"))
    })?;
    at(&gone, fs::remove_file(&gone))
}

/// Where transparent huge pages are turned on, if the kernel has some.
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Bytes of a huge page: 2 MiB where pages have 4 KiB.
fn huge_page() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no huge pages in /proc/meminfo"))
}

/// Fills about `mib` MiB of memory; the sleepers it leaves behind hold the anonymous part.
fn load(mib: usize, disk: &Path, tmpfs: &Path) -> io::Result<()> {
    let mut random = Random(0x0074_616d_6973);
    let share = |percent: usize| (mib * MIB * percent / 100).next_multiple_of(HUGE);

    // Huge pages first, while memory is in large blocks; a quarter of them stays in the pool.
    let huge = huge_page()?;
    let huge_pages = share(8) / huge + 2;
    fs::write("/proc/sys/vm/nr_hugepages", format!("{huge_pages}\n"))?;
    let seed = random.next();
    sleeper("hugetlb", || {
        let memory = map((huge_pages * 3 / 4) * huge, libc::MAP_HUGETLB)?;
        fill(memory, &mut Random(seed));
        Ok(())
    })?;
    let gigantic = "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages";
    if fs::read_to_string(gigantic).is_ok_and(|free| free.trim() != "0") {
        let seed = random.next();
        sleeper("gigantic", || {
            let memory = map(GIGANTIC, libc::MAP_HUGETLB | libc::MAP_HUGE_1GB)?;
            fill(&mut memory[..GIGANTIC / 8], &mut Random(seed));
            Ok(())
        })?;
    }
    // Kernels turn transparent huge pages off on machines as small as the guests; PREEMPT_RT has none.
    let transparent = Path::new(TRANSPARENT).exists();
    if transparent {
        fs::write(TRANSPARENT, "madvise\n")?;
    }
    let seed = random.next();
    sleeper("thp", || {
        let memory = map(share(10), 0)?;
        if transparent {
            advise(memory, libc::MADV_HUGEPAGE)?;
        }
        fill(memory, &mut Random(seed));
        // One huge page mapped in small pages, and one with a hole in it.
        // SAFETY: mprotect only takes a right away that nobody uses; the part given back is not
        // touched again.
        unsafe {
            let base = memory.as_mut_ptr();
            checked("mprotect", libc::mprotect(base.cast(), HUGE / 2, libc::PROT_READ))?;
            checked("munmap", libc::munmap(base.add(HUGE + 16 * PAGE).cast(), 64 * PAGE))?;
        }
        Ok(())
    })?;

    // Page cache: read from the disk (clean, without buffers), written (with buffers), tmpfs.
    for entry in at(disk, fs::read_dir(disk))? {
        let path = entry?.path();
        if path.is_file() {
            read_file(&path)?;
        }
    }
    for part in 0..4 {
        write_file(&disk.join(format!("written.{part}")), share(16) / 4, &mut random)?;
    }
    write_file(&tmpfs.join("kept"), share(12), &mut random)?;
    let huge = tmpfs.join("huge");
    if huge.is_dir() {
        write_file(&huge.join("kept"), share(5), &mut random)?;
    }
    println!("VM: load files ready");

    // Slab: names and inodes; pipes hold kernel pages of their own.
    for folder in 0..20 {
        let folder = tmpfs.join(format!("folder-{folder}"));
        at(&folder, fs::create_dir(&folder))?;
        for file in 0..150 {
            let path = folder
                .join(format!("a-file-with-a-rather-long-name-so-that-it-is-allocated-{file}"));
            at(&path, File::create(&path))?;
        }
    }
    let seed = random.next();
    sleeper("pipes", || {
        let mut page = [0; PAGE];
        for _ in 0..200 {
            fill_page(&mut page, Content::Text, &mut Random(seed));
            let (reader, mut writer) = io::pipe()?;
            writer.write_all(&page)?;
            std::mem::forget((reader, writer));
        }
        Ok(())
    })?;

    // Anonymous memory: plain, shared with a child that wrote to half of it, given back lazily.
    let seed = random.next();
    sleeper("anonymous", || {
        let memory = map(share(14), 0)?;
        advise(memory, libc::MADV_NOHUGEPAGE)?;
        fill(memory, &mut Random(seed));
        let half = memory.len() / 2;
        sleeper("copied on write", || {
            fill(&mut memory[..half], &mut Random(seed ^ 1));
            Ok(())
        })
    })?;
    let seed = random.next();
    sleeper("lazily freed", || {
        let memory = map(share(2), 0)?;
        advise(memory, libc::MADV_NOHUGEPAGE)?;
        fill(memory, &mut Random(seed));
        advise(memory, libc::MADV_FREE)
    })?;
    let seed = random.next();
    sleeper("locked", || {
        let memory = map(HUGE, 0)?;
        advise(memory, libc::MADV_NOHUGEPAGE)?;
        fill(memory, &mut Random(seed));
        // SAFETY: locks a live mapping of our own.
        let returned = unsafe { libc::mlock(memory.as_ptr().cast(), memory.len()) };
        checked("mlock", returned)?;
        Ok(())
    })?;
    let seed = random.next();
    sleeper("poisoned", || {
        extern "C" fn survive(_signal: libc::c_int) {}
        // SAFETY: the handler does nothing. Without one, poison kills the process that asked for it.
        unsafe { libc::signal(libc::SIGBUS, survive as *const () as libc::sighandler_t) };
        let memory = map(HUGE, 0)?;
        advise(memory, libc::MADV_NOHUGEPAGE)?;
        fill(memory, &mut Random(seed));
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        for index in 0..12 {
            let start = (3 + 7 * index) * page;
            advise(&mut memory[start..start + page], libc::MADV_HWPOISON)?;
        }
        Ok(())
    })?;

    // Last, so that nothing takes them again: free pages that are not zero.
    let deleted = tmpfs.join("deleted");
    write_file(&deleted, share(18), &mut random)?;
    at(&deleted, fs::remove_file(&deleted))?;
    println!("VM: load deleted files ready");
    Ok(())
}
