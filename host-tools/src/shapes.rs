//! `docs/json.md` against the types that make the documents: every member is described there, and nothing else.

use crate::about::compare::{Differences, Header, Kind, Run as DiffRun};
use crate::about::facts::{
    Bytes, Descriptors, Facts, File, Flattened, Info, Kernel, Machine, Pages, Span, Stored,
};
use crate::about::findings::{self, Fault, Report, Reports, Verdict, Weight};
use crate::about::log::{Entry, Lines};
use crate::about::notes::{Note, Notes, Registers};
use crate::about::panic::Task;
use crate::classes::map::{RangeClasses, RangePages};
use crate::classes::pages::{Run, RunList};
use crate::classes::stats::{Guest, Left, Stats, ZonePages};
use crate::classes::why::{Block, StructPage, Why};
use crate::classes::{ByClass, Class};
use crate::cli::Cli;
use crate::cmd::{print, read, refilter, sym, vmcoreinfo, vtop};
use crate::doctor;
use crate::kernel::lists::{Module, Modules, Task as KernelTask, Tasks};
use crate::kernel::slabs::{Cache, Slabs};
use crate::kernel::stack::{Call, Stack, Stacks};
use crate::kernel::usage::{self, Usage, Use};
use crate::kernel::value;
use crate::render::json::{Document, Hex, Members, write};
use crate::rewrite::estimate::{Exact, ExactLevel, Level, Sampled};
use crate::rewrite::repair::{Found, Pages as RepairPages};
use clap::CommandFactory;
use serde_json::Value;
use std::collections::BTreeSet;

const MANUAL: &str = include_str!("../docs/json.md");

/// Words in backticks that are no members: values, and names of other things.
const OTHERS: [&str; 61] = [
    "DMA",
    "DMA32",
    "Normal",
    "Movable",
    "T1",
    "C0",
    "sadump",
    "lime",
    "vmware",
    "loaded",
    "lockdown",
    "kernel",
    "image",
    "room",
    "watchdog",
    "panic",
    "good",
    "note",
    "bad",
    "memory",
    "whole",
    "user mode",
    "name+0x10 [module]",
    "kdump",
    "elf",
    "KDUMP",
    "TAMIS",
    "uname -m",
    "zlib",
    "lzo",
    "snappy",
    "zstd",
    "lz4",
    "raw",
    "sound",
    "damaged",
    "incomplete",
    "damage",
    "missing",
    "--faults",
    "in the dump",
    "struct page",
    "struct task_struct",
    "struct module",
    "struct kmem_cache",
    "live",
    "coming",
    "going",
    "unformed",
    "zero",
    "left out",
    "lost",
    "in another file",
    "--exact",
    "tamis-capture",
    "physical",
    "virtual",
    "null",
    "schema",
    "tamis.info/1",
    "0x",
];

/// The section of the manual about a schema, and the words in backticks in it.
fn section(schema: &str) -> BTreeSet<&'static str> {
    let mut sections = MANUAL.split("\n## ");
    let found = sections.find(|text| text.lines().next() == Some(schema));
    let text = found.unwrap_or_else(|| panic!("{schema} is not in json.md"));
    text.split('`').skip(1).step_by(2).collect()
}

/// The keys of a value and of what is in it. Keys of objects `any` are data, and not of the shape.
fn keys(value: &Value, any: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| keys(value, any, into)),
        Value::Object(members) => {
            for (key, value) in members {
                into.insert(key.clone());
                match value {
                    Value::Object(data) if key == any => {
                        data.values().for_each(|value| keys(value, any, into));
                    }
                    value => keys(value, any, into),
                }
            }
        }
        _ => {}
    }
}

/// Every option in `document` has a value, so that all its members are there.
fn check<D: Document>(document: &D, any: &str) -> BTreeSet<String> {
    let mut text = Vec::new();
    write(&mut text, document, usize::MAX).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["schema"], D::SCHEMA);
    let first = text.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(first.starts_with(b"  \"schema\": \""), "it is the first member");
    let mut found = BTreeSet::new();
    keys(&value, any, &mut found);
    found.remove("schema");
    let documented = section(D::SCHEMA);
    for key in &found {
        assert!(documented.contains(key.as_str()), "{}: {key} is not in json.md", D::SCHEMA);
    }
    found
}

/// Checks documents of one schema; together they have all its members.
fn all(schema: &str, found: &[BTreeSet<String>]) {
    let found: BTreeSet<&str> = found.iter().flatten().map(String::as_str).collect();
    for word in section(schema).difference(&found) {
        assert!(OTHERS.contains(word), "{schema}: json.md has {word}, which no document has");
    }
}

fn one<D: Document>(document: &D, any: &str) {
    all(D::SCHEMA, &[check(document, any)]);
}

fn registers() -> Registers {
    let symbol = Some("a".into());
    Registers { pid: Some(1), pc: Some(Hex(1)), sp: Some(Hex(1)), symbol }
}

