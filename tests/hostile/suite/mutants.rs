//! Mutants by number: intact vmcores, ruined by a program made from a seed.
//!
//! For each: no panic, no more reads than the pages that there are ask for, no more memory than the
//! plan; and **no page goes that the intact vmcore keeps, unless the ruined bytes say so**. What they
//! may say is worked out from the intact vmcore:
//!
//! * Memory ruined, headers and texts intact: a page may go only if a `struct page` that speaks for it
//!   has other bytes **where it lies in the intact vmcore**, whatever leads there now: its own, or that of the first
//!   page of an aligned block around it, or the one behind that. A fault on the way, in page tables say, may
//!   cost no page. One exception: the word of a section, or the pointer to the only array, where it leads to
//!   something that [`View`] reads as `struct page`s and no list contradicts; `doubts.rs` says when that is caught.
//!   Where no such structure changed, however it is reached, nothing changes, unless the section table is none any
//!   more: then nothing goes. More may stay where something is said of it.
//! * Facts taken out of VMCOREINFO (lines gone, values that are none, later lines for a key): nothing
//!   goes that was kept.
//!
//! `TAMIS_MUTANTS=100000` makes so many; `TAMIS_MUTANT=7` makes number 7 alone, and says what was
//! done; `TAMIS_VMCORES=FILE:FILE` ruins real vmcores as well.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_hostile::base::{Base, Kind, MACHINES, machine};
use tamis_hostile::engine::{self, Refused, Scanned, Setup};
use tamis_hostile::input::{Input, Random};
use tamis_hostile::mutate::{self, Focus};
use tamis_hostile::overlay::Overlay;

/// Mutants in a plain `cargo test`.
const FEW: u64 = 1600;
/// log2 of the pages of the largest compound page.
const LARGEST: u32 = 18;

fn wanted(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What mutant `number` is: where it may differ, in how many places at most, and the program.
fn program(number: u64) -> (Focus, usize, Vec<u8>) {
    let mut random = Random(number);
    let focus =
        [Focus::Memory, Focus::LessFacts, Focus::Memory, Focus::Facts, Focus::Headers, Focus::All]
            [random.number() as usize % 6];
    let changes = [1, 1, 1, 2, 3, 8][random.number() as usize % 6];
    (focus, changes, random.bytes(96 * changes))
}

/// How often what was tried.
#[derive(Default)]
struct Count {
    mutants: AtomicU64,
    refused: AtomicU64,
    scanned: AtomicU64,
    dropped: AtomicU64,
    changed: AtomicU64,
    memory: AtomicU64,
    facts: AtomicU64,
    captured: AtomicU64,
    threads: AtomicU64,
    logs: AtomicU64,
}

fn more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// An intact vmcore with what its pages come to.
struct Intact<'b> {
    base: &'b Base,
    scanned: Scanned,
}

impl<'b> Intact<'b> {
    fn new(base: &'b Base) -> Intact<'b> {
        let scanned = scan(&mut base.file(), most(base)).expect("an intact vmcore");
        assert!(scanned.scanned && scanned.tally.dropped() > 0, "{}: nothing goes", base.name);
        Intact { base, scanned }
    }
}

/// Most pages of a mutant that are looked at: as many as there are, and some.
fn most(base: &Base) -> u64 {
    2 * base.structs.keys().next_back().map_or(0, |pfn| pfn + 1) + (1 << 20)
}

fn scan(file: &mut Overlay<'_>, most: u64) -> Result<Scanned, Refused> {
    // Any machine that a mutant may claim fits this limit.
    engine::scan(file, &Setup { limit: 64 << 20, ..Setup::default() }, most)
}

/// Pfns whose `struct page` can be read and reads otherwise than before, and those whose `struct page`
/// cannot be read any more.
fn changed(base: &Base, file: &Overlay<'_>) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut other, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for (pfn, before) in &base.structs {
        match (before, base.view.struct_page(file, *pfn)) {
            (Some(before), Some(now)) if *before == now => {}
            (_, Some(_)) => drop(other.insert(*pfn)),
            (Some(_), None) => drop(gone.insert(*pfn)),
            (None, None) => {}
        }
    }
    (other, gone)
}

/// Whether one of `pfns` is a structure that may speak for `pfn`.
fn speaks(pfns: &BTreeSet<u64>, pfn: u64) -> bool {
    // Blocks are aligned: their first pages are the pfn with low bits cleared.
    let heads = (0..=LARGEST).map(|order| pfn >> order << order);
    heads.flat_map(|head| [head, head + 1]).any(|head| pfns.contains(&head))
}

