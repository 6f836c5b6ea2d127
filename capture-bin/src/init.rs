//! PID 1: the whole initramfs. It makes the system usable, saves the log and the dump onto the
//! target, and ends the machine as ordered, whatever happens. `capture-bin/docs/init.md` is the manual.

use crate::arena::Heap;
use crate::cli::{self, Args, Mode};
use crate::console::{Console, Line, Why};
use crate::job::{Ended, Job, Outputs};
use crate::log;
use crate::sys::{self, File};
use core::ffi::c_int;
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, Ordering};
use tamis_boot::orders::{Final, OrderError, Orders, RAW, words};
use tamis_boot::paths::{self, MOST_TEXT};
use tamis_boot::raw_target::RawTarget;
use tamis_boot::volume;
use tamis_core::io::{IoError, IoKind};

/// What starts the machine again if nobody writes to it for long enough.
const WATCHDOG: &[u8] = b"/dev/watchdog";
/// Where the target is mounted.
const MOUNT: &[u8] = b"/mnt";
/// Options of a capture when those ordered make no sense: a dump matters more.
const FALLBACK: &[u8] = b"-c -d 31";
/// The name of a dump that is complete, and of one that is not (yet).
const COMPLETE: &[u8] = b"vmcore";
const INCOMPLETE: &[u8] = b"vmcore.incomplete";
/// The kernel log as text.
const LOG: &[u8] = b"vmcore-dmesg.txt";
/// Where a dump begins on a raw device.
const RAW_BASE: u64 = RawTarget::BLOCK as u64;

/// Longest path that is put together here.
type Path = heapless::Vec<u8, 512>;

/// How the machine ends; kept where a signal handler or a panic finds it. 0: not PID 1.
static LAST: AtomicI32 = AtomicI32::new(0);

/// Ends the machine if this is PID 1. Called when the program cannot go on.
pub fn end_after_failure() {
    let how = LAST.load(Ordering::Relaxed);
    if how != 0 {
        sys::print(sys::STDERR, b"tamis-capture: giving up; what was saved stays\n");
        sys::sync_all();
        sys::end_machine(how);
    }
}

/// Seconds that are left when the time is up, for what is held in memory.
const GRACE: u32 = 10;

/// The time is up, or the program is broken.
extern "C" fn in_trouble(signal: c_int) {
    if signal == libc::SIGALRM && !sys::stop_asked() {
        sys::print(sys::STDERR, b"tamis-capture: the time is up; what was saved stays\n");
        sys::ask_to_stop();
        sys::alarm(GRACE);
        return;
    }
    if signal != libc::SIGALRM {
        sys::print(sys::STDERR, b"tamis-capture: internal error, signal\n");
    }
    end_after_failure();
    sys::exit(crate::FAILED);
}

/// The steps of PID 1, said aloud.
fn say(text: core::fmt::Arguments<'_>) {
    let mut line = Line::new(sys::STDERR);
    line.bytes(b"tamis-capture: ");
    let _ = line.write_fmt(text);
    line.bytes(b"\n");
}

/// Runs as the init of a crash kernel. Gives an exit status only if the machine cannot be ended.
pub fn run(heap: &'static Heap) -> i32 {
    // Until the orders are read: start again.
    LAST.store(libc::RB_AUTOBOOT, Ordering::Relaxed);
    let (_, free_at_first) = sys::memory();
    for (kind, at) in [(&b"proc"[..], &b"/proc"[..]), (b"sysfs", b"/sys"), (b"devtmpfs", b"/dev")] {
        let mounted = sys::make_folder(at).and_then(|()| sys::mount(kind, at, kind));
        // EBUSY: the kernel has mounted devtmpfs already.
        if let Err(io) = mounted
            && io.code != libc::EBUSY
        {
            say(format_args!("mounting {}: {}", at.escape_ascii(), Why(io)));
        }
    }
    if let Ok(console) = sys::open_device(b"/dev/console") {
        sys::become_console(console);
    }

    let (mut file, mut line) = ([0; MOST_TEXT], [0; MOST_TEXT]);
    let mut orders = Orders::default();
    let mut failed = |error: OrderError<'_>| say(format_args!("{error}: this order is left out"));
    orders.file(read_text(paths::ORDERS.as_bytes(), &mut file), &mut failed);
    let given = read_text(b"/proc/cmdline", &mut line);
    orders.command_line(given, &mut failed);
    let how = match orders.last {
        Final::Reboot => libc::RB_AUTOBOOT,
        Final::PowerOff => libc::RB_POWER_OFF,
        Final::Halt => libc::RB_HALT_SYSTEM,
    };
    LAST.store(how, Ordering::Relaxed);
    sys::on_trouble(orders.timeout, in_trouble);
    sys::ignore_write_signals();

    load_modules(given);
    let status = match save(heap, &orders, free_at_first) {
        Ok(()) => crate::DONE,
        Err(()) => crate::FAILED,
    };
    let word = match orders.last {
        Final::Reboot => "rebooting",
        Final::PowerOff => "switching off",
        Final::Halt => "halting",
    };
    let outcome =
        if status == crate::DONE { "the dump is saved" } else { "there is no complete dump" };
    say(format_args!("{outcome}; {word}"));
    sys::sync_all();
    sys::end_machine(how);
    // Not PID 1, or not allowed: as any program.
    status
}

