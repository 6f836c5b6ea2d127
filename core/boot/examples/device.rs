//! What a block device, or a copy of its first blocks, begins with: `device FILE`.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use tamis_boot::raw_target::RawTarget;
use tamis_boot::volume::{BTRFS_AT, HEAD, identify, identify_btrfs};

fn main() -> Result<(), Box<dyn Error>> {
    let device = File::open(std::env::args().nth(1).ok_or("usage: device FILE")?)?;
    let (mut head, mut superblock) = ([0; HEAD], [0; HEAD]);
    device.read_exact_at(&mut head, 0)?;
    // One that ends before has no btrfs.
    let has_btrfs = device.read_exact_at(&mut superblock, BTRFS_AT).is_ok();

    if let Some(dump) = RawTarget::parse(&head) {
        let state = if dump.complete { "a complete dump" } else { "a dump that was not completed" };
        println!("{state}, from byte {} on", dump.base);
    } else if let Some(volume) =
        identify(&head).or_else(|| has_btrfs.then(|| identify_btrfs(&superblock)).flatten())
    {
        println!(
            "{}, label {:?}, {:?}",
            volume.kind,
            volume.label.escape_ascii().to_string(),
            volume.id
        );
    } else {
        println!("nothing that is known");
    }
    Ok(())
}