fn check_memory(intact: &Intact<'_>, file: &Overlay<'_>, now: &Scanned, what: &dyn Fn() -> String) {
    let (other, gone) = changed(intact.base, file);
    let touched = intact.base.touched(file);
    let before = &intact.scanned;
    // A word of a section that no page is in can make the table none: then nothing is left out, below.
    if other.is_empty() && gone.is_empty() && now.scanned && now.said == before.said {
        let other = (0..before.max_pfn.max(now.max_pfn))
            .filter(|pfn| before.keeps(*pfn) != now.keeps(*pfn))
            .collect::<Vec<u64>>();
        assert!(
            before.kept == now.kept,
            "{}: no struct page changed, but the verdicts on {} pages, the first {:#x?}",
            what(),
            other.len(),
            other.first()
        );
        return;
    }
    for pfn in intact.base.pfns() {
        if before.keeps(pfn) && !now.keeps(pfn) {
            // What leads to a whole array, where nothing contradicts it; and entries of page tables that map less than
            // is judged at once, as a look at each of these would make the scan a fifth slower.
            let led = intact.base.is_moved(file, pfn) || intact.base.is_remapped(file, pfn);
            assert!(
                speaks(&touched, pfn) || (led && speaks(&other, pfn)),
                "{}: pfn {pfn:#x} goes, and no structure that speaks for it changed",
                what()
            );
        }
        if !before.keeps(pfn) && now.keeps(pfn) && gone.is_empty() && now.scanned {
            assert!(
                speaks(&other, pfn) || !now.said.is_empty(),
                "{}: pfn {pfn:#x} stays without a word, and no structure that speaks for it changed",
                what()
            );
        }
    }
}

fn mutant(intact: &Intact<'_>, number: u64, count: &Count, shown: bool) {
    let base = intact.base;
    let (focus, changes, bytes) = program(number);
    let mut file = base.file();
    let ruin = mutate::apply(base, &mut file, &mut Input::new(&bytes), focus, changes);
    let what = || format!("mutant {number} of {}: {}", base.name, ruin.steps.join("; "));
    if shown {
        eprintln!("{}", what());
    }
    more(&count.mutants);
    file.lends = !number.is_multiple_of(3);
    let now = match scan(&mut file, most(base)) {
        Err(_) => return more(&count.refused),
        Ok(now) => now,
    };
    // One read for a page of structures or less, and the tables that lead there.
    let pages = now.max_pfn.min(most(base)) + 1000;
    // A ruined header may claim as many program headers as the file has room for; read twice.
    let headers = if ruin.kinds.contains(&Kind::Headers) { file.len() / 28 } else { 0 };
    let reads = now.steps.calls;
    assert!(reads < 20_000 + 8 * pages + headers, "{}: {reads} reads for {pages} pages", what());
    if now.scanned {
        more(&count.scanned);
    }
    if now.tally.dropped() > 0 {
        more(&count.dropped);
    }
    if now.kept != intact.scanned.kept {
        more(&count.changed);
    }
    if ruin.only_memory() {
        more(&count.memory);
        check_memory(intact, &file, &now, &what);
    }
    if ruin.only_facts() {
        more(&count.facts);
        for pfn in base.pfns() {
            let kept = now.keeps(pfn) || !intact.scanned.keeps(pfn);
            assert!(kept, "{}: pfn {pfn:#x} goes for want of facts", what());
        }
    }
    // The whole way for some, with other options each time.
    if number.is_multiple_of(16) && base.bytes.len() < 64 << 20 {
        let setup = Setup {
            level: [31, 1, 17, 0][number as usize / 16 % 4],
            codec: (number / 64 % 6) as u8,
            bitmap: (number / 16).is_multiple_of(3).then_some(1 << 10),
            others: number as usize / 32 % 3,
            ..Setup::default()
        };
        if let Ok(done) = engine::capture(&mut file, &setup) {
            more(&count.captured);
            if setup.others > 0 {
                let alone = engine::capture(&mut file, &Setup { others: 0, ..setup });
                let same = alone.is_ok_and(|a| a.files == done.files && a.report == done.report);
                assert!(same, "{}: other bytes with one thread", what());
                more(&count.threads);
            }
            if done.error.is_none() {
                engine::read_back(&mut file, &done, setup.codec);
            }
        }
    }
    if number.is_multiple_of(4) {
        let before = file.steps.calls;
        let arithmetic = [None, Some(false), Some(true)][(number % 3) as usize];
        if engine::log(&mut file, number.is_multiple_of(8), arithmetic).is_ok() {
            more(&count.logs);
        }
        let reads = file.steps.calls - before;
        assert!(reads < 3_000_000, "{}: {reads} reads for a log", what());
    }
}

