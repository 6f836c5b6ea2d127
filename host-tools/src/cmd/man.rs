//! `tamis man`.

use crate::dump::out::replace;
use crate::fail::{DONE, Fail, Result};
use crate::render::console::print;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Show, print or write the manual pages.
///
/// With the name of a command, its page is shown; without, that of tamis itself. Into a pipe or a file,
/// it goes as it is for man(1). With a directory (./info for one named as a command), all pages are
/// written there, or none of them.
///
/// Exit status: 0 done; 3 it could not be done.
///
/// Examples:
///   $ tamis man refilter
///   $ tamis man /usr/local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A command, or the directory for all pages
    #[arg(value_name = "COMMAND|DIR")]
    what: Option<PathBuf>,
}

/// Shows a page by man(1) on a terminal; elsewhere, and without man(1), prints it as it is.
fn show(page: &[u8]) -> Result<u8> {
    if std::io::stdout().is_terminal() {
        let man = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
        if let Ok(mut man) = man {
            if let Some(mut input) = man.stdin.take() {
                // Whoever leaves the pager early has seen enough.
                let _ = input.write_all(page);
            }
            if man.wait().is_ok_and(|status| status.success()) {
                return Ok(DONE);
            }
        }
    }
    print(page)?;
    Ok(DONE)
}

/// Runs it, with the whole command line.
pub fn run(args: &Args, command: clap::Command) -> Result<u8> {
    let page = |command: clap::Command, name: &str| -> Result<Vec<u8>> {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).title(name).render(&mut text)?;
        Ok(text)
    };
    let Some(dir) = &args.what else {
        return show(&page(command, "tamis")?);
    };
    let named = |sub: &&clap::Command| dir.as_os_str() == sub.get_name();
    if let Some(sub) = command.get_subcommands().find(named) {
        return show(&page(sub.clone(), &format!("tamis-{}", sub.get_name()))?);
    }
    if !dir.is_dir() {
        return Err(Fail::file(dir, "neither a command nor a directory")
            .next("`tamis help` lists the commands"));
    }
    let mut pages = Vec::new();
    for sub in command.get_subcommands() {
        let name = format!("tamis-{}", sub.get_name());
        let text = page(sub.clone(), &name)?;
        pages.push((dir.join(name + ".1"), text));
    }
    pages.push((dir.join("tamis.1"), page(command, "tamis")?));
    replace(pages)?;
    Ok(DONE)
}
