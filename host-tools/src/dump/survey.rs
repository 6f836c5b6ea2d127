//! Going over the pages of a dump, and counting them.

use crate::dump::bits::Runs;
use crate::dump::opened::KdumpFile;
use crate::fail::{Fail, Result};
use page_codec::is_zero;
use std::collections::BTreeMap;
use tamis_core::input::kdump::{Codec, PageFault};
use tamis_core::units::Pfn;
use tamis_core::wire::page_desc::{self, CodecFlags, PageDesc};

/// Pages and their bytes in the file.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Pages.
    pub pages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What the descriptors of a dump say.
#[derive(Default)]
pub struct Survey {
    /// Pages that exist (bitmap 1).
    pub exist: u64,
    /// Pages in the dump (bitmap 2).
    pub kept: u64,
    /// Pages that share the one page of zeros.
    pub zero: u64,
    /// Pages stored as they are.
    pub raw: Amount,
    /// Compressed pages.
    pub codecs: BTreeMap<Codec, Amount>,
    /// Pages with an empty descriptor.
    pub lost: u64,
    /// Pages whose data lies past the end of the file.
    pub cut_off: u64,
    /// Pages in files that were not given.
    pub elsewhere: u64,
    /// Descriptors that make no sense.
    pub bad: u64,
}

impl Survey {
    /// Bytes of all page data.
    pub fn data(&self) -> u64 {
        self.raw.bytes + self.codecs.values().map(|a| a.bytes).sum::<u64>()
    }

    /// Pages that should be in the dump but are not.
    pub fn missing(&self) -> u64 {
        self.lost + self.cut_off + self.elsewhere
    }
}

/// The descriptor of the page that all zero pages share, in each file: the first thing in its data.
pub fn zero_pages(kdump: &mut KdumpFile) -> Vec<Option<PageDesc>> {
    let size = kdump.facts().main.shift.bytes();
    // Each part has room for the descriptors of all pages.
    let (_, total) = kdump.counts();
    let starts: Vec<u64> = kdump
        .parts()
        .iter()
        .map(|p| p.facts.descriptors + page_desc::SIZE as u64 * total)
        .collect();
    let mut page = vec![0xff; size];
    starts
        .into_iter()
        .enumerate()
        .map(|(part, offset)| {
            let desc =
                PageDesc { offset, size: size as u32, flags: CodecFlags::empty(), page_flags: 0 };
            let there = kdump.decode(Pfn(0), desc, part, &mut page).is_ok() && is_zero(&page);
            there.then_some(desc)
        })
        .collect()
}

/// Descriptors that show which codec a dump has.
const LOOKED_AT: u64 = 4096;

/// The codec that most of the first pages are compressed with, if any is.
pub fn codec_of(kdump: &mut KdumpFile) -> Option<Codec> {
    let (mut runs, mut left) = (Runs::new(true), LOOKED_AT);
    let mut found: BTreeMap<Codec, u64> = BTreeMap::new();
    while left > 0 {
        let Ok(Some(run)) = runs.next(kdump) else { break };
        for pfn in (run.start.0..run.end.0).take(left as usize) {
            left -= 1;
            if let Ok((desc, part)) = kdump.descriptor(Pfn(pfn))
                && let Ok(Some(codec)) = kdump.check(desc, part)
            {
                *found.entry(codec).or_default() += 1;
            }
        }
    }
    found.into_iter().max_by_key(|(_, pages)| *pages).map(|(codec, _)| codec)
}

/// Looks at every descriptor.
pub fn survey(kdump: &mut KdumpFile, mut progress: impl FnMut(u64, u64)) -> Result<Survey> {
    let (exist, kept) = kdump.counts();
    let mut found = Survey { exist, kept, ..Survey::default() };
    let zeros = zero_pages(kdump);
    let mut runs = Runs::new(true);
    let mut done = 0;
    while let Some(run) = runs.next(kdump)? {
        for pfn in run.start.0..run.end.0 {
            done += 1;
            let (desc, part) = match kdump.descriptor(Pfn(pfn)) {
                Ok(found) => found,
                Err(PageFault::Lost) => {
                    found.lost += 1;
                    continue;
                }
                Err(PageFault::MissingPart) => {
                    found.elsewhere += 1;
                    continue;
                }
                Err(fault) => {
                    return Err(Fail::new(format_args!("pfn {pfn:#x}: {fault}")));
                }
            };
            match kdump.check(desc, part) {
                Err(PageFault::CutOff(_)) => found.cut_off += 1,
                Err(_) => found.bad += 1,
                Ok(_) if zeros.get(part) == Some(&Some(desc.place())) => found.zero += 1,
                Ok(codec) => {
                    let amount = match codec {
                        None => &mut found.raw,
                        Some(codec) => found.codecs.entry(codec).or_default(),
                    };
                    amount.pages += 1;
                    amount.bytes += u64::from(desc.size);
                }
            }
        }
        progress(done, kept);
    }
    Ok(found)
}
