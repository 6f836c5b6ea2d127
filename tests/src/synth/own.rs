//! What a kernel carries of its own description: kallsyms and BTF, as of Linux 6.12, with a few tasks, a
//! module, slab caches and a file system to look at.

use std::collections::BTreeMap;

use super::info;
use super::machine::{Kit, Machine};
use super::tables::Leaf;

/// Offset in the image.
const AT: u64 = 0x20_0000;
/// Offsets from there.
/// The list of the modules' types, which has one element, and where these are.
const BTF_MODULES: u64 = 0xf00;
const MODULE_BTF: u64 = BTF + 0x1_0000;
/// Who uses the memory: see [`usage`].
const USAGE: u64 = 0xa00;
const INIT_TASK: u64 = 0x1000;
const OTHER_TASK: u64 = 0x1400;
const MODULES: u64 = 0x1800;
const MODULE: u64 = 0x1a00;
/// The symbols of the module, their names and letters.
const SYMBOLS: u64 = 0x1b00;
const NAMES: u64 = 0x1c00;
const LETTERS: u64 = 0x1c80;
const KALLSYMS: u64 = 0x2000;
const BTF: u64 = 0x18_0000;
/// Where the module's memory is in the kernel's image, where it is mapped, and its bytes.
const MODULE_MEMORY: u64 = 0x1c_0000;
const MODULE_AT: u64 = 0xffff_ffff_c000_0000;
const MODULE_LEN: u64 = 0x3000;
/// Symbols without a meaning: a kernel has more than 64 blocks of 256.
const OTHERS: u64 = 17_000;

/// Writes all of it; the tables get the keys that Linux 6.0 and later have for them.
pub(super) fn write(machine: &Machine, kit: &mut Kit) {
    let at = kit.text_va + AT;
    let mut symbols = kit.symbols.clone();
    // VMCOREINFO has what the variable holds.
    symbols.retain(|(name, _)| name != "mem_section");
    if let Some((_, root)) = kit.symbols.iter().find(|(name, _)| name == "mem_section") {
        kit.memory.write(at + 0x800, &root.to_le_bytes());
        symbols.push(("mem_section".into(), at + 0x800));
    }
    let banner = format!("Linux version {} (synth@synth)", machine.facts().release);
    kit.memory.write(at, banner.as_bytes());
    symbols.push(("linux_banner".into(), at));
    tasks(kit, at);
    symbols.extend(usage(kit, at + USAGE));
    let own = [("btf_modules", BTF_MODULES), ("init_task", INIT_TASK), ("modules", MODULES)];
    for (name, offset) in own {
        symbols.push((name.into(), at + offset));
    }
    let levels = u32::from(machine.levels == 5);
    kit.memory.write(at + 0x900, &levels.to_le_bytes());
    kit.memory.write(at + 0x908, &machine.sme_mask.to_le_bytes());
    symbols.push(("__pgtable_l5_enabled".into(), at + 0x900));
    symbols.push(("sme_me_mask".into(), at + 0x908));
    let types = types(machine, &kit.symbols);
    symbols.push(("__start_BTF".into(), at + BTF));
    symbols.push(("__stop_BTF".into(), at + BTF + types.len() as u64));
    kit.memory.write(at + BTF, &types);
    let own = module_types(&types);
    kit.memory.write(at + MODULE_BTF, &own);
    let words = [
        (0, at + BTF_MODULES + 0x20),
        (8, at + BTF_MODULES + 0x20),
        // struct btf_module, and struct btf.
        (0x10, at + BTF_MODULES + 0x30),
        (0x18, at + MODULE),
        (0x20, at + BTF_MODULES),
        (0x28, at + BTF_MODULES),
        (0x30, at + MODULE_BTF),
        (0x38, own.len() as u64),
    ];
    for (offset, word) in words {
        kit.memory.write(at + BTF_MODULES + offset, &word.to_le_bytes());
    }
    let (tables, keys) = kallsyms(at + KALLSYMS, kit.text_va, symbols);
    assert!(KALLSYMS + tables.len() as u64 <= BTF, "symbols end in front of the types");
    kit.memory.write(at + KALLSYMS, &tables);
    kit.symbols.extend(keys.into_iter().map(|(name, at)| (name.to_owned(), at)));
}

