//! How many threads to work in.

use std::num::NonZeroUsize;

/// `--threads`.
#[derive(clap::Args)]
pub struct Threads {
    /// Threads to work in; all cores if not given. The result is the same for any number
    #[arg(short = 'j', long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

impl Threads {
    /// Their number.
    pub fn count(&self) -> usize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all).get().min(1024)
    }
}
