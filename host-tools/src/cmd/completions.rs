//! `tamis completions`.

use crate::fail::{DONE, Result};
use crate::render::console::print;

/// Print completions for a shell.
///
/// Exit status: 0 printed; 64 no such shell.
///
/// Examples:
///   $ tamis completions bash > /etc/bash_completion.d/tamis
///   $ tamis completions zsh > ~/.zfunc/_tamis
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Runs it, with the whole command line.
pub fn run(args: &Args, mut command: clap::Command) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tamis", &mut text);
    print(text)?;
    Ok(DONE)
}
