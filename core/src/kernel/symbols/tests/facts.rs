use crate::endian::Endian;
use crate::facts::{Chain, Fact, FactSource, Facts};
use crate::kernel::symbols::testing::{IMAGE, MakeBtf, Numbered, Order, kind, with_types};
use crate::kernel::symbols::{Image, KernelFacts, Reader, SymbolsError};
use crate::testing::info;
use crate::wire::vmcoreinfo::Kind;
use std::format;
use std::string::ToString;
use std::vec::Vec;

/// The types of a kernel of 6.12 and later, or of 6.11.
fn types(now: bool) -> MakeBtf {
    let mut btf = MakeBtf::new(Endian::Little);
    let (long, int) = (btf.int("long unsigned int", 8), btf.int("int", 4));
    let array = btf.add(kind::ARRAY, false, "", 0, &[long, int, 11], 0);
    btf.structure("zone", 256, &[("free_area", array, 64, 0)]);
    btf.structure("page", 64, &[("flags", long, 0, 0), ("mapping", long, 192, 0)]);
    btf.structure("folio", 64, &[("_folio_order", long, 0, 0)]);
    // A typedef of a typedef of a structure without a name.
    let counter = btf.structure("", 8, &[("counter", long, 0, 0)]);
    let of = btf.add(kind::TYPEDEF, false, "atomic64_t", counter, &[], 0);
    btf.add(kind::TYPEDEF, false, "atomic_long_t", of, &[], 0);
    let flags = ["PG_lru", "PG_head"].map(|name| btf.name(name));
    // Behind more others than there is room for.
    let mut values: Vec<u32> = (0..40).flat_map(|n| [btf.name(&format!("other{n}")), n]).collect();
    values.extend([flags[0], 5, flags[1], 6]);
    btf.add(kind::ENUM, false, "pageflags", 4, &values, 42);
    // Flags of the same names, of something else.
    btf.add(kind::ENUM, false, "others", 4, &[flags[0], 9, flags[1], 9], 2);
    if now {
        let names = ["PGTY_buddy", "PGTY_slab", "PGTY_unaccepted"].map(|name| btf.name(name));
        let values = [names[0], 0xf0, names[1], 0xf5, names[2], 0xf7];
        btf.add(kind::ENUM, false, "pagetype", 4, &values, 3);
    } else {
        let names = ["PG_buddy", "PG_slab"].map(|name| btf.name(name));
        btf.add(kind::ENUM, false, "pagetype", 4, &[names[0], 1 << 30, names[1], 1 << 25], 2);
    }
    btf
}

fn find(now: bool, text: &str) -> KernelFacts {
    let types = types(now).bytes(None);
    let order = Order::NumbersLast;
    let mut made = with_types(order, Numbered::PerCpu, Endian::Little, true, 17_000, &types);
    let end = IMAGE + made.memory.bytes.len() as u64;
    let image = Image { start: IMAGE, end, phys: None };
    KernelFacts::find(&mut Reader::new(&mut made.memory), &info(text), Some(&image)).unwrap()
}

const RELEASE: &str = "OSRELEASE=6.6.0-made\n";

#[test]
fn what_vmcoreinfo_lacks_is_in_the_kernels_own_tables() {
    let found = find(true, RELEASE);
    assert_eq!(found.types(), Ok(()));
    let facts: &dyn Facts = &found;
    assert_eq!(facts.get(Kind::Symbol, "_stext"), Some(IMAGE));
    assert_eq!(facts.get(Kind::Symbol, "prb"), Some(IMAGE + 0x1000 + 64 * 0x91));
    assert_eq!(facts.get(Kind::Symbol, "node_data"), None);
    assert_eq!(facts.get(Kind::Size, "page"), Some(64));
    assert_eq!(facts.offset("page.mapping"), Some(24));
    assert_eq!(facts.offset("page.private"), None);
    assert_eq!(facts.offset("atomic_long_t.counter"), Some(0));
    assert_eq!(facts.get(Kind::Length, "zone.free_area"), Some(11));
    assert_eq!(facts.get(Kind::Number, "PG_lru"), Some(5));
    assert_eq!(facts.get(Kind::Number, "PG_head_mask"), Some(1 << 6));
    // A flag of 6.10 and later is none.
    assert_eq!(facts.get(Kind::Number, "PG_slab"), None);
    let value = |name| facts.get(Kind::Number, name).map(|value| value as i64);
    assert_eq!(value("PAGE_BUDDY_MAPCOUNT_VALUE"), Some(i64::from(0xf000_0000u32 as i32)));
    assert_eq!(value("PAGE_SLAB_MAPCOUNT_VALUE"), Some(i64::from(0xf500_0000u32 as i32)));
    assert_eq!(value("PAGE_OFFLINE_MAPCOUNT_VALUE"), None);
    let before = find(false, RELEASE);
    let facts: &dyn Facts = &before;
    let buddy = facts.get(Kind::Number, "PAGE_BUDDY_MAPCOUNT_VALUE");
    assert_eq!(buddy.map(|value| value as u32), Some(!(1 << 30)));
    assert_eq!(facts.get(Kind::Number, "PG_slab"), None);
}

