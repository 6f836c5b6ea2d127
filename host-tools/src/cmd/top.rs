//! `tamis top`.

use crate::dump::open::open;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::kernel::usage::{File, Usage, usage};
use crate::render::json::show_found;
use crate::render::text::{columns, size};
use std::path::PathBuf;

/// Show who used the memory of the dead kernel: for when it ran out.
///
/// First what the kernel itself counts: free memory, anonymous memory, page cache, slab caches, page
/// tables, stacks, vmalloc, huge pages, and what no counter has, such as pages that drivers hold.
/// Then the processes by the memory that is resident (RSS), with what is swapped out, their page
/// tables and their oom_score_adj; the slab caches; and the files in the page cache, by their paths
/// within their file systems. A file that has no name in memory is shown by the number of its inode.
/// Pages that several processes share count for each of them.
///
/// It needs the kernel's own symbols and types (kallsyms and BTF), which are in its memory and so in
/// every dump, whatever its level; no debug information is needed.
///
/// Exit status: 0 done; 2 there may be more, as a list could not be followed to its end; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis top vmcore
///   $ tamis top -n 100 --json vmcore | jq '.files[] | [.bytes, .path]'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Processes, caches and files to list of each
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    most: usize,
    /// Print JSON (schema tamis.top/1)
    #[arg(long)]
    json: bool,
}

fn more(text: &mut String, count: u64) {
    if count > 0 {
        *text += &format!("and {count} more\n");
    }
}

fn path(file: &File) -> String {
    match &file.path {
        Some(path) => path.clone(),
        None => format!("inode {}", file.inode),
    }
}

fn text(found: &Usage) -> String {
    let mut rows = vec![["memory", "size"].map(str::to_owned)];
    rows.extend(found.memory.iter().map(|of| [of.what.to_owned(), size(of.bytes)]));
    let mut text = columns(&rows);
    let head = [
        "process",
        "pid",
        "resident",
        "anonymous",
        "file",
        "shared",
        "swapped",
        "tables",
        "oom adj",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(found.processes.iter().map(|process| {
        [
            process.name.clone(),
            process.pid.to_string(),
            size(process.resident),
            size(process.anonymous),
            size(process.file),
            size(process.shared),
            size(process.swapped),
            size(process.page_tables),
            process.oom_score_adj.to_string(),
        ]
    }));
    text += "\n";
    text += &columns(&rows);
    more(&mut text, found.processes_not_listed);
    let mut rows = vec![["slab cache", "size", "in use", "objects", "of bytes"].map(str::to_owned)];
    rows.extend(found.caches.iter().map(|cache| {
        [
            cache.name.clone(),
            size(cache.bytes),
            cache.in_use.to_string(),
            cache.objects.to_string(),
            cache.size.to_string(),
        ]
    }));
    text += "\n";
    text += &columns(&rows);
    more(&mut text, found.caches_not_listed);
    let mut rows = vec![["file", "size", "file system", "on"].map(str::to_owned)];
    rows.extend(
        found.files.iter().map(|file| {
            [path(file), size(file.bytes), file.file_system.clone(), file.device.clone()]
        }),
    );
    text += "\n";
    text += &columns(&rows);
    more(&mut text, found.files_not_listed);
    text
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = usage(&mut opened, args.most)?;
    show_found(&found, args.json, text, found.error.as_deref(), "processes, caches and files")?;
    Ok(if found.error.is_none() { DONE } else { INCOMPLETE })
}
