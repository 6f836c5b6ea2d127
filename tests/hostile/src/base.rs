//! Intact vmcores: small made-up machines of several kernels, and real ones from files. Each knows
//! the places in it that matter.

use crate::overlay::Overlay;
use crate::view::{PAGE, View};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use tamis_tests::run::TempDir;
use tamis_tests::synth::{
    Class, Content, Cpu, KernelStyle, Leaf, LogLine, LogState, Machine, MemModel, Use,
};
use tamis_tests::zoo::SINGLES;

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ELF header and program headers.
    Headers,
    /// Notes.
    Notes,
    /// `struct page`s.
    Pages,
    /// Page tables.
    Tables,
    /// Section table and its roots, or the pointer to a flat mem_map.
    Sections,
    /// The log and its variables.
    Log,
    /// `utsname`.
    Utsname,
    /// Anything else.
    Other,
}

/// All of them.
pub const KINDS: [Kind; 8] = [
    Kind::Headers,
    Kind::Notes,
    Kind::Pages,
    Kind::Tables,
    Kind::Sections,
    Kind::Log,
    Kind::Utsname,
    Kind::Other,
];

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset in the file.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Physical address, where it is memory.
    pub phys: u64,
    /// Virtual address, where one is known.
    pub virt: u64,
}

/// An intact vmcore.
pub struct Base {
    /// For messages.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// A look at it.
    pub view: View,
    /// Places of each kind; none is empty.
    pub places: BTreeMap<Kind, Vec<Place>>,
    /// The `struct page`s of pages that are stored, by pfn.
    pub structs: BTreeMap<u64, Option<Vec<u8>>>,
    /// Those of them of which bytes lie in a piece of the file, by its offset; see [`Overlay::changes`].
    lying: BTreeMap<u64, Vec<Lying>>,
}

/// Where a part of a `struct page` lies.
#[derive(Clone, Copy, Debug)]
struct Lying {
    pfn: u64,
    at: u64,
    len: u64,
}

/// Variables of the log.
const LOG: [&str; 10] = [
    "prb",
    "log_buf",
    "log_buf_len",
    "log_end",
    "logged_chars",
    "log_first_idx",
    "log_next_idx",
    "clear_idx",
    "clear_seq",
    "printk_rb_static",
];

impl Base {
    /// A vmcore in memory; `None` if it is of a kind that the view does not know.
    pub fn new(name: &str, bytes: Vec<u8>) -> Option<Base> {
        let file = Overlay::new(&bytes);
        let view = View::new(&file)?;
        let mut places: BTreeMap<Kind, Vec<Place>> = BTreeMap::new();
        let mut add = |kind, place: Place| places.entry(kind).or_default().push(place);
        let in_file = |at, len| Place { at, len, phys: 0, virt: 0 };
        let mut tables = BTreeSet::new();
        let mut memory = |virt: u64, len: u64| {
            let walk = view.walk(&file, virt)?;
            tables.extend(walk.entries.iter().map(|e| (e / PAGE * PAGE, virt)));
            let (at, left) = view.offset(walk.phys)?;
            Some(Place { at, len: len.min(walk.left).min(left), phys: walk.phys, virt })
        };

        let (first, size) = view.form.headers();
        add(Kind::Headers, in_file(0, first + size * (view.loads.len() as u64 + 1)));
        add(Kind::Notes, in_file(view.notes.0, view.notes.1));
        let mut structs = BTreeMap::new();
        let mut lying: BTreeMap<u64, Vec<Lying>> = BTreeMap::new();
        let mut last = None;
        for load in &view.loads {
            let pages = load.phys / PAGE..(load.phys + load.len).div_ceil(PAGE);
            for pfn in pages.filter(|_| load.len > 0) {
                if structs.contains_key(&pfn) {
                    continue;
                }
                structs.insert(pfn, view.struct_page(&file, pfn));
                let Some(virt) = view.struct_at(&file, pfn) else { continue };
                let end = virt.saturating_add(view.page_struct);
                let mut from = virt;
                while from < end {
                    let until = end.min(from / PAGE * PAGE + PAGE);
                    let lies = view.walk(&file, from).and_then(|walk| view.offset(walk.phys));
                    if let Some((at, _)) = lies {
                        let part = Lying { pfn, at, len: until - from };
                        for piece in at / PAGE..=(at + part.len - 1) / PAGE {
                            lying.entry(piece * PAGE).or_default().push(part);
                        }
                    }
                    from = until;
                }
                // A place for each page of structures is enough.
                if last == Some(virt / PAGE) {
                    continue;
                }
                last = Some(virt / PAGE);
                if let Some(place) = memory(virt, PAGE - virt % PAGE) {
                    add(Kind::Pages, place);
                }
                if let Some(word) = view.section_word(&file, pfn)
                    && let Some(place) = memory(word & !0xff, 0x100)
                {
                    add(Kind::Sections, place);
                }
            }
        }
        let symbols = ["mem_section", "mem_map"].iter().filter_map(|s| view.symbol(s));
        for virt in symbols.chain(view.root_pointer(&file, 0)).chain(view.nodes(&file)) {
            if let Some(place) = memory(virt, 64) {
                add(Kind::Sections, place);
            }
        }
        // Variables, what they point at, and what is pointed at from there.
        let mut variables: Vec<u64> = LOG.iter().filter_map(|s| view.symbol(s)).collect();
        let mut index = 0;
        while let Some(virt) = variables.get(index).copied() {
            let len = if index < LOG.len() { 0x100 } else { 0x1000 };
            if let Some(place) = memory(virt, len) {
                add(Kind::Log, place);
            }
            for at in (virt..virt + 0x80).step_by(view.long).filter(|_| index < LOG.len()) {
                let pointer = view.read_long(&file, at).filter(|p| view.is_pointer(*p));
                variables
                    .extend(pointer.filter(|p| variables.len() < 60 && !variables.contains(p)));
            }
            index += 1;
        }
        if let Some(uts) = view.symbol("init_uts_ns")
            && let Some(place) = memory(uts, 0x200)
        {
            add(Kind::Utsname, place);
        }
        for (phys, virt) in tables {
            if let Some((at, left)) = view.offset(phys) {
                add(Kind::Tables, Place { at, len: left.min(PAGE), phys, virt });
            }
        }
        for load in view.loads.iter().filter(|l| l.len > 0) {
            add(
                Kind::Other,
                Place { at: load.at, len: load.len, phys: load.phys, virt: load.virt },
            );
        }
        for list in places.values_mut() {
            list.retain(|place| place.len > 0);
            list.sort_by_key(|place| place.at);
            list.dedup_by_key(|place| place.at);
        }
        places.retain(|_, list| !list.is_empty());
        Some(Base { name: name.into(), view, places, structs, lying, bytes })
    }

