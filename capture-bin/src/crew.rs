//! The threads of `--num-threads`: their memory and what they run.

use crate::arena::Arena;
use crate::input::Input;
use crate::sys::{self, MAX_THREADS, Monitor, Place, Then, Work};
use alloc::boxed::Box;
use page_codec::Encode;
use tamis_core::capture::crew::{self, Batch, EncodedPage, Next, Queue, Side, Slot};
use tamis_core::capture::plan::Plan;
use tamis_core::input::elf::ElfVmcore;

/// Bytes of a thread's stack. An encoder needs a few KiB; the rest is for a signal, for which the
/// system puts all registers there.
pub const STACK: u64 = 64 << 10;

/// The queue behind its lock.
struct Shared(Monitor<Queue<'static>>);

impl crew::Crew<'static> for Shared {
    fn wait(&self, side: Side, look: &mut dyn FnMut(&mut Queue<'static>) -> Next) {
        let place = match side {
            Side::Capture => Place::First,
            Side::Worker => Place::Second,
        };
        self.0.wait(place, &mut |queue| match look(queue) {
            Next::Wait => Then::Wait,
            Next::Go => Then::Go,
            Next::GoAndWake => Then::Wake,
        });
    }
}

/// What the threads beside the one that captures need.
pub struct Crew {
    queue: Shared,
    stacks: &'static mut [u8],
    runs: &'static mut [u8],
    encoders: heapless::Vec<Option<Box<dyn Encode + Send>>, MAX_THREADS>,
}

/// One of them.
struct Worker<'a> {
    queue: &'a Shared,
    source: ElfVmcore<'static, Input>,
    encoder: Option<&'a mut (dyn Encode + Send + 'static)>,
    run: &'a mut [u8],
}

impl Work for Worker<'_> {
    fn work(&mut self) {
        let encoder = self.encoder.as_deref_mut().map(|encoder| -> &mut dyn Encode { encoder });
        crew::work(self.queue, &mut self.source, encoder, self.run);
    }
}

impl Crew {
    /// Takes what the plan has for it. `beyond` is what an encoder wants as room for a page beyond
    /// the page itself.
    pub fn new(
        plan: &Plan,
        page: usize,
        beyond: usize,
        arena: &mut Arena,
        encoder: impl Fn() -> Option<Box<dyn Encode + Send>>,
    ) -> Crew {
        let pages = plan.batch_pages as usize;
        let count = crew::batches(plan.workers) as usize;
        let mut encoders = heapless::Vec::new();
        for _ in 0..plan.workers {
            let _ = encoders.push(encoder());
        }
        let stacks = arena.take(plan.worker_stacks as usize);
        let runs = arena.take(plan.worker_runs as usize);
        let slots = arena.take_each(count, |_| Slot::default());
        let batches = arena.take_each(count, |arena| {
            let made = arena.take_slice(pages, EncodedPage::default());
            Batch::new(made, arena.take(pages * page + beyond))
        });
        Crew { queue: Shared(Monitor::new(Queue::new(slots, batches))), stacks, runs, encoders }
    }

    /// Gets the threads' part ready; they are to read what `source` reads.
    pub fn ready(&mut self, source: &ElfVmcore<'static, Input>) -> Ready<'_> {
        let Crew { queue, stacks, runs, encoders } = self;
        let queue = &*queue;
        let run = runs.len().checked_div(encoders.len()).unwrap_or(0).max(1);
        let mut workers = heapless::Vec::new();
        for (encoder, run) in encoders.iter_mut().zip(runs.chunks_exact_mut(run)) {
            // Without a file of its own there is a thread less.
            if let Ok(file) = source.file().reopen() {
                let source = source.reopen(file);
                let _ =
                    workers.push(Worker { queue, source, encoder: encoder.as_deref_mut(), run });
            }
        }
        Ready { queue, stacks, workers }
    }
}

/// Everything but the threads themselves.
pub struct Ready<'a> {
    queue: &'a Shared,
    stacks: &'a mut [u8],
    workers: heapless::Vec<Worker<'a>, MAX_THREADS>,
}

impl Ready<'_> {
    /// Runs `main` with the threads at its service.
    pub fn serve(mut self, main: &mut dyn FnMut(Option<&dyn crew::Crew<'_>>)) {
        let (queue, count) = (self.queue, self.workers.len());
        crew::Crew::wait(queue, Side::Capture, &mut |queue| {
            queue.reset();
            Next::Go
        });
        sys::with_workers(&mut self.workers, self.stacks, || {
            main(Some(queue));
            crew::stop(queue, count);
        });
    }
}
