//! Mapped windows of files. Pages that cannot be read (SIGBUS, SIGSEGV) become zeros, and are reported.

use super::file::{File, FileKind};
use super::page_size;
use super::thread::MAX_THREADS;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The signals of memory that cannot be touched.
const FAULTS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

/// Whether their handler is installed.
static HANDLED: AtomicBool = AtomicBool::new(false);

/// What became of each of them before: a function, or one of the system's numbers for "dies".
static BEFORE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Where the mapped windows of files are; the signal handler reads it.
static WINDOWS: [WindowPlace; MAX_THREADS + 1] = [const { WindowPlace::new() }; MAX_THREADS + 1];

struct WindowPlace {
    used: AtomicBool,
    at: AtomicUsize,
    len: AtomicUsize,
    /// The thread that mapped it.
    thread: AtomicUsize,
    /// Whether bytes of it were replaced by zeros.
    broke: AtomicBool,
    /// Whether all of it was: it is not to be mapped again.
    lost: AtomicBool,
}

impl WindowPlace {
    const fn new() -> WindowPlace {
        WindowPlace {
            used: AtomicBool::new(false),
            at: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            thread: AtomicUsize::new(0),
            broke: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Maps zeros over a part of the window, for a fault in it. Returns whether that worked.
    fn blank(&self, start: usize, len: usize) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the pages are of the window's own mapping (whose start and length are whole
        // pages), which is only read, and by this thread alone; mmap is a plain system call,
        // allowed in a handler.
        let zeros = unsafe { libc::mmap(start as *mut c_void, len, libc::PROT_READ, flags, -1, 0) };
        self.broke.store(true, Ordering::Relaxed);
        zeros != libc::MAP_FAILED
    }
}

/// The system's number of this thread.
fn this_thread() -> usize {
    // SAFETY: always allowed.
    unsafe { libc::syscall(libc::SYS_gettid) as usize }
}

/// On SIGBUS inside a window: maps a page of zeros over the fault and marks the window as broken. On
/// SIGSEGV, which no page of a file deserves, the same for the whole window, and it is given up: the file is
/// read from then on. A fault that names no address is the fault of this thread's window.
///
/// Anywhere else the signal is a bug, and does what it did before: kills.
///
/// It runs in the thread that looks at the window, which is the one that writes its place: relaxed
/// loads see what that wrote.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    /// `SI_KERNEL` (Linux `include/uapi/asm-generic/siginfo.h`): such as a general protection fault.
    const BY_THE_PROCESSOR: c_int = 0x80;
    // SAFETY: the kernel passes a valid siginfo, whose si_addr is set for these signals.
    let (fault, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    let page = page_size() as usize;
    let nowhere = code == BY_THE_PROCESSOR;
    for place in &WINDOWS {
        let at = place.at.load(Ordering::Relaxed);
        let len = place.len.load(Ordering::Relaxed);
        let inside = fault.wrapping_sub(at) < len
            || nowhere && len > 0 && place.thread.load(Ordering::Relaxed) == this_thread();
        // Zeros can be read: a second fault in them is something else.
        if !inside || place.lost.load(Ordering::Relaxed) {
            continue;
        }
        let whole = signal == libc::SIGSEGV || nowhere;
        place.lost.store(whole, Ordering::Relaxed);
        let (start, len) = if whole { (at, len) } else { (fault & !(page - 1), page) };
        if place.blank(start, len) {
            return;
        }
    }
    let before = FAULTS.iter().zip(&BEFORE).find(|(number, _)| **number == signal);
    let before = before.map_or(libc::SIG_DFL, |(_, before)| before.load(Ordering::Relaxed));
    // SAFETY: restoring the action of before, which the fault, coming again, then has.
    unsafe { libc::signal(signal, before) };
}

/// Has [`on_fault`] called from now on.
fn install_handler() {
    if HANDLED.load(Ordering::Relaxed) {
        return;
    }
    for (signal, before) in FAULTS.into_iter().zip(&BEFORE) {
        // SAFETY: `sigaction` is plain numbers, for which zeros are a value; the handler has the
        // type that SA_SIGINFO asks for and touches only atomics and the windows' own mappings.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            let mut old: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(signal, &action, &mut old);
            // Another thread may have been here meanwhile.
            if old.sa_sigaction != action.sa_sigaction {
                before.store(old.sa_sigaction, Ordering::Relaxed);
            }
        }
    }
    HANDLED.store(true, Ordering::Relaxed);
}