/// Two tasks and a module, in their lists.
fn tasks(kit: &mut Kit, at: u64) {
    let task = |state: u32, pid: u32, next: u64, mm: u64, comm: &[u8], parent: u64| {
        let mut task = vec![0; 0x80];
        task[..4].copy_from_slice(&state.to_le_bytes());
        task[8..12].copy_from_slice(&pid.to_le_bytes());
        task[12..16].copy_from_slice(&pid.to_le_bytes());
        task[16..24].copy_from_slice(&next.to_le_bytes());
        task[24..32].copy_from_slice(&next.to_le_bytes());
        task[32..40].copy_from_slice(&mm.to_le_bytes());
        task[40..40 + comm.len()].copy_from_slice(comm);
        task[64..72].copy_from_slice(&parent.to_le_bytes());
        // Bit fields of 3 and of 5 bits.
        task[72] = 0b0101_1011;
        task[80..88].copy_from_slice(&(at + USAGE + SIGNAL).to_le_bytes());
        task
    };
    let (init, other) = (at + INIT_TASK, at + OTHER_TASK);
    kit.memory.write(init, &task(0, 0, other + 16, 0, b"swapper/0", init));
    kit.memory.write(other, &task(1, 1, init + 16, at + USAGE + MM, b"init", init));
    let module = at + MODULE;
    kit.memory.write(at + MODULES, &(module + 8).to_le_bytes());
    kit.memory.write(at + MODULES + 8, &(module + 8).to_le_bytes());
    let mut bytes = vec![0; 232];
    for (offset, value) in [
        (8, at + MODULES),
        (16, at + MODULES),
        (80, MODULE_AT),
        // The table of symbols is in the module, with a pointer to it in front.
        (192, module + 200),
        (200, at + SYMBOLS),
        (208, 4),
        (216, at + NAMES),
        (224, at + LETTERS),
    ] {
        bytes[offset..offset + 8].copy_from_slice(&u64::to_le_bytes(value));
    }
    bytes[24..33].copy_from_slice(b"synthetic");
    bytes[88..92].copy_from_slice(&(MODULE_LEN as u32).to_le_bytes());
    kit.memory.write(module, &bytes);
    // Its memory, behind all that is written here.
    let place = kit.memory.translate(at + MODULE_MEMORY).expect("the kernel's image is mapped");
    kit.memory.map(MODULE_AT, place, MODULE_LEN, Leaf::Page);
    // None, a function, a symbol of the kernel, and a variable that is last.
    for (index, (name, section, address)) in
        [(0u32, 0u16, 0), (1, 1, 0x100), (12, 0, 0), (19, 2, 0x2000)].into_iter().enumerate()
    {
        let mut symbol = [0; 24];
        symbol[..4].copy_from_slice(&name.to_le_bytes());
        symbol[6..8].copy_from_slice(&section.to_le_bytes());
        symbol[8..16].copy_from_slice(&(MODULE_AT + address).to_le_bytes());
        kit.memory.write(at + SYMBOLS + 24 * index as u64, &symbol);
    }
    kit.memory.write(at + NAMES, b"\0synth_init\0printk\0synth_state\0");
    kit.memory.write(at + LETTERS, b"\0tUd");
}

/// Offsets of what is in [`usage`].
const MM: u64 = 0x2c0;
const SIGNAL: u64 = 0x310;

