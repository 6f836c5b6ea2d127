//! One flipped bit in the dead kernel's bookkeeping: no page that the intact vmcore keeps goes without a word.
//!
//! Every bit of every section word, of the orders of free blocks and
//! compound pages, and of the `struct page`s of kernel pages. A page counts as lost if it goes and nothing was
//! said: no notice, and a mem_map was found. What a flipped bit in a page's own structure makes of that one page is
//! not counted: nothing contradicts it.
//!
//! What stays open, as no fact contradicts it: the address in a section word without a vmemmap, or where there is but one
//! section. Of an array in pages of 4 KiB, which x86_64 and arm64 kernels have none of but for that of huge pages, only the
//! first page of a slice that says something is looked at.

use std::ops::Range;
use tamis_hostile::base::Base;
use tamis_hostile::engine::{self, Scanned, Setup};
use tamis_hostile::overlay::Overlay;
use tamis_tests::run::TempDir;
use tamis_tests::synth::{
    Class, Content, KernelStyle, Leaf, Machine, MemModel, SECTION_PAGES, Use,
};

/// Frames of the machine's parts, a little further on in each of their sections: what stays in one goes in another.
const PARTS: [u64; 4] =
    [0x400, SECTION_PAGES + 0x600, 2 * SECTION_PAGES + 0x800, 4 * SECTION_PAGES + 0xa00];
/// Where bits are flipped (an offset in the file), how many, and which pages may go.
type Flips = (u64, u64, Range<u64>);
/// None may go.
const NONE: Range<u64> = 0..0;
/// A kernel page where the largest block may begin.
const ALIGNED: u64 = PARTS[1] + 0x600;
/// Frames of a part.
const PART: u64 = 0x800;

/// A machine of five sections, of which one is not there. Pages that go and pages that stay take turns.
fn parts(model: MemModel) -> Machine {
    let mut machine = Machine::new(KernelStyle::V6_12).model(model);
    machine = machine.leaves(Leaf::Block, Leaf::Block, Leaf::Block).meta_at(48 << 20, 32 << 20);
    for (n, part) in PARTS.into_iter().enumerate() {
        machine = machine.ram(part..part + PART).fill(part..part + 0x400, Content::Stamp);
        for (at, class) in [
            (0, Class::Free { order: 0 }),
            (2, Class::Free { order: 1 }),
            (8, Class::Free { order: 3 }),
            (0x20, Class::Free { order: 4 }),
            (0x80, Class::Free { order: 7 }),
            (0x100, Class::Compound { order: 2, of: Use::File }),
            (0x110, Class::Compound { order: 3, of: Use::Anon }),
            (0x120, Class::Compound { order: 3, of: Use::Kernel }),
            (0x128, Class::Slab),
            (0x12a, Class::PageTable),
            (0x12c, Class::Reserved),
            (0x200, Class::Compound { order: 8, of: Use::Hugetlb }),
            (0x600, Class::Kernel),
        ] {
            machine = machine.put(part + at, class);
        }
        machine = machine.put(part + 0x400, Class::Compound { order: 9, of: Use::HugetlbHvo });
        for pfn in (part + 0x130..part + 0x200).chain(part + 0x300..part + 0x400) {
            let kind = (pfn + 3 * n as u64) % 7;
            machine =
                machine.put(pfn, [Class::Cache, Class::Kernel, Class::Anon][kind as usize % 3]);
        }
    }
    machine
}

fn machine(model: MemModel) -> Base {
    let dir = TempDir::new();
    let path = dir.file("vmcore");
    parts(model).build().write(&path).expect("writing the vmcore");
    let bytes = std::fs::read(&path).expect("reading the vmcore");
    Base::new("five sections", bytes).expect("a vmcore that the view knows")
}

fn scan(file: &mut Overlay<'_>) -> Scanned {
    engine::scan(file, &Setup { limit: 64 << 20, ..Setup::default() }, 1 << 20).expect("a vmcore")
}