/// A window into a file, mapped for reading; used by one thread at a time. There are up to
/// [`MAX_THREADS`] and one in the process.
pub struct Window {
    place: &'static WindowPlace,
    at: *mut c_void,
    len: usize,
    offset: u64,
    /// The window that could not be mapped last: not to be tried again for each page of it.
    refused: Option<u64>,
    page: u64,
    /// One past the last byte of the file that was lent.
    lent: u64,
}

impl Window {
    /// Bytes of a window.
    pub const LEN: u64 = 4 << 20;

    /// Nothing is mapped yet. `None` if there are too many.
    pub fn new() -> Option<Window> {
        install_handler();
        let place = WINDOWS.iter().find(|p| !p.used.swap(true, Ordering::Relaxed))?;
        Some(Window {
            place,
            at: null_mut(),
            len: 0,
            offset: 0,
            refused: None,
            page: page_size(),
            lent: 0,
        })
    }

    /// The bytes `[at, at + len)` of `file`, which has `size` bytes; `None` where they cannot be
    /// mapped.
    pub fn bytes(&mut self, file: &File, size: u64, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len as u64).filter(|&end| end <= size)?;
        if at < self.offset || end > self.offset + self.len as u64 {
            self.move_to(file, size, at, end)?;
        }
        let inside = usize::try_from(at - self.offset).ok()?;
        if inside.checked_add(len)? > self.len {
            return None;
        }
        self.lent = self.lent.max(end);
        // SAFETY: the mapping has `self.len` readable bytes, of which these are a part. It stays
        // until `move_to` or `drop`, which need `&mut self`, while the slice borrows `self`. The
        // file is the memory of a dead kernel (or a copy), which does not change; a page of it
        // that cannot be read becomes zeros before the read that faults returns.
        Some(unsafe { core::slice::from_raw_parts(self.at.cast::<u8>().add(inside), len) })
    }

    /// Whether bytes were replaced by zeros since the last call. If so, the window is unmapped.
    ///
    /// `shrinks` is the file if it may become shorter. Where it was cut within a page, what is behind reads
    /// as zeros without a fault: the page behind that one faults instead, and is touched. Only where the
    /// window has none is the system asked.
    pub fn broke(&mut self, shrinks: Option<&File>) -> bool {
        let lent = core::mem::take(&mut self.lent);
        let mut cut = false;
        if let Some(file) = shrinks
            && lent > 0
        {
            let next = self.page_end(lent).wrapping_sub(self.offset);
            if next < self.len as u64 {
                // SAFETY: a byte of the mapping; a page of it that cannot be read becomes zeros.
                unsafe { self.at.cast::<u8>().add(next as usize).read_volatile() };
            } else {
                cut = matches!(file.kind(), Ok(FileKind::Regular(size)) if size < lent);
            }
        }
        let broke = self.place.broke.swap(false, Ordering::Relaxed) || cut;
        if broke {
            self.unmap();
        }
        broke
    }

    /// The end of the page that `at` is in or ends with. Pages are powers of two.
    fn page_end(&self, at: u64) -> u64 {
        at.wrapping_add(self.page - 1) & self.page.wrapping_neg()
    }

    #[inline(never)]
    fn unmap(&mut self) {
        if self.len > 0 {
            self.place.len.store(0, Ordering::Relaxed);
            // SAFETY: our own mapping, to which no slice is left (they borrow `self`).
            unsafe { libc::munmap(self.at, self.len) };
        }
        (self.at, self.len, self.offset) = (null_mut(), 0, 0);
    }

    #[inline(never)]
    fn move_to(&mut self, file: &File, size: u64, at: u64, end: u64) -> Option<()> {
        // Pages are powers of two.
        let offset = at & self.page.wrapping_neg();
        if self.refused == Some(offset) || self.place.lost.load(Ordering::Relaxed) {
            return None;
        }
        let most = size - offset;
        let len = (end - offset).max(Window::LEN).min(most);
        let len = self.page_end(len);
        self.unmap();
        let (len, off) = (usize::try_from(len).ok()?, libc::off_t::try_from(offset).ok()?);
        // SAFETY: no address is asked for, so nothing that exists is touched.
        let at = unsafe {
            libc::mmap(null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.fd, off)
        };
        if at == libc::MAP_FAILED {
            self.refused = Some(offset);
            return None;
        }
        (self.at, self.len, self.offset) = (at, len, offset);
        self.place.thread.store(this_thread(), Ordering::Relaxed);
        self.place.at.store(at as usize, Ordering::Relaxed);
        self.place.len.store(len, Ordering::Relaxed);
        Some(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.unmap();
        self.place.lost.store(false, Ordering::Relaxed);
        self.place.used.store(false, Ordering::Relaxed);
    }
}