/// Two slab caches, the memory of a process, and a file system with two files, one of which has a name. Returns the
/// symbols.
fn usage(kit: &mut Kit, at: u64) -> Vec<(String, u64)> {
    let mut words = Vec::<(u64, u64)>::new();
    let mut list = |head: u64, elements: &[u64]| {
        let mut before = head;
        for next in elements.iter().chain([&head]) {
            words.extend([(before, at + next), (next + 8, at + before)]);
            before = *next;
        }
    };
    let (caches, nodes, slabs) = ([0x80, 0xe0], [0x140, 0x170], [0x1a0, 0x1d0]);
    let (inodes, dentries) = ([0x360, 0x390], [0x3d0, 0x400]);
    list(0, &caches.map(|cache| cache + 32));
    list(0x10, &[0x320]);
    list(nodes[0] + 8, &[slabs[0]]);
    list(nodes[1] + 8, &[]);
    list(0x330, &inodes);
    // Pages: of files, anonymous, KiB of stacks; free; all.
    words.extend([(0x20, 300), (0x28, 50), (0x30, 64), (0x40, 1000), (0x50, 4000)]);
    // One node, two CPUs, and where the second one's variables are.
    words.extend([(0x58, 2 << 32 | 1), (0x60, 0), (0x68, 0x40)]);
    let names = [
        (0x200, "dentry"),
        (0x210, "kmalloc-64"),
        (0x220, "tmpfs"),
        (0x228, "file.txt"),
        (0x234, "/"),
    ];
    for (offset, name) in names {
        kit.memory.write(at + offset, name.as_bytes());
    }
    // A free object of the first cache, with the pointer to the next in it, which is mixed up.
    let (cpus, object, random) = (0x240, 0x440, 0x1122_3344_5566_7788u64);
    let (first, second) = (at + object, at + object + 192);
    let mixed = |at: u64, next: u64| next ^ random ^ (at + 64).swap_bytes();
    words.extend([(object + 64, mixed(first, second)), (object + 192 + 64, mixed(second, 0))]);
    for (cache, [size, name, order, node]) in
        caches.into_iter().zip([[192, 0x200, 1, 0x140], [64, 0x210, 0, 0x170]])
    {
        let slots = (order << 16) | (4096 * (1 << order) / size);
        words.extend([
            (cache, if size == 192 { at + cpus } else { 0 }),
            (cache + 8, (size - 8) << 32 | size),
            (cache + 16, slots << 32 | 64),
            (cache + 24, at + name),
            (cache + 48, random),
            (cache + 56, at + node),
        ]);
    }
    words.extend([
        (nodes[0] + 24, 3),
        (nodes[0] + 32, 126),
        (nodes[1] + 24, 1),
        (nodes[1] + 32, 64),
    ]);
    // Objects in use, and objects: of a slab on the node's list, and of the one that a CPU has.
    words.extend([(slabs[0] + 24, 42 << 16 | 30), (slabs[1] + 24, 42 << 16 | 41)]);
    words.extend([(cpus, first), (cpus + 8, at + slabs[1]), (cpus + 0x40, 0)]);
    // Counters of the process: of files, anonymous, swapped out, shared; the CPUs have parts of the second one.
    for (index, pages) in (0..).zip([12, 30, 5, 2]) {
        words.extend([
            (MM + 16 * index, pages),
            (MM + 16 * index + 8, at + cpus + 0x20 + 4 * index),
        ]);
    }
    words.extend([
        (cpus + 0x20, 3 << 32),
        (cpus + 0x60, (-1i32 as u32 as u64) << 32),
        (MM + 64, 0x5000),
    ]);
    words.push((SIGNAL, u64::from(-500i16 as u16)));
    kit.memory.write(at + 0x340, b"vda\0");
    words.extend([(0x348, at + 0x350), (0x350, at + 0x220)]);
    for (inode, [mapping, alias, number]) in
        inodes.into_iter().zip([[0x3c0, at + dentries[0] + 24, 12], [0x3c8, 0, 13]])
    {
        words.extend([(inode + 16, at + mapping), (inode + 24, alias), (inode + 32, number)]);
    }
    words.extend([(0x3c0, 200), (0x3c8, 40)]);
    for (dentry, [parent, name]) in dentries.into_iter().zip([[0x400, 0x228], [0x400, 0x234]]) {
        words.extend([(dentry, at + parent), (dentry + 16, at + name)]);
    }
    for (offset, word) in words {
        kit.memory.write(at + offset, &word.to_le_bytes());
    }
    let symbols = [
        ("slab_caches", 0),
        ("super_blocks", 0x10),
        ("vm_node_stat", 0x20),
        ("vm_zone_stat", 0x40),
        ("_totalram_pages", 0x50),
        ("nr_node_ids", 0x58),
        ("nr_cpu_ids", 0x5c),
        ("__per_cpu_offset", 0x60),
    ];
    symbols.map(|(name, offset)| (name.to_owned(), at + offset)).into()
}

