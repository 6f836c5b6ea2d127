//! Captures through layers over the memory: one that counts what is read, one that fails.

use std::collections::BTreeSet;

use page_codec::Codec;
use tamis_core::arch::paging::TableCache;
use tamis_core::capture::Report;
use tamis_core::input::elf::{ElfVmcore, probe};
use tamis_core::memory::layers::{Counting, Faulty};
use tamis_core::memory::{Dump as Memory, ReadError};
use tamis_core::units::{PageShift, Pfn, PhysAddr};
use tamis_core::{DumpLevel, Options, Output, Session, Storage};
use tamis_tests::disk::Disk;
use tamis_tests::dumpread::{Dump, STATUS_INCOMPLETE};
use tamis_tests::oracle::{Fate, expect};
use tamis_tests::rig;
use tamis_tests::synth::{Image, KernelStyle, Noise};
use tamis_tests::zoo::{zoo, zoo_at};

/// Pages that the dumps leave no doubt about end here: behind them is the kernel itself.
const END: u64 = 0xe00;

/// Captures a vmcore through a layer, with a bitmap of this many bytes.
fn capture<'v, D: Memory>(
    vmcore: &'v [u8],
    level: u8,
    bitmap: usize,
    layer: impl FnOnce(ElfVmcore<'static, &'v [u8]>) -> D,
    look: impl FnOnce(&D),
) -> (Vec<u8>, Report) {
    let facts = probe(&mut &*vmcore).expect("a vmcore");
    let (at, len) = facts.vmcoreinfo.expect("VMCOREINFO");
    let text = &vmcore[facts.notes.offset(at) as usize..][..len as usize];
    let bytes = |len: usize| vec![0; len].into();
    let storage = Storage {
        bitmap: bytes(bitmap),
        data: bytes(Codec::Zlib.bound(4096)),
        descriptors: bytes(24 * 32),
        mem_map: bytes(16 * 256),
        tables: bytes(TableCache::STORAGE),
        sections: bytes(4096),
        run: bytes(8 * 4096),
        vmcoreinfo: bytes(0),
        ranges: Vec::new().into(),
        places: Vec::new().into(),
    };
    let shift = PageShift::FOUR_KIB;
    let (ranges, places) =
        (vec![Default::default(); facts.segments], vec![Default::default(); facts.segments]);
    let memory = ElfVmcore::load(vmcore, facts, shift, ranges, places).expect("a vmcore");
    let options =
        Options { level: DumpLevel::from_bits(level).expect("a level"), ..Options::default() };
    let end = Pfn(facts.mem_end.div_ceil(4096));
    let mut session =
        Session::over(layer(memory), text.to_vec().into(), None, shift, end, storage, &options);
    let mut disk = Disk::new();
    session.write(Output::Kdump(&mut disk), None, &mut ()).expect("a dump");
    look(session.dump());
    (disk.file, session.report())
}

#[test]
fn each_struct_page_is_looked_at_once_however_small_the_windows_are() {
    let machine = [0x7c00, 0x2_7800].into_iter().fold(zoo(KernelStyle::V6_12), zoo_at);
    let vmcore = rig::vmcore(&machine.build());
    for level in [31, 1] {
        let count = |bitmap| {
            let mut bytes = 0;
            let (dump, report) =
                capture(&vmcore, level, bitmap, Counting::new, |memory| bytes = memory.bytes);
            (dump, report, bytes)
        };
        // 8,192 pages at a time, and all of them.
        let (small_dump, report, small) = count(1 << 10);
        let (large_dump, _, large) = count(1 << 16);
        assert!(small_dump == large_dump, "-d {level}: another dump");
        let data = report.tally.kept * 4096;
        assert!(large > data, "-d {level}: {large} bytes read for {data} bytes of pages");
        // A table or two that a window begins with; all struct pages once more would be several times as much.
        let again = report.max_pfn.0.div_ceil(8192) * 4096;
        assert!(report.tally.exist * 64 > 4 * again);
        assert!(
            small <= large + again,
            "-d {level}: {small} bytes read in small windows, {large} in one"
        );
    }
}

/// Pages of a dump's own data, some alone, some in a row.
fn some_pages(image: &Image, level: u8, chance: &mut Noise) -> BTreeSet<u64> {
    let expected = expect(image, level.into());
    let kept = |pfn: &u64| expected.fates[*pfn as usize] == Fate::Keep;
    let kept: Vec<u64> = (0..END).filter(kept).collect();
    let mut pages = BTreeSet::new();
    for n in 0..6 {
        let at = (chance.next_u64() >> 20) as usize % kept.len();
        pages.extend(kept[at..].iter().take(1 + n * n));
    }
    pages
}

#[test]
fn pages_that_fail_are_lost_and_no_others() {
    let image = zoo(KernelStyle::V6_12).build();
    let vmcore = rig::vmcore(&image);
    let mut chance = Noise::new(5);
    for level in [31, 1, 0] {
        for _ in 0..4 {
            let lost = some_pages(&image, level, &mut chance);
            let fault = |at: PhysAddr, len: usize| {
                let pages = at.0 / 4096..(at.0 + len as u64).div_ceil(4096);
                let first = lost.range(pages).next();
                first.map(|pfn| ReadError::Poisoned(PhysAddr((pfn * 4096).max(at.0))))
            };
            let layer = |memory| Faulty::new(memory, fault);
            let (dump, report) = capture(&vmcore, level, 1 << 10, layer, |_| {});
            let dump = Dump::new(dump).expect("a dump");
            let mut empty = BTreeSet::new();
            for (pfn, descriptor) in dump.descriptors().expect("descriptors") {
                if descriptor.size == 0 {
                    empty.insert(pfn);
                    continue;
                }
                let page = dump.decode(descriptor).expect("a sound page");
                assert!(page == image.expected_page(pfn).unwrap(), "-d {level}: page {pfn:#x}");
            }
            assert_eq!(empty, lost, "-d {level}");
            assert_eq!(report.tally.unreadable, lost.len() as u64, "-d {level}");
            assert!(report.incomplete && dump.header.status & STATUS_INCOMPLETE != 0, "-d {level}");
        }
    }
}