/// Says what memory there is and was: the figures by which `crashkernel=` is chosen.
fn tell_memory(console: &Console, free_at_first: u64) {
    let mut own = [0; 2048];
    let own = number_after(read_text(b"/proc/self/status", &mut own), b"VmHWM:").unwrap_or(0);
    let (total, free) = sys::memory();
    let least = console.least_free().unwrap_or(free).min(free);
    say(format_args!(
        "memory: {} kB in this kernel; free {} kB at first, {} kB at least, {} kB at last; at most \
         {own} kB taken by this program",
        total / 1024,
        free_at_first / 1024,
        least / 1024,
        free / 1024,
    ));
}

/// The number in the line that begins with `name`.
fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name))?;
    let digits = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a small file holds, as far as it fits.
fn read_text<'b>(path: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let Ok(file) = File::open(path) else { return &[] };
    let mut len = 0;
    while let Some(room) = buffer.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read_some(len as u64, room) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    buffer.get(..len).unwrap_or_default()
}

/// Loads the modules, each with its parameters on the kernel command line.
fn load_modules(line: &[u8]) {
    let mut text = [0; MOST_TEXT];
    for path in read_text(paths::MODULES.as_bytes(), &mut text).split(|&b| b == b'\n') {
        let path = path.trim_ascii();
        if path.is_empty() || path.starts_with(b"#") {
            continue;
        }
        if let Err(io) = sys::load_module(path, &module_parameters(path, line)) {
            say(format_args!("loading {}: {}", path.escape_ascii(), Why(io)));
        }
    }
}

/// What the kernel command line has for a module, as `module.parameter=value`, in the form that the
/// kernel wants when the module is loaded. For modules that are built in it does this itself.
fn module_parameters(path: &[u8], line: &[u8]) -> Path {
    let file = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let name = file.split(|&b| b == b'.').next().unwrap_or_default();
    let same = |a: &u8, b: &u8| a == b || b"-_".contains(a) && b"-_".contains(b);
    let mut found = Path::new();
    for word in words(line) {
        let Some((module, rest)) = word.split_at_checked(name.len()) else { continue };
        if !module.iter().zip(name).all(|(a, b)| same(a, b)) {
            continue;
        }
        let Some(parameter) = rest.strip_prefix(b".").filter(|p| !p.is_empty()) else { continue };
        if found.len() + parameter.len() >= found.capacity() {
            say(format_args!("too long for a parameter: {}", word.escape_ascii()));
            continue;
        }
        let _ = found.extend_from_slice(parameter);
        let _ = found.push(b' ');
    }
    found
}

/// Saves log and dump. An error was told about.
fn save(heap: &'static Heap, orders: &Orders<'_>, free_at_first: u64) -> Result<(), ()> {
    let mut parsed = parse_args(orders.args).or_else(|()| {
        say(format_args!("taking '{}' instead", FALLBACK.escape_ascii()));
        parse_args(FALLBACK)
    })?;
    let mut console = Console::new(parsed.message_level, false);
    open_watchdog(&mut console);
    console.watch_memory();
    // The program's buffers are to be the smaller part of what there is.
    parsed.usual_limit = parsed.usual_limit.min(sys::memory().1 / 4);
    let saved = save_as_ordered(heap, &parsed, orders, &mut console);
    tell_memory(&console, free_at_first);
    match orders.last {
        // It would start the machine again.
        Final::Halt => console.leave_watchdog(),
        // A machine that hangs on its way down is started again by it.
        Final::Reboot | Final::PowerOff => console.leave_watchdog_armed(),
    }
    saved
}