fn all(bases: &[&Base], many: u64) -> Count {
    let intact: Vec<Intact<'_>> = bases.iter().map(|base| Intact::new(base)).collect();
    let count = Count::default();
    if let Some(number) = wanted("TAMIS_MUTANT") {
        mutant(&intact[number as usize % intact.len()], number, &count, true);
        return count;
    }
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= many {
                        return;
                    }
                    let run = std::panic::AssertUnwindSafe(|| {
                        mutant(&intact[number as usize % intact.len()], number, &count, false);
                    });
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        eprintln!("TAMIS_MUTANT={number} shows it again");
                        next.store(many, Ordering::Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
    let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
    println!(
        "{} mutants: {} refused, {} with a mem_map, {} with pages left out, {} with other pages; \
         {} of memory alone, {} of facts alone; {} captured whole, {} of them with threads, {} with a log",
        of(&count.mutants),
        of(&count.refused),
        of(&count.scanned),
        of(&count.dropped),
        of(&count.changed),
        of(&count.memory),
        of(&count.facts),
        of(&count.captured),
        of(&count.threads),
        of(&count.logs),
    );
    count
}

#[test]
fn ruined_machines_neither_harm_nor_lose_pages() {
    let many = wanted("TAMIS_MUTANTS").unwrap_or(FEW);
    let bases: Vec<&Base> = (0..MACHINES).map(machine).collect();
    let count = all(&bases, many);
    if wanted("TAMIS_MUTANT").is_some() {
        return;
    }
    // A mutant that is refused at once tests nothing: most are not.
    let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
    assert!(of(&count.scanned) > many / 2, "most mutants have no mem_map");
    assert!(of(&count.memory) > many / 5 && of(&count.facts) > many / 20);
    assert!(of(&count.changed) > many / 20 && of(&count.logs) > many / 20);
    assert!(of(&count.captured) > many / 40 && of(&count.threads) > many / 80);
}

/// The same for real vmcores, one after the other.
#[test]
fn ruined_vmcores_of_real_kernels() {
    let Some(files) = std::env::var_os("TAMIS_VMCORES") else {
        // Without any, the smallest stand-in: one made-up machine, as a file.
        let count = all(&[machine(0)], 40);
        assert!(count.mutants.load(Ordering::Relaxed) == 40 || wanted("TAMIS_MUTANT").is_some());
        return;
    };
    for path in std::env::split_paths(&files).collect::<Vec<PathBuf>>() {
        let base = Base::open(&path);
        println!("{}:", base.name);
        all(&[&base], wanted("TAMIS_MUTANTS").unwrap_or(FEW));
    }
}

/// The check itself can fail: with an untouched vmcore, and with one where another page's structure
/// changed.
#[test]
fn a_page_that_goes_without_a_reason_is_noticed() {
    // The structures of the second one are mapped by 2 MiB, which is looked at.
    let machines = [machine(0), machine(6)].map(Intact::new);
    for touched in ["nothing", "another structure", "the way to its structure"] {
        let intact = &machines[usize::from(touched == "the way to its structure")];
        let pfns = intact.base.pfns();
        let pfn = pfns.into_iter().find(|pfn| pfn % 2 == 1 && intact.scanned.keeps(*pfn));
        let pfn = pfn.expect("a page that is kept");
        let mut file = intact.base.file();
        if touched == "another structure" {
            // One of another page, on whose word nothing hangs: nobody's first page.
            let place = intact.base.places[&Kind::Pages].last().expect("structures");
            file.write(place.at + 64, &[0xff; 8]);
        }
        if touched == "the way to its structure" {
            // What is read there now has other bytes; those of its structure are as they were.
            let view = &intact.base.view;
            let at = view.struct_at(&file, pfn).expect("a structure");
            let entry =
                *view.walk(&file, at).expect("it is mapped").entries.last().expect("an entry");
            let (entry, _) = view.offset(entry).expect("it is in the file");
            let flags = file.u64(entry).expect("an entry") & 0xfff;
            let moved = (0..64u64).any(|frame| {
                file.write(entry, &(frame << 21 | flags).to_le_bytes());
                changed(intact.base, &file).0.contains(&pfn)
            });
            assert!(moved, "everywhere the same bytes");
        }
        let mut now = scan(&mut file, most(intact.base)).expect("an intact vmcore");
        check_memory(intact, &file, &now, &|| touched.to_owned());
        now.kept[pfn as usize / 8] &= !(1 << (pfn % 8));
        let check =
            std::panic::AssertUnwindSafe(|| check_memory(intact, &file, &now, &String::new));
        assert!(std::panic::catch_unwind(check).is_err(), "pfn {pfn:#x} went, and nobody noticed");
    }
}
