//! A kernel's own symbols and types: what is shown by them, and pages that are classified by them.

use std::fmt::Write;

use crate::common::{Bench, golden_text, json};
use tamis_tests::synth::{KernelStyle, LogLine, expected_text};
use tamis_tests::zoo::zoo;

/// Address of `init_task` in a machine of [`KernelStyle`], which is not moved.
const INIT_TASK: u64 = 0xffff_ffff_8120_1000;

fn bench() -> Bench {
    Bench::of(&zoo(KernelStyle::V6_12).five_level().own_tables().build())
}

#[test]
fn symbols_tasks_modules_and_structures_are_shown() {
    let bench = bench();
    bench.tamis("refilter -c -d 31 vmcore dump").expect(0);
    let inside = format!("{:x}", INIT_TASK + 5);
    let page = "*(struct page *)0xffd4000000005000";
    let commands: [&[&str]; 41] = [
        &["sym", "vmcore", "init_task"],
        &["sym", "vmcore", &inside],
        &["sym", "--json", "vmcore", &inside],
        &["sym", "vmcore", "nothing"],
        &["sym", "vmcore", "0x10"],
        // A name, although it has the digits of a number only.
        &["sym", "vmcore", "f00a0"],
        // Of the module; the last one goes on to the end of its memory.
        &["sym", "vmcore", "synth_init"],
        &["sym", "--json", "vmcore", "ffffffffc0002010"],
        // Of the kernel, although the module names it; in front of all of the module; behind it.
        &["sym", "vmcore", "printk"],
        &["sym", "vmcore", "ffffffffc0000010"],
        &["sym", "vmcore", "ffffffffc0003000"],
        &["vtop", "vmcore", &inside],
        &["notes", "vmcore"],
        &["tasks", "vmcore"],
        &["tasks", "--json", "vmcore"],
        &["modules", "vmcore"],
        &["modules", "--json", "vmcore"],
        &["slabs", "vmcore"],
        &["slabs", "--json", "vmcore"],
        &["top", "vmcore"],
        &["top", "--json", "vmcore"],
        &["top", "-n", "1", "vmcore"],
        // It has no tables of callers.
        &["bt", "vmcore"],
        &["print", "vmcore", "init_task.comm"],
        &["print", "--json", "vmcore", "init_task"],
        &["print", "vmcore", "*init_task.real_parent"],
        &["print", "vmcore", "init_task->real_parent->comm"],
        &["print", "--json", "vmcore", "init_task.in_iowait"],
        &["print", "vmcore", page],
        &["print", "vmcore", "((struct module *)0xffffffff81201a00)->mem[0]"],
        &["print", "vmcore", "((struct module *)0xffffffff81201a00)->mem[7]"],
        &["print", "vmcore", "(struct module *)modules"],
        &["print", "vmcore", "init_task.nothing"],
        &["print", "vmcore", "*(struct nothing *)1"],
        &["print", "vmcore", "*(struct page *)0x10"],
        &["print", "--module", "synthetic", "vmcore", "*(struct synth_outer *)0xffffffff81201800"],
        &["print", "-m", "synthetic", "vmcore", "init_task.comm"],
        &["print", "-m", "nothing", "vmcore", "init_task.comm"],
        &["print", "vmcore", "*(struct synth_outer *)0xffffffff81201800"],
        &["print", "vmcore", "linux_banner"],
        &["print", "vmcore", "init_task["],
    ];
    let mut out = String::new();
    for command in commands {
        let run = bench.run(command, None);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let quoted = command.iter().map(|word| match word.contains(['*', '[', '>']) {
            true => format!("'{word}'"),
            false => (*word).to_owned(),
        });
        let words = quoted.collect::<Vec<_>>().join(" ");
        write!(out, "$ tamis {words}\n{}", text(&run.stdout)).unwrap();
        text(&run.stderr).lines().for_each(|line| writeln!(out, "! {line}").unwrap());
        writeln!(out, "= {}\n", run.code.expect("an exit status")).unwrap();
        // No level leaves out what it takes; the dump has no other pages.
        let of_dump: Vec<_> =
            command.iter().map(|word| if *word == "vmcore" { "dump" } else { word }).collect();
        // Physical addresses, notes: not what is in memory.
        let differs = command[1..].last() == Some(&page) || ["vtop", "notes"].contains(&command[0]);
        if !differs {
            assert_eq!(bench.run(&of_dump, None).stdout, run.stdout, "{words}");
        }
    }
    golden_text("own.txt", &out);
}

/// Two dumps have the same pages; their VMCOREINFO differs.
fn same_pages(bench: &Bench, first: &str, second: &str) {
    let run = bench.tamis(&format!("diff --json {first} {second}"));
    run.expect(1);
    assert_ne!(json(&run, "same"), "0");
    for none in ["only_in_first", "only_in_second", "different", "unreadable"] {
        assert_eq!(json(&run, none), "0", "{none} of {first} and {second}");
    }
}