/// From now on the watchdog, if there is one, bites if nothing moves.
fn open_watchdog(console: &mut Console) {
    match sys::open_device(WATCHDOG) {
        Ok(watchdog) => {
            match sys::watchdog_timeout(&watchdog) {
                Ok(seconds) => say(format_args!("feeding a watchdog that waits {seconds} s")),
                Err(io) => {
                    say(format_args!("feeding a watchdog; how long it waits: {}", Why(io)));
                }
            }
            console.feed(watchdog);
        }
        Err(IoError { code: libc::ENOENT | libc::ENODEV, .. }) => {}
        Err(io) => say(format_args!("opening {}: {}", WATCHDOG.escape_ascii(), Why(io))),
    }
}

fn save_as_ordered(
    heap: &'static Heap,
    parsed: &Args<'_>,
    orders: &Orders<'_>,
    console: &mut Console,
) -> Result<(), ()> {
    let mut job = Job::prepare(heap, parsed, console).map_err(|_| ())?;
    if orders.target.is_empty() {
        say(format_args!("no target: tamis.target= names where the dump goes"));
        return Err(());
    }
    let mut tries = 0;
    loop {
        match save_once(&mut job, orders, console) {
            Ended::Done => return Ok(()),
            // Another try would not find more space, or time.
            Ended::NoSpace => return Err(()),
            Ended::Failed if sys::stop_asked() => return Err(()),
            Ended::Failed if tries >= orders.retry => return Err(()),
            Ended::Failed => {
                tries += 1;
                say(format_args!("trying again ({tries} of {})", orders.retry));
                for _ in 0..20 {
                    console.still_alive();
                    sys::sleep_ms(100);
                }
            }
        }
    }
}

/// The options of a capture that make sense here.
fn parse_args(text: &[u8]) -> Result<Args<'_>, ()> {
    let given =
        words(text).map(|w| w.strip_prefix(b"\"").and_then(|w| w.strip_suffix(b"\"")).unwrap_or(w));
    let operands = [&b"/proc/vmcore"[..], COMPLETE];
    match cli::parse(given.chain(operands)) {
        Ok(parsed) if parsed.mode == Mode::Capture && !parsed.flattened && !parsed.split => {
            Ok(parsed)
        }
        Ok(_) => {
            say(format_args!("tamis.args has options for which there is no place here"));
            Err(())
        }
        Err(error) => {
            say(format_args!("tamis.args: {error}"));
            Err(())
        }
    }
}

fn save_once(job: &mut Job<'_>, orders: &Orders<'_>, console: &mut Console) -> Ended {
    say(format_args!("waiting for {}", orders.target.escape_ascii()));
    let mut found = Found::default();
    let until = sys::now().saturating_add(u64::from(orders.wait) * 1_000_000_000);
    while !find_target(orders.target, &mut found) {
        if sys::stop_asked() {
            return Ended::Failed;
        }
        if sys::now() >= until {
            let target = orders.target.escape_ascii();
            say(format_args!("{target} did not appear in {} s", orders.wait));
            return Ended::Failed;
        }
        console.still_alive();
        sys::sleep_ms(100);
    }
    if orders.fstype == RAW {
        return save_raw(job, &found.device, console);
    }
    let kind = if orders.fstype.is_empty() { found.kind.as_bytes() } else { orders.fstype };
    if kind.is_empty() {
        say(format_args!(
            "no file system is known on {}: tamis.fstype= says which, or raw",
            found.device.escape_ascii()
        ));
        return Ended::Failed;
    }
    say(format_args!("mounting {} ({})", found.device.escape_ascii(), kind.escape_ascii()));
    let mounted = sys::make_folder(MOUNT).and_then(|()| sys::mount(&found.device, MOUNT, kind));
    if let Err(io) = mounted {
        say(format_args!("mounting {}: {}", found.device.escape_ascii(), Why(io)));
        return Ended::Failed;
    }
    console.still_alive();
    let saved = save_files(job, orders, console);
    console.still_alive();
    if let Err(io) = sys::unmount(MOUNT) {
        say(format_args!("unmounting {}: {}", found.device.escape_ascii(), Why(io)));
    }
    saved
}

/// A block device, and the file system on it.
#[derive(Default)]
struct Found {
    device: Path,
    kind: &'static str,
}

impl Found {
    fn is(&mut self, device: &[u8], kind: &'static str) -> bool {
        self.device.clear();
        self.kind = kind;
        self.device.extend_from_slice(device).is_ok()
    }
}

