use super::*;
use crate::endian::Endian;
use crate::kernel::symbols::testing::{IMAGE, Made, MakeBtf, Numbered, Order, kind, with_types};
use crate::testing::info;
use crate::units::{Pfn, PfnSpan};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// The head of the list: a variable behind the types.
const HEAD: u64 = IMAGE + 0x1000 + 64 * 33_280;
const VARIABLE: &str = "sym033280";
const ARRAY: u64 = HEAD + 0x4000;
const PAGES: u64 = 0xffff_ea00_0000_0000;

fn types() -> Vec<u8> {
    let mut btf = MakeBtf::new(Endian::Little);
    let (long, int) = (btf.int("long unsigned int", 8), btf.int("int", 4));
    let char = btf.int("char", 1);
    let name = btf.add(kind::ARRAY, false, "", 0, &[char, int, 16], 0);
    let link = btf.count + 2;
    let to_link = btf.add(kind::PTR, false, "", link, &[], 0);
    btf.structure("list_head", 16, &[("next", to_link, 0, 0), ("prev", to_link, 64, 0)]);
    let page = btf.structure("page", 64, &[("flags", long, 0, 0)]);
    let to_page = btf.add(kind::PTR, false, "", page, &[], 0);
    let pages = btf.add(kind::PTR, false, "", to_page, &[], 0);
    let data = btf.add(kind::PTR, false, "", 0, &[], 0);
    let cache = btf.structure("kmem_cache", 8, &[("size", long, 0, 0)]);
    let to_cache = btf.add(kind::PTR, false, "", cache, &[], 0);
    let two = btf.add(kind::ARRAY, false, "", 0, &[to_cache, int, 2], 0);
    btf.structure("slab", 64, &[("slab_cache", to_cache, 64, 0)]);
    let inner = [("name", name, 0, 0), ("number", int, 128, 0)];
    let inner = btf.structure("", 24, &inner);
    let members = [
        ("link", link, 0, 0),
        ("", inner, 128, 0),
        ("pages", pages, 320, 0),
        ("count", int, 384, 0),
        ("data", data, 448, 0),
        ("len", long, 512, 0),
        ("caches", two, 576, 0),
    ];
    btf.structure("thing", 96, &members);
    btf.bytes(None)
}

