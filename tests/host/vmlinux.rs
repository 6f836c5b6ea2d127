//! VMCOREINFO out of a vmlinux: a file that the C compiler makes of a few structures, with DWARF of every version,
//! and with BTF.

use crate::common::Bench;
use std::process::Command;

const SOURCE: &str = include_str!("vmlinux.c");

/// What the text must be, but for addresses.
const WANTED: &str = "OSRELEASE=6.12.0-made-up
PAGESIZE=4096
SIZE(mem_section)=16
OFFSET(mem_section.section_mem_map)=0
LENGTH(node_data)=64
SIZE(page)=56
SIZE(pglist_data)=4680
SIZE(zone)=1168
SIZE(free_area)=104
SIZE(list_head)=16
SIZE(nodemask_t)=16
OFFSET(page.flags)=0
OFFSET(page._refcount)=52
OFFSET(page.mapping)=24
OFFSET(page.lru)=8
OFFSET(page._mapcount)=48
OFFSET(page.private)=40
OFFSET(page.compound_head)=8
OFFSET(pglist_data.node_zones)=0
OFFSET(pglist_data.nr_zones)=4672
OFFSET(zone.free_area)=24
OFFSET(zone.spanned_pages)=16
OFFSET(free_area.free_list)=0
OFFSET(list_head.next)=0
OFFSET(list_head.prev)=8
LENGTH(zone.free_area)=11
SIZE(dev_printk_info)=64
OFFSET(dev_printk_info.subsystem)=0
LENGTH(printk_info_subsystem)=16
OFFSET(dev_printk_info.device)=16
LENGTH(printk_info_device)=48
SIZE(atomic_long_t)=8
OFFSET(atomic_long_t.counter)=0
LENGTH(free_area.free_list)=6
NUMBER(NR_FREE_PAGES)=0
NUMBER(N_ONLINE)=1
NUMBER(PG_lru)=5
NUMBER(PG_private)=14
NUMBER(PG_swapcache)=10
NUMBER(PG_swapbacked)=17
NUMBER(PG_head_mask)=64
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456
NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-251658240
";

/// Runs the C compiler, or a tool that comes with it.
#[track_caller]
fn tool(bench: &Bench, words: &str) {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().expect("a name"));
    command.current_dir(bench.file(".")).args(words);
    let output = command.output().expect("the C compiler and binutils (apt install gcc)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn bench(options: &str) -> Bench {
    let bench = Bench::new();
    bench.put("kernel.c", SOURCE.as_bytes());
    compile(&bench, options);
    bench
}

#[track_caller]
fn compile(bench: &Bench, options: &str) {
    tool(
        bench,
        &format!(
            "cc {options} -ffreestanding -nostdlib -static -fno-pie -no-pie -Wl,-e,_stext -Wl,--build-id=none \
             -o vmlinux kernel.c"
        ),
    );
}

fn lines(text: &[u8], symbols: bool) -> String {
    let text = String::from_utf8_lossy(text);
    let wanted = |line: &&str| line.starts_with("SYMBOL(") == symbols;
    text.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

/// The addresses, as `nm` has them.
fn addresses(bench: &Bench) -> String {
    let output =
        Command::new("nm").current_dir(bench.file(".")).arg("vmlinux").output().expect("nm");
    let text = String::from_utf8(output.stdout).expect("names");
    let at = |name: &str| {
        let line = text.lines().find(|line| line.ends_with(&format!(" {name}")));
        let word =
            line.and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("no {name}"));
        u64::from_str_radix(word, 16).expect("an address")
    };
    let mut lines = String::new();
    for (name, address) in [
        ("node_online_map", at("node_states") + 16),
        ("swapper_pg_dir", at("init_top_pgt")),
        ("init_top_pgt", at("init_top_pgt")),
        ("_stext", at("_stext")),
        ("mem_section", at("mem_section")),
        ("node_data", at("node_data")),
        ("node_states", at("node_states")),
        ("clear_seq", at("clear_seq")),
    ] {
        lines += &format!("SYMBOL({name})={address:x}\n");
    }
    lines
}

