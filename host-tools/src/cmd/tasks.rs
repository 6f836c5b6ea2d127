//! `tamis tasks`.

use crate::dump::open::open;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::kernel::lists::{Tasks, tasks};
use crate::render::json::show_found;
use crate::render::text::columns;
use std::path::PathBuf;

/// List the tasks of the dead kernel, as ps does.
///
/// All processes and their threads, behind the idle task of the first CPU: name, pid, the process
/// that a thread belongs to, the state as ps has it, whether it is a kernel thread, and the address
/// of its struct task_struct, which `tamis print` shows. It needs the kernel's own symbols and types
/// (kallsyms and BTF), which are in its memory and so in every dump; no debug information is needed.
///
/// Exit status: 0 done; 2 there may be more, as a list could not be followed to its end; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis tasks vmcore
///   $ tamis tasks --json vmcore | jq '.tasks[] | select(.state == "D")'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.tasks/1)
    #[arg(long)]
    json: bool,
}

fn text(found: &Tasks) -> String {
    let mut rows =
        vec![["name", "pid", "of", "state", "", "struct task_struct"].map(str::to_owned)];
    rows.extend(found.tasks.iter().map(|task| {
        [
            task.name.clone(),
            task.pid.to_string(),
            if task.tgid == task.pid { String::new() } else { task.tgid.to_string() },
            task.state.into(),
            if task.kernel { "kernel" } else { "user" }.into(),
            format!("{:016x}", task.task.0),
        ]
    }));
    columns(&rows)
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = tasks(&mut opened)?;
    show_found(&found, args.json, text, found.error.as_deref(), "tasks")?;
    Ok(if found.error.is_none() { DONE } else { INCOMPLETE })
}
