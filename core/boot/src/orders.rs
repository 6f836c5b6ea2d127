//! What PID 1 is to do: `/etc/tamis.conf` and the `tamis.*` words of the kernel command line. The
//! command line wins. `capture-bin/docs/init.md` is the manual.

use core::fmt;

/// In place of a file system's type: the dump goes straight onto the block device.
pub const RAW: &[u8] = b"raw";

/// What happens when all is done, or nothing more can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Final {
    /// Start again.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop, with the power on.
    Halt,
    /// Go on with whoever called the program; PID 1, which nobody called, starts again.
    Return,
}

/// The orders. Texts are borrowed from the file and the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Orders<'t> {
    /// Options of a capture, as on a command line.
    pub args: &'t [u8],
    /// `/dev/...`, `UUID=...`, `LABEL=...` or `PARTUUID=...`.
    pub target: &'t [u8],
    /// File system of the target; empty: whatever it holds.
    pub fstype: &'t [u8],
    /// Folder at which something else has mounted the target already; empty: it is to be found and mounted.
    pub mounted: &'t [u8],
    /// Folder on the target in which each crash gets a folder of its own.
    pub path: &'t [u8],
    /// Whether the kernel log is saved as text as well.
    pub dmesg: bool,
    /// What happens at the end.
    pub last: Final,
    /// Seconds that the whole job may take; 0: as long as it takes.
    pub timeout: u32,
    /// Seconds to wait for the target to appear.
    pub wait: u32,
    /// How often a failed attempt is repeated.
    pub retry: u32,
    /// Old dumps to keep when there is no space; `None`: all.
    pub keep: Option<u32>,
}

impl Default for Orders<'_> {
    fn default() -> Self {
        Orders {
            args: b"-c -d 31",
            target: b"",
            fstype: b"",
            mounted: b"",
            path: b"/var/crash",
            dmesg: true,
            last: Final::Reboot,
            timeout: 0,
            wait: 60,
            retry: 1,
            keep: None,
        }
    }
}

/// An order that is not valid. It is left out; the others hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OrderError<'t> {
    /// No order has this name.
    Unknown(&'t [u8]),
    /// The order cannot have this value.
    Value {
        /// Its name.
        name: &'t [u8],
        /// The value.
        value: &'t [u8],
    },
}

impl fmt::Display for OrderError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Unknown(name) => {
                write!(f, "there is no order tamis.{}", name.escape_ascii())
            }
            OrderError::Value { name, value } => {
                write!(f, "tamis.{} cannot be '{}'", name.escape_ascii(), value.escape_ascii())
            }
        }
    }
}

impl core::error::Error for OrderError<'_> {}

/// Sets one order; `false` if it cannot have this value.
type Obey = for<'t> fn(&mut Orders<'t>, &'t [u8]) -> bool;

/// Every order: its name, and what it does.
const ORDERS: [(&str, Obey); 11] = [
    ("args", |orders, value| set(&mut orders.args, Some(value))),
    ("target", |orders, value| set(&mut orders.target, Some(value).filter(|v| names_a_device(v)))),
    ("fstype", |orders, value| set(&mut orders.fstype, Some(value))),
    ("mounted", |orders, value| {
        set(&mut orders.mounted, Some(value).filter(|v| v.is_empty() || v.starts_with(b"/")))
    }),
    ("path", |orders, value| {
        let climbs = value.split(|&b| b == b'/').any(|part| part == b"..");
        set(&mut orders.path, Some(value).filter(|_| !climbs))
    }),
    ("dmesg", |orders, value| set(&mut orders.dmesg, yes(value))),
    ("final", |orders, value| set(&mut orders.last, last(value))),
    ("timeout", |orders, value| set(&mut orders.timeout, number(value))),
    ("wait", |orders, value| set(&mut orders.wait, number(value))),
    ("retry", |orders, value| set(&mut orders.retry, number(value))),
    ("keep", |orders, value| set(&mut orders.keep, number(value).map(Some))),
];

