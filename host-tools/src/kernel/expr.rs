//! What is to be printed: a part of C.

use super::types::Types;
use super::value::{Value, read};
use crate::fail::Result;
use tamis_core::kernel::symbols::btf::Kind;

/// Expressions in one another.
const DEEPEST: u32 = 32;

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expr {
    /// A variable.
    Symbol(String),
    /// An address.
    Address(u64),
    /// An address as a pointer to a type: the word in front of its name, and the name.
    Cast(Option<String>, String, Box<Expr>),
    /// What a pointer points to.
    Target(Box<Expr>),
    /// A member, of a structure or of what a pointer to one points to.
    Member(Box<Expr>, String),
    /// An element of an array, or of what a pointer points to.
    Element(Box<Expr>, u64),
}

/// Reads an expression from left to right.
struct Parser<'t> {
    rest: &'t str,
    depth: u32,
}

/// An expression that is written down.
pub fn parse(text: &str) -> std::result::Result<Expr, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let expr = parser.expr()?;
    match parser.rest.trim() {
        "" => Ok(expr),
        rest => Err(format!("{rest:?} is not understood")),
    }
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A name, or a number.
    fn word(&mut self) -> std::result::Result<String, String> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match word {
            "" if rest.is_empty() => Err("something is missing at its end".into()),
            "" => Err(format!("a name or an address is missing in front of {rest:?}")),
            word => Ok(word.into()),
        }
    }

    fn number(word: &str) -> Option<u64> {
        match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        }
    }

    fn expr(&mut self) -> std::result::Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("it is too deep".into());
        }
        let expr = match self.takes("*") {
            true => Expr::Target(Box::new(self.expr()?)),
            false => self.primary()?,
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// `(struct page *)` with what follows; `None` where the bracket is another one.
    fn cast(&mut self) -> std::result::Result<Option<Expr>, String> {
        let start = self.rest;
        if self.takes("(") && !self.rest.trim_start().starts_with(['*', '(']) {
            let mut names = vec![self.word()?];
            while self.rest.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            {
                names.push(self.word()?);
            }
            if self.takes("*") && self.takes(")") {
                let of = self.expr()?;
                let word = ["struct", "union", "enum"].contains(&names[0].as_str());
                let word = word.then(|| names.remove(0));
                return Ok(Some(Expr::Cast(word, names.join(" "), Box::new(of))));
            }
        }
        self.rest = start;
        Ok(None)
    }

    fn primary(&mut self) -> std::result::Result<Expr, String> {
        if let Some(cast) = self.cast()? {
            return Ok(cast);
        }
        let mut expr = if self.takes("(") {
            let inner = self.expr()?;
            if !self.takes(")") {
                return Err("a bracket is not closed".into());
            }
            inner
        } else {
            let word = self.word()?;
            match Parser::number(&word) {
                Some(number) => Expr::Address(number),
                None if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    return Err(format!("{word} is no number; hexadecimal ones begin with 0x"));
                }
                None => Expr::Symbol(word),
            }
        };
        loop {
            if self.takes("->") || self.takes(".") {
                expr = Expr::Member(Box::new(expr), self.word()?);
            } else if self.takes("[") {
                let word = self.word()?;
                let index = Parser::number(&word).ok_or(format!("{word} is no index"))?;
                if !self.takes("]") {
                    return Err("a bracket is not closed".into());
                }
                expr = Expr::Element(Box::new(expr), index);
            } else {
                return Ok(expr);
            }
        }
    }
}

/// What an expression stands for.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// An address alone.
    Address(u64),
    /// A pointer that is not in memory: the type that it points to, and where.
    Pointer(u32, u64),
    /// Something in memory: its type, its address, the first bit of it, and the bits of a bit field.
    Object(u32, u64, u64, u32),
}

