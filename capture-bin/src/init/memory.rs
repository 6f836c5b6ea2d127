//! The memory report.

use super::say::say;
use super::text::read_text;
use crate::console::Console;
use crate::sys;

/// Says what memory there is and was: the figures by which `crashkernel=` is chosen.
pub(super) fn tell_memory(console: &Console, free_at_first: u64) {
    let mut own = [0; 2048];
    let own = number_after(read_text(b"/proc/self/status", &mut own), b"VmHWM:").unwrap_or(0);
    let (total, free) = sys::memory();
    let least = console.least_free().unwrap_or(free).min(free);
    say(format_args!(
        "memory: {} kB in this kernel; free {} kB at first, {} kB at least, {} kB at last; at most \
         {own} kB taken by this program",
        total / 1024,
        free_at_first / 1024,
        least / 1024,
        free / 1024,
    ));
}

/// The number in the line that begins with `name`.
fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name))?;
    let digits = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let text = b"MemTotal:  123 kB\nMemFree:\t7 kB\nOdd: x\n";
        assert_eq!(number_after(text, b"MemFree:"), Some(7));
        assert_eq!(number_after(text, b"MemTotal:"), Some(123));
        assert_eq!((number_after(text, b"Odd:"), number_after(text, b"Gone:")), (None, None));
    }
}
