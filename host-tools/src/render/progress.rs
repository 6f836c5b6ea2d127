//! A progress bar on standard error, if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// One bar, for one or more phases.
pub struct Progress {
    shows: bool,
    started: Instant,
    drawn: Option<Instant>,
    label: &'static str,
}

impl Progress {
    /// A bar that is not drawn before the first half second has gone.
    pub fn new(label: &'static str) -> Progress {
        let shows = io::stderr().is_terminal();
        Progress { shows, started: Instant::now(), drawn: None, label }
    }

    /// Begins another phase.
    pub fn phase(&mut self, label: &'static str) {
        if self.label != label {
            self.clear();
            self.label = label;
            self.started = Instant::now();
        }
    }

    /// `done` of `total`. Cheap enough to be called often, but not for every page.
    pub fn set(&mut self, done: u64, total: u64) {
        if !self.shows || total == 0 {
            return;
        }
        let now = Instant::now();
        let since = self.drawn.unwrap_or(self.started + Duration::from_millis(400));
        if now.saturating_duration_since(since) < Duration::from_millis(100) {
            return;
        }
        self.drawn = Some(now);
        let line = line(self.label, done, total, self.started.elapsed());
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The bar after `elapsed`: how far it is, and, once that can be told, how long it will take.
fn line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let part = done.min(total) as f64 / total as f64;
    let full = (part * WIDTH as f64) as usize;
    let bar: String = (0..WIDTH).map(|n| if n < full { '#' } else { '.' }).collect();
    let elapsed = elapsed.as_secs_f64();
    let left = if part > 0.01 {
        format!("  {:.0} s left", elapsed / part - elapsed)
    } else {
        String::new()
    };
    let percent = part * 100.0;
    format!("{label} [{bar}] {percent:5.1} %{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is_and_how_long_it_will_take() {
        let at = |done, total, seconds| line("Pages", done, total, Duration::from_secs(seconds));
        let hashes = |n: usize| format!("{}{}", "#".repeat(n), ".".repeat(30 - n));
        assert_eq!(at(1, 1000, 5), format!("Pages [{}]   0.1 %", hashes(0)));
        assert_eq!(at(250, 1000, 10), format!("Pages [{}]  25.0 %  30 s left", hashes(7)));
        assert_eq!(at(1000, 1000, 10), format!("Pages [{}] 100.0 %  0 s left", hashes(30)));
        // What turns out to be more than was thought is all there is.
        assert_eq!(at(u64::MAX, 3, 1), format!("Pages [{}] 100.0 %  0 s left", hashes(30)));
    }
}