/// Variables of which the type is known: BTF has no types of variables.
const VARIABLES: [(&str, &str); 17] = [
    ("init_task", "task_struct"),
    ("init_mm", "mm_struct"),
    ("init_cred", "cred"),
    ("init_uts_ns", "uts_namespace"),
    ("init_pid_ns", "pid_namespace"),
    ("init_user_ns", "user_namespace"),
    ("init_net", "net"),
    ("init_nsproxy", "nsproxy"),
    ("init_fs", "fs_struct"),
    ("init_files", "files_struct"),
    ("init_signals", "signal_struct"),
    ("contig_page_data", "pglist_data"),
    ("boot_cpu_data", "cpuinfo_x86"),
    ("modules", "list_head"),
    ("super_blocks", "list_head"),
    ("jiffies", "long unsigned int"),
    ("max_pfn", "long unsigned int"),
];

/// What an expression stands for: its type, where it is, how many bytes it has, and its value.
pub struct Printed {
    /// The type, as C has it.
    pub of: String,
    /// Its address, where it is in memory.
    pub address: Option<u64>,
    /// Its bytes.
    pub size: u64,
    /// The value.
    pub value: Value,
}

/// Finds what an expression stands for.
pub fn print(types: &mut Types<'_, '_, '_>, expr: &Expr) -> Result<Printed> {
    match types.find(expr)? {
        Found::Object(id, at, bit, width) => {
            let (of, size) = (types.text(id)?, types.size(id)?);
            let value = read(types, id, at, bit, width)?;
            Ok(Printed { of, address: Some(at.wrapping_add(bit / 8)), size, value })
        }
        Found::Pointer(id, at) => {
            let of = format!("{} *", types.text(id)?);
            let size = types.kernel.word();
            let value = Value::Pointer(at, types.kernel.symbol_at(at));
            Ok(Printed { of, address: None, size, value })
        }
        Found::Address(_) => Err(types
            .kernel
            .fail("nothing says of which type it is")
            .next("name one: *(struct task_struct *)init_task")),
    }
}

