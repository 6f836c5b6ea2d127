//! Mapped windows of files. Pages that cannot be read (SIGBUS) become zeros, and are reported.

use super::file::File;
use super::page_size;
use super::thread::MAX_THREADS;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where the mapped windows of files are; the signal handler reads it.
static WINDOWS: [WindowPlace; MAX_THREADS + 1] = [const { WindowPlace::new() }; MAX_THREADS + 1];

struct WindowPlace {
    used: AtomicBool,
    at: AtomicUsize,
    len: AtomicUsize,
    /// Whether bytes of it were replaced by zeros.
    broke: AtomicBool,
}

impl WindowPlace {
    const fn new() -> WindowPlace {
        WindowPlace {
            used: AtomicBool::new(false),
            at: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            broke: AtomicBool::new(false),
        }
    }
}

/// On SIGBUS inside a window: maps a page of zeros over the fault and marks the window as broken.
/// Anywhere else the signal is a bug, and kills.
///
/// It runs in the thread that looks at the window, which is the one that writes its place: relaxed
/// loads see what that wrote.
extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo, whose si_addr is set for SIGBUS.
    let fault = unsafe { (*info).si_addr() } as usize;
    let page = page_size() as usize;
    for place in &WINDOWS {
        let at = place.at.load(Ordering::Relaxed);
        if fault.wrapping_sub(at) >= place.len.load(Ordering::Relaxed) {
            continue;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let start = (fault & !(page - 1)) as *mut c_void;
        // SAFETY: the page lies in the window's own mapping (whose start and length are whole
        // pages), which is only read, and by this thread alone; mmap is a plain system call,
        // allowed in a handler.
        let zeros = unsafe { libc::mmap(start, page, libc::PROT_READ, flags, -1, 0) };
        if zeros != libc::MAP_FAILED {
            place.broke.store(true, Ordering::Relaxed);
            return;
        }
    }
    // SAFETY: restoring the default action, so that the fault, coming again, ends the process.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
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
    handles: bool,
    page: u64,
}

impl Window {
    /// Bytes of a window.
    pub const LEN: u64 = 4 << 20;

    /// Nothing is mapped yet. `None` if there are too many.
    pub fn new() -> Option<Window> {
        let place = WINDOWS.iter().find(|p| !p.used.swap(true, Ordering::Relaxed))?;
        Some(Window {
            place,
            at: null_mut(),
            len: 0,
            offset: 0,
            refused: None,
            handles: false,
            page: page_size(),
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
        // SAFETY: the mapping has `self.len` readable bytes, of which these are a part. It stays
        // until `move_to` or `drop`, which need `&mut self`, while the slice borrows `self`. The
        // file is the memory of a dead kernel (or a copy), which does not change; a page of it
        // that cannot be read becomes zeros before the read that faults returns.
        Some(unsafe { core::slice::from_raw_parts(self.at.cast::<u8>().add(inside), len) })
    }

    /// Whether bytes were replaced by zeros since the last call. If so, the window is unmapped.
    pub fn broke(&mut self) -> bool {
        if !self.place.broke.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.unmap();
        true
    }

    fn unmap(&mut self) {
        if self.len > 0 {
            self.place.len.store(0, Ordering::Relaxed);
            // SAFETY: our own mapping, to which no slice is left (they borrow `self`).
            unsafe { libc::munmap(self.at, self.len) };
        }
        (self.at, self.len, self.offset) = (null_mut(), 0, 0);
    }

    fn move_to(&mut self, file: &File, size: u64, at: u64, end: u64) -> Option<()> {
        let offset = at / self.page * self.page;
        if self.refused == Some(offset) {
            return None;
        }
        let most = size - offset;
        let len = (end - offset).max(Window::LEN).min(most).next_multiple_of(self.page);
        self.install_handler();
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
        self.place.at.store(at as usize, Ordering::Relaxed);
        self.place.len.store(len, Ordering::Relaxed);
        Some(())
    }

    fn install_handler(&mut self) {
        if self.handles {
            return;
        }
        self.handles = true;
        // SAFETY: `sigaction` is plain numbers, for which zeros are a value; the handler has the
        // type that SA_SIGINFO asks for and touches only atomics and its own mapping.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGBUS, &action, null_mut());
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.unmap();
        self.place.used.store(false, Ordering::Relaxed);
    }
}

// SAFETY: the pointer is to a mapping that only this window knows, readable from every thread; its
// place is made of atomics.
unsafe impl Send for Window {}
