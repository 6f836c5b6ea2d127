use super::{print, remark};
use crate::fail::{DONE, NO, Result};
use crate::io::open::open;
use std::path::PathBuf;

/// Print the VMCOREINFO text of a dump.
///
/// VMCOREINFO is what the dead kernel said about itself: release, page size, addresses of symbols,
/// offsets of structure members. Everything that tools find in a dump they find through it.
///
/// With KEYs, only their values are printed, a line each, in the order asked for. A key that is
/// missing is named on standard error, and the exit status is 1.
///
/// Examples:
///   $ tamis vmcoreinfo vmcore
///   $ tamis vmcoreinfo vmcore OSRELEASE 'NUMBER(phys_base)'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump; - is standard input
    dump: PathBuf,
    /// Keys, as they stand before the equals sign
    keys: Vec<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let opened = open(std::slice::from_ref(&args.dump))?;
    if opened.text.is_empty() {
        return Err(opened.fail("it has no VMCOREINFO").next("`tamis notes` shows what it has"));
    }
    if args.keys.is_empty() {
        let mut text = opened.text.to_vec();
        // Older kernels end it without a newline.
        while text.last() == Some(&0) {
            text.pop();
        }
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        print(text)?;
        return Ok(DONE);
    }
    let mut status = DONE;
    let mut out = Vec::new();
    for key in &args.keys {
        let found = opened.text.split(|b| *b == b'\n' || *b == 0).find_map(|line| {
            line.strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        });
        match found {
            Some(value) => {
                out.extend_from_slice(value);
                out.push(b'\n');
            }
            None => {
                remark(format_args!("{}: no key {key} in VMCOREINFO", opened.name()));
                status = NO;
            }
        }
    }
    print(out)?;
    Ok(status)
}
