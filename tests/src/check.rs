//! Compares a dump with what the oracle expects of it.

use crate::dumpread::{Descriptor, Dump, STATUS_INCOMPLETE};
use crate::oracle::{Expected, Fate, Reason};
use crate::synth::Image;

/// Everything that is wrong with a whole, single kdump-compressed file; empty if nothing is.
pub fn faults(dump: &Dump, image: &Image, expected: &Expected) -> Vec<String> {
    let mut faults = header_faults(dump, image, expected);
    faults.extend(bitmap_faults(dump, expected));
    if faults.is_empty() {
        faults.extend(page_faults(dump, image));
    }
    if let Err(fault) = dump.check_dense() {
        faults.push(fault);
    }
    faults
}

/// Fails the test with all that is wrong.
#[track_caller]
pub fn assert_dump(dump: &Dump, image: &Image, expected: &Expected, what: &str) {
    let faults = faults(dump, image, expected);
    assert!(
        faults.is_empty(),
        "{what}: {} faults, the first of them:\n{}",
        faults.len(),
        faults[..faults.len().min(20)].join("\n")
    );
}

fn header_faults(dump: &Dump, image: &Image, expected: &Expected) -> Vec<String> {
    let h = &dump.header;
    let mut faults = Vec::new();
    let mut same = |what: &str, found: String, wanted: String| {
        if found != wanted {
            faults.push(format!("{what} is {found}, expected {wanted}"));
        }
    };
    // The bits of 32-bit ARM begin where memory does.
    let end = dump.first + h.max_mapnr_64;
    same("max_mapnr", format!("{end:#x}"), format!("{:#x}", expected.max_mapnr));
    same("dump_level", h.dump_level.to_string(), expected.level.to_string());
    same("the incomplete bit", (h.status & STATUS_INCOMPLETE).to_string(), "0".into());
    same("split", h.split.to_string(), "0".into());
    let prstatus = image.notes.iter().filter(|n| n.name == b"CORE\0" && n.kind == 1).count();
    same("nr_cpus", h.nr_cpus.to_string(), prstatus.to_string());
    if dump.notes() != image.note_bytes() {
        same("the notes' copy", "different".into(), "the vmcore's".into());
    }
    if image.vmcoreinfo_present() {
        same(
            "the vmcoreinfo",
            String::from_utf8_lossy(dump.vmcoreinfo()).into_owned(),
            image.vmcoreinfo.clone(),
        );
        if image.machine.has_key("CRASHTIME") {
            same("the crash time", h.tv_sec.to_string(), "1700000000".into());
        }
        if image.vmcoreinfo.contains("SYMBOL(init_uts_ns)=") {
            same("the release", h.utsname[2].clone(), image.machine.facts().release.into());
            same("the machine", h.utsname[4].clone(), image.machine.cpu().name().into());
        }
    }
    faults
}

fn bitmap_faults(dump: &Dump, expected: &Expected) -> Vec<String> {
    let mut faults = Vec::new();
    for (pfn, fate) in expected.fates.iter().enumerate() {
        let pfn = pfn as u64;
        let found = (dump.bit(1, pfn), dump.bit(2, pfn));
        let good = match fate {
            Fate::Hole => found == (false, false),
            Fate::NoData | Fate::Drop(_) => found == (true, false),
            Fate::Keep => found == (true, true),
            Fate::Either => found.0,
        };
        if !good {
            faults.push(format!("frame {pfn:#x}: bits {found:?}, expected {fate:?}"));
        }
    }
    faults
}

/// Contents of all pages, and that exactly the zero pages share a descriptor.
pub fn page_faults(dump: &Dump, image: &Image) -> Vec<String> {
    let mut faults = Vec::new();
    let zero = Descriptor { offset: dump.data_at(), size: dump.header.block_size, flags: 0 };
    let descriptors = match dump.descriptors() {
        Ok(descriptors) => descriptors,
        Err(fault) => return vec![fault],
    };
    for (pfn, descriptor) in descriptors {
        let shared = dump.header.dump_level & 1 != 0 && descriptor == zero;
        let is_zero = image.expects_zero(pfn);
        if shared && is_zero {
            continue;
        }
        if dump.header.dump_level & 1 != 0 && is_zero {
            faults.push(format!("frame {pfn:#x} is zero, but has {descriptor:?}"));
        }
        match dump.decode(descriptor) {
            Err(fault) => faults.push(format!("frame {pfn:#x}: {fault}")),
            Ok(page) => {
                let wanted = image.expected_page(pfn).unwrap_or(vec![0; page.len()]);
                if page != wanted {
                    let at = page.iter().zip(&wanted).position(|(a, b)| a != b);
                    faults.push(format!("frame {pfn:#x} differs from byte {at:?} on"));
                }
            }
        }
    }
    faults
}

/// A number of the report of `--show-stats`, by its label.
pub fn report_number(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(label)?.trim_start().strip_prefix(':')?;
        let hex = rest.trim().strip_prefix("0x")?;
        u64::from_str_radix(hex, 16).ok()
    })
}

/// What is wrong with the report; nothing is compared where the oracle is not certain.
pub fn report_faults(text: &str, expected: &Expected) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |label: &str, wanted: u64| {
        let found = report_number(text, label);
        if found != Some(wanted) {
            faults.push(format!("{label}: found {found:?}, expected {wanted}"));
        }
    };
    same("Original pages", expected.present());
    same("Memory Hole", expected.max_mapnr - expected.first - expected.present());
    same("Total pages", expected.max_mapnr - expected.first);
    if expected.is_exact() {
        same("Pages filled with zero", expected.zero_pages);
        for reason in Reason::ALL {
            same(reason.label(), expected.tally.get(&reason).copied().unwrap_or(0));
        }
        let kept = expected.fates.iter().filter(|fate| **fate == Fate::Keep).count() as u64;
        let remaining = kept - expected.zero_pages;
        same("Remaining pages", remaining);
        if !expected.fates.contains(&Fate::NoData) {
            same("Excluded pages", expected.present() - remaining);
        }
    }
    faults
}