#[test]
fn info_is_as_described() {
    let flattened = Some(Flattened { records: 1, has_end: true, size: 1 });
    let task = Task { name: "a".into(), pid: 1, cpu: 1, pc: Some(Hex(1)), sp: Some(Hex(1)) };
    let text = || Some("a".to_owned());
    let facts = Facts {
        files: vec![File { path: "a".into(), size: 1, flattened }],
        format: "kdump",
        form: None,
        text_found: false,
        header_version: Some(6),
        signature: Some("KDUMP"),
        written_by: "a",
        split: Some(vec![Span { start_pfn: 0, end_pfn: 1 }]),
        kernel: Kernel {
            release: text(),
            version: text(),
            host: text(),
            crash_time: Some(1),
            uptime: Some(0),
            command_line: text(),
            taint: text(),
            panic: text(),
            panic_task: Some(task),
            log_lines: Some(1),
            log_error: text(),
        },
        machine: Machine {
            name: "a".into(),
            elf_machine: 62,
            word_bits: 64,
            big_endian: false,
            page_size: 4096,
            page_size_assumed: false,
            xen: false,
            hypervisor: Some("Xen 4.17".into()),
            cpus: 1,
            cpu_states: vec![registers()],
        },
        dump_level: Some(31),
        pages: Pages {
            descriptors: Some(Descriptors {
                zero: 1,
                lost: 1,
                cut_off: 1,
                in_other_files: 1,
                bad_descriptors: 1,
            }),
            ..Pages::default()
        },
        codecs: vec![Stored { codec: "zlib", pages: 1, bytes: 1 }],
        bytes: Bytes { memory: 1, files: 1, page_data: Some(1) },
        notes: 1,
        notes_damaged: false,
        vmcoreinfo_keys: 1,
        complete: false,
        missing: vec!["a".into()],
    };
    one(&Info { dumps: vec![facts] }, "");
}

#[test]
fn verify_is_as_described() {
    let fault =
        Fault { kind: Weight::Damage, start_pfn: Some(0), end_pfn: Some(1), text: "a".into() };
    let report = Report {
        files: vec!["a".into()],
        verdict: Verdict::Damaged,
        pages: findings::Pages::default(),
        faults: vec![fault],
        faults_not_listed: 0,
        warnings: vec!["a".into()],
    };
    one(&Reports { dumps: vec![report] }, "");
}

#[test]
fn what_shows_a_dump_is_as_described() {
    let registers = registers();
    let note = Note {
        detail: Some(String::new()),
        offset: 0,
        name: "a".into(),
        kind: 1,
        size: 1,
        desc_at: 20,
        meaning: Some("a"),
        device: Some("a".into()),
        registers,
    };
    one(&Notes { damaged: false, notes: vec![note] }, "");
    let lines = {
        let entry = Entry { time: Some(1), caller: Some("a".into()), text: "a".into() };
        let (lines, entries) = (vec!["a".into()], vec![entry]);
        Lines { records: 1, records_left_out: 0, by_arithmetic: false, lines, entries }
    };
    one(&lines, "");
    let keys = Members(vec![("KEY".to_owned(), Some("a".to_owned())), ("B".to_owned(), None)]);
    one(&vmcoreinfo::Keys { keys }, "keys");
    let bytes = read::Bytes {
        address: Hex(1),
        kind: "physical",
        length: 1,
        read: 1,
        bytes: "00".into(),
        error: Some("a".into()),
    };
    one(&bytes, "");
    let translation = vtop::Translation {
        address: Hex(1),
        symbol: Some("a".into()),
        walk: vec![vtop::Entry { level: "PGD", entry_at: Hex(1), entry: Hex(1) }],
        physical: Some(Hex(1)),
        mapped: Some(vtop::Mapped { pfn: 1, contiguous: 1, page: "in the dump".into() }),
        error: Some("a".into()),
    };
    one(&translation, "");
    let (name, address) = ("a".into(), Hex(1));
    let module = Some("b".to_owned());
    let symbol = sym::Found { name, module, address, offset: 1, size: Some(1), letter: 'T' };
    one(&sym::Symbols { symbols: vec![symbol] }, "");
    let printed = print::Printed {
        expression: "a".into(),
        of: "struct a".into(),
        address: Some(Hex(1)),
        size: 4,
        value: value::Value::Members(vec![("member".into(), value::Value::Number(1))]),
    };
    one(&printed, "value");
    let (name, task) = ("a".to_owned(), Hex(1));
    let task = KernelTask { pid: 1, tgid: 1, state: 'R', kernel: false, task, name };
    one(&Tasks { tasks: vec![task], error: Some("a".into()) }, "");
    let (name, address, module) = ("a".to_owned(), Hex(1), Hex(1));
    let module = Module { name, state: "live", address, size: 1, module };
    one(&Modules { modules: vec![module], error: Some("a".into()) }, "");
    let cache = || Cache {
        name: "a".into(),
        object_size: 1,
        size: 1,
        objects: 1,
        in_use: 1,
        slabs: 1,
        bytes: 1,
        cache: Hex(1),
    };
    one(&Slabs { caches: vec![cache()], error: Some("a".into()) }, "");
    let process = usage::Process {
        pid: 1,
        name: "a".into(),
        resident: 1,
        anonymous: 1,
        file: 1,
        shared: 1,
        swapped: 1,
        page_tables: 1,
        oom_score_adj: 1,
    };
    let file = usage::File {
        bytes: 1,
        file_system: "a".into(),
        device: "a".into(),
        path: Some("a".into()),
        inode: 1,
    };
    let usage = Usage {
        memory: vec![Use { what: "a", bytes: 1 }],
        processes: vec![process],
        processes_not_listed: 0,
        caches: vec![cache()],
        caches_not_listed: 0,
        files: vec![file],
        files_not_listed: 0,
        error: Some("a".into()),
    };
    one(&usage, "");
    let text = || Some("a".to_owned());
    let call = Call {
        address: Hex(1),
        sp: Hex(1),
        symbol: text(),
        module: text(),
        offset: Some(1),
        guessed: false,
        registers: Some(Hex(1)),
    };
    let stack = Stack {
        pid: 1,
        task: Hex(1),
        name: "a".into(),
        state: 'R',
        cpu: Some(0),
        frames: vec![call],
        end: "whole",
        user_pc: Some(Hex(1)),
        error: text(),
    };
    one(&Stacks { stacks: vec![stack], error: text() }, "");
}