/// The names of all orders.
pub fn names() -> impl Iterator<Item = &'static str> {
    ORDERS.iter().map(|(name, _)| *name)
}

/// One order as a line of the file. Displayed without the end of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its value.
    pub value: &'t str,
}

impl fmt::Display for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl<'t> Orders<'t> {
    /// Obeys a configuration file: `name = value` lines, `#` begins a comment, names with or
    /// without `tamis.`. Each order that is not valid is reported to `failed`.
    pub fn file(&mut self, text: &'t [u8], failed: &mut dyn FnMut(OrderError<'t>)) {
        for line in text.split(|&b| b == b'\n' || b == 0) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (name, value) = split_once(line, b'=').unwrap_or((line, b""));
            let name = name.trim_ascii();
            let name = name.strip_prefix(b"tamis.").unwrap_or(name);
            self.obey(name, unquoted(value.trim_ascii()), failed);
        }
    }

    /// Obeys the `tamis.*` words of a kernel command line. Quotes hold words together, wherever in
    /// a word they begin; other words are not ours. Each order that is not valid is reported to
    /// `failed`.
    pub fn command_line(&mut self, text: &'t [u8], failed: &mut dyn FnMut(OrderError<'t>)) {
        for word in words(text) {
            let word = unquoted(word);
            if let Some(word) = word.strip_prefix(b"tamis.") {
                let (name, value) = split_once(word, b'=').unwrap_or((word, b""));
                self.obey(name, unquoted(value), failed);
            }
        }
    }

    /// Obeys a word as of the program's own command line: an order with or without `tamis.`. One that is not valid is
    /// reported to `failed`.
    pub fn word(&mut self, word: &'t [u8], failed: &mut dyn FnMut(OrderError<'t>)) {
        let word = word.strip_prefix(b"tamis.").unwrap_or(word);
        let (name, value) = split_once(word, b'=').unwrap_or((word, b""));
        self.obey(name, value, failed);
    }

    fn obey(&mut self, name: &'t [u8], value: &'t [u8], failed: &mut dyn FnMut(OrderError<'t>)) {
        match ORDERS.iter().find(|(known, _)| known.as_bytes() == name) {
            None => failed(OrderError::Unknown(name)),
            Some((_, obey)) if !obey(self, value) => failed(OrderError::Value { name, value }),
            Some(_) => {}
        }
    }
}

fn set<T>(to: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *to = value;
            true
        }
        None => false,
    }
}

/// Whether PID 1 can find a block device by this; nothing means that the other place has it.
fn names_a_device(value: &[u8]) -> bool {
    let tags: [&[u8]; 3] = [b"UUID=", b"LABEL=", b"PARTUUID="];
    let tagged = tags.iter().any(|tag| value.strip_prefix(*tag).is_some_and(|id| !id.is_empty()));
    value.is_empty() || value.starts_with(b"/") || tagged
}

fn yes(value: &[u8]) -> Option<bool> {
    match value {
        b"yes" | b"1" | b"on" | b"" => Some(true),
        b"no" | b"0" | b"off" => Some(false),
        _ => None,
    }
}