/// A vmcore, and what its pages come to.
struct Intact {
    base: Base,
    scanned: Scanned,
}

impl Intact {
    fn new(model: MemModel) -> Intact {
        let base = machine(model);
        let scanned = scan(&mut base.file());
        assert!(scanned.scanned && scanned.tally.dropped() > 4 * 0x200, "too few pages go");
        assert_eq!(scanned.said, Vec::<String>::new(), "nothing is wrong with it");
        Intact { base, scanned }
    }

    /// File offset of what is at a virtual address.
    fn place(&self, virt: u64) -> u64 {
        let file = self.base.file();
        let walk = self.base.view.walk(&file, virt).expect("it is mapped");
        self.base.view.offset(walk.phys).expect("it is in the file").0
    }

    /// Flips a bit; gives the pages that go, but for `own`, and all that was said.
    fn flip(&self, at: u64, bit: u64, own: &Range<u64>) -> (Vec<u64>, Scanned) {
        let mut file = self.base.file();
        let mut byte = [0];
        assert!(file.get(at + bit / 8, &mut byte));
        file.write(at + bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
        let now = scan(&mut file);
        let gone = |pfn: &u64| self.scanned.keeps(*pfn) && !now.keeps(*pfn) && !own.contains(pfn);
        let gone = if now.scanned {
            self.base.pfns().into_iter().filter(gone).collect()
        } else {
            Vec::new()
        };
        (gone, now)
    }

    /// Flips each bit of what is at `places` (an offset in the file, bits, pages that may go); sums up what is lost.
    fn flip_all(&self, what: &str, places: impl IntoIterator<Item = Flips>) {
        let (mut flips, mut lost, mut named, mut first) = (0, 0, 0, None);
        for (at, bits, own) in places {
            for bit in 0..bits {
                let (gone, now) = self.flip(at, bit, &own);
                flips += 1;
                if now.said.is_empty() {
                    lost += gone.len();
                    first = first.or((!gone.is_empty()).then(|| (at, bit, gone[0])));
                } else {
                    named += gone.len();
                }
            }
        }
        println!("{what}: {flips} flips, {lost} pages lost, {named} pages lost with a notice");
        assert!(flips > 0);
        assert_eq!(lost, 0, "{what}: the first by offset, bit and pfn: {first:#x?}");
        assert_eq!(named, 0, "{what}: a notice, and pages go all the same");
    }

    fn section_words(&self, bits: u64) -> Vec<Flips> {
        let file = self.base.file();
        let words = (0..5).filter_map(|n| self.base.view.section_word(&file, n * SECTION_PAGES));
        words.map(|virt| (self.place(virt), bits, NONE)).collect()
    }

    /// File offset of a pfn's structure.
    fn structure(&self, pfn: u64) -> u64 {
        self.place(self.base.view.struct_at(&self.base.file(), pfn).expect("a structure"))
    }
}

#[test]
fn words_of_sections() {
    // The flags alone, where each section has an array of its own.
    for (model, bits) in [(MemModel::Vmemmap, 64), (MemModel::SparseExtreme, 6)] {
        let intact = Intact::new(model);
        intact.flip_all(&format!("section words, {model:?}"), intact.section_words(bits));
    }
}

/// The section is named, with its pfns and what is wrong.
#[test]
fn a_damaged_section_is_named() {
    let intact = Intact::new(MemModel::Vmemmap);
    let (word, ..) = &intact.section_words(64)[2];
    let half = "its word in the section table is neither zero nor whole";
    for (bit, why) in
        [(0, half), (1, half), (30, "its struct pages are not where those of the others are")]
    {
        let (gone, now) = intact.flip(*word, bit, &NONE);
        assert_eq!(gone, Vec::<u64>::new());
        let text =
            format!("pfns 0x10800 to 0x17fff: memory section 2 is damaged: {why}, pages kept");
        assert_eq!(now.said, [text]);
        let all =
            |scanned: &Scanned| (0..PART).filter(|n| scanned.keeps(PARTS[2] + n)).count() as u64;
        assert!(all(&now) == PART && all(&intact.scanned) < PART, "bit {bit}");
    }
}

#[test]
fn orders_of_free_blocks() {
    let intact = Intact::new(MemModel::Vmemmap);
    let free = [0, 2, 8, 0x20, 0x80]
        .map(|at| PARTS.map(|part| (intact.structure(part + at) + 40, 64, NONE)));
    intact.flip_all("orders of free blocks", free.into_iter().flatten());
}

#[test]
fn orders_of_compound_pages() {
    let intact = Intact::new(MemModel::Vmemmap);
    let large = [0x100, 0x110, 0x200, 0x400]
        .map(|at| PARTS.map(|part| (intact.structure(part + at + 1), 64, NONE)));
    intact.flip_all("orders of compound pages", large.into_iter().flatten());
}

#[test]
fn structures_of_kernel_pages() {
    let intact = Intact::new(MemModel::Vmemmap);
    let of = |pfn, pages| (intact.structure(pfn), 512, pfn..pfn + pages);
    // The head of a compound page speaks for all of it.
    let pages = [(0x120, 8), (0x121, 1), (0x128, 1), (0x12a, 1), (0x12c, 1)].into_iter();
    let pages = pages.chain((0x130..0x136).map(|at| (at, 1)));
    // Aligned as the largest blocks are.
    let pages = pages.map(|(at, pages)| of(PARTS[1] + at, pages)).chain([of(ALIGNED, 1)]);
    intact.flip_all("structures of kernel pages", pages);
}

/// ONLINE of a section that is offline, whose `struct page`s are what the kernel left of them: marks of free blocks that
/// are on no list any more.
#[test]
fn a_section_that_is_offline() {
    const POISON: [u64; 2] = [0xdead_0000_0000_0100, 0xdead_0000_0000_0122];
    let image = parts(MemModel::Vmemmap).offline_section(2).build();
    let dir = TempDir::new();
    image.write(&dir.file("vmcore")).expect("writing the vmcore");
    let mut bytes = std::fs::read(dir.file("vmcore")).expect("reading the vmcore");
    let base = Base::new("a section offline", bytes.clone()).expect("a vmcore that the view knows");
    let lru = base.view.number("OFFSET(page.lru)").expect("a key");
    for at in [0, 2, 8, 0x20, 0x80] {
        let at = base.view.struct_at(&base.file(), PARTS[2] + at).expect("a structure") + lru;
        let phys = base.view.walk(&base.file(), at).expect("it is mapped").phys;
        let at = base.view.offset(phys).expect("it is in the file").0 as usize;
        for (word, poison) in bytes[at..at + 16].chunks_exact_mut(8).zip(POISON) {
            word.copy_from_slice(&poison.to_le_bytes());
        }
    }
    let base = Base::new("a section offline", bytes).expect("a vmcore that the view knows");
    let scanned = scan(&mut base.file());
    assert_eq!(scanned.said, ["pfns 0x10800 to 0x17fff: memory section offline, pages kept"]);
    let intact = Intact { base, scanned };
    let word = intact.section_words(64)[2].0;
    // Whichever bit ONLINE is.
    for bit in 0..6 {
        let (gone, now) = intact.flip(word, bit, &NONE);
        assert_eq!(gone, Vec::<u64>::new(), "bit {bit}: {:?}", now.said);
    }
}

/// Entries of page tables that lead to the array of `struct page`s, which has pages of 2 MiB.
#[test]
fn page_tables_of_the_array() {
    let intact = Intact::new(MemModel::Vmemmap);
    let file = intact.base.file();
    let entry = |pfn| {
        let virt = intact.base.view.struct_at(&file, pfn).expect("a structure");
        let walk = intact.base.view.walk(&file, virt).expect("it is mapped");
        let entry = walk.entries.last().expect("an entry");
        (intact.base.view.offset(*entry).expect("it is in the file").0, 64, NONE)
    };
    intact.flip_all("page tables", PARTS.into_iter().map(entry));
}
