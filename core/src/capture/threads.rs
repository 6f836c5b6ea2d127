//! A crew of threads of the standard library.

use super::crew::{Batch, Crew, EncodedPage, Next, Queue, Side, Slot, batches, stop};
use super::pages::PageFilter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::vec;
use std::vec::Vec;

/// The lock in front of a [`Queue`], out of the standard library. [`with_threads`] makes one, and
/// the threads too.
pub struct StdCrew<'m> {
    queue: Mutex<Queue<'m>>,
    /// Where the capturing thread waits, and where workers do.
    capture: Condvar,
    workers: Condvar,
    /// A worker panicked: the capturing thread would wait for its pages without end.
    broke: AtomicBool,
}

impl<'m> StdCrew<'m> {
    /// A crew whose threads are made elsewhere.
    pub fn new(queue: Queue<'m>) -> StdCrew<'m> {
        StdCrew {
            queue: Mutex::new(queue),
            capture: Condvar::new(),
            workers: Condvar::new(),
            broke: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<'m>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn side(&self, side: Side) -> &Condvar {
        match side {
            Side::Capture => &self.capture,
            Side::Worker => &self.workers,
        }
    }
}

impl<'m> Crew<'m> for StdCrew<'m> {
    /// # Panics
    /// On the side of the capture, if a worker has panicked.
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'m>) -> Next) {
        let mut queue = self.lock();
        loop {
            match look(&mut queue) {
                Next::Go => return,
                Next::GoAndWake => {
                    let other = if side == Side::Worker { Side::Capture } else { Side::Worker };
                    return self.side(other).notify_one();
                }
                Next::Wait => {
                    let broke = self.broke.load(Ordering::Relaxed);
                    assert!(side == Side::Worker || !broke, "a worker of the crew panicked");
                    let woken = self.side(side).wait(queue);
                    queue = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Lets the capturing thread know of a worker that panics.
struct Broke<'a, 'm>(&'a StdCrew<'m>);

impl Drop for Broke<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _queue = self.0.lock();
            self.0.broke.store(true, Ordering::Relaxed);
            self.0.capture.notify_all();
        }
    }
}

/// Ends the workers, also after a panic of the capturing thread.
struct Stop<'a, 'm>(&'a StdCrew<'m>, usize);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        stop(self.0, self.1);
    }
}

/// The batches of a crew.
#[derive(Clone, Copy)]
pub struct Batches<'f> {
    /// Pages of each.
    pub pages: usize,
    /// Bytes of each for what is made of its pages: see [`Batch::new`].
    pub bytes: usize,
    /// The filter of the capture: see [`Queue::set_filter`].
    pub filter: Option<&'f dyn PageFilter>,
}

/// Runs `main` with a thread for each of `workers` at its service, and returns what it returned. Each thread
/// runs `work`, which calls [`super::crew::work`] with that worker's own source and encoder. Without workers, there
/// is no crew.
///
/// # Errors
/// If the system starts no thread.
///
/// # Panics
/// If `work` or `main` panics.
pub fn with_threads<W: Send, T>(
    workers: &mut [W],
    Batches { pages, bytes, filter }: Batches<'_>,
    work: impl Fn(&dyn Crew<'_>, &mut W) + Sync,
    main: impl FnOnce(Option<&dyn Crew<'_>>) -> T,
) -> std::io::Result<T> {
    if workers.is_empty() {
        return Ok(main(None));
    }
    let number = workers.len();
    let count = batches(number as u64) as usize;
    let mut made = vec![EncodedPage::default(); pages * count];
    let mut data = vec![0u8; bytes * count];
    let made = made.chunks_mut(pages.max(1));
    let mut batches: Vec<Batch<'_>> = made
        .zip(data.chunks_mut(bytes.max(1)))
        .map(|(made, data)| Batch::new(made, data))
        .collect();
    let mut slots: Vec<Slot<'_>> = (0..count).map(|_| Slot::default()).collect();
    let mut queue = Queue::new(&mut slots, &mut batches);
    queue.set_filter(filter);
    let crew = StdCrew::new(queue);
    let (crew, work) = (&crew, &work);
    std::thread::scope(|scope| {
        let stop = Stop(crew, number);
        for worker in workers {
            let run = move || {
                let _broke = Broke(crew);
                work(crew, worker);
            };
            std::thread::Builder::new().spawn_scoped(scope, run)?;
        }
        let result = main(Some(crew));
        drop(stop);
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::time::Duration;

    const ONE: Batches<'_> = Batches { pages: 1, bytes: 4096, filter: None };

    #[test]
    fn every_worker_works_until_the_capture_is_done() {
        let mut workers = [false; 3];
        let work = |crew: &dyn Crew<'_>, worker: &mut bool| {
            let mut stopped = false;
            crew.wait(Side::Worker, &mut |queue| {
                stopped = queue.stopped;
                if stopped { Next::Go } else { Next::Wait }
            });
            *worker = stopped;
        };
        let result = with_threads(&mut workers, ONE, work, |crew| crew.is_some());
        assert!(result.unwrap());
        assert_eq!(workers, [true; 3]);
    }

    #[test]
    fn without_workers_there_is_no_crew() {
        let work = |_: &dyn Crew<'_>, _: &mut ()| {};
        assert!(with_threads(&mut [], ONE, work, |crew| crew.is_none()).unwrap());
    }

    /// No other thread would do that worker's batch.
    #[test]
    fn a_panic_of_a_worker_is_not_waited_for() {
        let caught = std::panic::catch_unwind(|| {
            let work = |_: &dyn Crew<'_>, wait: &mut u64| {
                std::thread::sleep(Duration::from_millis(*wait));
                assert_eq!(*wait, 0, "a worker");
            };
            let _ = with_threads(&mut [0, 20], ONE, work, |crew| {
                crew.unwrap().wait(Side::Capture, &mut |_| Next::Wait);
            });
        });
        let why = caught.unwrap_err();
        let text = why.downcast_ref::<&str>().map(|text| String::from(*text));
        assert_eq!(text.as_deref(), Some("a worker of the crew panicked"));
    }
}