fn last(value: &[u8]) -> Option<Final> {
    match value {
        b"reboot" => Some(Final::Reboot),
        b"poweroff" => Some(Final::PowerOff),
        b"halt" => Some(Final::Halt),
        b"return" => Some(Final::Return),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|&b| b == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// Words, separated by white space outside of double quotes. The quotes stay.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    core::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = rest.iter().position(|&b| {
            quoted ^= b == b'"';
            !quoted && (b.is_ascii_whitespace() || b == 0)
        });
        let (word, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        rest = after.strip_prefix(b"\0").unwrap_or(after);
        Some(word)
    })
    .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    fn read<'t>(file: &'t str, line: &'t str) -> (Orders<'t>, Vec<OrderError<'t>>) {
        let (mut orders, mut errors) = (Orders::default(), Vec::new());
        orders.file(file.as_bytes(), &mut |e| errors.push(e));
        orders.command_line(line.as_bytes(), &mut |e| errors.push(e));
        (orders, errors)
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let (orders, errors) = read(
            "# a comment\n\ntarget = UUID=12-34\n tamis.path=/a\nargs=\"-c -d 1\"\nkeep=3\n",
            "ro tamis.path=/b tamis.args=\"--lz4 -d 31\" quiet tamis.final=halt tamis.timeout=90\n",
        );
        assert_eq!(errors, []);
        assert_eq!(orders.target, b"UUID=12-34");
        assert_eq!(orders.path, b"/b");
        assert_eq!(orders.args, b"--lz4 -d 31");
        assert_eq!((orders.last, orders.timeout, orders.keep), (Final::Halt, 90, Some(3)));
    }

    #[test]
    fn quotes_may_stand_around_the_whole_word() {
        let (orders, errors) = read("", "\"tamis.args=-c -d 17\" tamis.dmesg=no");
        assert_eq!((orders.args, orders.dmesg, errors.len()), (&b"-c -d 17"[..], false, 0));
    }

    #[test]
    fn nonsense_is_named_and_left_out() {
        let (orders, errors) = read(
            "target=/dev/vda\ncolour=red\nkeep=-1\npath=/a/../../b\n",
            "tamis.final=explode tamis.timeout=99999999999 tamis.retry= tamis.target=vdb tamis.target=UUID=",
        );
        assert_eq!(orders, Orders { target: b"/dev/vda", ..Orders::default() });
        assert_eq!(errors.len(), 8);
        assert_eq!(errors[0], OrderError::Unknown(b"colour"));
        assert_eq!(errors[3], OrderError::Value { name: b"final", value: b"explode" });
    }

    #[test]
    fn every_order_does_what_only_it_does() {
        let mut seen = Vec::new();
        for name in names() {
            let value = match name {
                "dmesg" => "no",
                "final" => "halt",
                "timeout" | "wait" | "retry" | "keep" => "7",
                "target" => "/dev/vdb",
                "mounted" => "/sysroot",
                _ => "x",
            };
            let line = format!("{}\n# {name}\n", Order { name, value });
            let (orders, errors) = read(&line, "");
            assert_eq!(errors, [], "{name}");
            assert_ne!(orders, Orders::default(), "{name}");
            // No other order has done the same.
            seen.iter().for_each(|other| assert_ne!(*other, format!("{orders:?}"), "{name}"));
            seen.push(format!("{orders:?}"));
        }
        assert_eq!(seen.len(), 11);
        assert_eq!(read("", "tamis.colour=red").1, [OrderError::Unknown(b"colour")]);
    }

    #[test]
    fn words_of_a_caller_are_orders() {
        let (mut orders, mut errors) = (Orders::default(), Vec::new());
        for word in
            ["mounted=/sysroot/var", "tamis.path=/crash 1", "final=return", "mounted=var", "x"]
        {
            orders.word(word.as_bytes(), &mut |error| errors.push(error));
        }
        assert_eq!((orders.mounted, orders.path), (&b"/sysroot/var"[..], &b"/crash 1"[..]));
        assert_eq!(orders.last, Final::Return);
        let mounted = OrderError::Value { name: b"mounted", value: b"var" };
        assert_eq!(errors, [mounted, OrderError::Unknown(b"x")]);
    }

    #[test]
    fn errors_are_named() {
        let text = |file| read(file, "").1[0].to_string();
        assert_eq!(text("colour\n"), "there is no order tamis.colour");
        assert_eq!(text("final=\x1b\n"), "tamis.final cannot be '\\x1b'");
    }

    #[test]
    fn words_end_at_white_space_outside_quotes() {
        let split = |text: &'static str| {
            words(text.as_bytes()).map(|w| std::str::from_utf8(w).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(split("a  b=\"c d\" \n e\0f"), ["a", "b=\"c d\"", "e", "f"]);
        assert_eq!(split("\"open to the end"), ["\"open to the end"]);
        assert_eq!(split("  "), [""; 0]);
    }
}
