//! What PID 1 is to do: `/etc/tamis.conf` and the `tamis.*` words of the kernel command line. The
//! command line wins. `capture-bin/docs/init.md` is the manual.

/// A file system type that is none: the dump goes straight onto the block device.
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

/// Something in the orders that makes no sense. It is left out; the rest holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt<'t> {
    /// No order has this name.
    Unknown(&'t [u8]),
    /// The order cannot have this value.
    Value {
        /// Its name.
        name: &'t [u8],
        /// What it was to be.
        value: &'t [u8],
    },
}

impl<'t> Orders<'t> {
    /// Obeys a configuration file: `name = value` lines, `#` begins a comment, names with or
    /// without `tamis.`.
    pub fn file(&mut self, text: &'t [u8], doubt: &mut dyn FnMut(Doubt<'t>)) {
        for line in text.split(|&b| b == b'\n' || b == 0) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let (name, value) = split_once(line, b'=').unwrap_or((line, b""));
            let name = name.trim_ascii();
            let name = name.strip_prefix(b"tamis.").unwrap_or(name);
            self.obey(name, unquoted(value.trim_ascii()), doubt);
        }
    }

    /// Obeys the `tamis.*` words of a kernel command line. Quotes hold words together, wherever in
    /// a word they begin; other words are not ours.
    pub fn command_line(&mut self, text: &'t [u8], doubt: &mut dyn FnMut(Doubt<'t>)) {
        for word in words(text) {
            let word = unquoted(word);
            if let Some(word) = word.strip_prefix(b"tamis.") {
                let (name, value) = split_once(word, b'=').unwrap_or((word, b""));
                self.obey(name, unquoted(value), doubt);
            }
        }
    }

    fn obey(&mut self, name: &'t [u8], value: &'t [u8], doubt: &mut dyn FnMut(Doubt<'t>)) {
        let understood = match name {
            b"args" => set(&mut self.args, Some(value)),
            b"target" => set(&mut self.target, Some(value)),
            b"fstype" => set(&mut self.fstype, Some(value)),
            // A path that climbs out of the target is none.
            b"path" if value.split(|&b| b == b'/').any(|part| part == b"..") => false,
            b"path" => set(&mut self.path, Some(value)),
            b"dmesg" => set(&mut self.dmesg, yes(value)),
            b"final" => set(&mut self.last, last(value)),
            b"timeout" => set(&mut self.timeout, number(value)),
            b"wait" => set(&mut self.wait, number(value)),
            b"retry" => set(&mut self.retry, number(value)),
            b"keep" => set(&mut self.keep, number(value).map(Some)),
            _ => return doubt(Doubt::Unknown(name)),
        };
        if !understood {
            doubt(Doubt::Value { name, value });
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
    use std::vec::Vec;

    fn read<'t>(file: &'t str, line: &'t str) -> (Orders<'t>, Vec<Doubt<'t>>) {
        let (mut orders, mut doubts) = (Orders::default(), Vec::new());
        orders.file(file.as_bytes(), &mut |d| doubts.push(d));
        orders.command_line(line.as_bytes(), &mut |d| doubts.push(d));
        (orders, doubts)
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let (orders, doubts) = read(
            "# a comment\n\ntarget = UUID=12-34\n tamis.path=/a\nargs=\"-c -d 1\"\nkeep=3\n",
            "ro tamis.path=/b tamis.args=\"--lz4 -d 31\" quiet tamis.final=halt tamis.timeout=90\n",
        );
        assert_eq!(doubts, []);
        assert_eq!(orders.target, b"UUID=12-34");
        assert_eq!(orders.path, b"/b");
        assert_eq!(orders.args, b"--lz4 -d 31");
        assert_eq!((orders.last, orders.timeout, orders.keep), (Final::Halt, 90, Some(3)));
    }

    #[test]
    fn quotes_may_stand_around_the_whole_word() {
        let (orders, doubts) = read("", "\"tamis.args=-c -d 17\" tamis.dmesg=no");
        assert_eq!((orders.args, orders.dmesg, doubts.len()), (&b"-c -d 17"[..], false, 0));
    }

    #[test]
    fn nonsense_is_named_and_left_out() {
        let (orders, doubts) = read(
            "target=/dev/vda\ncolour=red\nkeep=-1\npath=/a/../../b\n",
            "tamis.final=explode tamis.timeout=99999999999 tamis.retry=",
        );
        assert_eq!(orders, Orders { target: b"/dev/vda", ..Orders::default() });
        assert_eq!(doubts.len(), 6);
        assert_eq!(doubts[0], Doubt::Unknown(b"colour"));
        assert_eq!(doubts[3], Doubt::Value { name: b"final", value: b"explode" });
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