#[test]
fn the_text_is_what_the_compiler_says() {
    let bench = bench("-gdwarf-5");
    for options in
        ["-gdwarf-5", "-gdwarf-4", "-gdwarf-2", "-gdwarf-5 -O2 -gz=zlib", "-g3 -gdwarf64"]
    {
        compile(&bench, options);
        let run = bench.tamis("vmcoreinfo -x vmlinux");
        assert_eq!(lines(&run.expect(0).stdout, false), WANTED, "{options}");
        assert_eq!(lines(&run.stdout, true), addresses(&bench), "{options}");
        assert!(run.stderr.is_empty(), "{options}: {}", run.text());
    }
    // The same in a file, for everybody who asks for it in another way.
    let text = bench.tamis("vmcoreinfo -x vmlinux").stdout;
    bench.tamis("vmcoreinfo -x vmlinux -o info").expect(0);
    assert_eq!(bench.get("info"), text);
    bench.tamis("vmcoreinfo -x vmlinux -o info").expect(3).says("info: it is there already");
    bench
        .tamis("makedumpfile -f -g info -x vmlinux")
        .expect(0)
        .says("vmcoreinfo is saved to info.");
    assert_eq!(bench.get("info"), text);
    bench.tamis("makedumpfile -x vmlinux -g info2 --message-level 0").expect(0);
    assert_eq!(bench.get("info2"), text);
    bench.tamis("makedumpfile -g info3").expect(1).says("-x VMLINUX is missing");
    bench.tamis("makedumpfile -g info3 -x nowhere").expect(1).says("nowhere: ");
    assert!(!bench.file("info3").exists());
    let json = bench.tamis("vmcoreinfo --json -x vmlinux");
    json.expect(0).says("\"OFFSET(page.private)\": \"40\"");
}

#[test]
fn two_units_that_differ_are_told_of() {
    let bench = bench("-g");
    let other = "struct mem_section { unsigned long usage, section_mem_map; } other;\nstruct zone { int flags; } z;\n";
    bench.put("other.c", other.as_bytes());
    compile(&bench, "-g other.c");
    let run = bench.tamis("vmcoreinfo -x vmlinux");
    run.expect(0)
        .says("it says different things of OFFSET(mem_section.section_mem_map), which is left out");
    // A structure of the same name with other members is another one.
    let less = WANTED.replace("OFFSET(mem_section.section_mem_map)=0\n", "");
    assert_eq!(lines(&run.stdout, false), less);
}

#[test]
fn what_has_no_types_or_symbols_is_named() {
    let bench = bench("-g");
    tool(&bench, "strip -o stripped vmlinux");
    bench
        .tamis("vmcoreinfo -x stripped")
        .expect(3)
        .says("stripped: it has no types, neither DWARF nor BTF");
    tool(&bench, "strip --strip-debug -o bare vmlinux");
    bench.tamis("vmcoreinfo -x bare").expect(3).says("neither DWARF nor BTF; take the vmlinux of ");
    bench.put("text", b"no kernel\n");
    bench
        .tamis("vmcoreinfo -x text")
        .expect(3)
        .says("text: it is no ELF file")
        .says("name its vmlinux");
    tool(&bench, "cc -g -c -o object kernel.c");
    bench.tamis("vmcoreinfo -x object").expect(3).says("not one that was linked");
    bench.tamis("vmcoreinfo -x nowhere").expect(3).says("nowhere: ");
    bench.tamis("vmcoreinfo -x .").expect(3).says("is no file");
    bench.put("program.c", b"int _stext(void) { return 0; }\n");
    tool(&bench, "cc -g -nostdlib -static -Wl,-e,_stext -o program program.c");
    bench.tamis("vmcoreinfo -x program").expect(3).says("its types have no struct page");
    bench.tamis("vmcoreinfo -x vmlinux vmcore").expect(64);
    bench.tamis("vmcoreinfo").expect(64);
}

/// Wherever a file is ruined, it is read to its end or refused.
#[test]
fn ruined_files_end() {
    let bench = bench("-g");
    let whole = bench.get("vmlinux");
    let mut refused = 0;
    for n in 0..120usize {
        let mut bytes = whole.clone();
        // Sections for debugging are in the second half.
        let at = whole.len() / 3 + n * (whole.len() - whole.len() / 3) / 120;
        for (byte, value) in
            bytes[at..].iter_mut().take(1 + n % 7).zip([0xff, 0x80, 0, 0x7f, 1, 0xfe, 0x55])
        {
            *byte = value;
        }
        if n % 5 == 0 {
            bytes.truncate(at);
        }
        bench.put("ruined", &bytes);
        let run = bench.tamis("vmcoreinfo -x ruined");
        assert!(
            run.signal.is_none() && matches!(run.code, Some(0 | 3)),
            "{n} at {at:#x}: {}",
            run.text()
        );
        refused += u32::from(run.code == Some(3));
    }
    assert!(refused > 24, "{refused}");
}

