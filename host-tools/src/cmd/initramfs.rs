//! `tamis initramfs`.

use crate::fail::{DONE, Fail, Result};
use crate::initramfs::{Request, build, list};
use crate::render::console::print;
use std::path::PathBuf;

/// Make the initramfs of a crash kernel out of tamis-capture alone.
///
/// The image holds tamis-capture as /init, its orders (/etc/tamis.conf), and the kernel modules
/// that the target needs (/etc/tamis.modules, and the modules themselves, unpacked). Nothing else
/// is needed: the crash kernel saves the dump onto the target and ends as ordered. All orders
/// are described in capture-bin/docs/init.md.
///
/// Modules are named, or given as files; what they depend on comes along, in loading order, by
/// modules.dep, modules.softdep and modules.alias of the kernel. What is built into the kernel is
/// left out. --fstype brings the file system's modules. --from-running finds out on this machine:
/// the drivers of the target's disk, up to its bus, the file system that is on it, and the drivers
/// of watchdogs that run, which the crash kernel has to feed.
///
/// The same inputs make the same image, byte for byte. Printed are sizes, the command that loads
/// the image, and how much memory to reserve.
///
/// --list shows what is in an image, the orders included.
///
/// Exit status: 0 made; 3 it could not be done.
///
/// Examples:
///   $ tamis initramfs -o kdump.img --from-running --target UUID=6c1f5f0e-3c0a-4b5e-9d43-2f8f0f3a7b11
///   $ tamis initramfs -o kdump.img --kernel 6.1.0-56-cloud-amd64 --module virtio_pci \
///         --module virtio_blk --fstype ext4 --target /dev/vdb --order keep=3
///   $ tamis initramfs --list kdump.img
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The image to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Show what is in this image, and write nothing
    #[arg(long, value_name = "FILE", exclusive = true)]
    list: Option<PathBuf>,
    #[command(flatten)]
    request: Request,
}

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    match (&args.list, &args.output) {
        (Some(image), _) => print(list(image)?)?,
        (None, Some(output)) => print(build(&args.request, output)?)?,
        (None, None) => return Err(Fail::new("no --output")),
    }
    Ok(DONE)
}
