//! Memory of Xen hosts: whose each frame is, and that nothing of a guest gets into a dump made without guests.

use crate::common::Bench;
use std::collections::BTreeMap;
use tamis_tests::dumpread::Dump;
use tamis_tests::elfread::Elf;
use tamis_tests::run;
use tamis_tests::synth::xen::{Build, FIRST, GUEST, Host, Owner};
use tamis_tests::synth::{KernelStyle, Leaf, LogLine, Machine};

const PAGE: u64 = 4096;

/// What pages `-X` keeps.
fn stays(owner: Owner) -> bool {
    match owner {
        Owner::Xen | Owner::Heap { .. } | Owner::Io | Owner::Stray => true,
        Owner::Domain { id, .. } => id == 0,
        Owner::Free { .. } | Owner::Broken | Owner::Offline => false,
    }
}

const DOM0: Owner = Owner::Domain { id: 0, marks: 0 };

/// A host with frames of every kind, next to one another.
fn host(build: Build) -> Host {
    let mut host = Host::new(build, 3072, 512);
    // Identifiers of guests: the smallest, and the largest that there can be.
    host.domain(1);
    host.domain(0x7fef);
    // Bits that are the state of a frame in the other form of the table: a page table, or a way to cache.
    let marks = if build.late { [1 << 57, 3 << 55, 1 << 56] } else { [7 << 58, 1 << 59, 1 << 54] };
    let of = |id, marks| Owner::Domain { id, marks };
    let kinds = [
        (DOM0, 200),
        (of(1, 0), 200),
        (of(0, marks[0]), 3),
        (of(0, marks[1]), 3),
        (of(0, marks[2]), 3),
        (of(0x7fef, 0), 200),
        (of(0x7ff3, 0), 40),
        (Owner::Heap { shared: None }, 5),
        (Owner::Heap { shared: Some(1) }, 2),
        (Owner::Broken, 1),
        (Owner::Offline, 2),
        (Owner::Free { dirty: true }, 150),
        (Owner::Free { dirty: false }, 100),
        (DOM0, 1),
        (of(1, 0), 1),
        (DOM0, 1),
        (Owner::Stray, 3),
    ];
    let mut at = FIRST;
    for (owner, count) in kinds {
        host.give(at..at + count, owner);
        at += count;
    }
    // Behind the hole.
    host.give(0x10_0000..0x10_0100, of(1, 0));
    host.give(0x10_0100..0x10_0180, DOM0);
    host
}

/// All forms of the table.
fn builds() -> Vec<Build> {
    let usual = Build::USUAL;
    let mut builds = vec![usual];
    builds.push(Build { version: (4, 14), late: false, ..usual });
    // The form is told by what is in the table, not by the version.
    builds.push(Build { version: (4, 14), late: true, small_pages: true, ..usual });
    builds.push(Build { version: (4, 22), late: false, ..usual });
    builds.push(Build { version: (4, 20), big: true, ..usual });
    builds
}

/// The pages of a kdump-compressed dump.
fn pages_of_dump(bytes: Vec<u8>) -> BTreeMap<u64, Vec<u8>> {
    let dump = Dump::new(bytes).expect("a dump");
    let frames: Vec<u64> = dump.frames().collect();
    let page = |frame| dump.page(frame).expect("a page").expect("there");
    frames
        .into_iter()
        .filter(|frame| dump.bit(2, *frame))
        .map(|frame| (frame, page(frame)))
        .collect()
}

/// The pages of an ELF dump. What is left out between two that stay is zeros.
fn pages_of_elf(bytes: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let elf = Elf::parse(bytes).expect("an ELF file");
    let mut pages = BTreeMap::new();
    for load in elf.of_kind(1) {
        let data = elf.segment(bytes, load).expect("its bytes");
        for (n, page) in data.chunks(PAGE as usize).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                pages.insert(load.paddr / PAGE + n as u64, page.to_vec());
            }
        }
    }
    pages
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    // Searching text is many times as fast here as comparing each window.
    String::from_utf8_lossy(bytes).contains(mark)
}

