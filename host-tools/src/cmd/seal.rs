//! `tamis seal`.

use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::sealing::{recipients, seal_all};
use crate::streams::input;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Seal a dump, so that only the holders of secret keys can read it.
///
/// What is written is a file of age, version 1 (X25519, ChaCha20-Poly1305 in chunks of 64 KiB), which
/// `tamis unseal` and `age -d` open. Each chunk is authenticated: a change anywhere is noticed. Any
/// file will do. The input stays: delete it when the sealed one is where it belongs.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis seal -R dumps.pub vmcore vmcore.age
///   $ tamis seal -R dumps.pub vmcore - | ssh host 'cat > vmcore.age'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file to seal; - is standard input
    input: PathBuf,
    /// The file to write; - is standard output
    output: PathBuf,
    /// Seal to this public key; may be given more than once
    #[arg(short, long = "recipient", value_name = "KEY", required_unless_present = "files")]
    recipients: Vec<String>,
    /// Seal to the public keys of this file, one a line; may be given more than once
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let to = recipients(&args.recipients, &args.files)?;
    let mut from = input(&args.input)?;
    if args.output == Path::new("-") {
        let stdout = std::io::stdout();
        if stdout.is_terminal() {
            return Err(Fail::new("standard output is a terminal").next("name a file"));
        }
        let mut out = BufWriter::new(stdout.lock());
        seal_all(&mut from.bytes, &from.name, &to, &mut out)?;
        out.flush()?;
    } else {
        let out = create(&args.output, args.force, std::slice::from_ref(&args.input))?;
        seal_all(&mut from.bytes, &from.name, &to, &mut out.appender()?)?;
        out.done()?;
    }
    Ok(DONE)
}
