//! Documents in JSON. What is in them is described in `host-tools/docs/json.md`.

use crate::fail::Result;
use crate::render::console::{paint, print, remark};
use crate::render::text::is_harmful;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use std::fmt;
use std::io::{self, Write};

/// The members of a document behind `schema`.
pub trait Document: Serialize {
    /// Name of the shape, and its version.
    const SCHEMA: &'static str;
}

#[derive(Serialize)]
struct Whole<'a, D> {
    schema: &'static str,
    #[serde(flatten)]
    document: &'a D,
}

/// Writes a document as a text that ends with its line. Values deeper than `lines` levels are in one line with
/// what they belong to.
pub fn write<D: Document>(out: impl Write, document: &D, lines: usize) -> io::Result<()> {
    let mut json = serde_json::Serializer::with_formatter(out, Layout::new(lines));
    Whole { schema: D::SCHEMA, document }.serialize(&mut json)?;
    json.into_inner().write_all(b"\n")
}

/// Prints a document to standard output.
pub fn show<D: Document>(document: &D) -> Result<()> {
    let mut text = Vec::new();
    write(&mut text, document, usize::MAX)?;
    print(text)
}

/// Prints what a walk of the kernel's lists found, as JSON or as `text` makes it of it. What ended the walk early
/// is in the document; beside a text it is a remark, with what there may be more of.
pub fn show_found<D: Document>(
    found: &D,
    json: bool,
    text: impl FnOnce(&D) -> String,
    error: Option<&str>,
    more: &str,
) -> Result<()> {
    if json {
        return show(found);
    }
    paint(text(found))?;
    if let Some(error) = error {
        remark(format_args!("{error}; there may be more {more}"));
    }
    Ok(())
}

/// A number as a text: `"0x1f"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, json: S) -> std::result::Result<S::Ok, S::Error> {
        json.collect_str(self)
    }
}

/// An object whose keys are only known at run time, in their order here.
pub struct Members<K, V>(pub Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Members<K, V> {
    fn serialize<S: Serializer>(&self, json: S) -> std::result::Result<S::Ok, S::Error> {
        let mut members = json.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            members.serialize_entry(key, value)?;
        }
        members.end()
    }
}

/// How texts are laid out: two spaces a level.
struct Layout {
    lines: usize,
    depth: usize,
    /// Whether the array or object that ends has a value.
    any: bool,
}

impl Layout {
    fn new(lines: usize) -> Layout {
        Layout { lines, depth: 0, any: false }
    }

    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.any = false;
        out.write_all(bracket)
    }

    fn value<W: ?Sized + Write>(&self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b"," })?;
        self.space(out, self.depth)
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        if self.any {
            self.space(out, self.depth - 1)?;
        }
        self.depth -= 1;
        out.write_all(bracket)
    }

    /// Between values of the current depth.
    fn space<W: ?Sized + Write>(&self, out: &mut W, indent: usize) -> io::Result<()> {
        if self.depth > self.lines {
            return out.write_all(b" ");
        }
        write!(out, "\n{:1$}", "", 2 * indent)
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.any = true;
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.value(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.any = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    /// What is not for terminals, though JSON allows it.
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let escape = match escape {
            CharEscape::Backspace => CharEscape::AsciiControl(8),
            CharEscape::FormFeed => CharEscape::AsciiControl(12),
            CharEscape::CarriageReturn => CharEscape::AsciiControl(13),
            other => other,
        };
        CompactFormatter.write_char_escape(out, escape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample {
        n: i64,
        s: &'static str,
        l: Vec<Members<&'static str, u8>>,
        o: Members<u8, u8>,
        a: Hex,
        x: Option<u8>,
    }

    impl Document for Sample {
        const SCHEMA: &'static str = "t/1";
    }

    fn text(lines: usize) -> String {
        let list = vec![Members(vec![("b", 1), ("c", 2)]), Members(vec![])];
        let sample = Sample {
            n: -3,
            s: "a\"\\\n\u{1}\r\u{7f}é\u{9b}\u{202e}\u{e0041}",
            l: list,
            o: Members(vec![]),
            a: Hex(31),
            x: None,
        };
        let mut text = Vec::new();
        write(&mut text, &sample, lines).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn values_are_written_as_json() {
        assert_eq!(
            text(usize::MAX),
            "{\n  \"schema\": \"t/1\",\n  \"n\": -3,\n  \"s\": \"a\\\"\\\\\\n\\u0001\\u000d\\u007fé\\u009b\\u202e\\udb40\\udc41\",\n  \
             \"l\": [\n    {\n      \"b\": 1,\n      \"c\": 2\n    },\n    {}\n  ],\n  \"o\": {},\n  \
             \"a\": \"0x1f\",\n  \"x\": null\n}\n"
        );
    }

    #[test]
    fn deep_values_share_a_line() {
        assert!(text(2).contains("\"l\": [\n    { \"b\": 1, \"c\": 2 },\n    {}\n  ],\n  \"o\""));
        assert_eq!(text(0).lines().count(), 1);
    }
}
