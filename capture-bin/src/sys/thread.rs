//! Threads on stacks that they are given.

use core::ffi::c_void;
use core::ptr::null_mut;

/// Most threads beside the first.
pub const MAX_THREADS: usize = 32;

/// CPUs that this process may run on.
pub fn cpus() -> usize {
    let mut set = [0u64; 128];
    // SAFETY: a place of the size given.
    let size = unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&set), set.as_mut_ptr())
    };
    let count: u32 = set.iter().map(|word| word.count_ones()).sum();
    if size > 0 { (count as usize).max(1) } else { 1 }
}

/// What a thread runs.
pub trait Work: Send {
    /// Runs it to its end.
    fn work(&mut self);
}

extern "C" fn start<W: Work>(worker: *mut c_void) -> *mut c_void {
    // SAFETY: `with_workers` gives each thread a worker of its own of this type, which it does not
    // touch before the thread has ended.
    unsafe { (*worker.cast::<W>()).work() };
    null_mut()
}

/// Runs `main` here and each of the `workers` in a thread of its own, on its piece of `stacks`;
/// returns when all have ended. Workers whose threads the system refuses are left out.
pub fn with_workers<W: Work, R>(
    workers: &mut [W],
    stacks: &mut [u8],
    main: impl FnOnce() -> R,
) -> R {
    /// Joins, also if `main` unwinds.
    struct Threads(heapless::Vec<libc::pthread_t, MAX_THREADS>);
    impl Drop for Threads {
        fn drop(&mut self) {
            for thread in &self.0 {
                // SAFETY: a thread of ours that is joined here only.
                unsafe { libc::pthread_join(*thread, null_mut()) };
            }
        }
    }
    let mut threads = Threads(heapless::Vec::new());
    let stack = stacks.len().checked_div(workers.len()).unwrap_or(0) & !15;
    for (worker, stack) in workers.iter_mut().zip(stacks.chunks_exact_mut(stack.max(1))) {
        if threads.0.is_full() {
            break;
        }
        // SAFETY: plain numbers, for which zeros are a value until they are initialised.
        let mut attributes: libc::pthread_attr_t = unsafe { core::mem::zeroed() };
        let mut thread: core::mem::MaybeUninit<libc::pthread_t> = core::mem::MaybeUninit::uninit();
        let arg: *mut W = worker;
        // SAFETY: the stack and the worker are borrowed until `threads` is dropped, at the end of
        // this function at the latest, when the thread has ended; nothing else touches them.
        // `Work: Send`, so that the worker may be used in another thread.
        let started = unsafe {
            let (at, len) = (stack.as_mut_ptr().cast(), stack.len());
            libc::pthread_attr_init(&mut attributes) == 0
                && libc::pthread_attr_setstack(&mut attributes, at, len) == 0
                && libc::pthread_create(thread.as_mut_ptr(), &attributes, start::<W>, arg.cast())
                    == 0
        };
        if started {
            // SAFETY: `pthread_create` has filled it in.
            let _ = threads.0.push(unsafe { thread.assume_init() });
        }
    }
    main()
}
