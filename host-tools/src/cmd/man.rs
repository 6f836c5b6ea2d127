//! `tamis man`.

use crate::dump::out::replace;
use crate::fail::{DONE, Result};
use crate::render::console::print;
use std::path::PathBuf;

/// Print or write the manual pages.
///
/// Without a directory, the page of tamis itself goes to standard output; with one, it and a page
/// for each command (tamis-info.1 and so on) are written there.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis man | man -l -
///   $ tamis man /usr/local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where to write the pages
    dir: Option<PathBuf>,
}

/// Runs it, with the whole command line.
pub fn run(args: &Args, command: clap::Command) -> Result<u8> {
    let page = |command: clap::Command, name: &str| -> Result<Vec<u8>> {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).title(name).render(&mut text)?;
        Ok(text)
    };
    let Some(dir) = &args.dir else {
        print(page(command, "tamis")?)?;
        return Ok(DONE);
    };
    let write = |name: &str, text: Vec<u8>| {
        let path = dir.join(format!("{name}.1"));
        replace(&path, &text)
    };
    for sub in command.get_subcommands() {
        let name = format!("tamis-{}", sub.get_name());
        write(&name, page(sub.clone(), &name)?)?;
    }
    write("tamis", page(command, "tamis")?)?;
    Ok(DONE)
}