    /// A vmcore from a file.
    pub fn open(path: &Path) -> Base {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.display().to_string();
        Base::new(&name, bytes).unwrap_or_else(|| panic!("{name} is no vmcore with VMCOREINFO"))
    }

    /// The file without changes.
    pub fn file(&self) -> Overlay<'_> {
        Overlay::new(&self.bytes)
    }

    /// Pfns whose `struct page`s have other bytes than before, where they lie in the intact vmcore: whatever leads
    /// there now.
    pub fn touched(&self, file: &Overlay<'_>) -> BTreeSet<u64> {
        let parts = file.changes().flat_map(|(piece, _)| self.lying.get(&piece)).flatten();
        let is_other = |part: &&Lying| {
            let (mut now, at) = (vec![0; part.len as usize], part.at as usize);
            !file.get(part.at, &mut now) || now != self.bytes[at..at + now.len()]
        };
        parts.filter(is_other).map(|part| part.pfn).collect()
    }

    /// Whether what leads to the array with a pfn's `struct page` reads otherwise than before, where it lies.
    pub fn is_moved(&self, file: &Overlay<'_>, pfn: u64) -> bool {
        let intact = self.file();
        let place = || {
            let virt = self.view.array_pointer(&intact, pfn)?;
            self.view.offset(self.view.walk(&intact, virt)?.phys)
        };
        place().is_some_and(|(at, _)| file.u64(at) != intact.u64(at))
    }

    /// Whether the page tables lead from a pfn's `struct page` to another frame than before, by an entry that maps little.
    pub fn is_remapped(&self, file: &Overlay<'_>, pfn: u64) -> bool {
        let intact = self.file();
        let walks = || {
            let virt = self.view.struct_at(&intact, pfn)?;
            Some((self.view.walk(&intact, virt)?, self.view.walk(file, virt)?))
        };
        walks().is_some_and(|(a, b)| a.phys != b.phys && b.left <= 64 << 10)
    }

    /// Pfns that are stored.
    pub fn pfns(&self) -> Vec<u64> {
        self.structs.keys().copied().collect()
    }
}

/// How many made-up machines there are.
pub const MACHINES: usize = 20;

/// One of the made-up machines; built once.
pub fn machine(index: usize) -> &'static Base {
    static BASES: [OnceLock<Base>; MACHINES] = [const { OnceLock::new() }; MACHINES];
    BASES[index % MACHINES].get_or_init(|| {
        let (name, machine) = describe(index % MACHINES);
        let dir = TempDir::new();
        let path = dir.file("vmcore");
        machine.build().write(&path).expect("writing the vmcore");
        let bytes = std::fs::read(&path).expect("reading the vmcore");
        Base::new(name, bytes).unwrap_or_else(|| panic!("{name} is a vmcore that the view knows"))
    })
}

