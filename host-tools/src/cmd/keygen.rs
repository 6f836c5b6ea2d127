//! `tamis keygen`.

use crate::dump::out::create;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::print;
use crate::streams::random;
use std::path::PathBuf;
use tamis_core::seal::Identity;

/// Make a pair of keys for sealed dumps.
///
/// The file has the secret key, which opens dumps; it is readable for its owner only, and belongs on
/// the machine where dumps are looked at. The public key is in it as a comment, and printed: with it
/// dumps are sealed. They are keys of age (X25519): `age-keygen` makes the same.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis keygen -o dumps.key > dumps.pub
///   $ tamis seal -R dumps.pub vmcore vmcore.age
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut bytes = [0; 32];
    random(&mut bytes).map_err(|e| Fail::new(format_args!("no random bytes: {e}")))?;
    let identity = Identity::new(bytes);
    let public = identity.recipient();
    let mut text = format!("# public key: {public}\n");
    identity.write_text(&mut text).map_err(Fail::new)?;
    text.push('\n');
    let mut file = create(&args.output, args.force, &[])?;
    file.put(0, text.as_bytes())?;
    file.done()?;
    print(format!("{public}\n"))?;
    Ok(DONE)
}
