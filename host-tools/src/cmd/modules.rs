//! `tamis modules`.

use crate::dump::open::open;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::kernel::lists::{Modules, modules};
use crate::render::json::show_found;
use crate::render::text::columns;
use std::path::PathBuf;

/// List the modules of the dead kernel, as lsmod does.
///
/// Name, bytes of memory and the lowest address of it, state, and the address of the struct module.
/// The one that was loaded last comes first. It needs the kernel's own symbols and types (kallsyms
/// and BTF), which are in its memory and so in every dump; no debug information is needed.
///
/// Exit status: 0 done; 2 there may be more, as a list could not be followed to its end; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis modules vmcore
///   $ tamis modules --json vmcore | jq -r .modules[].name
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.modules/1)
    #[arg(long)]
    json: bool,
}

fn text(found: &Modules) -> String {
    let mut rows = vec![["name", "bytes", "address", "state", "struct module"].map(str::to_owned)];
    rows.extend(found.modules.iter().map(|module| {
        [
            module.name.clone(),
            module.size.to_string(),
            format!("{:016x}", module.address.0),
            module.state.into(),
            format!("{:016x}", module.module.0),
        ]
    }));
    columns(&rows)
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = modules(&mut opened)?;
    show_found(&found, args.json, text, found.error.as_deref(), "modules")?;
    Ok(if found.error.is_none() { DONE } else { INCOMPLETE })
}
