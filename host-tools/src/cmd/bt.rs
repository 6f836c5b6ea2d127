//! `tamis bt`.

use crate::args::address::address;
use crate::dump::open::open;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::kernel::stack::{Stacks, Which, stacks};
use crate::render::json::show_found;
use std::path::PathBuf;

/// Show the stacks of tasks: which function was called by which.
///
/// Without anything else, the stack of the task that ran on the CPU that panicked. A task is named by
/// its pid, or, with 0x, by the address of its struct task_struct, as `tamis tasks` shows both.
///
/// A line each, the innermost function first: the stack pointer, the symbol, with its module, and the
/// address where it goes on. Where the kernel was interrupted, the address of the registers is shown.
/// On x86_64 the kernel's ORC tables say where each caller is, those of modules too; on arm64 it is
/// the chain of frame pointers. Both are in the kernel's memory and so in every dump; no debug
/// information is needed. Frames that nothing proves have a question mark: what is found on the stack
/// where the tables say nothing, what has a frame pointer at best, and the caller of a function that
/// has no frame on arm64. Functions that were inlined are part of their callers.
///
/// Exit status: 0 done; 2 a stack could not be followed to its end, or tasks are missing; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis bt vmcore
///   $ tamis bt vmcore --task 1
///   $ tamis bt --cpus vmcore
///   $ tamis bt --json --all vmcore | jq '.stacks[] | select(.state == "D")'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// A task: its pid, or the address of its struct task_struct with 0x; may be repeated
    #[arg(short, long = "task", value_name = "PID|ADDRESS", value_parser = task)]
    tasks: Vec<u64>,
    /// The task that ran on this CPU
    #[arg(short, long, value_name = "N", conflicts_with = "tasks")]
    cpu: Option<u64>,
    /// What ran on each CPU
    #[arg(long, conflicts_with_all = ["tasks", "cpu"])]
    cpus: bool,
    /// All tasks
    #[arg(short, long, conflicts_with_all = ["tasks", "cpu", "cpus"])]
    all: bool,
    /// Print JSON (schema tamis.bt/1)
    #[arg(long)]
    json: bool,
}

fn task(word: &str) -> std::result::Result<u64, String> {
    match word.strip_prefix("0x") {
        Some(_) => address(word),
        None => word.parse().map_err(|_| "not a pid; addresses begin with 0x".into()),
    }
}

impl Args {
    fn which(&self) -> Which {
        match self.cpu {
            _ if self.all => Which::All,
            _ if self.cpus => Which::Cpus,
            Some(cpu) => Which::Cpu(cpu),
            None if self.tasks.is_empty() => Which::Panic,
            None => Which::Tasks(self.tasks.clone()),
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = stacks(&mut opened, &args.which())?;
    show_found(&found, args.json, Stacks::text, found.error.as_deref(), "tasks")?;
    let whole = found.error.is_none() && found.stacks.iter().all(|stack| stack.error.is_none());
    Ok(if whole { DONE } else { INCOMPLETE })
}
