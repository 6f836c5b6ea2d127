//! The tables of a Xen host.

use crate::input::Input;
use crate::{Reach, Target};
use std::sync::OnceLock;
use tamis_core::arch::paging::TableCache;
use tamis_core::bitmap::Bitmap;
use tamis_core::input::elf::{ElfVmcore, Place, probe};
use tamis_core::io::{IoError, IoKind, RandomAccess};
use tamis_core::kernel::xen::{Frame, Frames, find};
use tamis_core::memory::MemoryRange;
use tamis_core::units::{PageShift, Pfn, PfnSpan};
use tamis_tests::run::TempDir;
use tamis_tests::synth::xen::{Build, FIRST, Host, Owner};

pub const XEN: Target = Target {
    name: "xen",
    about: "notes, page tables, domains and table of frames of a Xen host",
    goals: &["found", "refused", "guest", "free", "domain0", "unknown", "stray"],
    run: xen,
    seeds: || {
        let one = |area: u8, at: u32, value: u64| {
            [&[area][..], &at.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        vec![
            Vec::new(),
            // A text without its first line, a domain that is none, an entry of the page tables.
            one(0, 0x4a0, 0),
            one(3, 8 * 0x800, 0xffff),
            one(1, 0x2000, 0),
            // That of a part of the table of frames.
            one(1, 0x1_3000, 0),
            one(2, 32 * (FIRST as u32 + 80) + 24, 0x7777),
            [one(1, 0x1000, 1), one(2, 32 * FIRST as u32 + 8, 0)].concat(),
            one(4, 0x40_0000, u64::MAX),
        ]
    },
};

/// Frames below the hole, and in all.
const LOW: u64 = 2560;

/// A host of 12 MiB, and where in its file memory from 1 MiB on is.
fn host() -> &'static (Vec<u8>, usize) {
    static HOST: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    HOST.get_or_init(|| {
        let mut host = Host::new(Build::USUAL, LOW, 512);
        (1..4).for_each(|id| host.domain(id));
        let of = |id| Owner::Domain { id, marks: 0 };
        host.give(FIRST..FIRST + 80, of(0));
        host.give(FIRST + 80..FIRST + 120, of(1));
        host.give(FIRST + 120..FIRST + 160, of(2));
        host.give(FIRST + 160..FIRST + 170, Owner::Stray);
        let dir = TempDir::new();
        let path = dir.file("vmcore");
        host.write(&path).expect("writing the vmcore");
        let bytes = std::fs::read(&path).expect("reading the vmcore");
        // The third program header.
        let at = 64 + 2 * 56 + 8;
        let at = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        (bytes, at as usize)
    })
}

/// The host with other bytes in some places.
struct Bent {
    patches: Vec<(usize, [u8; 8])>,
    reads: u64,
}

impl RandomAccess for Bent {
    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.reads += 1;
        let (bytes, _) = host();
        let end = IoError { kind: IoKind::Eof, code: 0 };
        let from = usize::try_from(at).map_err(|_| end)?;
        let part = bytes.get(from..).and_then(|rest| rest.get(..buf.len())).ok_or(end)?;
        buf.copy_from_slice(part);
        for (place, value) in &self.patches {
            for (n, byte) in value.iter().enumerate() {
                if let Some(slot) = (place + n).checked_sub(from).and_then(|at| buf.get_mut(at)) {
                    *slot = *byte;
                }
            }
        }
        Ok(())
    }

    fn window(&mut self, _: u64, _: usize) -> Option<&[u8]> {
        None
    }

    fn window_broke(&mut self) -> bool {
        false
    }
}

fn xen(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let (bytes, memory) = host();
    let mut bent = Bent { patches: Vec::new(), reads: 0 };
    while !input.is_empty() && bent.patches.len() < 32 {
        let (area, at, value) = (input.byte(), input.u32() as usize, input.u64());
        let place = |phys: usize, len: usize| memory + phys - 0x10_0000 + at % len;
        let place = match area % 5 {
            0 => 0x1000 + at % 0x1800,
            1 => place(0x20_0000, 0x4_0000),
            2 => place(0x40_0000, 0x2_0000),
            3 => place(0x7c_0000, 0x1_0000),
            _ => at % bytes.len(),
        };
        // Not the headers of the file, which other targets bend.
        if place >= 0x1000 {
            bent.patches.push((place, value.to_le_bytes()));
        }
    }
    let Ok(facts) = probe(&mut bent) else { return };
    let tables =
        (vec![MemoryRange::default(); facts.segments], vec![Place::default(); facts.segments]);
    let end = Pfn(facts.mem_end.div_ceil(4096));
    let core = ElfVmcore::load(bent, facts, PageShift::FOUR_KIB, tables.0, tables.1);
    let Ok(mut core) = core else { return };
    let (mut blocks, mut buffer) = (vec![0; TableCache::STORAGE], vec![0; 4096]);
    let found = find(&mut core, &mut TableCache::new(&mut blocks[..]), &mut buffer, end, None);
    let host = match found {
        Ok(host) => host,
        Err(_) => return reach.at("refused"),
    };
    reach.at("found");
    let mut domains = 0;
    let _ = host.domains(&mut core, &mut TableCache::new(&mut blocks[..]), &mut |_| domains += 1);
    assert!(domains < 40_000, "a list of domains without end");
    let mut frames = Frames::new(host, TableCache::new(&mut blocks[..]), &mut buffer[..], end);
    for window in [PfnSpan::new(Pfn(0), Pfn(LOW)), PfnSpan::new(Pfn(0x10_0000), end)] {
        let mut bits = vec![0xff; window.len().div_ceil(8) as usize];
        let map = Bitmap::over(&mut bits, window);
        let mut at = window.start;
        while let Some((span, frame)) = frames.next(&mut core, &map, at) {
            assert!(span.start == at && span.end > at, "{span:?} at {at}");
            assert!(span.end <= window.end, "{span:?} is not in {window:?}");
            at = span.end;
            match frame {
                Frame::Guest(_) => reach.at("guest"),
                Frame::Free => reach.at("free"),
                Frame::Domain0 => reach.at("domain0"),
                Frame::Unknown => reach.at("unknown"),
                Frame::Stray(_) => reach.at("stray"),
                _ => {}
            }
        }
        assert_eq!(at, window.end, "frames are left over");
    }
    let reads = core.file().reads;
    assert!(reads < 1_000_000, "{reads} reads");
}
