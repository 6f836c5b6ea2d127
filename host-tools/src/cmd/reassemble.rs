//! `tamis reassemble`.

use crate::dump::open::open;
use crate::dump::out::create;
use crate::fail::{Fail, Result};
use crate::rewrite::reassemble::write;
use std::path::PathBuf;
use tamis_core::units::Pfn;

/// Make one dump of the files of a split one.
///
/// The files may come in any order, and be flattened. All must be there; they must belong
/// together. The result of files that makedumpfile wrote has the same bytes as that of
/// `makedumpfile --reassemble`, except that a page that a part has lost is marked as lost in the
/// result too; that of files that tamis wrote is the dump that it would have written.
///
/// Exit status: 0 done; 2 pages are missing in the parts: the result is marked incomplete; 3 it
/// could not be done, and there is no output.
///
/// Examples:
///   $ tamis reassemble part1 part2 part3 vmcore
///   $ tamis reassemble --force part* vmcore
#[derive(clap::Args)]
#[command(verbatim_doc_comment, override_usage = "tamis reassemble [OPTIONS] PART... OUT")]
pub struct Args {
    /// The files of the split dump, and last the file to write
    #[arg(required = true, num_args = 2.., value_names = ["PART", "OUT"])]
    files: Vec<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let Some((out, parts)) = args.files.split_last() else { return Err(Fail::new("no files")) };
    let mut opened = open(parts)?;
    let name = opened.name();
    let fail = |text: String| Fail::new(format_args!("{name}: {text}"));
    let Some(kdump) = opened.kdump() else {
        return Err(fail("an ELF core, which is never split".into()));
    };
    if kdump.facts().sub.split.is_none() {
        return Err(fail("not a part of a split dump".into()).next("it is whole already"));
    }
    if let Some(span) = kdump.missing_part() {
        let last = Pfn(span.end.0 - 1);
        return Err(fail(format!("no file for pfns {} to {last}", span.start))
            .next("name all files of the dump"));
    }
    let mut out = create(out, args.force, parts)?;
    let status = write(kdump, &mut out, &name)?;
    out.done()?;
    Ok(status)
}
