use crate::endian::Endian;
use crate::kernel::symbols::kallsyms::FoundBy;
use crate::kernel::symbols::testing::{Dice, IMAGE, Made, Numbered, Order, kernel};
use crate::kernel::symbols::{Failed, Image, Kallsyms, Reader, Rule, SymbolsError, Wanted};
use crate::testing::info;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// More than 64 markers, as every kernel has.
const MANY: u32 = 17_000;

const KINDS: [(Order, Numbered, Endian, bool); 8] = [
    (Order::NumbersFirst, Numbered::PerCpu, Endian::Little, false),
    (Order::NumbersFirst, Numbered::Base, Endian::Big, false),
    (Order::NumbersFirst, Numbered::Absolute, Endian::Little, false),
    (Order::NumbersFirst, Numbered::PerCpu, Endian::Little, true),
    (Order::NumbersLast, Numbered::PerCpu, Endian::Little, true),
    (Order::NumbersLast, Numbered::Base, Endian::Big, true),
    (Order::Close, Numbered::Place, Endian::Little, true),
    (Order::Close, Numbered::Place, Endian::Big, true),
];

fn image(made: &Made) -> Image {
    let end = IMAGE + made.memory.bytes.len() as u64;
    Image { start: IMAGE, end, phys: None }
}

/// VMCOREINFO of such a kernel, with the keys of kallsyms or without.
fn text(made: &Made, release: &str, keys: bool, symbols: bool) -> String {
    let mut text = format!("OSRELEASE={release}\n");
    if symbols {
        for name in ["_stext", "init_uts_ns", "prb"] {
            text += &format!("SYMBOL({name})={:x}\n", made.address(name));
        }
    }
    if keys {
        for (name, at) in &made.tables {
            text += &format!("SYMBOL({name})={at:x}\n");
        }
    }
    text
}

fn release(wide: bool) -> &'static str {
    if wide { "6.6.0-made" } else { "5.10.0" }
}

fn find(made: &mut Made, text: &str) -> Result<Kallsyms, SymbolsError> {
    let image = image(made);
    find_in(&mut Reader::new(&mut made.memory), text, Some(&image))
}

fn find_in(
    reader: &mut Reader<'_>,
    text: &str,
    image: Option<&Image>,
) -> Result<Kallsyms, SymbolsError> {
    Kallsyms::find(reader, &info(text), image).map_err(|Failed| reader.error())
}

/// All symbols are as they were made, from either side.
fn compare(made: &mut Made, found: &Kallsyms) {
    let symbols = made.symbols.clone();
    let mut reader = Reader::new(&mut made.memory);
    assert_eq!(found.len() as usize, symbols.len());
    let mut names = Vec::new();
    found
        .each(&mut reader, &mut |index, letter, name| {
            names.push((index, letter, String::from_utf8(name.to_vec()).unwrap()));
            false
        })
        .unwrap();
    assert_eq!(names.len(), symbols.len());
    for ((index, letter, name), symbol) in names.iter().zip(&symbols) {
        let address = found.address(&mut reader, *index).unwrap();
        assert_eq!((address, *letter, name), (symbol.0, symbol.1, &symbol.2));
    }
    for index in (0..symbols.len()).step_by(97).chain([0, 255, 256, 257, symbols.len() - 1]) {
        let named = found
            .with_name(&mut reader, index as u32, |letter, name| (letter, name.to_vec()))
            .unwrap();
        assert_eq!(named, (symbols[index].1, symbols[index].2.clone().into_bytes()));
    }
}

#[test]
fn symbols_are_found_by_keys_and_by_shape_in_every_layout() {
    for (order, numbered, endian, wide) in KINDS {
        let mut made = kernel(order, numbered, endian, wide, MANY);
        let rule = match numbered {
            Numbered::Absolute => Rule::Absolute,
            Numbered::PerCpu => Rule::PerCpu,
            Numbered::Base => Rule::Base,
            Numbered::Place => Rule::Place,
        };
        for keys in [true, false] {
            let text = text(&made, release(wide), keys, true);
            let found = find(&mut made, &text)
                .unwrap_or_else(|e| panic!("{order:?} {numbered:?} {endian:?} {keys}: {e}"));
            assert_eq!(found.rule(), rule);
            assert_eq!(found.found_by(), if keys { FoundBy::Keys } else { FoundBy::Shape });
            compare(&mut made, &found);
        }
    }
}

#[test]
fn lengths_are_understood_where_the_release_says_nothing_of_them() {
    for wide in [false, true] {
        let mut made = kernel(Order::NumbersFirst, Numbered::PerCpu, Endian::Little, wide, MANY);
        for (keys, release) in [(true, "?"), (false, "?"), (true, "6.1.0"), (false, "6.0.19")] {
            let text = text(&made, release, keys, true);
            let found = find(&mut made, &text).unwrap();
            compare(&mut made, &found);
        }
    }
}