/// The tables of `scripts/kallsyms.c`, at `at`, and where each of them is.
fn kallsyms(
    at: u64,
    text: u64,
    mut symbols: Vec<(String, u64)>,
) -> (Vec<u8>, Vec<(&'static str, u64)>) {
    symbols.extend((0..OTHERS).map(|n| (format!("f{n:04x}"), text + 0x8000 + 32 * n)));
    symbols.sort_by_key(|(_, address)| *address);
    let mut out: Vec<u8> = Vec::new();
    let mut keys = Vec::new();
    fn align(out: &mut Vec<u8>) {
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (index, (name, _)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push(names.len() as u32);
        }
        names.push(name.len() as u8 + 1);
        names.push(b'T');
        names.extend(name.bytes());
    }
    keys.push(("kallsyms_num_syms", at));
    out.extend((symbols.len() as u32).to_le_bytes());
    align(&mut out);
    keys.push(("kallsyms_names", at + out.len() as u64));
    out.extend(names);
    align(&mut out);
    markers.iter().for_each(|marker| out.extend(marker.to_le_bytes()));
    align(&mut out);
    keys.push(("kallsyms_token_table", at + out.len() as u64));
    let (start, mut index) = (out.len(), Vec::new());
    for token in 0..=255u8 {
        index.push((out.len() - start) as u16);
        out.extend(Some(token).filter(u8::is_ascii_graphic));
        out.push(0);
    }
    align(&mut out);
    keys.push(("kallsyms_token_index", at + out.len() as u64));
    index.iter().for_each(|start| out.extend(start.to_le_bytes()));
    keys.push(("kallsyms_offsets", at + out.len() as u64));
    // Counted down from the base, but for per-CPU variables, of which there are none.
    let base = text;
    for (_, address) in &symbols {
        let number = (base as i64 - 1 - *address as i64) as i32;
        out.extend(number.to_le_bytes());
    }
    align(&mut out);
    keys.push(("kallsyms_relative_base", at + out.len() as u64));
    out.extend(base.to_le_bytes());
    (out, keys)
}

/// BTF under construction.
struct Types {
    records: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Types {
    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let mut whole = vec![0];
        whole.extend(text.bytes());
        whole.push(0);
        match self.strings.windows(whole.len()).position(|window| window == whole) {
            Some(at) => at as u32 + 1,
            None => {
                let at = self.strings.len() as u32;
                self.strings.extend(&whole[1..]);
                at
            }
        }
    }

    fn add(&mut self, kind: u32, name: &str, count: u32, value: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind << 24 | count, value].iter().chain(rest) {
            self.records.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    /// Members are name, type, bit, and bits of a bit field.
    fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        let fields = members.iter().any(|member| member.3 > 0);
        let mut rest = Vec::new();
        for (name, of, bit, width) in members {
            rest.extend([self.string(name), *of, bit | width << 24]);
        }
        let kind = if fields { 0x80 | 4 } else { 4 };
        self.add(kind, name, members.len() as u32, size, &rest)
    }

    fn enumeration(&mut self, name: &str, values: &[(String, u32)]) {
        let mut rest = Vec::new();
        for (name, value) in values {
            rest.extend([self.string(name), *value]);
        }
        self.add(6, name, values.len() as u32, 4, &rest);
    }
}

/// The types of the module: a structure with a list of the kernel's, and one of its own. Numbers and strings go on
/// where the kernel's end.
fn module_types(of_kernel: &[u8]) -> Vec<u8> {
    let field = |at: usize| u32::from_le_bytes(of_kernel[at..at + 4].try_into().expect("4 bytes"));
    let (types, strings) =
        (&of_kernel[24..24 + field(12) as usize], &of_kernel[24 + field(16) as usize..]);
    let string = |name: &str| {
        let whole = format!("\0{name}\0");
        let at = strings.windows(whole.len()).position(|window| window == whole.as_bytes());
        at.expect("a string of the kernel's") as u32 + 1
    };
    // The records up to the list, and of all.
    let (mut at, mut count, mut list) = (0, 0, 0);
    while at < types.len() {
        let word = |index: usize| {
            u32::from_le_bytes(types[at + 4 * index..][..4].try_into().expect("4 bytes"))
        };
        let (name, kind, elements) = (word(0), word(1) >> 24 & 0x7f, word(1) & 0xff_ffff);
        count += 1;
        if kind == 4 && name == string("list_head") {
            list = count;
        }
        at += 12
            + match kind {
                1 => 4,
                3 => 12,
                4 => 12 * elements as usize,
                6 => 8 * elements as usize,
                _ => 0,
            };
    }
    let own = strings.len() as u32;
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let inner = [own, 4 << 24 | 1, 4, string("state"), 3, 0];
    let outer = [own + 12, 4 << 24 | 2, 24, string("list"), list, 0, own + 24, count + 1, 128];
    let names = b"synth_inner\0synth_outer\0inside\0";
    let len = 4 * (inner.len() + outer.len()) as u32;
    for word in [24, 0, len, len, names.len() as u32].iter().chain(&inner).chain(&outer) {
        out.extend(u32::to_le_bytes(*word));
    }
    out.extend(names);
    out
}

/// The types of what is in [`usage`], and of the list of modules' types.
fn of_usage(all: &mut Types, [int, long, short, char, void, list]: [u32; 6]) {
    let values = |names: &[(&str, u32)]| -> Vec<_> {
        names.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    };
    let node = [("NR_FILE_PAGES", 0), ("NR_ANON_MAPPED", 1), ("NR_KERNEL_STACK_KB", 2)];
    all.enumeration("node_stat_item", &values(&node));
    all.enumeration("zone_stat_item", &values(&[("NR_FREE_PAGES", 0)]));
    let nodes = all.add(3, "", 0, 0, &[void, int, 1]);
    let order = all.structure("kmem_cache_order_objects", 4, &[("x", int, 0, 0)]);
    let id = all.add(3, "", 0, 0, &[char, int, 8]);
    let counter =
        all.structure("percpu_counter", 16, &[("count", long, 0, 0), ("counters", void, 64, 0)]);
    let counters = all.add(3, "", 0, 0, &[counter, int, 4]);
    let name = all.structure("qstr", 16, &[("len", int, 0, 0), ("name", void, 64, 0)]);
    let first = all.structure("hlist_head", 8, &[("first", void, 0, 0)]);
    /// Its name, bytes and members: name, type, bit, bits.
    type Structure<'a> = (&'a str, u32, &'a [(&'a str, u32, u32, u32)]);
    let structures: [Structure<'_>; 13] = [
        (
            "kmem_cache",
            64,
            &[
                ("cpu_slab", void, 0, 0),
                ("size", int, 64, 0),
                ("object_size", int, 96, 0),
                ("offset", int, 128, 0),
                ("oo", order, 160, 0),
                ("name", void, 192, 0),
                ("list", list, 256, 0),
                ("random", long, 384, 0),
                ("node", nodes, 448, 0),
            ],
        ),
        (
            "kmem_cache_node",
            40,
            &[
                ("nr_partial", long, 0, 0),
                ("partial", list, 64, 0),
                ("nr_slabs", long, 192, 0),
                ("total_objects", long, 256, 0),
            ],
        ),
        (
            "slab",
            32,
            &[
                ("slab_list", list, 0, 0),
                ("next", void, 128, 0),
                ("inuse", int, 192, 16),
                ("objects", int, 208, 15),
                ("frozen", int, 223, 1),
            ],
        ),
        (
            "kmem_cache_cpu",
            24,
            &[("freelist", void, 0, 0), ("slab", void, 64, 0), ("partial", void, 128, 0)],
        ),
        ("mm_struct", 72, &[("rss_stat", counters, 0, 0), ("pgtables_bytes", long, 512, 0)]),
        ("signal_struct", 8, &[("oom_score_adj", short, 0, 0)]),
        (
            "super_block",
            48,
            &[
                ("s_list", list, 0, 0),
                ("s_inodes", list, 128, 0),
                ("s_id", id, 256, 0),
                ("s_type", void, 320, 0),
            ],
        ),
        ("file_system_type", 8, &[("name", void, 0, 0)]),
        (
            "inode",
            40,
            &[
                ("i_sb_list", list, 0, 0),
                ("i_mapping", void, 128, 0),
                ("i_dentry", first, 192, 0),
                ("i_ino", long, 256, 0),
            ],
        ),
        ("address_space", 8, &[("nrpages", long, 0, 0)]),
        (
            "dentry",
            40,
            &[("d_parent", void, 0, 0), ("d_name", name, 64, 0), ("d_alias", list, 192, 0)],
        ),
        ("btf_module", 32, &[("btf", void, 0, 0), ("module", void, 64, 0), ("list", list, 128, 0)]),
        ("btf", 16, &[("data", void, 0, 0), ("data_size", int, 64, 0)]),
    ];
    for (name, size, members) in structures {
        all.structure(name, size, members);
    }
}