/// Looks for the target among the block devices that there are now.
fn find_target(target: &[u8], found: &mut Found) -> bool {
    if target.starts_with(b"/") {
        return look_at(target, |_, _| true, found);
    }
    let mut matched = false;
    // /proc/partitions: major minor #blocks name.
    let mut text = [0; MOST_TEXT];
    let table = read_text(b"/proc/partitions", &mut text);
    for line in table.split(|&b| b == b'\n').skip(2) {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        let Some(name) = fields.nth(3).filter(|_| !matched) else { continue };
        let mut device = Path::new();
        if device.extend_from_slice(b"/dev/").and_then(|()| device.extend_from_slice(name)).is_err()
        {
            continue;
        }
        matched = match target {
            [b'U', b'U', b'I', b'D', b'=', id @ ..] => {
                look_at(&device, |v, _| v.is_some_and(|v| v.id.is(id)), found)
            }
            [b'L', b'A', b'B', b'E', b'L', b'=', label @ ..] => {
                look_at(&device, |v, _| v.is_some_and(|v| v.label == label), found)
            }
            [b'P', b'A', b'R', b'T', b'U', b'U', b'I', b'D', b'=', id @ ..] => {
                is_partition(name, id) && look_at(&device, |_, _| true, found)
            }
            _ => false,
        };
    }
    matched
}

/// Reads the head of a device that can be opened; `wanted` decides by what is on it.
fn look_at(
    device: &[u8],
    wanted: impl Fn(Option<&volume::Volume<'_>>, &File) -> bool,
    found: &mut Found,
) -> bool {
    let Ok(file) = File::open(device) else { return false };
    // The first block has the marks of all but btrfs, whose superblock is at 64 KiB: its page is
    // put where it would be in a short head.
    let mut head = [0; 4096];
    let mut len = 0;
    while let Some(room) = head.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read_some(len as u64, room) {
            Ok(0) | Err(_) => break,
            Ok(n) => len += n,
        }
    }
    let mut volume = volume::identify(head.get(..len).unwrap_or_default());
    let mut btrfs = [0; 4096];
    if volume.is_none() && file.read_at(volume::BTRFS_AT, &mut btrfs).is_ok() {
        volume = volume::identify_btrfs(&btrfs);
    }
    wanted(volume.as_ref(), &file) && found.is(device, volume.map_or("", |v| v.kind))
}

/// Whether the partition `name` has this PARTUUID: its disk's table is read.
fn is_partition(name: &[u8], id: &[u8]) -> bool {
    let mut path = Path::new();
    let mut put = |parts: &[&[u8]]| -> Path {
        path.clear();
        for part in parts {
            let _ = path.extend_from_slice(part);
        }
        path.clone()
    };
    let mut digits = [0; 16];
    let number = read_text(&put(&[b"/sys/class/block/", name, b"/partition"]), &mut digits);
    let number = core::str::from_utf8(number.trim_ascii()).ok().and_then(|n| n.parse().ok());
    let Some(number) = number else { return false };
    // Disks whose names end in a digit have a `p` before the partition's number.
    let letters = name.len() - name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let disk = name.get(..letters).unwrap_or_default();
    let disk = match disk {
        [head @ .., b'p'] if head.last().is_some_and(u8::is_ascii_digit) => head,
        _ => disk,
    };
    let mut size = [0; 16];
    let sector =
        read_text(&put(&[b"/sys/class/block/", disk, b"/queue/logical_block_size"]), &mut size);
    let sector = core::str::from_utf8(sector.trim_ascii()).ok().and_then(|n| n.parse().ok());
    let Ok(file) = File::open(&put(&[b"/dev/", disk])) else { return false };
    let mut read = |at: u64, buf: &mut [u8]| file.read_at(at, buf).is_ok();
    volume::has_partuuid(&mut read, sector.unwrap_or(512), number, id)
}

/// Log and dump as files in a folder of their own.
fn save_files(job: &mut Job<'_>, orders: &Orders<'_>, console: &mut Console) -> Ended {
    let mut parent = Path::new();
    let mut fits = parent.extend_from_slice(MOUNT).is_ok();
    for part in orders.path.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
        fits &= parent.push(b'/').is_ok() && parent.extend_from_slice(part).is_ok();
    }
    let mut folder = parent.clone();
    let name = crash_name(job.crash_time(), job.nodename());
    fits &= folder.push(b'/').is_ok() && folder.extend_from_slice(name.as_bytes()).is_ok();
    if !fits || folder.len() + LOG.len() + INCOMPLETE.len() > 500 {
        say(format_args!("tamis.path is too long"));
        return Ended::Failed;
    }
    loop {
        match save_folder(job, orders, &parent, &folder, console) {
            Ended::NoSpace if make_room(&parent, name.as_bytes(), orders.keep) => {}
            ended => return ended,
        }
    }
}