#[track_caller]
fn check(host: &Host, pages: &BTreeMap<u64, Vec<u8>>, zeros_go: bool, what: &str) {
    for frame in host.frames() {
        let (owner, page) = (host.owner(frame).expect("an owner"), host.page(frame));
        let is_zero = page.iter().all(|byte| *byte == 0);
        match pages.get(&frame) {
            // The last bytes of the low memory are not in the vmcore.
            Some(found) if frame != 0x9f => {
                assert_eq!(found[..], page[..found.len()], "{what}: {frame:#x}")
            }
            Some(_) => {}
            None => {
                let may_go =
                    !stays(owner) || (zeros_go && is_zero) || (0xa0..0x100).contains(&frame);
                assert!(may_go, "{what}: frame {frame:#x} of {owner:?} is gone");
            }
        }
        let gone = !stays(owner) && owner != Owner::Free { dirty: false };
        assert!(!gone || !pages.contains_key(&frame), "{what}: frame {frame:#x} of {owner:?}");
    }
    assert!(pages.values().all(|page| !holds(page, GUEST)), "{what}: a guest's memory");
}

#[test]
fn no_byte_of_a_guest_is_in_a_dump_without_guests_whatever_its_form() {
    for build in builds() {
        let bench = Bench::new();
        let mut host = host(build);
        host.write(&bench.file("vmcore")).expect("writing the vmcore");
        let what = format!("{build:?}");
        bench.tamis("refilter -X -d 1 --raw vmcore kdump").expect(0);
        check(&host, &pages_of_dump(bench.get("kdump")), true, &what);
        // Other forms are made the same way, whatever the table is.
        if build.version == Build::USUAL.version {
            bench.tamis("refilter -X --to elf vmcore elf").expect(0);
            check(&host, &pages_of_elf(&bench.get("elf")), true, &what);
            bench.tamis("refilter -X -c --to flat vmcore flat").expect(0);
            bench.tamis("rearrange flat whole").expect(0);
            check(&host, &pages_of_dump(bench.get("whole")), false, &what);
            // Nor in bytes of the files that no page is made of.
            for name in ["kdump", "elf"] {
                assert!(!holds(&bench.get(name), GUEST), "{what}: {name}");
            }
            // A dump of all can be made smaller later.
            bench.tamis("refilter -c vmcore all").expect(0);
            bench.tamis("refilter -X -d 1 all less").expect(0);
            check(&host, &pages_of_dump(bench.get("less")), true, &what);
        }
        // The line of XCP-ng's script, unchanged; the same in small pieces, as a stream, as ELF, by threads.
        let capture = |options: &str, output: &str| {
            let mut words: Vec<_> =
                options.split_whitespace().map(std::ffi::OsString::from).collect();
            words.push(bench.file("vmcore").into());
            if !output.is_empty() {
                words.push(bench.file(output).into());
            }
            let run = run::capture(words);
            run.expect(0);
            run.stdout
        };
        capture("-c -X -d 1 -f", "captured");
        check(&host, &pages_of_dump(bench.get("captured")), true, &what);
        if build.version == Build::USUAL.version {
            capture("-c -X -d 1 -f --cyclic-buffer 1 --memory-limit 400K", "small");
            assert!(
                bench.get("small") == bench.get("captured"),
                "{what}: small buffers make another dump"
            );
            capture("-c -X -d 1 -f --num-threads 2", "threads");
            assert!(
                bench.get("threads") == bench.get("captured"),
                "{what}: threads make another dump"
            );
            capture("-E -X -f", "core");
            check(&host, &pages_of_elf(&bench.get("core")), true, &what);
            bench.put("stream", &capture("-F -c -X -d 1", ""));
            bench.tamis("rearrange -f stream straight").expect(0);
            check(&host, &pages_of_dump(bench.get("straight")), true, &what);
        }
    }
}

#[test]
fn pages_are_counted_by_their_owners() {
    let bench = Bench::new();
    let mut host = host(Build::USUAL);
    host.write(&bench.file("vmcore")).expect("writing the vmcore");
    let stats = bench.tamis("stats --json vmcore");
    let count = |wanted: fn(Owner) -> bool| {
        let all = host.frames().filter(|frame| !(0xa0..0x100).contains(frame));
        all.filter(|frame| wanted(host.owner(*frame).expect("an owner"))).count().to_string()
    };
    let of = |class: &str| {
        let text = String::from_utf8_lossy(&stats.stdout).into_owned();
        let from = text.find(&format!("\"{class}\": {{")).expect("the class");
        let rest = text[from..].split("\"pages\": ").nth(1).expect("its pages").to_owned();
        rest.split(',').next().expect("a number").to_owned()
    };
    assert_eq!(of("domain0"), count(|owner| matches!(owner, Owner::Domain { id: 0, .. })));
    assert_eq!(of("guests"), count(|owner| matches!(owner, Owner::Domain { id: 1.., .. })));
    assert_eq!(of("free"), count(|owner| matches!(owner, Owner::Free { .. })));
    assert_eq!(of("hwpoison"), "1");
    assert_eq!(of("offline"), "2");
    assert_eq!(of("undecided"), "3");
    let text = bench.tamis("stats vmcore");
    text.expect(0).says("domain 0").says("hypervisor").says("domain 32751");
    bench.tamis("map --json vmcore").expect(0);
    bench.tamis("info vmcore").expect(0).says("Xen 4.17.5");
    bench.tamis("notes vmcore").expect(0).says("Xen 4.17.5");
    bench.tamis("why 0x800 vmcore").expect(0).says("domain 0");
    // Without -X, level 16 leaves out what is free in Xen.
    bench.tamis("refilter -d 17 --raw vmcore kdump").expect(0).says("the memory of guests is kept");
    let kept = pages_of_dump(bench.get("kdump"));
    let is_free = |frame: &u64| matches!(host.owner(*frame), Some(Owner::Free { .. }));
    assert!(!kept.keys().any(is_free) && kept.contains_key(&0x10_0000));
}

