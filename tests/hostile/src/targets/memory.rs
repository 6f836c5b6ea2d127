//! The dead kernel's memory: page tables and mem_map, the log, and all of a capture.

use crate::base::{Base, MACHINES, machine};
use crate::engine::{self, Form, Refused, Setup};
use crate::input::Input;
use crate::mutate::{self, Focus};
use crate::overlay::Overlay;
use crate::{Reach, Target};
use tamis_core::arch::Arch;
use tamis_core::arch::paging::TableCache;
use tamis_core::input::elf::{ElfVmcore, Place, probe};
use tamis_core::kernel::mem_map::{MemMap, RootCache, State};
use tamis_core::kernel::memory::KernelMemory;
use tamis_core::kernel::utsname::Utsname;
use tamis_core::memory::{MemoryRange, PhysMemory as _, Ranges as _};
use tamis_core::units::{PageShift, Pfn, VirtAddr};
use tamis_core::vmcoreinfo::Info;
use tamis_core::wire::vmcoreinfo::Kind;

/// Programs of changes to start from: one for each kind of change, and none at all.
fn programs(head: &[u8]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for machine in 0..MACHINES as u8 {
        seeds.push([&[machine][..], head].concat());
    }
    let programs: [&[u8]; 12] = [
        &[0, 3, 0, 8, 4],                      // a page table points at itself
        &[0, 3, 0, 8, 7, 2, 1],                // a page table points at structures
        &[0, 4, 0, 0, 5],                      // a section word points at itself
        &[0, 4, 1, 0, 9, 4, 0],                // a root points at another place
        &[0, 2, 1, 64, 1],                     // a structure's word is all ones
        &[7, 2, 2, 1, 64, 0, 1, 0, 0, 2, 1],   // a structure over another
        &[0, 5, 0, 0, 5, 0, 5, 1, 8, 6],       // the log points at itself
        &[8, 1, 2, 0],                         // a program header
        &[8, 2, 4, 1, 8, 3, 5, 3],             // two of them
        &[10, 0, 4, 5],                        // a note's length
        &[11, 5, 0, 11, 9, 2, 1, 11, 3, 5, 4], // facts go, facts change
        &[6, 6, 0, 5, 1, 9, 0, 16, 0, 0, 0],   // utsname; cut off
    ];
    for (n, program) in programs.iter().enumerate() {
        let machine = [n as u8 % MACHINES as u8];
        seeds.push([&machine[..], head, program].concat());
    }
    seeds
}

fn ruined<'b>(input: &mut Input<'_>, head: usize) -> (&'b Base, Overlay<'b>, Vec<u8>)
where
    'static: 'b,
{
    let base = machine(input.byte().into());
    let head = input.take(head).to_vec();
    let mut file = base.file();
    mutate::apply(base, &mut file, input, Focus::All, mutate::MOST);
    (base, file, head)
}

pub const WALK: Target = Target {
    name: "walk",
    about: "page tables, sections and utsname of a ruined machine",
    goals: &[
        "arch",
        "translated",
        "not mapped",
        "mem_map",
        "no mem_map",
        "at",
        "absent",
        "utsname",
    ],
    run: walk,
    seeds: || programs(&[0]),
};

