//! A JSON writer. What the commands print with it is documented in `host-tools/docs/json.md`.

use std::fmt::{self, Display, Write};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`: not known.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction.
    Number(i128),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of its keys here.
    Object(Vec<(String, Json)>),
}

/// An object under construction.
#[derive(Default)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// An empty one.
    pub fn new() -> Object {
        Object::default()
    }

    /// The outermost object of a command's output: says which shape it has.
    pub fn document(schema: &str) -> Object {
        Object::new().with("schema", schema)
    }

    /// Adds a member.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Json>) -> Object {
        self.0.push((key.into(), value.into()));
        self
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Json {
        Json::Object(object.0)
    }
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl From<$t> for Json {
            fn from(n: $t) -> Json {
                Json::Number(n as i128)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, usize, i32, i64);

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

impl From<&str> for Json {
    fn from(s: &str) -> Json {
        Json::Text(s.into())
    }
}

impl From<String> for Json {
    fn from(s: String) -> Json {
        Json::Text(s)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or(Json::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(list: Vec<T>) -> Json {
        Json::List(list.into_iter().map(Into::into).collect())
    }
}

impl Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.put(f, 0)
    }
}

impl Json {
    /// All of it in one line.
    pub fn line(&self) -> String {
        // Line ends in texts are escaped: those that are there are between values.
        let text = self.to_string();
        text.lines().map(str::trim_start).collect::<Vec<_>>().join(" ")
    }

    fn put(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let pad = |f: &mut fmt::Formatter<'_>, depth: usize| write!(f, "\n{:1$}", "", 2 * depth);
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(b) => write!(f, "{b}"),
            Json::Number(n) => write!(f, "{n}"),
            Json::Text(s) => text(f, s),
            Json::List(list) if list.is_empty() => f.write_str("[]"),
            Json::List(list) => {
                f.write_char('[')?;
                for (index, value) in list.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    pad(f, depth + 1)?;
                    value.put(f, depth + 1)?;
                }
                pad(f, depth)?;
                f.write_char(']')
            }
            Json::Object(members) if members.is_empty() => f.write_str("{}"),
            Json::Object(members) => {
                f.write_char('{')?;
                for (index, (key, value)) in members.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    pad(f, depth + 1)?;
                    text(f, key)?;
                    f.write_str(": ")?;
                    value.put(f, depth + 1)?;
                }
                pad(f, depth)?;
                f.write_char('}')
            }
        }
    }
}

fn text(f: &mut fmt::Formatter<'_>, s: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in s.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c < ' ' || c == '\u{7f}' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json() {
        let value: Json = Object::document("t/1")
            .with("n", -3i64)
            .with("s", "a\"\\\n\u{1}é")
            .with("l", vec![1u8, 2])
            .with("o", Object::new())
            .with("x", None::<u8>)
            .into();
        assert_eq!(
            value.to_string(),
            "{\n  \"schema\": \"t/1\",\n  \"n\": -3,\n  \"s\": \"a\\\"\\\\\\n\\u0001é\",\n  \
             \"l\": [\n    1,\n    2\n  ],\n  \"o\": {},\n  \"x\": null\n}"
        );
    }
}