#[test]
fn where_a_fact_is_missing_guests_cannot_be_left_out_and_it_is_named() {
    let keys = [
        "SYMBOL(domain_list)",
        "SYMBOL(frame_table)",
        "SYMBOL(pgd_l4)",
        "SIZE(page_info)",
        "OFFSET(page_info.count_info)",
        "OFFSET(page_info._domain)",
        "OFFSET(domain.domain_id)",
        "OFFSET(domain.next_in_list)",
    ];
    let bench = Bench::new();
    for key in keys {
        let mut host = host(Build::USUAL);
        host.without_key(key);
        host.write(&bench.file("vmcore")).expect("writing the vmcore");
        let run = bench.tamis("refilter -X -d 1 -f vmcore less");
        run.expect(3).says("guests cannot be left out").says(key);
        bench.tamis("stats vmcore").expect(0).says(key);
    }
    bench.tamis("refilter -d 1 vmcore all").expect(0);
    let refused = |change: &dyn Fn(&mut Host), why: &str| {
        let mut host = host(Build::USUAL);
        change(&mut host);
        host.write(&bench.file("vmcore")).expect("writing the vmcore");
        bench.tamis("refilter -X -d 1 -f vmcore less").expect(3).says(why);
    };
    let captured = |options: &[&str]| {
        let mut words: Vec<_> = options.iter().map(std::ffi::OsString::from).collect();
        words.extend([bench.file("vmcore").into(), bench.file("captured").into()]);
        run::capture(words)
    };
    let mut untold = host(Build::USUAL);
    untold.without_text();
    untold.write(&bench.file("vmcore")).expect("writing the vmcore");
    captured(&["-c", "-X", "-d", "1"]).expect(1).says("-X: there is no VMCOREINFO_XEN");
    assert!(!bench.file("captured").exists());
    // A file says it.
    bench.put("xen-info", untold.xen_info().as_bytes());
    let info = bench.file("xen-info");
    let info = info.to_str().expect("a name");
    captured(&["-c", "-X", "-d", "1", "--xen-vmcoreinfo", info, "--xen-syms", "xen-syms"])
        .expect(0);
    check(&untold, &pages_of_dump(bench.get("captured")), true, "a text beside the vmcore");
    refused(&|host| host.without_text(), "there is no VMCOREINFO_XEN");
    refused(&|host| host.line("SIZE(page_info)", "7"), "SIZE(page_info)");
    refused(&|host| host.line("OFFSET(page_info._domain)", "20"), "belongs to domain 0");
    refused(&|host| host.line("SYMBOL(pgd_l4)", "ffff82d040003000"), "do not lead to themselves");
    refused(&|host| host.line("SYMBOL(domain_list)", "ffff82d040001100"), "domain 0 is not on");
    let mut old = Host::new(Build { version: (3, 4), ..Build::USUAL }, 4096, 0);
    old.write(&bench.file("vmcore")).expect("writing the vmcore");
    bench.tamis("refilter -X -d 1 -f vmcore less").expect(3).says("Xen 3.4, before 4.0");
    // No Xen at all.
    let other = Bench::of(&tamis_tests::zoo::zoo(tamis_tests::synth::KernelStyle::V6_12).build());
    other.tamis("refilter -X -d 1 vmcore less").expect(3).says("it is not a Xen host's");
}

