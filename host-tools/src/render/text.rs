//! Text to read: sizes, times, tables, and colours, which [`super::console::paint`] shows where a
//! terminal wants them.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

/// Bytes with a unit: `1.50 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number with its thousands apart: `12,345`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Part of a whole: `12.5 %`; nothing of nothing is nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}

/// Seconds since 1970 as a date and time in UTC; as they are, beyond the year 9999.
pub fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    match time {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{seconds} seconds after 1970"),
    }
}

/// The same as dmesg has it: `Tue Nov 14 22:13:20 2023`, in UTC.
pub fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(
        || self::time(seconds),
        |time| time.strftime("%a %b %e %H:%M:%S %Y").to_string(),
    )
}

/// Bytes of a dump as text that does no harm to a terminal.
///
/// Control characters, those that change the direction of a text or cannot be seen, and bytes that are no
/// text are `\xNN`, byte by byte; a backslash is two: the bytes can be told from it.
pub fn plain(bytes: &[u8]) -> String {
    escaped(bytes, |c| c == '\\' || is_harmful(c))
}

/// A message as it can be printed: lines stay lines, and a backslash is one.
pub fn harmless(text: &str) -> String {
    escaped(text.as_bytes(), |c| c != '\n' && is_harmful(c))
}

/// Whether a terminal, or a reader, may take a character for something else than what it is.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(bytes: &[u8], escape: impl Fn(char) -> bool) -> String {
    let mut text = String::new();
    let byte = |text: &mut String, byte: u8| text.push_str(&format!("\\x{byte:02x}"));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' if escape(c) => text.push_str("\\\\"),
                c if escape(c) => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| byte(&mut text, b));
                }
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| byte(&mut text, *b));
    }
    text
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Good news, in green.
pub fn good(text: &str) -> String {
    styled(AnsiColor::Green.on_default(), text)
}

/// Bad news, in red.
pub fn bad(text: &str) -> String {
    styled(AnsiColor::Red.on_default(), text)
}

/// Neither, in yellow.
pub fn warn(text: &str) -> String {
    styled(AnsiColor::Yellow.on_default(), text)
}

/// A label.
pub fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// Columns: the first flush left, the others flush right, under a head.
pub fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let count = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(n));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (n, (cell, width)) in row.as_ref().iter().zip(&widths).enumerate() {
            line += &match n {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        let line = line.trim_end();
        text += &if index == 0 { dim(line) } else { line.to_owned() };
        text.push('\n');
    }
    text
}

/// Labels and values, the values in one column.
#[derive(Default)]
pub struct Table(Vec<(String, String)>);

impl Table {
    /// Adds a line.
    pub fn row(&mut self, label: impl Into<String>, value: impl Into<String>) {
        self.0.push((label.into(), value.into()));
    }

    /// The lines.
    pub fn text(&self) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) + 2;
        let mut out = String::new();
        for (label, value) in &self.0 {
            let pad = " ".repeat(width - label.chars().count());
            out += &format!("{}{pad}{value}\n", dim(label));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_readable() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.50 KiB");
        assert_eq!(size(414_224_384), "395.0 MiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(0, 0), "0 %");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(1_700_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(time(4_107_542_399), "2100-02-28 23:59:59 UTC");
        // The last time that jiff knows, and one far beyond.
        assert_eq!(time(253_402_207_200), "9999-12-30 22:00:00 UTC");
        assert_eq!(time(u64::MAX), "18446744073709551615 seconds after 1970");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(plain(b"a\x1b[31mb\xff"), "a\\x1b[31mb\\xff");
        assert_eq!(
            plain("é\u{9b}\u{202e}\\x1b\r".as_bytes()),
            "é\\xc2\\x9b\\xe2\\x80\\xae\\\\x1b\\x0d"
        );
        assert_eq!(harmless("a\\b\nc\u{1b}"), "a\\b\nc\\x1b");
    }
}