#[test]
fn what_vmcoreinfo_says_in_another_way_or_would_not_say_is_not_asked_of_types() {
    let number = "PAGE_UNACCEPTED_MAPCOUNT_VALUE";
    for (text, folio, unaccepted) in [
        ("OSRELEASE=6.16.0\n", true, true),
        ("OSRELEASE=6.6.0-made\nOFFSET(page.compound_order)=8\n", false, false),
        ("OSRELEASE=6.15.9\n", true, false),
    ] {
        // The release is not that of the banner: two symbols prove the others.
        let prb = IMAGE + 0x1000 + 64 * 0x91;
        let text = format!("{text}SYMBOL(_stext)={IMAGE:x}\nSYMBOL(prb)={prb:x}\n");
        let found = find(true, &text);
        assert_eq!(found.fact(Kind::Offset, "folio._folio_order").is_some(), folio, "{text}");
        assert_eq!(found.fact(Kind::Number, number).is_some(), unaccepted, "{text}");
    }
}

#[test]
fn each_fact_says_where_it_comes_from() {
    let found = find(true, RELEASE);
    let note = info("SIZE(page)=56\nNUMBER(PG_lru)=?\n");
    let both = Chain(&note, Some(&found));
    let fact = |value, source| Some(Fact { value, source });
    assert_eq!(both.fact(Kind::Size, "page"), fact(56, FactSource::Vmcoreinfo));
    assert_eq!(both.fact(Kind::Size, "zone"), fact(256, FactSource::Btf));
    assert_eq!(both.fact(Kind::Number, "PG_lru"), fact(5, FactSource::Btf));
    assert_eq!(both.fact(Kind::Symbol, "_stext"), fact(IMAGE, FactSource::Kallsyms));
    let none = Chain(&note, None);
    assert_eq!(none.fact(Kind::Size, "page"), fact(56, FactSource::Vmcoreinfo));
    assert_eq!(none.fact(Kind::Size, "zone"), None);
}

#[test]
fn members_of_struct_page_that_do_not_agree_are_named() {
    let found = find(true, RELEASE);
    for (text, said) in [
        ("OFFSET(page.mapping)=24\nOFFSET(page.flags)=0\nSIZE(page)=64\n", None),
        ("OFFSET(page.private)=40\n", None),
        // Other structures do not decide which pages are left out.
        ("SIZE(zone)=1\n", None),
        (
            "OFFSET(page.mapping)=16\n",
            Some("OFFSET(page.mapping) is 16 in VMCOREINFO, and 24 in BTF"),
        ),
        ("SIZE(page)=56\n", Some("SIZE(page) is 56 in VMCOREINFO, and 64 in BTF")),
    ] {
        let differ = found.disagreement(&info(text)).map(|both| both.to_string());
        assert_eq!(differ.as_deref(), said, "{text}");
    }
}

#[test]
fn without_types_there_are_symbols() {
    let order = Order::NumbersLast;
    let mut made = with_types(order, Numbered::PerCpu, Endian::Little, true, 17_000, &[]);
    let end = IMAGE + made.memory.bytes.len() as u64;
    let image = Image { start: IMAGE, end, phys: None };
    let text = format!("{RELEASE}SYMBOL(_stext)={IMAGE:x}\n");
    let mut reader = Reader::new(&mut made.memory);
    let found = KernelFacts::find(&mut reader, &info(&text), Some(&image)).unwrap();
    assert_eq!(found.types(), Err(SymbolsError::NotFound("types (BTF)")));
    assert_eq!(found.fact(Kind::Symbol, "_stext").map(|fact| fact.value), Some(IMAGE));
    assert_eq!(found.fact(Kind::Size, "page"), None);
}