#[test]
fn frames_that_the_direct_map_does_not_have_are_kept() {
    let bench = Bench::new();
    let mut host = host(Build { small_pages: true, ..Build::USUAL });
    let frame = FIRST + 210;
    assert_eq!(host.owner(frame), Some(Owner::Domain { id: 1, marks: 0 }));
    host.unmap(frame);
    host.write(&bench.file("vmcore")).expect("writing the vmcore");
    let run = bench.tamis("refilter -X -d 1 --raw vmcore kdump");
    run.expect(0).says("not in Xen's frame table, pages kept");
    let kept = pages_of_dump(bench.get("kdump"));
    assert!(kept.contains_key(&frame) && !kept.contains_key(&(frame + 1)));
}

#[test]
fn free_frames_are_kept_where_nothing_tells_what_marks_them() {
    let bench = Bench::new();
    for (version, says) in [((4, 13), true), ((4, 12), false), ((4, 17), false)] {
        let build = Build { version, late: version >= (4, 17), ..Build::USUAL };
        let mut host = Host::new(build, 4096, 0);
        host.domain(1);
        host.give(FIRST..3000, DOM0);
        host.give(3000..4096, Owner::Domain { id: 1, marks: 0 });
        host.write(&bench.file("vmcore")).expect("writing the vmcore");
        let run = bench.tamis("refilter -X -d 1 --raw -f vmcore kdump");
        run.expect(0);
        assert_eq!(run.text().contains("nothing tells how its table marks them"), says);
        check(&host, &pages_of_dump(bench.get("kdump")), true, "without free frames");
    }
}

#[test]
fn the_log_of_domain_0_is_found_through_the_list_of_its_frames() {
    let bench = Bench::new();
    let style = KernelStyle::V6_12;
    let lines = [
        LogLine::new(1, 1, "domain 0 is up"),
        LogLine::new(2, 1, "Kernel panic - not syncing: made up"),
    ];
    let machine = Machine::new(style).ram(0x100..0x300).leaves(Leaf::Page, Leaf::Page, Leaf::Page);
    let image = machine.meta_at(4 << 20, 8 << 20).log(&lines, 0).build();
    let mut host = Host::new(Build::USUAL, 5120, 0);
    host.domain(1);
    host.domain0(&image, FIRST);
    host.give(4800..5000, Owner::Domain { id: 1, marks: 0 });
    // The text is in two places: where domain 0 has it, and another one in a guest, in front of it.
    let text = host.info().to_owned();
    let note = |text: &str| {
        let words = [11u32, text.len() as u32, 0].map(u32::to_le_bytes).concat();
        [&words[..], b"VMCOREINFO\0\0", text.as_bytes()].concat()
    };
    let spare = |host: &Host, frame: &u64| {
        let is_own = |frame| matches!(host.owner(frame), Some(Owner::Domain { id: 0, .. }));
        let is_zero = |frame| host.page(frame).iter().all(|byte| *byte == 0);
        is_own(*frame) && is_own(frame + 1) && is_zero(*frame) && is_zero(frame + 1)
    };
    let place = (FIRST + 64..4600).find(|frame| spare(&host, frame)).expect("pages of zeros");
    host.give(FIRST - 8..FIRST - 6, Owner::Domain { id: 1, marks: 0 });
    host.put((FIRST - 8) * PAGE, &note(&text.replace("OSRELEASE=6.12", "OSRELEASE=6.66")));
    host.put(place * PAGE, &note(&text));
    host.grant(0x110, 4812);
    host.write(&bench.file("vmcore")).expect("writing the vmcore");
    bench.tamis("dmesg vmcore").expect(0).says("made up").says("domain 0 is up");
    bench.tamis("vmcoreinfo vmcore").expect(0).says("OSRELEASE=6.12");
    bench.tamis("info vmcore").expect(0).says("kernel        6.12").says("1 guest");
    // What is made of it has the list, and the log.
    bench.tamis("refilter -c -X -d 1 vmcore less").expect(0);
    check(&host, &pages_of_dump(bench.get("less")), true, "domain 0");
    bench.tamis("dmesg less").expect(0).says("made up");
    // The capture program needs to be told.
    bench.put("info", text.as_bytes());
    let words = ["--dump-dmesg", "-i"].map(std::ffi::OsString::from).into_iter();
    let files = ["info", "vmcore", "log"].map(|name| bench.file(name).into_os_string());
    run::capture(words.chain(files)).expect(0);
    assert!(holds(&bench.get("log"), "made up"));
    // No page goes by its class: their numbers are not the machine's.
    let run = bench.tamis("refilter -d 31 -f vmcore all");
    run.expect(0).says("only pages of zeros and Xen's free frames can be dropped");
}
