//! The kernel's own symbols and types, in memory that was overwritten.

use crate::input::Input;
use crate::{Reach, Target};
use std::sync::OnceLock;
use tamis_core::arch::paging::WalkError;
use tamis_core::endian::{Endian, Word};
use tamis_core::kernel::memory::TranslateError;
use tamis_core::kernel::rules::{self, Given, PageArray, PageRules};
use tamis_core::kernel::symbols::kallsyms::FoundBy;
use tamis_core::kernel::symbols::{
    Btf, Image, Kallsyms, KernelFacts, Reader, VirtMemory, Wanted, members,
};
use tamis_core::units::{PageShift, Pfn, PfnSpan, PhysAddr, VirtAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

/// The part of a made-up kernel's image that has its tables.
struct Intact {
    /// Address of the first byte.
    base: u64,
    bytes: Vec<u8>,
    text: String,
}

fn intact() -> &'static Intact {
    static INTACT: OnceLock<Intact> = OnceLock::new();
    INTACT.get_or_init(|| {
        let image = zoo(KernelStyle::V6_12).own_tables().build();
        let notes = image.note_bytes();
        let start = notes.windows(10).position(|bytes| bytes == b"OSRELEASE=");
        let text = notes[start.expect("VMCOREINFO")..].split(|byte| *byte == 0).next();
        let text = String::from_utf8(text.expect("its text").to_vec()).expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix("SYMBOL(kallsyms_num_syms)="));
        let at = u64::from_str_radix(line.expect("a key"), 16).expect("an address");
        let base = at & !0x1f_ffff;
        let load = &image.loads[0];
        let first = (load.paddr + (base - load.vaddr)) / 4096;
        let bytes = (first..first + 512).flat_map(|pfn| image.page(pfn)).collect();
        Intact { base, bytes, text }
    })
}

/// Memory that is mapped as one piece.
struct Flat {
    base: u64,
    bytes: Vec<u8>,
}

impl VirtMemory for Flat {
    fn fill(&mut self, at: VirtAddr, buf: &mut [u8]) -> Result<(), TranslateError> {
        let start = at.0.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let part = start.and_then(|at| self.bytes.get(at..)?.get(..buf.len()));
        buf.copy_from_slice(part.ok_or(TranslateError::Walk(WalkError::NotCanonical(at)))?);
        Ok(())
    }

    fn place(&mut self, at: VirtAddr) -> Option<(PhysAddr, u64)> {
        let end = self.base + self.bytes.len() as u64;
        let inside = at.0 >= self.base && at.0 < end;
        inside.then(|| (PhysAddr(at.0 - self.base), end - at.0))
    }

    fn byte_order(&self) -> Endian {
        Endian::Little
    }

    fn long(&self) -> Word {
        Word::Bits64
    }
}

/// Where changes are made: in the tables that are small, and anywhere.
fn places() -> Vec<(u64, u64)> {
    let Intact { base, bytes, text } = intact();
    let keys = ["names", "num_syms", "token_table", "token_index", "offsets", "relative_base"];
    let mut places = vec![(0, bytes.len() as u64), (0x18_0000, 24), (0x18_0018, 0x2000)];
    places.extend(keys.iter().map(|key| {
        let key = format!("SYMBOL(kallsyms_{key})=");
        let at = text.lines().find_map(|line| line.strip_prefix(&key)).expect("a key");
        (u64::from_str_radix(at, 16).expect("an address") - base, 1024)
    }));
    places
}

pub const SYMBOLS: Target = Target {
    name: "symbols",
    about: "kallsyms and BTF of a kernel, overwritten",
    goals: &[
        "by keys",
        "by shape",
        "refused",
        "types",
        "no types",
        "types refused",
        "member",
        "rule",
        "rule refused",
    ],
    run: symbols,
    seeds: || {
        let mut seeds = vec![vec![0], vec![1], vec![2]];
        // One change in each place, with keys and without.
        for place in 0..places().len() as u8 {
            for head in [0, 1] {
                for value in [0, 0xff, 0x80, 3] {
                    seeds.push(vec![head, place, 4, 0, 0, 0, value]);
                    seeds.push(vec![head, place, 9, 0, 0, 0, value, place, 40, 1, 0, 0, value]);
                }
            }
        }
        seeds
    },
};