/// BTF as pahole would write it, by the format's description (`Documentation/bpf/btf.rst`).
#[derive(Default)]
struct Types {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Types {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32 + 1;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    /// A record: its name, kind, size, and what is behind it by threes (a member: name, type, bits).
    fn add(&mut self, name: &str, kind: u32, value: u32, behind: &[(&str, &[u32])]) {
        let name = self.name(name);
        let count = if matches!(kind, 1 | 3) { 0 } else { behind.len() as u32 };
        let mut words = vec![name, kind << 24 | count, value];
        for (name, rest) in behind {
            if !matches!(kind, 1 | 3) {
                words.push(self.name(name));
            }
            words.extend(*rest);
        }
        self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32 + 1);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&self.types);
        bytes.push(0);
        bytes.extend(&self.strings);
        bytes
    }
}

#[test]
fn a_vmlinux_with_btf_alone() {
    const INT: u32 = 1;
    const ARRAY: u32 = 3;
    const STRUCT: u32 = 4;
    const UNION: u32 = 5;
    const ENUM: u32 = 6;
    let mut btf = Types::default();
    btf.add("long unsigned int", INT, 8, &[("", &[64])]);
    btf.add("", ARRAY, 0, &[("", &[1, 1, 6])]);
    let inner: [(&str, &[u32]); 3] =
        [("lru", &[1, 0]), ("mapping", &[1, 128]), ("private", &[1, 256])];
    btf.add("", STRUCT, 40, &inner);
    btf.add("", UNION, 40, &[("", &[3, 0]), ("compound_head", &[1, 0])]);
    btf.add("page", STRUCT, 56, &[("flags", &[1, 0]), ("", &[4, 64]), ("_refcount", &[1, 416])]);
    btf.add("free_area", STRUCT, 56, &[("free_list", &[2, 0])]);
    btf.add("pageflags", ENUM, 4, &[("PG_lru", &[5]), ("PG_head", &[6])]);
    let bench = Bench::new();
    bench.put("btf", &btf.bytes());
    let assembly = "\n__asm__(\".section .BTF, \\\"a\\\"\\n.globl __start_BTF, __stop_BTF\\n__start_BTF: .incbin \
                    \\\"btf\\\"\\n__stop_BTF:\\n.text\");\n";
    bench.put("kernel.c", format!("{SOURCE}{assembly}").as_bytes());
    compile(&bench, "-O1");
    let run = bench.tamis("vmcoreinfo -x vmlinux");
    let wanted = "OSRELEASE=6.12.0-made-up\nPAGESIZE=4096\nLENGTH(node_data)=64\nSIZE(page)=56\nSIZE(free_area)=56\n\
                  OFFSET(page.flags)=0\nOFFSET(page._refcount)=52\nOFFSET(page.mapping)=24\nOFFSET(page.lru)=8\n\
                  OFFSET(page.private)=40\nOFFSET(page.compound_head)=8\nOFFSET(free_area.free_list)=0\n\
                  LENGTH(free_area.free_list)=6\nNUMBER(PG_lru)=5\nNUMBER(PG_head_mask)=64\n";
    assert_eq!(lines(&run.expect(0).stdout, false), wanted);
    // With DWARF, too, they are held against each other: a free_area has 104 bytes there.
    compile(&bench, "-g");
    let run = bench.tamis("vmcoreinfo -x vmlinux");
    run.expect(0).says("it says different things of SIZE(free_area), which is left out");
    let less = WANTED.replace("SIZE(free_area)=104\n", "");
    assert_eq!(lines(&run.stdout, false), less);
    // Damage in one of them is told of, and the other one counts.
    let whole = bench.get("vmlinux");
    let at = whole.windows(4).position(|four| four == [0x9f, 0xeb, 1, 0]).expect("BTF");
    let mut ruined = whole.clone();
    ruined[at] = 0;
    bench.put("ruined", &ruined);
    let run = bench.tamis("vmcoreinfo -x ruined");
    run.expect(0).says("its BTF: the header of BTF");
    assert_eq!(lines(&run.stdout, false), WANTED);
}