fn walk(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let (base, mut file, head) = ruined(&mut input, 1);
    file.lends = head.first().copied().unwrap_or(0) & 1 == 0;
    let mut file = &mut file;
    let Ok(facts) = probe(&mut file) else { return };
    if facts.segments > 1000 {
        return;
    }
    let mut text = vec![0; facts.vmcoreinfo.map_or(0, |(_, len)| len).min(1 << 20) as usize];
    let at = facts.vmcoreinfo.map_or(0, |(at, _)| at);
    let _ = facts.notes.read(&mut file, at, &mut text);
    let info = Info::new(Some(&text), None);
    let segments = vec![MemoryRange::default(); facts.segments];
    let places = vec![Place::default(); facts.segments];
    let shift = info.page_shift().unwrap_or(PageShift::FOUR_KIB);
    let Ok(mut vmcore) = ElfVmcore::load(file, facts, shift, segments, places) else { return };
    let Ok(arch) = Arch::new(vmcore.machine(), &info, vmcore.ranges()) else { return };
    reach.at("arch");
    let mut tables = vec![0; TableCache::STORAGE];
    let mut cache = TableCache::new(&mut tables[..]);
    let symbols = ["mem_section", "mem_map", "init_uts_ns", "prb", "log_buf", "swapper_pg_dir"];
    let addresses: Vec<u64> = symbols
        .iter()
        .filter_map(|s| base.view.symbol(s))
        .flat_map(|at| [at, at ^ 1 << 21, at ^ 1 << 39, at ^ 1 << 47, !at])
        .chain([0, u64::MAX, 1 << 63, 0xffff_8880_0000_0000, 0xffff_ea00_0000_0000])
        .collect();
    for at in addresses {
        match arch.translate(VirtAddr(at), &mut vmcore, &mut cache) {
            Ok(map) => {
                // All of ppc64's linear map is one mapping, and each of loongarch64's windows.
                const LOONGARCH: u16 = 258;
                let windows = vmcore.machine().elf_machine == LOONGARCH;
                let linear = windows || base.view.info.contains_key("SIZE(vmemmap_backing)");
                assert!(map.len > 0 && (linear || map.len <= 1 << 31));
                // All bits of an entry of s390x that are not others are those of an address.
                let many = base.view.form.big;
                assert!(many || map.phys.0 < 1 << 52, "no physical address has so many bits");
                reach.at("translated");
            }
            Err(_) => reach.at("not mapped"),
        }
    }
    let mut memory = KernelMemory::new(&mut vmcore, arch, &mut cache);
    let machine = memory.source.machine();
    let uts = Utsname::read(Some(&mut memory), &info, machine);
    assert!(uts.raw.chunks(65).all(|field| field.last() == Some(&0)), "a string without an end");
    assert!(uts.release().len() < 65 && uts.nodename().len() < 65);
    if uts.read {
        reach.at("utsname");
    }
    let mut sections = vec![0; shift.bytes()];
    let mut roots = RootCache::new(&mut sections[..]);
    let size = info.get(Kind::Size, "page").unwrap_or(0);
    let max = Pfn(facts.mem_end.div_ceil(shift.bytes() as u64).min(1 << 26));
    let Ok(map) = MemMap::find(&info, &mut memory, &mut roots, shift, size, max) else {
        return reach.at("no mem_map");
    };
    reach.at("mem_map");
    let (mut pfn, mut parts) = (Pfn(0), 0);
    while pfn < max && parts < 3000 {
        let part = map.run_at(pfn, &mut memory, &mut roots);
        assert!(part.span.start == pfn && part.span.end > pfn, "{part:?} from {pfn}");
        match part.state {
            State::At(at) => {
                assert!(arch.is_kernel_address(at));
                reach.at("at");
            }
            State::Absent => reach.at("absent"),
            _ => {}
        }
        pfn = part.span.end;
        parts += 1;
    }
}

pub const DMESG: Target = Target {
    name: "dmesg",
    about: "the log of a ruined machine, of each of the three formats",
    goals: &["ring", "records", "characters", "skipped", "refused", "since clear", "by arithmetic"],
    run: dmesg,
    seeds: || {
        let mut seeds = programs(&[0]);
        for head in [1, 2, 4] {
            seeds.extend(programs(&[head]).into_iter().take(MACHINES));
        }
        seeds
    },
};