fn symbols(data: &[u8], reach: &mut Reach) {
    let Intact { base, bytes, text } = intact();
    let mut input = Input::new(data);
    let head = input.byte();
    let mut memory = Flat { base: *base, bytes: bytes.clone() };
    let places = places();
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let (start, len) = places[input.below(places.len() as u64) as usize];
        let (at, value) = (start + u64::from(input.u32()) % len, input.byte());
        if let Some(byte) = memory.bytes.get_mut(at as usize) {
            *byte = value;
        }
    }
    // Without keys the tables are searched for.
    let kept = text.lines().filter(|line| head & 1 == 0 || !line.contains("kallsyms"));
    let text: String = kept.map(|line| format!("{line}\n")).collect();
    let info = Info::new(Some(text.as_bytes()), None);
    let image = Image { start: *base, end: base + bytes.len() as u64, phys: None };
    let image = Some(&image).filter(|_| head & 2 == 0);
    let mut reader = Reader::new(&mut memory);
    if let Ok(facts) = KernelFacts::find(&mut reader, &info, image) {
        reach.at(match facts.found_by() {
            FoundBy::Keys => "by keys",
            FoundBy::Shape => "by shape",
        });
        reach.at(if facts.types().is_ok() { "types" } else { "no types" });
        let _ = facts.disagreement(&info);
    }
    // Over whatever is there.
    let given = [
        "memory init_uts_ns:zone .free_area[]",
        "pages init_uts_ns:page* .flags[4]",
        "slab _stext:list_head each page.lru if .flags!=0 .mapping",
        "cache init_uts_ns:list_head each page.lru .next.next.prev",
    ];
    let given = given.map(|text| Given { keep: head & 4 != 0, text });
    let (mut runs, mut kept) = ([PfnSpan::default(); 8], [0; 8]);
    let mut found = PageRules::new(&mut runs, &mut kept);
    let array = PageArray { base: *base, size: 64, end: Pfn(1 << 20) };
    let about = (Some(array), PageShift::FOUR_KIB);
    rules::follow(&mut reader, &info, image, about, &given, &mut found, &mut |_, done| {
        reach.at(if done.is_ok() { "rule" } else { "rule refused" });
    });
    let ascends = |runs: &[PfnSpan]| runs.windows(2).all(|two| two[0].end < two[1].start);
    assert!(ascends(found.keep.all()) && ascends(found.drop.all()));
    let Ok(kallsyms) = Kallsyms::find(&mut reader, &info, image) else {
        reach.at("refused");
        return;
    };
    let mut ends = ["__start_BTF", "__stop_BTF"].map(Wanted::new);
    if kallsyms.look_up(&mut reader, &mut ends).is_err() {
        return;
    }
    for index in [0, 1, 255, 256, kallsyms.len() / 2, kallsyms.len() - 1] {
        let _ = kallsyms.with_name(&mut reader, index, |_, name| name.len());
        let at = kallsyms.address(&mut reader, index).unwrap_or(*base);
        let _ = kallsyms.at(&mut reader, at.wrapping_add(1));
    }
    let (Some(start), Some(end)) = (ends[0].unique(), ends[1].unique()) else { return };
    let mut index = [0; 64];
    let Ok(btf) = Btf::load(&mut reader, start, end, &mut index) else {
        reach.at("types refused");
        return;
    };
    for id in (0..btf.count()).take(400) {
        let _ = btf.size_of(&mut reader, id);
        let Ok(record) = btf.strip(&mut reader, id) else { continue };
        let Ok(Some(first)) = btf.member(&mut reader, &record, record.count / 2) else { continue };
        if let Ok(Some(place)) = members::member(&mut reader, &btf, id, first.name) {
            assert!(place.width < 256, "the format has no wider bit fields");
            reach.at("member");
        }
    }
}