impl Types<'_, '_, '_> {
    fn find(&mut self, expr: &Expr) -> Result<Found> {
        match expr {
            Expr::Address(at) => Ok(Found::Address(*at)),
            Expr::Symbol(name) => {
                let Some(at) = self.kernel.address(name)? else {
                    let text = format!("its kernel has no symbol {name}, or several of them");
                    return Err(self.kernel.fail(text));
                };
                let known = VARIABLES.iter().find(|(variable, _)| variable == name);
                let id = match known {
                    Some((_, of)) => self.named(of, |kind| {
                        matches!(kind, Kind::Struct | Kind::Int | Kind::Typedef)
                    })?,
                    None => None,
                };
                Ok(id.map_or(Found::Address(at), |id| Found::Object(id, at, 0, 0)))
            }
            Expr::Cast(word, name, of) => {
                let at = match self.find(of)? {
                    Found::Address(at) | Found::Pointer(_, at) => at,
                    Found::Object(id, at, 0, 0) => match self.pointer(id, at)? {
                        Some((_, to)) => to,
                        None => at,
                    },
                    Found::Object(..) => return Err(self.kernel.fail("a bit field is no address")),
                };
                let wanted = |kind| match word.as_deref() {
                    Some("struct") => kind == Kind::Struct,
                    Some("union") => kind == Kind::Union,
                    Some(_) => kind == Kind::Enum || kind == Kind::Enum64,
                    None => matches!(kind, Kind::Typedef | Kind::Int | Kind::Float),
                };
                match self.named(name, wanted)? {
                    Some(id) => Ok(Found::Pointer(id, at)),
                    None => {
                        let word = word.as_deref().map_or(String::new(), |w| format!("{w} "));
                        let text = format!("its kernel's types have no {word}{name}");
                        Err(self.kernel.fail(text))
                    }
                }
            }
            Expr::Target(of) => self.element(of, 0, true),
            Expr::Element(of, index) => self.element(of, *index, false),
            Expr::Member(of, name) => self.member_of(of, name),
        }
    }

    /// Where a pointer in memory points to, and to which type; `None` if it is no pointer.
    fn pointer(&mut self, id: u32, at: u64) -> Result<Option<(u32, u64)>> {
        let record = self.strip(id)?;
        if record.kind != Kind::Ptr {
            return Ok(None);
        }
        let word = self.kernel.word();
        Ok(Some((record.value, self.kernel.number(at, word)?)))
    }

    fn element(&mut self, of: &Expr, index: u64, is_target: bool) -> Result<Found> {
        let (to, at) = match self.find(of)? {
            Found::Pointer(to, at) => (to, at),
            Found::Object(id, at, bit, 0) => {
                let record = self.strip(id)?;
                let at = at.wrapping_add(bit / 8);
                let array = self.btf.array(&mut self.kernel.reader, &record);
                match (self.kernel.table(array)?, self.pointer(id, at)?) {
                    (Some(array), _) if index < array.count.into() || array.count == 0 => {
                        (array.of, at)
                    }
                    (Some(array), _) => {
                        let text = format!("there are {} elements, from 0 on", array.count);
                        return Err(self.kernel.fail(text));
                    }
                    (None, Some(pointer)) => pointer,
                    (None, None) => {
                        let what = if is_target { "pointer" } else { "array" };
                        let text = format!("{} is no {what}", self.text(id)?);
                        return Err(self.kernel.fail(text));
                    }
                }
            }
            _ => return Err(self.kernel.fail("nothing says of which type it is")),
        };
        let size = self.size(to)?;
        Ok(Found::Object(to, at.wrapping_add(index.wrapping_mul(size)), 0, 0))
    }

    fn member_of(&mut self, of: &Expr, name: &str) -> Result<Found> {
        let (mut id, mut at, mut bit) = match self.find(of)? {
            Found::Pointer(to, at) => (to, at, 0),
            Found::Object(id, at, bit, 0) => (id, at, bit),
            _ => return Err(self.kernel.fail("nothing says of which type it is")),
        };
        if let Some((to, pointer)) = self.pointer(id, at.wrapping_add(bit / 8))? {
            (id, at, bit) = (to, pointer, 0);
        }
        match self.member(id, name)? {
            Some(place) => {
                let bits = bit.saturating_add(place.bits);
                // Whole bytes belong to the address.
                Ok(Found::Object(place.of, at.wrapping_add(bits / 8), bits % 8, place.width))
            }
            None => {
                let text = format!("{} has no member {name}", self.text(id)?);
                Err(self.kernel.fail(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Box<Expr> {
        Box::new(Expr::Symbol(name.into()))
    }

    #[test]
    fn expressions_are_understood() {
        let member = |of, name: &str| Expr::Member(of, name.into());
        assert_eq!(parse("init_task.comm"), Ok(member(symbol("init_task"), "comm")));
        assert_eq!(parse(" init_task -> mm "), Ok(member(symbol("init_task"), "mm")));
        let cast = |of| Expr::Cast(Some("struct".into()), "page".into(), Box::new(of));
        let page = || cast(Expr::Address(0xffea_0000));
        assert_eq!(parse("*(struct page *)0xffea0000"), Ok(Expr::Target(Box::new(page()))));
        assert_eq!(
            parse("((struct page*)0xffea0000)->lru.next"),
            Ok(member(Box::new(member(Box::new(page()), "lru")), "next"))
        );
        assert_eq!(
            parse("(*(struct page *)0xffea0000).flags"),
            Ok(member(Box::new(Expr::Target(Box::new(page()))), "flags"))
        );
        assert_eq!(
            parse("*a[0x10].b"),
            Ok(Expr::Target(Box::new(member(Box::new(Expr::Element(symbol("a"), 16)), "b"))))
        );
        assert_eq!(
            parse("(unsigned int *)max_pfn"),
            Ok(Expr::Cast(None, "unsigned int".into(), symbol("max_pfn")))
        );
        assert_eq!(parse("(a).b"), Ok(member(symbol("a"), "b")));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for bad in ["", "a.", "a..b", "(a", "a]", "a[x]", "a[1", "0xg", "a b", "12ab", "*", "a-b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"*".repeat(100)).is_err());
        assert!(parse(&"(".repeat(100_000)).is_err());
    }
}