/// What the failure of one step means for the whole.
fn failed(what: &str, path: &[u8], io: IoError) -> Ended {
    say(format_args!("{what} {}: {}", path.escape_ascii(), Why(io)));
    if io.kind == IoKind::NoSpace { Ended::NoSpace } else { Ended::Failed }
}

fn save_folder(
    job: &mut Job<'_>,
    orders: &Orders<'_>,
    parent: &Path,
    folder: &Path,
    console: &mut Console,
) -> Ended {
    // Every folder on the way, from the mount point on.
    let mut ends = folder.iter().enumerate().skip(MOUNT.len() + 1).filter(|(_, b)| **b == b'/');
    loop {
        let end = ends.next().map(|(end, _)| end);
        let part = folder.get(..end.unwrap_or(folder.len())).unwrap_or_default();
        if let Err(io) = sys::make_folder(part) {
            return failed("making", part, io);
        }
        if end.is_none() {
            break;
        }
    }
    let within = |file: &[u8]| {
        let mut path = folder.clone();
        let _ = path.push(b'/');
        let _ = path.extend_from_slice(file);
        path
    };
    // The log is small and may be all that can be saved.
    let log = within(LOG);
    let logged = !orders.dmesg || save_log(job, &log, console);
    let _ = sys::sync_folder(folder);
    console.still_alive();
    let (incomplete, complete) = (within(INCOMPLETE), within(COMPLETE));
    let names: [&[u8]; 1] = [&incomplete];
    let ended = job.write(&Outputs { names: &names, base: 0, force: true }, console);
    if ended != Ended::Done {
        let _ = sys::sync_folder(folder);
        return ended;
    }
    if !logged {
        // What failed before may work by now; the dump has the log as well.
        save_log(job, &log, console);
    }
    let named = sys::rename(&incomplete, &complete)
        .and_then(|()| sys::sync_folder(folder))
        .and_then(|()| sys::sync_folder(parent));
    match named {
        Ok(()) => {
            say(format_args!("saved {}", complete.escape_ascii()));
            Ended::Done
        }
        Err(io) => failed("naming", &complete, io),
    }
}

/// Saves the log, down to the medium: what comes after it may hang. An error was told about.
fn save_log(job: &mut Job<'_>, path: &[u8], console: &Console) -> bool {
    let saved = log::save(job, path, console);
    let synced = saved.then(|| File::open(path).and_then(|file| file.sync_data()));
    if let Some(Err(io)) = synced {
        say(format_args!("writing {}: {}", path.escape_ascii(), Why(io)));
    }
    synced.is_some_and(|synced| synced.is_ok())
}

/// Deletes the oldest dump, if more than `keep` others are there. Dumps are folders whose name
/// begins with a date; nothing else is touched.
fn make_room(parent: &Path, own: &[u8], keep: Option<u32>) -> bool {
    let Some(keep) = keep else { return false };
    let (mut count, mut oldest) = (0u32, heapless::Vec::<u8, 256>::new());
    let _ = sys::names_in(parent, &mut |name| {
        let is_dump = name.len() > 20
            && name.iter().take(19).enumerate().all(|(i, b)| match i {
                4 | 7 | 10 | 13 | 16 => *b == b'-',
                _ => b.is_ascii_digit(),
            });
        if is_dump && name != own {
            count += 1;
            if oldest.is_empty() || name < &oldest[..] {
                oldest.clear();
                let _ = oldest.extend_from_slice(name);
            }
        }
    });
    if count <= keep || oldest.is_empty() {
        return false;
    }
    let mut folder = parent.clone();
    let fits = folder.push(b'/').is_ok() && folder.extend_from_slice(&oldest).is_ok();
    if !fits {
        return false;
    }
    say(format_args!("no space: deleting the oldest dump, {}", oldest.escape_ascii()));
    for file in [LOG, COMPLETE, INCOMPLETE] {
        let mut path = folder.clone();
        if path.push(b'/').is_ok() && path.extend_from_slice(file).is_ok() {
            let _ = sys::unlink_regular(&path);
        }
    }
    match sys::remove_folder(&folder) {
        Ok(()) => true,
        Err(io) => {
            say(format_args!("deleting {}: {}", folder.escape_ascii(), Why(io)));
            false
        }
    }
}