fn put(made: &mut Made, at: u64, value: u64) {
    let at = (at - IMAGE) as usize;
    made.memory.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Three things in a list: `one`, `two` and `three`.
fn machine() -> Made {
    let mut made =
        with_types(Order::NumbersLast, Numbered::Base, Endian::Little, true, 33_300, &types());
    made.memory.bytes.resize((HEAD - IMAGE) as usize + 0x2_0000, 0);
    let things: Vec<u64> = (1..4).map(|number| HEAD + 0x1000 * number).collect();
    let ring: Vec<u64> = [HEAD].into_iter().chain(things.iter().copied()).collect();
    for (index, at) in ring.iter().enumerate() {
        put(&mut made, *at, ring[(index + 1) % 4]);
    }
    for (index, (at, name)) in things.iter().zip(["one", "two", "three"]).enumerate() {
        let text = (at + 16 - IMAGE) as usize;
        made.memory.bytes[text..text + name.len()].copy_from_slice(name.as_bytes());
        put(&mut made, at + 32, 100 + index as u64);
        put(&mut made, at + 40, ARRAY);
        put(&mut made, at + 48, 2);
        // The middle of a page, two whole ones, and the start of one.
        put(&mut made, at + 56, HEAD + 0x8800);
        put(&mut made, at + 64, 0x3000);
        put(&mut made, at + 72, HEAD + 0x100 * (index as u64 + 1));
    }
    put(&mut made, ARRAY, PAGES + 64 * 7);
    put(&mut made, ARRAY + 8, PAGES + 64 * 9);
    made
}

type Done = (Vec<(u64, u64)>, Vec<(u64, u64)>, Vec<Owner>, Vec<Result<u32, String>>);

fn run(made: &mut Made, rules: &[(bool, &str)]) -> Done {
    let mut text = String::from("OSRELEASE=6.6.0-made\n");
    for (name, at) in &made.tables {
        text += &format!("SYMBOL({name})={at:x}\n");
    }
    let given: Vec<_> = rules.iter().map(|(keep, text)| Given { keep: *keep, text }).collect();
    let (mut runs, mut kept) = (vec![PfnSpan::default(); 64], [0; 8]);
    let mut found = PageRules::new(&mut runs, &mut kept);
    let mut told = vec![Ok(0); rules.len()];
    let pages = Some(PageArray { base: PAGES, size: 64, end: Pfn(100) });
    let mut reader = Reader::new(&mut made.memory);
    let about = (pages, PageShift::FOUR_KIB);
    follow(&mut reader, &info(&text), None, about, &given, &mut found, &mut |index, done| {
        told[index] = done.map_err(|error| error.to_string());
    });
    let spans = |runs: &Runs<'_>| runs.all().iter().map(|run| (run.start.0, run.end.0)).collect();
    assert_eq!(found.slab_cache, Some(8));
    (spans(&found.keep), spans(&found.drop), found.owners.to_vec(), told)
}

fn rule(text: &str) -> String {
    let (action, steps) = text.split_once(' ').unwrap();
    format!("{action} {VARIABLE}:list_head each thing.link {steps}")
}

#[test]
fn rules_reach_pages_memory_and_caches() {
    let mut made = machine();
    let (keep, drop, owners, told) = run(
        &mut made,
        &[
            (false, &rule("pages if .name=\"two\" .pages[.count]")),
            (true, &rule("pages if .name!=\"two\" if .number=102 .pages[1]")),
            (false, &rule("memory if .number=0x65 .data[.len]")),
            (false, &rule("slab if .number!=101 .caches[]")),
        ],
    );
    let first = (HEAD + 0x9000 - IMAGE) / 4096;
    assert_eq!(drop, [(7, 8), (9, 10), (first, first + 2)]);
    assert_eq!(keep, [(7, 8)]);
    let owner = |at| Owner { of: Of::Slab, at, keep: false };
    assert_eq!(owners, [owner(HEAD + 0x100), owner(HEAD + 0x300)]);
    assert_eq!(told, [Ok(2), Ok(1), Ok(1), Ok(2)]);
}

#[test]
fn what_cannot_be_followed_drops_nothing_and_is_named() {
    let mut made = machine();
    for (text, place, why) in [
        ("pages nothing:list_head each thing.link .pages[2]".into(), "nothing", "function nothing"),
        (format!("pages {VARIABLE}:no_type .a"), VARIABLE, "structure no_type"),
        (rule("pages .nobody[2]"), ".nobody", "member nobody"),
        (rule("pages .pages"), ".pages", "a struct page"),
        (rule("slab .len"), ".len", "a struct kmem_cache"),
        (rule("slab .data[.len]"), ".data", "number of elements"),
        (rule("memory .data"), ".data", "memory whose size is known"),
        (rule("pages .pages[]"), ".pages", "number of elements"),
        ("pages x y".into(), "x", "a variable and its type"),
    ] {
        let (keep, drop, owners, told) = run(&mut made, &[(false, &text)]);
        assert!(keep.is_empty() && drop.is_empty() && owners.is_empty(), "{text}");
        let error = told[0].clone().unwrap_err();
        let column = text.find(place).unwrap() + 1;
        let right = error.contains(&format!("column {column}:")) && error.contains(why);
        assert!(right, "{text}: {error}");
    }
    let text = rule("pages .pages[.count]");
    // A list that does not lead back, and one that ends nowhere.
    for (next, why) in
        [(HEAD + 0x1000, "does not end"), (0x10, "not in the dump"), (0, "does not end")]
    {
        let mut made = machine();
        put(&mut made, HEAD + 0x2000, next);
        let (keep, drop, _, told) = run(&mut made, &[(false, &text), (true, &text)]);
        assert!(drop.is_empty());
        // What is to be kept is kept until then.
        assert_eq!(keep, [(7, 8), (9, 10)], "{next:#x}");
        assert!(
            told.iter().all(|told| told.clone().is_err_and(|error| error.contains(why))),
            "{told:?}"
        );
    }
}

#[test]
fn lines_of_a_file() {
    assert_eq!(Given::line("  # keep x"), Ok(None));
    assert_eq!(Given::line(" "), Ok(None));
    let given = Given::line("\tdrop slab a:b .c").unwrap().unwrap();
    assert_eq!((given.keep, given.text), (false, "slab a:b .c"));
    assert!(Given::line("keep cache a:b").unwrap().unwrap().keep);
    assert_eq!(Given::line("slab a:b").unwrap_err().column, 1);
    let error = Given::line("  keep slab a").unwrap_err();
    assert_eq!((error.column, error.word), (13, "a"));
}