fn dmesg(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let (base, mut file, head) = ruined(&mut input, 1);
    let head = head.first().copied().unwrap_or(0);
    let since = head & 1 != 0;
    let arithmetic = [None, Some(false), Some(true), Some(true)][usize::from(head >> 1 & 3)];
    let before = file.steps;
    match engine::log(&mut file, since, arithmetic) {
        Err(_) => reach.at("refused"),
        Ok((report, text, by_arithmetic)) => {
            let format = if base.view.symbol("prb").is_some() {
                "ring"
            } else if base.view.symbol("log_end").is_some() {
                "characters"
            } else {
                "records"
            };
            if report.records > 0 {
                reach.at(format);
                assert!(!text.is_empty());
                if since {
                    reach.at("since clear");
                }
            }
            if report.skipped > 0 {
                reach.at("skipped");
            }
            assert!(arithmetic.is_some() || !by_arithmetic);
            if by_arithmetic && report.records > 0 {
                reach.at("by arithmetic");
            }
            let odd = |b: &u8| !matches!(b, b' '..=b'~' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
            assert!(!text.iter().any(odd), "the text has bytes that do not belong on a terminal");
        }
    }
    let calls = file.steps.calls - before.calls;
    // Twice, 2^18 places are tried for a record with three behind it; a ring of 2^26 descriptors is read
    // in 2^20 pieces, descriptors and infos. Before, VMCOREINFO is looked for in 2^20 pieces of memory, and in 2^16
    // pages that cannot be read with others.
    assert!(calls < (1 << 21) + (1 << 20) + (1 << 18), "{calls} reads for a log");
}

pub const CAPTURE: Target = Target {
    name: "capture",
    about: "a whole capture of a ruined machine, read back",
    goals: &[
        "captured",
        "dropped",
        "no mem_map",
        "no space",
        "refused",
        "incomplete",
        "kdump",
        "elf",
        "flattened",
        "split",
        "windows",
        "read back",
        "threads",
    ],
    run: capture,
    seeds: || {
        let mut seeds = Vec::new();
        for head in [
            [31, 0, 0],
            [31, 1, 1],
            [31, 2, 2],
            [17, 3, 3],
            [9, 4, 4],
            [0, 8, 5],
            [31, 16, 0],
            // With threads: one more, two, three.
            [31, 32, 1],
            [0, 67, 5],
            [1, 98, 2],
        ] {
            seeds.extend(programs(&head));
        }
        // A range of a tebibyte, on the machine that has no sections which would say less.
        seeds.push(vec![5, 31, 0, 0, 8, 2, 5, 0, 4, 40]);
        seeds
    },
};

fn capture(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let (base, mut file, head) = ruined(&mut input, 3);
    let [level, how, codec] = [0, 1, 2].map(|n| head.get(n).copied().unwrap_or(0));
    let setup = Setup {
        level: level & 31,
        form: [Form::Kdump, Form::Elf, Form::Flat, Form::Split][usize::from(how & 3)],
        codec: codec % 6,
        bitmap: (how & 8 != 0).then_some(1 << 10),
        limit: if how & 16 != 0 { 1 << 20 } else { 4 << 20 },
        others: usize::from(how >> 5 & 3),
        ..Setup::default()
    };
    file.lends = how & 4 == 0;
    match engine::capture(&mut file, &setup) {
        Err(Refused::Open(_)) => reach.at("refused"),
        Err(Refused::Budget(over)) => assert!(over.least > over.limit),
        Ok(done) => {
            reach.at("captured");
            let tally = done.report.tally;
            if done.scanned && tally.dropped() > 0 {
                reach.at("dropped");
            }
            if !done.scanned {
                reach.at("no mem_map");
            }
            if done.report.incomplete {
                reach.at("incomplete");
            }
            if done.error.is_some_and(|e| e.is_no_space()) {
                return reach.at("no space");
            }
            // An ELF file does not hold every kind of range; all others end well.
            reach.at(match setup.form {
                Form::Kdump => "kdump",
                Form::Elf => "elf",
                Form::Flat => "flattened",
                Form::Split => "split",
            });
            if setup.bitmap.is_some() && done.report.max_pfn.0 > 8192 {
                reach.at("windows");
            }
            assert!(tally.kept <= done.report.max_pfn.0);
            if setup.form == Form::Kdump && done.error.is_none() {
                crate::engine::read_back(&mut file, &done, setup.codec);
                reach.at("read back");
            }
            bounded(base, &done);
            if setup.others > 0 && setup.form != Form::Elf {
                let alone = engine::capture(&mut file, &Setup { others: 0, ..setup });
                let alone = alone.expect("it was captured before");
                assert!(alone.files == done.files, "other bytes with one thread");
                assert_eq!((alone.report, alone.error), (done.report, done.error));
                reach.at("threads");
            }
        }
    }
}

/// Reads are bounded by the pages there are, whatever memory says.
fn bounded(base: &Base, done: &engine::Done) {
    let pages = done.report.tally.exist.max(base.structs.len() as u64);
    // The table of program headers is read three times; it is as long as the file at most.
    let most = 10_000 + 40 * pages + 3 * (base.bytes.len() as u64 / 56);
    assert!(done.steps.calls <= most, "{} reads for {pages} pages", done.steps.calls);
}
