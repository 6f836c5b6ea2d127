//! A progress bar on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::time::{Duration, Instant};

/// What is done sooner shows no bar.
const BEFORE: Duration = Duration::from_millis(500);

/// Times a second that it is drawn, at most.
const HERTZ: u8 = 10;

/// One bar, for one or more phases. It goes away when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    label: &'static str,
    started: Instant,
    shown: bool,
    total: u64,
}

impl Progress {
    /// A bar that is not drawn before the first half second has gone.
    pub fn new(label: &'static str) -> Progress {
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent:>3} %  {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#.");
        let bar = ProgressBar::hidden()
            .with_style(style)
            .with_message(label)
            .with_finish(ProgressFinish::AndClear);
        Progress { bar, label, started: Instant::now(), shown: false, total: 0 }
    }

    /// Begins another phase.
    pub fn phase(&mut self, label: &'static str) {
        if self.label != label {
            *self = Progress::new(label);
        }
    }

    /// `done` of `total`. Cheap enough to be called often, but not for every page.
    pub fn set(&mut self, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        if !self.shown {
            if self.started.elapsed() < BEFORE {
                return;
            }
            self.show(ProgressDrawTarget::stderr_with_hz(HERTZ));
        }
        if self.total != total {
            self.total = total;
            self.bar.set_length(total);
        }
        // What turns out to be more than was thought is all there is.
        self.bar.set_position(done.min(total));
    }

    fn show(&mut self, target: ProgressDrawTarget) {
        self.shown = true;
        self.bar.set_draw_target(target);
    }

    /// Does something with the bar out of the way, such as writing a line to standard error.
    pub fn aside<T>(&self, what: impl FnOnce() -> T) -> T {
        self.bar.suspend(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal of one line.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn text(&self) -> String {
            self.0.lock().unwrap().trim_end().to_owned()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(label: &'static str) -> (Screen, Progress) {
        let (screen, mut progress) = (Screen::default(), Progress::new(label));
        progress.show(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        (screen, progress)
    }

    #[test]
    fn the_bar_says_how_far_it_is_and_goes_away() {
        let (screen, mut progress) = shown("Pages");
        let begins = |done, total, n: usize, percent: &str| {
            let (screen, mut progress) = shown("Pages");
            progress.set(done, total);
            let bar = format!("{}{}", "#".repeat(n), ".".repeat(30 - n));
            let (text, expected) = (screen.text(), format!("Pages [{bar}] {percent} %  "));
            assert!(text.starts_with(&expected) && text.ends_with(" left"), "{text}");
        };
        begins(1, 1000, 0, "  0");
        begins(250, 1000, 7, " 25");
        begins(1000, 1000, 30, "100");
        begins(u64::MAX, 3, 30, "100");
        progress.set(1, 2);
        progress.aside(|| assert_eq!(screen.text(), ""));
        assert!(screen.text().starts_with("Pages ["));
        drop(progress);
        assert_eq!(screen.text(), "");
    }

    #[test]
    fn what_is_soon_done_shows_no_bar() {
        let mut progress = Progress::new("Pages");
        progress.set(1, 2);
        assert!(!progress.shown);
        progress.started -= BEFORE;
        progress.set(1, 0);
        assert!(!progress.shown, "nothing of nothing");
        progress.set(1, 2);
        assert!(progress.shown);
        progress.phase("Pages");
        assert!(progress.shown);
        progress.phase("Copying");
        assert!(!progress.shown);
    }
}