#[test]
fn the_banner_proves_symbols_where_vmcoreinfo_has_none() {
    for (order, numbered, endian, wide) in KINDS {
        let mut made = kernel(order, numbered, endian, wide, MANY);
        let text = text(&made, "6.6.0-made", false, false);
        let found = find(&mut made, &text).unwrap();
        compare(&mut made, &found);
        made.memory.bytes[0x2000 + 15] ^= 1;
        assert_eq!(find(&mut made, &text).err(), Some(SymbolsError::Unproven("linux_banner")));
    }
}

#[test]
fn one_symbol_proves_a_table_of_functions_alone() {
    let mut made = kernel(Order::NumbersLast, Numbered::Base, Endian::Big, true, 1000);
    let text =
        format!("OSRELEASE=6.5.0\nSYMBOL(_stext)={IMAGE:x}\n") + &text(&made, "", true, false);
    // The banner does not name this release.
    assert!(find(&mut made, &text).is_err());
    let token = made.memory.bytes.windows(7).position(|bytes| bytes == b"linux_\0").unwrap();
    made.memory.bytes[token] = b'x';
    assert!(find(&mut made, &text).is_ok());
    let wrong = text.replace(&format!("{IMAGE:x}\n"), &format!("{:x}\n", IMAGE + 64));
    assert!(find(&mut made, &wrong).is_err());
}

#[test]
fn symbols_that_do_not_agree_with_vmcoreinfo_are_not_believed() {
    let mut made = kernel(Order::NumbersLast, Numbered::Base, Endian::Little, true, 1000);
    let good = text(&made, "6.6.0", true, true);
    assert!(find(&mut made, &good).is_ok());
    for name in ["_stext", "init_uts_ns", "prb"] {
        let line = format!("SYMBOL({name})={:x}\n", made.address(name));
        let bad = format!("SYMBOL({name})={:x}\n", made.address(name) + 8);
        let text = good.replace(&line, &bad);
        assert_ne!(text, good);
        // Without an image to search, the error is that of the keys.
        let error = find_in(&mut Reader::new(&mut made.memory), &text, None).err();
        assert_eq!(error, Some(SymbolsError::Unproven(name)));
        let text = error.unwrap().to_string();
        assert_eq!(text, format!("kallsyms have another address for {name} than the kernel"));
    }
}

#[test]
fn names_are_looked_up_in_one_pass() {
    let mut made = kernel(Order::NumbersLast, Numbered::PerCpu, Endian::Little, true, 1000);
    let text = text(&made, "6.6.0", true, true);
    let found = find(&mut made, &text).unwrap();
    let (first, task) = (made.address("twice"), made.address("current_task"));
    let names = ["prb", "twice", "sym00012", "nothing", "sym000128", "current_task", ""];
    let mut wanted = names.map(Wanted::new);
    let prb = made.address("prb");
    let mut reader = Reader::new(&mut made.memory);
    found.look_up(&mut reader, &mut wanted).unwrap();
    assert_eq!(wanted[0].unique(), Some(prb));
    assert_eq!((wanted[1].count, wanted[1].address, wanted[1].ambiguous), (2, first, true));
    assert_eq!(wanted[1].unique(), None);
    // Whole names only.
    assert_eq!(wanted[2].unique(), None);
    assert_eq!(wanted[3].count, 0);
    assert_eq!(wanted[4].unique(), Some(IMAGE + 0x1000 + 64 * 128));
    assert_eq!(wanted[5].unique(), Some(task));
    assert_eq!(wanted[6].count, 0);
}

#[test]
fn an_address_has_the_symbol_in_front_of_it() {
    for (order, numbered, endian, wide) in KINDS {
        let mut made = kernel(order, numbered, endian, wide, 1000);
        let text = text(&made, release(wide), true, true);
        let found = find(&mut made, &text).unwrap();
        let symbols = made.symbols.clone();
        let mut reader = Reader::new(&mut made.memory);
        let mut at = |address| found.at(&mut reader, address).unwrap();
        let (prb, last) = (IMAGE + 0x1000 + 64 * 0x91, symbols.last().unwrap().0);
        let inside = at(prb + 5).unwrap();
        assert_eq!(symbols[inside.index as usize].2, "prb");
        assert_eq!((inside.address, inside.offset, inside.size), (prb, 5, Some(64)));
        // Of two at one address, the first.
        let text = at(IMAGE + 1).unwrap();
        assert_eq!(symbols[text.index as usize].2, "_stext");
        assert_eq!((text.offset, text.size), (1, Some(0x2000)));
        let end = at(last + 0x1000).unwrap();
        assert_eq!((end.address, end.offset, end.size), (last, 0x1000, None));
        let low = at(0x20);
        assert_eq!(low.is_some(), numbered == Numbered::PerCpu);
        assert_eq!(low.map(|low| low.offset), (numbered == Numbered::PerCpu).then_some(0x20));
    }
}