fn describe(index: usize) -> (&'static str, Machine) {
    let of = |style| small(Machine::new(style));
    match index {
        0 => ("6.12, vmemmap", of(KernelStyle::V6_12)),
        1 => ("5.10, sparse", of(KernelStyle::V5_10).model(MemModel::SparseExtreme)),
        2 => ("7.1, five levels", of(KernelStyle::V7_1).five_level()),
        3 => ("3.10, vmemmap", of(KernelStyle::V3_10)),
        4 => ("6.6, plain sparse", of(KernelStyle::V6_6).model(MemModel::SparsePlain)),
        5 => ("2.6.24, flat", of(KernelStyle::V2_6_24).model(MemModel::Flat).zones()),
        6 => {
            let machine = of(KernelStyle::V6_3).page_struct(80);
            ("6.3, 80-byte struct page", machine.leaves(Leaf::Block, Leaf::Block, Leaf::Block))
        }
        7 => ("5.10, encrypted", of(KernelStyle::V5_10).sme_mask(1 << 47)),
        8 => ("6.12 for arm64, four levels", of(KernelStyle::V6_12).arm64(48)),
        9 => ("7.1 for arm64, five levels", of(KernelStyle::V7_1).arm64(52)),
        10 => {
            let cpu = Cpu::S390x { moved: true };
            ("7.1 for s390x", small(Machine::new(KernelStyle::V7_1).on(cpu)))
        }
        11 => {
            let machine = Machine::new(KernelStyle::V5_10).model(MemModel::SparseExtreme);
            ("5.10 for s390x, sparse", small(machine.on(Cpu::S390x { moved: false })))
        }
        12 => {
            let cpu = Cpu::Ppc64le { radix: true };
            ("6.12 for ppc64le, radix", small(Machine::new(KernelStyle::V6_12).on(cpu)))
        }
        13 => {
            let machine = Machine::new(KernelStyle::V6_9).on(Cpu::I386 { pae: true });
            ("6.9 for i386 with PAE, flat", small(machine))
        }
        14 => {
            let machine = Machine::new(KernelStyle::V4_18).on(Cpu::I386 { pae: false });
            ("4.18 for i386, two nodes", small(machine.model(MemModel::Nodes)))
        }
        15 => ("5.10, two nodes", of(KernelStyle::V5_10).model(MemModel::Nodes)),
        16 => {
            let cpu = Cpu::Ppc64le { radix: false };
            ("6.12 for ppc64le, hashed", small(Machine::new(KernelStyle::V6_12).on(cpu)))
        }
        17 => {
            let machine = Machine::new(KernelStyle::V7_1).on(Cpu::Loongarch64);
            ("7.1 for loongarch64", small(machine.page_struct(80)))
        }
        18 => {
            let machine = Machine::new(KernelStyle::V6_12).on(Cpu::Arm { lpae: false });
            let leaves = machine.leaves(Leaf::Block, Leaf::Page, Leaf::Page);
            ("6.12 for ARM, short descriptors, flat", small(leaves))
        }
        _ => {
            let machine = Machine::new(KernelStyle::V5_10).model(MemModel::SparsePlain);
            ("5.10 for ARM, long descriptors, sparse", small(machine.on(Cpu::Arm { lpae: true })))
        }
    }
}

/// A machine of a few megabytes with a page of every kind and a log.
fn small(machine: Machine) -> Machine {
    let style = machine.facts().style;
    let mut machine = machine.ram(0x100..0x400).meta_at(32 << 20, 32 << 20);
    for (n, class) in SINGLES.into_iter().enumerate() {
        machine = machine.put(0x100 + 2 * n as u64, class);
    }
    let compound = |order, of| Class::Compound { order, of };
    for (pfn, class) in [
        (0x140, Class::Free { order: 0 }),
        (0x142, Class::Free { order: 1 }),
        (0x148, Class::Free { order: 3 }),
        (0x150, Class::FreeAbsurd { order: 63 }),
        (0x180, Class::Free { order: 5 }),
        (0x1c0, compound(3, Use::Kernel)),
        (0x1d0, compound(2, Use::File)),
        (0x1d4, compound(2, Use::FilePrivate)),
        (0x1d8, compound(2, Use::Anon)),
        (0x1e9, compound(1, Use::Anon)),
        (0x1f0, Class::Anon),
        (0x1f2, Class::Cache),
        (0x200, compound(9, Use::Hugetlb)),
    ] {
        machine = machine.put(pfn, class);
    }
    for pfn in [0x1c3, 0x1f0, 0x3ff] {
        machine = machine.poison(pfn);
    }
    machine = machine
        .fill(0x100..0x208, Content::Stamp)
        .fill(0x106..0x108, Content::Text)
        .fill(0x10b..0x10c, Content::Zero);
    let mut lines: Vec<LogLine> = (0..40)
        .map(|n| LogLine::new(n * 1_234_567, n as u32 % 5, &format!("line {n} of the log")))
        .collect();
    if style as u32 >= KernelStyle::V5_10 as u32 {
        lines[7] = lines[7].clone().in_state(LogState::Reserved);
        lines[9] = lines[9].clone().in_state(LogState::Stale);
    }
    machine.log(&lines, 3)
}
