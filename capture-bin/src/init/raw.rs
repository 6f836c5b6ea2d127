//! A dump on a block device without a file system.

use super::say::{failed, say};
use super::text::Path;
use crate::console::Console;
use crate::job::{Ended, Job, Outputs};
use crate::sys::{self, File, FileKind};
use tamis_boot::raw_target::RawTarget;
use tamis_core::io::IoError;

/// Where a dump begins on a raw device.
const RAW_BASE: u64 = RawTarget::BLOCK as u64;

/// Writes the first block of a raw device, down to the medium.
fn write_raw_block(device: &File, complete: bool) -> Result<(), IoError> {
    let block = RawTarget { complete, base: RAW_BASE }.block();
    device.write_at(0, &block)?;
    device.sync_data()
}

/// The dump straight onto a block device, behind a small header.
pub(super) fn save_raw(job: &mut Job<'_>, path: &Path, console: &mut Console) -> Ended {
    let device = match sys::open_device(path) {
        Ok(device) => device,
        Err(io) => return failed("opening", path, io),
    };
    // What is written into a file of this kernel ends with it.
    if device.kind() != Ok(FileKind::Block) {
        say(format_args!("{} is not a block device", path.escape_ascii()));
        return Ended::Failed;
    }
    // An older dump must not be taken for this one: its header goes first.
    let begun = device.write_at(RAW_BASE, &[0; 4096]).map_err(IoError::from);
    if let Err(io) = begun.and_then(|()| write_raw_block(&device, false)) {
        return failed("writing", path, io);
    }
    let names: [&[u8]; 1] = [path];
    let ended = job.write(&Outputs { names: &names, base: RAW_BASE, force: true }, console);
    if ended != Ended::Done {
        return ended;
    }
    if let Err(io) = write_raw_block(&device, true) {
        return failed("writing", path, io);
    }
    say(format_args!("saved onto {}", path.escape_ascii()));
    Ended::Done
}
