//! `tamis print`.

use crate::dump::open::open;
use crate::fail::{DONE, Fail, Result};
use crate::kernel::expr::{Expr, parse, print};
use crate::kernel::split::types_of;
use crate::kernel::types::Types;
use crate::kernel::value::Value;
use crate::kernel::with_types;
use crate::render::console::paint;
use crate::render::json::{Document, Hex, show};
use serde::Serialize;
use std::path::PathBuf;

/// Print a variable or a structure of the kernel, with its members.
///
/// What is to be printed is written as in C: a variable, or an address as a pointer to a type, and
/// behind it members, elements and what pointers point to. The types are the kernel's own (BTF),
/// which are in its memory and so in every dump; no debug information is needed. They have no types
/// of variables: of a few variables tamis knows it (init_task, init_net, jiffies); of others name the
/// type, as in the examples. Types that a module has of its own are known with --module NAME, in
/// kernels that have them (CONFIG_DEBUG_INFO_BTF_MODULES).
///
/// Structures are printed as C has them, members of members without a name as members of the
/// structure itself, equal elements of arrays once. A pointer to a symbol has its name behind it.
/// An array of several dimensions is printed as one of all its elements, as the kernel's types have
/// it, and of one at the end of a structure that has no length, no element is printed.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis print vmcore init_task.comm
///   $ tamis print vmcore '*(struct page *)0xffffea0000000000'
///   $ tamis print --json vmcore '((struct list_head *)modules)->next'
///   $ tamis print --module dm_mod vmcore '*(struct mapped_device *)0xffff888004a1c000'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// What to print, as in C
    #[arg(value_parser = Written::parse)]
    expression: Written,
    /// With the types of this module, too
    #[arg(short, long, value_name = "NAME")]
    module: Option<String>,
    /// Print JSON (schema tamis.print/1)
    #[arg(long)]
    json: bool,
}

/// An expression, and how it was written.
#[derive(Clone)]
struct Written(String, Expr);

impl Written {
    fn parse(text: &str) -> std::result::Result<Written, String> {
        parse(text).map(|expr| Written(text.into(), expr))
    }
}

/// What is printed.
#[derive(Serialize)]
pub(crate) struct Printed {
    pub(crate) expression: String,
    #[serde(rename = "type")]
    pub(crate) of: String,
    pub(crate) address: Option<Hex>,
    pub(crate) size: u64,
    pub(crate) value: Value,
}

impl Document for Printed {
    const SCHEMA: &'static str = "tamis.print/1";
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let Written(expression, expr) = &args.expression;
    let printed = with_types(&mut opened, |kernel, btf| {
        let mut index = Vec::new();
        let of_module = match &args.module {
            Some(module) => Some(types_of(kernel, btf, module, &mut index)?),
            None => None,
        };
        let btf = of_module.as_ref().unwrap_or(btf);
        print(&mut Types { kernel, btf }, expr).map_err(|fail| match fail {
            Fail::Error { text, next } => {
                Fail::Error { text: format!("{text} (in {expression})"), next }
            }
            pipe => pipe,
        })
    })?;
    let (of, address) = (printed.of, printed.address.map(Hex));
    let (size, value) = (printed.size, printed.value);
    if args.json {
        show(&Printed { expression: expression.clone(), of, address, size, value })?;
    } else {
        paint(format!("({of}){}\n", value.text()))?;
    }
    Ok(DONE)
}