#[test]
fn what_goes_over_pages_is_as_described() {
    let mut classes = ByClass::default();
    classes[Class::Kernel] = 1;
    let range = RangeClasses { start: Hex(1), size: 1, pages: 1, stored: 1, classes };
    one(&RangePages { ranges: vec![range] }, "classes");
    let run = Run { start_pfn: 0, end_pfn: 1, bytes: 1, state: "raw", class: Class::Kernel };
    one(&RunList::new([run].into_iter()), "");
    let page = StructPage {
        address: Hex(1),
        flags: Hex(1),
        flag_names: vec!["a".into()],
        references: 1,
        mapped: Some(1),
        kind: Some("a".into()),
        mapping: Hex(1),
        private: Some(Hex(1)),
        list: Some([Hex(1), Hex(1)]),
        tail: false,
    };
    let why = Why {
        pfn: 1,
        physical: Hex(1),
        node: Some(0),
        zone: Some(0),
        class: "kernel",
        reason: "a".into(),
        struct_page: Some(page),
        block: Some(Block { start_pfn: 0, pages: 1 }),
        zeros: Some(false),
        left_out_at: vec![1],
        state: "raw",
        bytes: 1,
        file: Some("a".into()),
        offset: Some(1),
    };
    one(&why, "");
    let zone = ZonePages {
        node: 0,
        zone: Some(1),
        name: Some("a".into()),
        start_pfn: 0,
        end_pfn: 1,
        pages: ByClass::default(),
    };
    let stats = Stats {
        page_size: 4096,
        xen: false,
        guests: vec![Guest { id: Some(1), pages: 0 }],
        classes: ByClass::default(),
        zones: vec![zone],
        levels: vec![Left { level: 31, pages: 1, bytes: 1 }],
    };
    one(&stats, "");
    let mut differences = Differences::default();
    differences.headers = vec![Header { what: "a", first: "b".into(), second: "c".into() }];
    differences.runs = vec![DiffRun { what: Kind::Different, start_pfn: 0, end_pfn: 1 }];
    one(&differences, "");
}

#[test]
fn what_is_written_is_as_described() {
    let pages = RepairPages { good: 1, missing: 1, damaged: 1 };
    one(&Found { complete: false, pages: Some(pages), missing_bytes: Some(1) }, "");
    let pages = refilter::Pages { exist: 1, kept: 1, left_out: 0, lost: 0 };
    one(&refilter::Done { level: 31, pages, bytes: 1, complete: true }, "");
    let codecs = || Members(vec![("zlib", 1)]);
    let level = Level { level: 31, pages: 1, bytes: codecs(), cpu_milliseconds: codecs() };
    let sampled = Sampled { exact: false, levels: vec![level], least_memory_limit: codecs() };
    let exact = Exact { exact: true, levels: vec![ExactLevel { level: 31, bytes: 1, pages: 1 }] };
    all(Sampled::SCHEMA, &[check(&sampled, ""), check(&exact, "")]);
}

#[test]
fn what_the_machine_is_told_is_as_described() {
    let next = Some("b".to_owned());
    let check =
        doctor::Check { name: "memory", outcome: doctor::Outcome::Good, found: "a".into(), next };
    one(&doctor::Examination { checks: vec![check] }, "");
}

/// The schemas that commands name in their help, and the sections of the manual.
#[test]
fn every_schema_is_described() {
    let cli = Cli::command();
    let options = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let help = options.filter(|option| option.get_id() == "json").filter_map(clap::Arg::get_help);
    let named: BTreeSet<String> = help
        .map(|help| {
            let help = help.to_string();
            let (_, schema) = help.split_once("(schema ").expect("the name of the schema");
            schema.split(')').next().unwrap().to_owned()
        })
        .collect();
    let documented = MANUAL.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(named, documented.map(str::to_owned).collect());
}
