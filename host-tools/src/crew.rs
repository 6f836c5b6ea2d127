//! Threads for the engine: they decompress pages of the input and compress them anew.

use crate::dump::opened::Dump;
use crate::fail::{Fail, Result};
use std::sync::{Condvar, Mutex, PoisonError};
use tamis_core::capture::crew;
use tamis_core::capture::crew::{BATCH, Batch, Next, PageMade, Queue, Side, Slot};
use tamis_core::codec::Encoder;

/// Bytes of pages that a thread reads ahead.
pub const RUN: usize = 64 << 10;

/// The lock in front of the queue, and where to wait.
struct Monitor<'m> {
    queue: Mutex<Queue<'m>>,
    /// One for each [`Side`].
    sides: [Condvar; 2],
}

impl Monitor<'_> {
    fn side(&self, side: Side) -> &Condvar {
        &self.sides[usize::from(side == Side::Worker)]
    }
}

impl<'m> crew::Crew<'m> for Monitor<'m> {
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'m>) -> Next) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match look(&mut queue) {
                Next::Go => return,
                Next::GoAndWake => {
                    let other = if side == Side::Worker { Side::Capture } else { Side::Worker };
                    return self.side(other).notify_one();
                }
                Next::Wait => {
                    let woken = self.side(side).wait(queue);
                    queue = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// A thread's own reader and encoder.
pub struct Worker<'e> {
    /// The input.
    pub dump: Dump,
    /// Of the same kind as those of the other workers.
    pub encoder: Box<dyn Encoder + Send + 'e>,
}

/// Ends the process with a worker that panics: its pages would be waited for without end.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Lets the workers go, also after a panic.
struct Stop<'a, 'm>(&'a Monitor<'m>, usize);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        crew::stop(self.0, self.1);
    }
}

/// Pages of a batch.
pub fn batch_pages(page: usize) -> usize {
    (BATCH as usize / page).max(1)
}

/// Runs `main` with the workers at its service; without any it gets no crew.
pub fn serve<T>(
    workers: &mut [Worker<'_>],
    page: usize,
    bound: usize,
    main: impl FnOnce(Option<&dyn crew::Crew<'_>>) -> T,
) -> Result<T> {
    if workers.is_empty() {
        return Ok(main(None));
    }
    let pages = batch_pages(page);
    let count = crew::batches(workers.len() as u64) as usize;
    let mut made = vec![PageMade::default(); pages * count];
    let room = pages * page + bound.saturating_sub(page);
    let mut data = vec![0u8; room * count];
    let made = made.chunks_mut(pages);
    let mut batches: Vec<Batch<'_>> =
        made.zip(data.chunks_mut(room)).map(|(made, data)| Batch::new(made, data)).collect();
    let mut slots: Vec<Slot<'_>> = (0..count).map(|_| Slot::default()).collect();
    let queue = Mutex::new(Queue::new(&mut slots, &mut batches));
    let monitor = Monitor { queue, sides: [Condvar::new(), Condvar::new()] };
    let number = workers.len();
    std::thread::scope(|scope| {
        let stop = Stop(&monitor, number);
        for worker in workers {
            let monitor = &monitor;
            let run = move || {
                let _abort = Abort;
                let mut run = vec![0; RUN.max(page)];
                crew::work(monitor, &mut worker.dump, &mut *worker.encoder, &mut run);
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, run)
                .map_err(|e| Fail::new(format_args!("starting a thread: {e}")))?;
        }
        let result = main(Some(&monitor));
        drop(stop);
        Ok(result)
    })
}
