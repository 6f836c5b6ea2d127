//! `tamis slabs`.

use crate::dump::open::open;
use crate::fail::{DONE, INCOMPLETE, Result};
use crate::kernel::slabs::{Slabs, slabs};
use crate::render::json::show_found;
use crate::render::text::columns;
use std::path::PathBuf;

/// List the slab caches of the dead kernel, as slabtop does.
///
/// The cache with most memory comes first: bytes of memory, objects in use, objects that there is
/// memory for, bytes of one, slabs (runs of pages), and the address of the struct kmem_cache, which
/// `tamis print` shows. Objects that a CPU holds ready are not in use; /proc/slabinfo counts them. The
/// allocator is SLUB, as it is in all kernels since 6.8. It needs the kernel's own symbols and types
/// (kallsyms and BTF), which are in its memory and so in every dump; no debug information is needed.
///
/// Exit status: 0 done; 2 there may be more, as a list could not be followed to its end; 3 it could
/// not be done.
///
/// Examples:
///   $ tamis slabs vmcore | head
///   $ tamis slabs --json vmcore | jq '.caches[] | select(.name == "dentry")'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The dump, or all files of a split one; - is standard input
    #[arg(required = true, value_name = "DUMP")]
    dumps: Vec<PathBuf>,
    /// Print JSON (schema tamis.slabs/1)
    #[arg(long)]
    json: bool,
}

fn text(found: &Slabs) -> String {
    let head = ["name", "bytes", "in use", "objects", "of bytes", "slabs", "struct kmem_cache"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(found.caches.iter().map(|cache| {
        [
            cache.name.clone(),
            cache.bytes.to_string(),
            cache.in_use.to_string(),
            cache.objects.to_string(),
            cache.size.to_string(),
            cache.slabs.to_string(),
            format!("{:016x}", cache.cache.0),
        ]
    }));
    columns(&rows)
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = open(&args.dumps)?;
    let found = slabs(&mut opened)?;
    show_found(&found, args.json, text, found.error.as_deref(), "caches")?;
    Ok(if found.error.is_none() { DONE } else { INCOMPLETE })
}
