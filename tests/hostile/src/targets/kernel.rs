//! What the workstation shows of a dead kernel by its own symbols and types, with its structures overwritten.

use crate::input::Input;
use crate::{Reach, Target};
use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use tamis_host::dump::open::open;
use tamis_host::dump::opened::Opened;
use tamis_host::kernel::expr::{parse, print};
use tamis_host::kernel::lists::{modules, tasks};
use tamis_host::kernel::slabs::slabs;
use tamis_host::kernel::split::types_of;
use tamis_host::kernel::types::Types;
use tamis_host::kernel::usage::usage;
use tamis_host::kernel::with_types;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

/// A made-up vmcore in a file, and where in the file what is shown of it lies.
struct Vmcore {
    path: PathBuf,
    /// Address and offset of the first byte of what the kernel has of its own.
    address: u64,
    offset: u64,
    /// The bytes from there on.
    bytes: Vec<u8>,
}

/// Bytes that may be overwritten: structures, and the types behind them.
const LEN: usize = 0x19_1000;
/// What is looked at, from there: lists and tasks, who uses the memory, types, those of a module.
const PLACES: [(u64, u64); 4] =
    [(0xf00, 0xd00), (0x1000, 0x1000), (0x18_0000, 0x1_0000), (0x19_0000, 0x200)];

impl Vmcore {
    fn new() -> Vmcore {
        let image = zoo(KernelStyle::V6_12).own_tables().build();
        let name =
            format!("tamis-hostile-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        image.write(&path).expect("writing the vmcore");
        let whole = fs::read(&path).expect("reading it");
        let banner = whole.windows(14).position(|text| text == b"Linux version ");
        let offset = banner.expect("the kernel's banner");
        let bytes = whole[offset..offset + LEN].to_vec();
        Vmcore { path, address: 0xffff_ffff_8120_0000, offset: offset as u64, bytes }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).expect("opening the vmcore");
        file.write_all_at(bytes, self.offset + at).expect("writing into the vmcore");
    }
}

impl Drop for Vmcore {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

thread_local! {
    static VMCORE: RefCell<Option<Vmcore>> = const { RefCell::new(None) };
}

/// What is printed.
const EXPRESSIONS: [&str; 6] = [
    "init_task",
    "*init_task.real_parent",
    "((struct module *)0xffffffff81201a00)->mem[0]",
    "*(struct kmem_cache *)0xffffffff81200a80",
    "*(struct list_head *)modules",
    "*(struct page *)0xffd4000000005000",
];

pub const KERNEL: Target = Target {
    name: "kernel",
    about: "tasks, modules, slab caches, files and structures of a kernel, overwritten",
    goals: &[
        "tasks",
        "tasks cut",
        "modules",
        "slabs",
        "slabs cut",
        "top",
        "top cut",
        "printed",
        "not printed",
        "types of a module",
        "no types of a module",
    ],
    run: kernel,
    seeds: || {
        let mut seeds: Vec<Vec<u8>> = (0..6).map(|command| vec![command]).collect();
        for command in 0..6 {
            for place in 0..PLACES.len() as u8 {
                for kind in 0..6 {
                    // Two words of the place.
                    let at = (16 * u32::from(kind) + 8 * u32::from(command)).to_le_bytes();
                    let change = [&[place][..], &at, &[kind]].concat();
                    let other =
                        [&[place][..], &(0xa00 + 24 * u32::from(kind)).to_le_bytes(), &[kind]];
                    seeds.push([&[command][..], &change, &other.concat()].concat());
                }
            }
        }
        seeds
    },
};

fn kernel(data: &[u8], reach: &mut Reach) {
    VMCORE.with_borrow_mut(|vmcore| {
        let vmcore = vmcore.get_or_insert_with(Vmcore::new);
        let mut input = Input::new(data);
        let command = input.byte();
        let mut changed = Vec::new();
        while !input.is_empty() && changed.len() < 32 {
            let (start, len) = PLACES[input.below(PLACES.len() as u64) as usize];
            let at = (start + u64::from(input.u32()) % len) & !7;
            let word = match input.byte() % 6 {
                // The place itself, another one, nothing, no address, a large number, any.
                0 => vmcore.address + at,
                1 => vmcore.address + 0x1000 + ((at * 7) & 0xff8),
                2 => 0,
                3 => 0x10,
                4 => u64::MAX >> 1,
                _ => input.u64(),
            };
            vmcore.write(at, &word.to_le_bytes());
            changed.push(at);
        }
        if let Ok(mut opened) = open(std::slice::from_ref(&vmcore.path)) {
            show(&mut opened, command, reach);
        }
        for at in changed {
            vmcore.write(at, &vmcore.bytes[at as usize..at as usize + 8]);
        }
    });
}

fn show(opened: &mut Opened, command: u8, reach: &mut Reach) {
    match command % 6 {
        0 => {
            if let Ok(found) = tasks(opened) {
                reach.at(if found.error.is_some() { "tasks cut" } else { "tasks" });
            }
        }
        1 => {
            if modules(opened).is_ok() {
                reach.at("modules");
            }
        }
        2 => {
            if let Ok(found) = slabs(opened) {
                reach.at(if found.error.is_some() { "slabs cut" } else { "slabs" });
            }
        }
        3 => {
            if let Ok(found) = usage(opened, 10) {
                reach.at(if found.error.is_some() { "top cut" } else { "top" });
            }
        }
        4 => {
            let _ = with_types(opened, |kernel, btf| {
                for text in EXPRESSIONS {
                    let expr = parse(text).expect("an expression");
                    let done = print(&mut Types { kernel, btf }, &expr);
                    reach.at(if done.is_ok() { "printed" } else { "not printed" });
                }
                Ok(())
            });
        }
        _ => {
            let _ = with_types(opened, |kernel, btf| {
                let mut index = Vec::new();
                let done = types_of(kernel, btf, "synthetic", &mut index);
                reach.at(match &done {
                    Ok(_) => "types of a module",
                    Err(_) => "no types of a module",
                });
                if let Ok(btf) = &done {
                    let expr = parse("*(struct synth_outer *)0xffffffff81201800");
                    let _ = print(&mut Types { kernel, btf }, &expr.expect("an expression"));
                }
                Ok(())
            });
        }
    }
}