#[test]
fn addresses_in_the_log_have_symbols() {
    let say = |line: &str| LogLine::new(1_000_000, 7, line);
    let lines = [
        say("CR2: ffffffff81201010 of ffffffffc0000110"),
        say("no address: 12345678, printk+0x1/0x2"),
    ];
    let bench = Bench::of(&zoo(KernelStyle::V6_12).log(&lines, 0).own_tables().build());
    let plain = String::from_utf8(bench.tamis("dmesg vmcore").stdout).unwrap();
    let wanted = plain.replace("201010", "201010 <init_task+0x10>");
    let wanted = wanted.replace("0000110", "0000110 <synth_init+0x10 [synthetic]>");
    let run = bench.tamis("dmesg --symbols vmcore");
    assert_eq!(String::from_utf8_lossy(&run.expect(0).stdout), wanted);
    assert_ne!(plain, wanted);
    bench.tamis("dmesg --symbols --json vmcore").expect(0).says("<init_task+0x10>");
    // The last line was written when the kernel died.
    let dated = bench.tamis("dmesg -T vmcore");
    dated.expect(0).says("\n[Tue Nov 14 22:13:20 2023] [      T7] no address: ");
    bench.tamis("dmesg --symbols -o log vmcore").expect(0);
    assert_eq!(bench.get("log"), wanted.as_bytes());
}

#[test]
fn the_log_is_read_whatever_key_is_missing() {
    let lines: Vec<_> =
        (0..40).map(|n| LogLine::new(n * 1_000_000, 7, &format!("line {n}"))).collect();
    let bench = Bench::of(&zoo(KernelStyle::V6_12).log(&lines, 0).own_tables().build());
    let wanted = bench.tamis("dmesg vmcore").stdout;
    assert_eq!(wanted, expected_text(KernelStyle::V6_12.facts().log, &lines));
    let (bytes, start, text) = info(&bench);
    let mut at = start;
    for line in text.split_inclusive('\n') {
        // Without this one, lines have no callers, as those of older kernels.
        let optional = line.contains("caller_id");
        if !optional
            && ["prb", "printk", "latched", "atomic_long"].iter().any(|of| line.contains(of))
        {
            let mut without = bytes.clone();
            without[at] = b'#';
            bench.put("without", &without);
            let run = bench.tamis("dmesg without");
            assert!(run.expect(0).stdout == wanted, "another log without {line}");
        }
        at += line.len();
    }
}

/// The vmcore's bytes, where VMCOREINFO is in them, and its text.
fn info(bench: &Bench) -> (Vec<u8>, usize, String) {
    let bytes = bench.get("vmcore");
    let start = bytes.windows(10).position(|bytes| bytes == b"OSRELEASE=").expect("VMCOREINFO");
    let len = bytes[start..].iter().position(|byte| *byte == 0).expect("its end");
    let text = String::from_utf8(bytes[start..start + len].to_vec()).expect("a text");
    (bytes, start, text)
}

#[test]
fn pages_have_the_same_classes_whatever_key_is_missing() {
    let bench = bench();
    let pages = bench.tamis("pages --json vmcore");
    assert_eq!(String::from_utf8_lossy(&pages.expect(0).stderr), "");
    let (bytes, start, text) = info(&bench);
    // Pages of 4 KiB go without saying.
    let stay = ["OSRELEASE=", "KERNELOFFSET=", "NUMBER(phys_base)=", "CRASHTIME="];
    let stays = |line: &str| stay.iter().any(|key| line.starts_with(key));
    let (mut at, mut all, mut tried) = (start, bytes.clone(), 0);
    for line in text.split_inclusive('\n') {
        if !stays(line) {
            let mut without = bytes.clone();
            (without[at], all[at]) = (b'#', b'#');
            bench.put("without", &without);
            let run = bench.tamis("pages --json without");
            assert!(run.expect(0).stdout == pages.stdout, "other classes without {line}");
            tried += 1;
        }
        at += line.len();
    }
    assert!(tried > 50, "{tried}");
    bench.put("without", &all);
    let run = bench.tamis("pages --json without");
    assert!(run.expect(0).stdout == pages.stdout, "other classes without all keys");
    run.says("from BTF, as VMCOREINFO lacks it: SIZE(page), OFFSET(page.flags)");
    run.says("from kallsyms, as VMCOREINFO lacks it: SYMBOL(");
    // The same from a dump that is made of it, and in it.
    bench.tamis("refilter -d 31 vmcore whole").expect(0);
    let run = bench.tamis("refilter -d 31 without less");
    run.expect(0).says("from BTF, as VMCOREINFO lacks it: SIZE(page)");
    same_pages(&bench, "whole", "less");
}