/// Writes the first block of a raw device, down to the medium.
fn write_raw_block(device: &File, complete: bool) -> Result<(), IoError> {
    let block = RawTarget { complete, base: RAW_BASE }.block();
    device.write_at(0, &block).map_err(|(io, _)| io)?;
    device.sync_data()
}

/// The dump straight onto a block device, behind a small header.
fn save_raw(job: &mut Job<'_>, path: &Path, console: &mut Console) -> Ended {
    let device = match sys::open_device(path) {
        Ok(device) => device,
        Err(io) => return failed("opening", path, io),
    };
    // An older dump must not be taken for this one: its header goes first.
    let begun = device.write_at(RAW_BASE, &[0; 4096]).map_err(|(io, _)| io);
    if let Err(io) = begun.and_then(|()| write_raw_block(&device, false)) {
        return failed("writing", path, io);
    }
    let names: [&[u8]; 1] = [path];
    let ended = job.write(&Outputs { names: &names, base: RAW_BASE, force: true }, console);
    if ended != Ended::Done {
        return ended;
    }
    if let Err(io) = write_raw_block(&device, true) {
        return failed("writing", path, io);
    }
    say(format_args!("saved onto {}", path.escape_ascii()));
    Ended::Done
}

/// Name of a crash's folder: when it was, in UTC, and where. No colons: vfat has none.
fn crash_name(time: u64, host: &[u8]) -> heapless::String<96> {
    let (days, second) = (time / 86_400, time % 86_400);
    // Days since 1970 to a date (era of 400 years, year begins in March).
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(9999);
    let mut name = heapless::String::new();
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(name, "{year:04}-{month:02}-{day:02}-{h:02}-{m:02}-{s:02}-");
    let mut any = false;
    for &byte in host {
        let safe = byte.is_ascii_alphanumeric() || (b"-._".contains(&byte) && any);
        let _ = name.push(if safe { char::from(byte) } else { '_' });
        any = true;
    }
    if !any {
        let _ = name.push_str("unknown");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_named_by_date_and_host() {
        assert_eq!(crash_name(0, b"box"), "1970-01-01-00-00-00-box");
        assert_eq!(crash_name(1_795_394_600, b"a.b"), "2026-11-23-00-43-20-a.b");
        assert_eq!(crash_name(951_782_399, b""), "2000-02-28-23-59-59-unknown");
        assert_eq!(crash_name(951_782_400, b"/../x:y"), "2000-02-29-00-00-00-_.._x_y");
        assert!(crash_name(u64::MAX / 2, &[b'x'; 64]).starts_with("9999-"));
    }

    #[test]
    fn modules_get_their_parameters_from_the_command_line() {
        let line =
            b"ro dog.margin=4 snd-dog.x=1 snd_dog.y=\"a b\" do.g=1 dogs.z=2 dog dog. snd_dog.w";
        let of = |path: &[u8]| module_parameters(path, line);
        assert_eq!(of(b"/modules/dog.ko"), b"margin=4 ");
        assert_eq!(of(b"/modules/snd_dog.ko.xz"), b"x=1 y=\"a b\" w ");
        assert_eq!(of(b"snd-dog.ko"), b"x=1 y=\"a b\" w ");
        assert_eq!((of(b"/modules/cat.ko"), of(b"")), (Path::new(), Path::new()));
        let long = [b"dog.a=".as_slice(), &[b'x'; 600], b" dog.b=1"].concat();
        assert_eq!(module_parameters(b"dog.ko", &long), b"b=1 ");
    }

    #[test]
    fn numbers_are_found_by_name() {
        let text = b"MemTotal:  123 kB\nMemFree:\t7 kB\nOdd: x\n";
        assert_eq!(number_after(text, b"MemFree:"), Some(7));
        assert_eq!(number_after(text, b"MemTotal:"), Some(123));
        assert_eq!((number_after(text, b"Odd:"), number_after(text, b"Gone:")), (None, None));
    }

    #[test]
    fn options_for_which_there_is_no_place_are_refused() {
        assert!(parse_args(b"-c -d 31").is_ok());
        assert!(parse_args(b"-E -d \"31\"").is_ok());
        for bad in [&b"-F"[..], b"--split", b"--dump-dmesg", b"-x y", b"--help", b"extra"] {
            assert!(parse_args(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