/// The types that VMCOREINFO speaks of, as it has them, and those of tasks and modules.
fn types(machine: &Machine, symbols: &[(String, u64)]) -> Vec<u8> {
    let built = info::Addresses { symbols: symbols.to_vec(), ..Default::default() };
    let text = info::full(machine, &built);
    let mut all = Types { records: Vec::new(), strings: vec![0], count: 0 };
    let ints = [("unsigned char", 1), ("short unsigned int", 2), ("unsigned int", 4)];
    let [byte, short, int] =
        ints.map(|(name, size): (&str, u32)| all.add(1, name, 0, size, &[8 * size]));
    let long = all.add(1, "long unsigned int", 0, 8, &[64]);
    let signed = all.add(1, "int", 0, 4, &[1 << 24 | 32]);
    let char = all.add(1, "char", 0, 1, &[1 << 24 | 8]);
    let void = all.add(2, "", 0, 0, &[]);
    let (mut sizes, mut members) = (BTreeMap::new(), BTreeMap::<&str, Vec<(&str, u32)>>::new());
    let (mut flags, mut kinds, mut orders) = (Vec::new(), Vec::new(), 11);
    let mut dtor = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let Some((kind, name)) = key.strip_suffix(')').and_then(|key| key.split_once('(')) else {
            continue;
        };
        let Ok(number) = value.parse::<i64>() else { continue };
        match kind {
            "SIZE" => drop(sizes.insert(name, number as u32)),
            "OFFSET" => {
                let (structure, member) = name.split_once('.').expect("a member");
                members.entry(structure).or_default().push((member, number as u32));
            }
            "LENGTH" if name == "zone.free_area" => orders = number as u32,
            "NUMBER" if name == "PG_head_mask" => {
                flags.push(("PG_head".to_owned(), number.trailing_zeros()));
            }
            "NUMBER" if name.starts_with("PG_") => flags.push((name.to_owned(), number as u32)),
            "NUMBER" if name == "HUGETLB_PAGE_DTOR" => dtor.push((name.to_owned(), number as u32)),
            "NUMBER" if number as u32 & 0xff_ffff == 0 => {
                let kind =
                    name.strip_prefix("PAGE_").and_then(|n| n.strip_suffix("_MAPCOUNT_VALUE"));
                let top = number as u32 >> 24;
                kinds.extend(kind.map(|kind| (format!("PGTY_{}", kind.to_lowercase()), top)));
            }
            _ => {}
        }
    }
    all.enumeration("pageflags", &flags);
    all.enumeration("pagetype", &kinds);
    all.enumeration("compound_dtor_id", &dtor);
    let areas = all.add(3, "", 0, 0, &[long, int, orders]);
    let mut list = 0;
    for (structure, members) in &members {
        let least = members.iter().map(|(_, at)| at + 8).max().unwrap_or(0);
        let size = sizes.get(structure).copied().unwrap_or(least);
        let members: Vec<_> = members
            .iter()
            .map(|(member, at)| {
                let of = match size.saturating_sub(*at) {
                    _ if *member == "free_area" => areas,
                    8.. if at % 8 == 0 => long,
                    4.. if at % 4 == 0 => int,
                    2.. if at % 2 == 0 => short,
                    _ => byte,
                };
                (*member, of, 8 * at, 0)
            })
            .collect();
        let id = all.structure(structure, size, &members);
        if *structure == "list_head" {
            list = id;
        }
    }
    let comm = all.add(3, "", 0, 0, &[char, int, 16]);
    let task = all.count + 2;
    let parent = all.add(2, "", 0, task, &[]);
    all.structure(
        "task_struct",
        0x80,
        &[
            ("__state", int, 0, 0),
            ("pid", signed, 64, 0),
            ("tgid", signed, 96, 0),
            ("tasks", list, 128, 0),
            ("mm", void, 256, 0),
            ("comm", comm, 320, 0),
            ("exit_state", signed, 448, 0),
            ("real_parent", parent, 512, 0),
            ("in_execve", int, 576, 3),
            ("in_iowait", int, 579, 5),
            ("signal", void, 640, 0),
        ],
    );
    of_usage(&mut all, [int, long, short, char, void, list]);
    let memory = all.structure("module_memory", 16, &[("base", void, 0, 0), ("size", int, 64, 0)]);
    let (name, memories) =
        (all.add(3, "", 0, 0, &[char, int, 56]), all.add(3, "", 0, 0, &[memory, int, 7]));
    let members = [
        ("symtab", void, 0, 0),
        ("num_symtab", int, 64, 0),
        ("strtab", void, 128, 0),
        ("typetab", void, 192, 0),
    ];
    let symbols = all.structure("mod_kallsyms", 32, &members);
    let members = [
        ("state", int, 0, 0),
        ("list", list, 64, 0),
        ("name", name, 192, 0),
        ("mem", memories, 640, 0),
        ("kallsyms", void, 1536, 0),
        ("core_kallsyms", symbols, 1600, 0),
    ];
    all.structure("module", 232, &members);
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let (records, strings) = (all.records.len() as u32, all.strings.len() as u32);
    for word in [24, 0, records, records, strings] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend(all.records);
    out.extend(all.strings);
    out
}