#[test]
fn facts_that_fill_a_gap_are_named_and_those_that_disagree_too() {
    let bench = bench();
    let (bytes, start, text) = info(&bench);
    let change = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = start + text.find(from).unwrap_or_else(|| panic!("{from} in VMCOREINFO"));
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        bench.put("changed", &changed);
    };
    change("NUMBER(PG_lru)", "#UMBER(PG_lru)");
    let said = "changed: from BTF, as VMCOREINFO lacks it: NUMBER(PG_lru)";
    bench.tamis("pages changed").expect(0).says(said);
    change("OFFSET(page.mapping)=24", "OFFSET(page.mapping)=16");
    let both = "OFFSET(page.mapping) is 16 in VMCOREINFO, and 24 in BTF";
    bench.tamis("pages changed").expect(0).says(&format!("pages are of unknown classes: {both}"));
    let run = bench.tamis("refilter --json -d 31 changed out");
    run.expect(0).says(&format!("only pages of zeros can be dropped: {both}"));
    bench.tamis("refilter -d 1 vmcore zeros").expect(0);
    // Nor are poisoned pages and offline ones known.
    let run = bench.tamis("diff --json zeros out");
    assert_eq!(json(&run, "only_in_first"), "0");
    assert_eq!(json(&run, "only_in_second"), "18");
    // Of other structures, VMCOREINFO alone is asked.
    change("SIZE(zone)=1664", "SIZE(zone)=1660");
    let run = bench.tamis("pages changed");
    assert_eq!(String::from_utf8_lossy(&run.expect(0).stderr), "");
}

/// Whatever is in the lists of slab caches, processes and files, they end, and what is left is shown.
#[test]
fn ruined_lists_end() {
    let bench = bench();
    let whole = bench.get("vmcore");
    let caches = whole.windows(11).position(|bytes| bytes == b"kmalloc-64\0").expect("a name");
    let usage = caches - 0x210;
    let (mut told, mut shown) = (0, 0);
    for (n, word) in (0..0x440).step_by(8).enumerate() {
        let mut ruined = whole.clone();
        let at = usage + word;
        // What points to the place itself, to nothing, to another list, or is an absurd number.
        let to = 0xffff_ffff_8120_0a00u64;
        let value = [to + word as u64, 0x10, to + 0x80, u64::MAX >> 1][n % 4];
        ruined[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bench.put("ruined", &ruined);
        let run = bench.tamis(if n % 3 == 0 { "slabs ruined" } else { "top ruined" });
        assert!(matches!(run.code, Some(0 | 2 | 3)), "{word:#x}: {}", run.text());
        told += u32::from(run.code == Some(2));
        shown += u32::from(String::from_utf8_lossy(&run.stdout).contains("dentry"));
    }
    assert!(told > 10 && shown > 60, "{told} {shown}");
}

/// Pages that exist less those that are in the dump.
fn left_out(bench: &Bench, options: &[&str], output: &str) -> u64 {
    let run =
        bench.run(&[&["refilter", "-f", "--json"], options, &["vmcore", output]].concat(), None);
    let text = String::from_utf8(run.expect(0).stdout.clone()).expect("UTF-8");
    let (_, rest) = text.split_once("\"left_out\":").expect("pages left out");
    let digits: String = rest.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn rules_leave_pages_out_and_keep_them() {
    let bench = bench();
    let memory =
        "memory modules:list_head each module.list if .name=\"synthetic\" .mem[7] .base[.size]";
    let nowhere =
        "memory modules:list_head each module.list if .name!=\"synthetic\" .mem[7] .base[.size]";
    let all = left_out(&bench, &["-d", "0"], "all");
    assert_eq!(left_out(&bench, &["-d", "0", "--drop", nowhere], "same"), all);
    bench.assert_same("all", "same", "a rule that reaches nothing");
    let fewer = left_out(&bench, &["-d", "0", "--drop", memory], "fewer");
    assert!(fewer > all, "{fewer} and {all}");
    // What is kept wins.
    let both = ["-d", "0", "--drop", memory, "--keep", memory];
    assert_eq!(left_out(&bench, &both, "both"), all);
    bench.assert_same("all", "both", "a rule that keeps what another drops");
    // From a file, by several threads, and in small windows of pages.
    bench.put("rules", format!("# of a module\n\ndrop {memory}\n").as_bytes());
    for more in [&["--threads", "1"][..], &["--threads", "4"], &["--memory-limit", "16M"]] {
        let options = [&["-d", "0", "--rules", "rules"], more].concat();
        assert_eq!(left_out(&bench, &options, "again"), fewer);
        bench.assert_same("fewer", "again", "the same rule");
    }
    let said = ["refilter", "-f", "-d", "0", "--drop", memory, "vmcore", "out"];
    bench.run(&said, None).expect(0).says("pages left out by rules");
    // What cannot be followed is named, and drops nothing.
    let loose = "memory modules:list_head each module.list .mem[7] .nothing";
    let said = ["refilter", "-f", "-d", "0", "--drop", loose, "vmcore", "out"];
    bench.run(&said, None).expect(0).says("not followed, its pages are kept: column 51: ");
    bench.assert_same("all", "out", "a rule that cannot be followed");
    // What cannot be read is refused, and nothing is written.
    let wrong = ["refilter", "--drop", "slab dentry", "vmcore", "none"];
    bench.run(&wrong, None).expect(3).says("column 6: 'dentry' is not a variable and its type");
    bench.put("rules", b"drop slab a:b\nslab c:d\n");
    let wrong = ["refilter", "--rules", "rules", "vmcore", "none"];
    bench.run(&wrong, None).expect(3).says("line 2, column 1: 'slab' is not keep or drop");
    assert!(!bench.file("none").exists());
}