#[test]
fn tokens_that_are_none_are_refused() {
    let made = || kernel(Order::NumbersLast, Numbered::Base, Endian::Little, true, 1000);
    let text = text(&made(), "6.6.0", true, true);
    let find =
        |made: &mut Made| find_in(&mut Reader::new(&mut made.memory), &text, None).err().unwrap();
    let offset = |name: &str| (made().table(name) - IMAGE) as usize;
    // An index that points into a token.
    let mut one = made();
    one.memory.bytes[offset("kallsyms_token_index") + 2 * 100] += 1;
    let index = "the index of tokens";
    assert!(matches!(find(&mut one), SymbolsError::Malformed { what, .. } if what == index));
    // A table without an end.
    let mut one = made();
    let start = offset("kallsyms_token_table");
    one.memory.bytes[start..].fill(b'x');
    assert!(matches!(find(&mut one), SymbolsError::Malformed { .. }));
    // Names that expand without an end: all tokens of one are long.
    let mut one = made();
    let names = offset("kallsyms_names");
    one.memory.bytes[names..names + 2].copy_from_slice(&[0x80, 0x10]);
    one.memory.bytes[names + 2..names + 0x802].fill(0xff);
    let what = "a name in kallsyms";
    assert!(matches!(find(&mut one), SymbolsError::Malformed { what: w, .. } if w == what));
    // A name of no length, a number of symbols that cannot be.
    let mut one = made();
    one.memory.bytes[names] = 0;
    assert!(matches!(find(&mut one), SymbolsError::Malformed { what: "kallsyms_names", .. }));
    for count in [0, 1 << 23, u32::MAX] {
        let mut one = made();
        let at = offset("kallsyms_num_syms");
        one.memory.bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(count));
        let error = find(&mut one);
        assert!(matches!(error, SymbolsError::Malformed { what: "kallsyms_num_syms", .. }));
    }
    // A marker that says something else.
    let mut one = made();
    let end = offset("kallsyms_token_table");
    let marker = (names..end).rev().find(|at| one.memory.bytes[*at] != 0).unwrap();
    one.memory.bytes[marker] ^= 1;
    assert!(matches!(find(&mut one), SymbolsError::Malformed { what: "kallsyms_markers", .. }));
}

#[test]
fn an_image_without_symbols_has_none() {
    let mut made = kernel(Order::NumbersFirst, Numbered::Base, Endian::Little, false, MANY);
    let text = text(&made, "5.10.0", false, true);
    let start = (made.table("kallsyms_token_table") - IMAGE) as usize;
    made.memory.bytes[start + 2 * 100..start + 2 * 110].fill(b'x');
    assert_eq!(find(&mut made, &text).err(), Some(SymbolsError::NotFound("kallsyms")));
    // Letters alone are not a table.
    let letters: Vec<u8> = (b'a'..=b'z').flat_map(|letter| [letter, 0]).collect();
    for at in (start..start + 0x4000).step_by(64) {
        made.memory.bytes.resize(start + 0x6000, 0);
        made.memory.bytes[at..at + letters.len()].copy_from_slice(&letters);
    }
    assert_eq!(find(&mut made, &text).err(), Some(SymbolsError::NotFound("kallsyms")));
    let none = Image { start: IMAGE - 0x1000_0000, end: IMAGE - 0x10_0000, phys: None };
    let mut reader = Reader::new(&mut made.memory);
    let error = find_in(&mut reader, &text, Some(&none)).err();
    assert!(matches!(error, Some(SymbolsError::Read { .. })), "{error:?}");
    let error = find_in(&mut reader, &text, None).err();
    assert_eq!(error, Some(SymbolsError::NoImage));
}

#[test]
fn mutants_end() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut found = 0;
    for (order, numbered, endian, wide) in KINDS {
        let mut made = kernel(order, numbered, endian, wide, 600);
        let text = text(&made, release(wide), true, true);
        let whole = made.memory.bytes.clone();
        let first = made.tables.iter().map(|(_, at)| at - IMAGE).min().unwrap() as usize;
        for _ in 0..60 {
            made.memory.bytes = whole.clone();
            for _ in 0..1 + dice.below(4) {
                let at = first + dice.below(whole.len() - first);
                made.memory.bytes[at] = [0, 0xff, dice.below(256) as u8][dice.below(3)];
            }
            if dice.below(8) == 0 {
                made.memory.bytes.truncate(first + dice.below(whole.len() - first));
            }
            let mut reader = Reader::new(&mut made.memory);
            let Ok(symbols) = find_in(&mut reader, &text, None) else { continue };
            found += 1;
            let mut wanted = [Wanted::new("prb"), Wanted::new("twice")];
            let _ = symbols.look_up(&mut reader, &mut wanted);
            for _ in 0..8 {
                let _ = symbols.at(&mut reader, IMAGE + dice.below(1 << 17) as u64);
                let index = dice.below(symbols.len() as usize) as u32;
                let _ = symbols.with_name(&mut reader, index, |_, name| name.len());
            }
        }
    }
    assert!(found > 40, "{found}: most mutants are refused at the door");
}
