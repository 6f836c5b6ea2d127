//! `tamis unseal`.

use crate::dump::out::create;
use crate::fail::{DONE, Fail, INCOMPLETE, Result};
use crate::render::console::remark;
use crate::sealing::{Opened, identities, open_all};
use crate::streams::{Input, input};
use std::path::PathBuf;

/// Open a sealed dump.
///
/// Takes what `tamis seal`, or age, made for one of the keys. Of a file that was cut, or changed
/// somewhere, nothing is written, unless --partial is given: then what comes before that place is,
/// each chunk as it was sealed, and `tamis repair` makes the best of a dump.
///
/// Exit status: 0 done; 2 only a part is there (--partial); 3 it could not be done.
///
/// Examples:
///   $ tamis unseal -i dumps.key vmcore.age vmcore
///   $ tamis unseal -i dumps.key --partial cut.age cut && tamis repair cut vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The sealed file; - is standard input
    input: PathBuf,
    /// The file to write
    output: PathBuf,
    /// File with secret keys, as `tamis keygen` makes it; may be given more than once
    #[arg(short, long = "identity", value_name = "FILE", required = true)]
    identities: Vec<PathBuf>,
    /// Write what comes before a place that is cut or changed
    #[arg(long)]
    partial: bool,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let with = identities(&args.identities)?;
    let Input { mut bytes, name, .. } = input(&args.input)?;
    let mut inputs = args.identities.clone();
    inputs.push(args.input.clone());
    let out = create(&args.output, args.force, &inputs)?;
    let opened = open_all(&mut bytes, &name, &with, &mut out.appender()?)?;
    match opened {
        Opened::Whole => {
            out.done()?;
            Ok(DONE)
        }
        Opened::Cut { chunk, bytes } => {
            let text =
                format!("{name}: cut or changed in chunk {chunk}, {bytes} bytes into the dump");
            if !args.partial {
                return Err(Fail::new(text).next("--partial writes what comes before"));
            }
            out.done()?;
            remark(format_args!("{text}: what comes before is written"));
            Ok(INCOMPLETE)
        }
    }
}
