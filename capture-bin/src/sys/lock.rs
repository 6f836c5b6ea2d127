//! A lock with places to wait at, made of futexes (futex(2)): waiting threads sleep in the kernel.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

/// A value behind a lock, with two places to wait at.
pub struct Monitor<T> {
    lock: AtomicU32,
    places: [Waiting; 2],
    value: UnsafeCell<T>,
}

/// Where threads wait: for each other's sake, those at one place are woken by those at the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The first.
    First,
    /// The second.
    Second,
}

/// What a thread does after a look at the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Waits, and looks again when it is woken.
    Wait,
    /// Goes on.
    Go,
    /// Goes on, and wakes one thread at the other place.
    Wake,
}

/// The threads that wait at a place.
struct Waiting {
    /// How many there are. It changes while the lock is held.
    count: AtomicU32,
    /// Calls made to them.
    calls: AtomicU32,
}

impl Waiting {
    const fn none() -> Waiting {
        Waiting { count: AtomicU32::new(0), calls: AtomicU32::new(0) }
    }
}

// SAFETY: the value is only reached with the lock held (`wait`), and may go from thread to thread.
unsafe impl<T: Send> Sync for Monitor<T> {}

/// No thread holds the lock; one does; one does and others may sleep.
const FREE: u32 = 0;
const HELD: u32 = 1;
const WANTED: u32 = 2;

/// Sleeps while `word` is `value`, or not at all, or until woken.
fn futex_wait(word: &AtomicU32, value: u32) {
    let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let none = null_mut::<libc::timespec>();
    // SAFETY: the address of a live word, and no time limit.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, value, none) };
}

/// Wakes one that sleeps at `word`.
fn futex_wake(word: &AtomicU32) {
    let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the address of a live word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, 1) };
}

impl<T> Monitor<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Monitor<T> {
        let places = [Waiting::none(), Waiting::none()];
        Monitor { lock: AtomicU32::new(FREE), places, value: UnsafeCell::new(value) }
    }

    fn lock(&self) {
        let free = self.lock.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if free.is_err() {
            while self.lock.swap(WANTED, Ordering::Acquire) != FREE {
                futex_wait(&self.lock, WANTED);
            }
        }
    }

    fn unlock(&self) {
        if self.lock.swap(FREE, Ordering::Release) == WANTED {
            futex_wake(&self.lock);
        }
    }

    /// Has `look` look at the value, with the lock held, until it says other than [`Then::Wait`];
    /// waits at `place` in between.
    pub fn wait(&self, place: Place, look: &mut dyn FnMut(&mut T) -> Then) {
        let [first, second] = &self.places;
        let (own, other) = match place {
            Place::First => (first, second),
            Place::Second => (second, first),
        };
        self.lock();
        // SAFETY: the lock is held from `lock` to `unlock`, so that no other thread has a reference
        // to the value; this one has none while it sleeps.
        let mut next = look(unsafe { &mut *self.value.get() });
        while next == Then::Wait {
            // A call made after this load changes the word, and the kernel does not put the thread
            // to sleep.
            let calls = own.calls.load(Ordering::Relaxed);
            own.count.fetch_add(1, Ordering::Relaxed);
            self.unlock();
            futex_wait(&own.calls, calls);
            self.lock();
            own.count.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: as above.
            next = look(unsafe { &mut *self.value.get() });
        }
        // No thread begins to wait while the lock is held: one that does not wait yet will look first.
        let wake = next == Then::Wake && other.count.load(Ordering::Relaxed) > 0;
        if wake {
            other.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.unlock();
        if wake {
            futex_wake(&other.calls);
        }
    }
}
