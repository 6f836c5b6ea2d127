//! What makes other readers of dumps refuse one that is sound, and what mends it.

use crate::dump::opened::{Dump, Opened};
use tamis_core::wire::disk_header::Signature;
use tamis_core::wire::page_desc::CodecFlags;

/// The utsname strings that libkdumpfile asks for: sysname, release, version, machine.
const NEEDED: [(usize, &str); 4] = [(0, "sysname"), (2, "release"), (3, "version"), (4, "machine")];

/// A text for each reason.
pub(super) fn warnings(opened: &Opened) -> Vec<String> {
    let mut texts = Vec::new();
    if opened.text.is_empty() {
        texts.push(
            "it has no VMCOREINFO: drgn refuses such a dump, and makedumpfile can leave out nothing but \
             pages of zeros; no command adds it, but QEMU writes it with -device vmcoreinfo"
                .into(),
        );
    }
    let Dump::Kdump(kdump) = &opened.dump else { return texts };
    let main = &kdump.facts().main;
    // QEMU has this for machines whose name it does not know.
    let unnamed = |field: &usize| matches!(main.uts(*field), b"" | b"Unknown");
    if unnamed(&4) {
        texts.push(
            "the header names no machine: drgn and libkdumpfile refuse such a dump; `tamis refilter` names it"
                .into(),
        );
    }
    let missing = NEEDED.into_iter().filter(|(field, _)| *field != 4 && unnamed(field));
    let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
    if !missing.is_empty() {
        texts.push(format!(
            "the header's utsname lacks {}: drgn and libkdumpfile refuse such a dump; `tamis refilter` \
             fills in what the kernel's memory has",
            missing.join(", ")
        ));
    }
    if main.signature == Signature::Tamis {
        texts.push(
            "its pages are compressed with LZ4: crash, drgn and makedumpfile do not read it; \
             `tamis refilter -c` makes a dump that they read"
                .into(),
        );
    } else if main.status.contains(CodecFlags::ZSTD.into()) {
        texts.push(
            "its pages are compressed with zstd: old readers, and those that were built without it, do \
             not read it; `tamis refilter -c` makes a dump that they read"
                .into(),
        );
    }
    texts
}