// SAFETY: the pointer is to a mapping that only this window knows, readable from every thread; its
// place is made of atomics.
unsafe impl Send for Window {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::{format, vec};

    /// How the memory behind a window is taken away.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Way {
        Cut,
        Forbidden,
        Unnamed,
    }

    fn take_away(way: Way, window: &Window, file: &std::fs::File, page: usize) {
        match way {
            Way::Cut => file.set_len(page as u64).unwrap(),
            Way::Forbidden => {
                // SAFETY: the window's own mapping, which stays mapped.
                let done = unsafe { libc::mprotect(window.at, window.len, libc::PROT_NONE) };
                assert_eq!(done, 0);
            }
            Way::Unnamed => {
                // struct siginfo: signal, error, code, and no address.
                let mut info = [0u64; 16];
                info[0] = libc::SIGSEGV as u64;
                info[1] = 0x80;
                // SAFETY: a siginfo, sent to this thread itself.
                let sent = unsafe {
                    libc::syscall(
                        libc::SYS_rt_tgsigqueueinfo,
                        libc::getpid(),
                        this_thread(),
                        libc::SIGSEGV,
                        info.as_ptr(),
                    )
                };
                assert_eq!(sent, 0);
            }
        }
    }

    #[test]
    fn memory_that_is_taken_away_is_read_instead() {
        let page = page_size() as usize;
        for way in [Way::Cut, Way::Forbidden, Way::Unnamed] {
            let path =
                std::env::temp_dir().join(format!("tamis-window-{}-{way:?}", std::process::id()));
            std::fs::write(&path, vec![7; 4 * page]).unwrap();
            let size = 4 * page as u64;
            let handle = std::fs::File::options().write(true).open(&path).unwrap();
            let file = File::open(path.as_os_str().as_bytes()).unwrap();
            std::fs::remove_file(&path).unwrap();
            let mut window = Window::new().unwrap();
            assert_eq!(window.bytes(&file, size, 0, page), Some(&vec![7; page][..]));
            assert!(!window.broke(Some(&file)));
            take_away(way, &window, &handle, page);
            // The process lives, no page is taken for another, and the window is marked.
            let bytes = window.bytes(&file, size, page as u64, 2 * page).unwrap();
            assert_eq!(bytes, vec![0; 2 * page], "{way:?}");
            assert!(window.broke(Some(&file)), "{way:?}");
            assert!(!window.broke(Some(&file)), "{way:?}");
            // A file that is shorter may be mapped again; what faults for no reason may not.
            assert_eq!(window.bytes(&file, size, 0, page).is_some(), way == Way::Cut, "{way:?}");
        }
    }

    #[test]
    fn a_cut_within_a_page_is_noticed() {
        let page = page_size() as usize;
        // The second page is the window's last one, or is not.
        for pages in [2, 5] {
            let name = format!("tamis-cut-{}-{pages}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let size = (pages * page) as u64;
            std::fs::write(&path, vec![7; pages * page]).unwrap();
            let file = File::open(path.as_os_str().as_bytes()).unwrap();
            let mut window = Window::new().unwrap();
            assert_eq!(window.bytes(&file, size, 0, page).unwrap()[page - 1], 7);
            assert!(!window.broke(Some(&file)));
            assert!(window.bytes(&file, size, page as u64, page).is_some());
            let handle = std::fs::File::options().write(true).open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert!(!window.broke(Some(&file)));
            handle.set_len(page as u64 + 100).unwrap();
            let half = window.bytes(&file, size, page as u64, page).unwrap();
            assert_eq!((half[99], half[100]), (7, 0));
            assert!(window.broke(Some(&file)), "{pages} pages");
            assert!(!window.broke(Some(&file)), "{pages} pages");
            // The page in front of it is whole.
            assert!(window.bytes(&file, size, 0, page).is_some());
            assert!(!window.broke(Some(&file)));
        }
    }
}
