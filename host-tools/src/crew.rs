//! Threads for the engine: they decompress pages of the input and compress them anew.

use crate::dump::opened::Dump;
use crate::fail::{Fail, Result};
use page_codec::Encode;
use tamis_core::capture::crew;
use tamis_core::capture::crew::{BATCH, Crew};
use tamis_core::capture::threads::{Batches, with_threads};

/// Bytes of pages that a thread reads ahead.
pub const RUN: usize = 64 << 10;

/// A thread's own reader and encoder.
pub struct Worker<'e> {
    /// The input.
    pub dump: Dump,
    /// Of the same kind as those of the other workers; `None` for pages that are stored as they are.
    pub encoder: Option<Box<dyn Encode + Send + 'e>>,
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
    main: impl FnOnce(Option<&dyn Crew<'_>>) -> T,
) -> Result<T> {
    let pages = batch_pages(page);
    let work = |crew: &dyn Crew<'_>, worker: &mut Worker<'_>| {
        let encoder = worker.encoder.as_deref_mut().map(|encoder| -> &mut dyn Encode { encoder });
        crew::work(crew, &mut worker.dump, encoder, &mut vec![0; RUN.max(page)]);
    };
    let bytes = pages * page + bound.saturating_sub(page);
    with_threads(workers, Batches { pages, bytes, filter: None }, work, main)
        .map_err(|e| Fail::new(format_args!("starting a thread: {e}")))
}
