use crate::endian::Endian;
use crate::kernel::symbols::btf::Kind;
use crate::kernel::symbols::members::member;
use crate::kernel::symbols::testing::{Dice, Flat, MakeBtf, kind};
use crate::kernel::symbols::{Btf, Failed, Members, Reader, SymbolsError, Words};
use std::vec;
use std::vec::Vec;

/// A type of every kind, and structures in which something is to be found.
fn all_kinds(endian: Endian) -> MakeBtf {
    let mut btf = MakeBtf::new(endian);
    let long = btf.int("long unsigned int", 8);
    let int = btf.int("int", 4);
    let ptr = btf.add(kind::PTR, false, "", 0, &[], 0);
    let array = btf.add(kind::ARRAY, false, "", 0, &[long, int, 11], 0);
    btf.add(kind::FWD, false, "page", 0, &[], 0);
    let proto = btf.add(kind::FUNC_PROTO, false, "", int, &[0, ptr, 0, long], 2);
    btf.add(kind::FUNC, false, "page", proto, &[], 1);
    let flags = btf.add(kind::TYPEDEF, false, "memdesc_flags_t", long, &[], 0);
    let constant = btf.add(kind::CONST, false, "", flags, &[], 0);
    let volatile = btf.add(kind::VOLATILE, false, "", constant, &[], 0);
    let restrict = btf.add(kind::RESTRICT, false, "", volatile, &[], 0);
    let tagged = btf.add(kind::TYPE_TAG, false, "rcu", restrict, &[], 0);
    let lru = btf.structure("list_head", 16, &[("next", ptr, 0, 0), ("prev", ptr, 64, 0)]);
    let inner = btf.structure("", 24, &[("lru", lru, 0, 0), ("private", long, 128, 0)]);
    let head = btf.structure("", 8, &[("compound_head", long, 0, 0)]);
    let (n, h) = (btf.name("private"), btf.name("compound_head"));
    assert_ne!(n, h);
    let union = btf.add(kind::UNION, false, "", 24, &[0, inner, 0, 0, head, 0], 2);
    btf.structure(
        "page",
        64,
        &[("flags", tagged, 0, 0), ("", union, 64, 0), ("_refcount", int, 52 * 8, 0)],
    );
    btf.structure("bits", 8, &[("low", int, 0, 3), ("high", int, 3, 5), ("whole", int, 32, 0)]);
    let bits = btf.structure("zone", 128, &[("free_area", array, 64, 0), ("lru", lru, 1000, 0)]);
    btf.add(kind::VAR, false, "zone", bits, &[1], 0);
    btf.add(kind::DATASEC, false, ".data..percpu", 128, &[bits, 0, 128], 1);
    btf.add(kind::FLOAT, false, "double", 8, &[], 0);
    btf.add(kind::DECL_TAG, false, "tag", bits, &[u32::MAX], 0);
    let (a, b) = (btf.name("PG_lru"), btf.name("NEGATIVE"));
    btf.add(kind::ENUM, false, "pageflags", 4, &[a, 5, b, u32::MAX], 2);
    let wide = btf.name("WIDE");
    btf.add(kind::ENUM64, false, "large", 8, &[wide, 7, 1], 1);
    // Two of one name: one member is in both, at different places.
    btf.structure("console", 16, &[("same", long, 0, 0), ("moved", long, 64, 0)]);
    btf.structure("console", 16, &[("same", long, 0, 0), ("moved", int, 64, 0)]);
    btf.structure("short", 4, &[("beyond", long, 0, 0)]);
    btf
}

const WORDS: [&str; 24] = [
    "page",
    "flags",
    "lru",
    "private",
    "compound_head",
    "_refcount",
    "next",
    "prev",
    "zone",
    "free_area",
    "bits",
    "low",
    "whole",
    "console",
    "same",
    "moved",
    "short",
    "beyond",
    "pageflags",
    "large",
    "PG_lru",
    "NEGATIVE",
    "WIDE",
    "nothing",
];

fn with<T>(
    made: &MakeBtf,
    layout: Option<&[u8]>,
    index: usize,
    act: impl FnOnce(&mut Reader<'_>, &Btf<'_>) -> T,
) -> Result<T, Failed> {
    let (mut memory, start, end) = made.memory(layout);
    let mut entries = vec![0; index];
    let mut reader = Reader::new(&mut memory);
    let btf = Btf::load(&mut reader, start, end, &mut entries)?;
    Ok(act(&mut reader, &btf))
}

#[test]
fn members_are_where_they_were_put() {
    for endian in [Endian::Little, Endian::Big] {
        for index in [1, 3, 8, 1024] {
            let made = all_kinds(endian);
            let (mut values, mut places, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
            with(&made, None, index, |reader, btf| {
                assert_eq!((btf.count(), btf.cut()), (made.count + 1, None));
                let mut words = Words::<32>::new();
                assert!(WORDS.iter().all(|word| words.add(word)));
                btf.find_words(reader, &mut words).unwrap();
                assert_eq!(words.offset("nothing"), None);
                let members = Members::<32>::find(reader, btf, &words, &mut |_, name, value| {
                    values.extend(words.at(name).map(|word| (word.text, value)));
                })
                .unwrap();
                for path in [
                    "page.flags",
                    "page.lru",
                    "page.private",
                    "page.compound_head",
                    "page._refcount",
                    "page.lru.prev",
                    "zone.free_area",
                    "bits.low",
                    "bits.whole",
                    "console.same",
                    "console.moved",
                    "short.beyond",
                    "page.nothing",
                    "zone.lru",
                ] {
                    let (structure, field) = path.split_once('.').unwrap();
                    let found = members.member(reader, btf, &words, structure, field).unwrap();
                    places.push(found.map(|found| (found.offset, found.size)));
                }
                for name in ["page", "zone", "list_head", "console", "nothing"] {
                    sizes.push(members.size(reader, btf, &words, name).unwrap());
                }
            })
            .unwrap();
            assert_eq!(
                places,
                [
                    Some((0, 8)),
                    Some((8, 16)),
                    Some((24, 8)),
                    Some((8, 8)),
                    Some((52, 4)),
                    Some((16, 8)),
                    Some((8, 88)),
                    None,
                    Some((4, 4)),
                    Some((0, 8)),
                    None,
                    None,
                    None,
                    // Not at a byte's start; as bytes it begins in front of it.
                    Some((125, 16)).filter(|(at, len)| at + len <= 128),
                ]
            );
            // `list_head` was not looked for.
            assert_eq!(sizes, [Some(64), Some(128), None, Some(16), None]);
            let negative = u64::MAX;
            assert_eq!(values, [("PG_lru", 5), ("NEGATIVE", negative), ("WIDE", 1 << 32 | 7)]);
        }
    }
}

#[test]
fn records_are_the_same_with_an_index_of_any_size() {
    let made = all_kinds(Endian::Little);
    let records = |entries| {
        with(&made, None, entries, |reader, btf| {
            let all = (0..btf.count()).map(|id| btf.record(reader, id).unwrap());
            let all: Vec<_> = all.collect();
            assert!(btf.record(reader, btf.count()).is_err());
            all
        })
        .unwrap()
    };
    let all = records(1000);
    assert_eq!(all[0].kind, Kind::Void);
    assert_eq!((all[4].kind, all[5].kind, all[7].kind), (Kind::Array, Kind::Fwd, Kind::Func));
    for entries in [1, 2, 5, 7, 20] {
        assert_eq!(records(entries), all);
    }
}

#[test]
fn bit_fields_arrays_integers_and_parameters_are_told() {
    with(&all_kinds(Endian::Little), None, 64, |reader, btf| {
        let mut buf = [0; 32];
        let mut low = None;
        btf.each(reader, &mut |reader, record| {
            let mut name = [0; 32];
            if btf.string(reader, record.name, &mut name)? == b"bits" {
                low = btf.member(reader, record, 1)?;
                assert_eq!(btf.member(reader, record, 3)?, None);
            }
            Ok(false)
        })
        .unwrap();
        let low = low.unwrap();
        assert_eq!((low.bits, low.width), (3, 5));
        assert_eq!(btf.string(reader, low.name, &mut buf).unwrap(), b"high");
        let array = btf.record(reader, 4).unwrap();
        assert_eq!(btf.array(reader, &array).unwrap().map(|a| (a.of, a.count)), Some((1, 11)));
        assert_eq!(btf.size_of(reader, 4), Ok(88));
        assert_eq!(btf.size_of(reader, 3), Ok(8));
        let proto = btf.record(reader, 6).unwrap();
        assert_eq!(btf.parameter(reader, &proto, 1).unwrap(), Some((0, 1)));
        assert_eq!(btf.parameter(reader, &proto, 2).unwrap(), None);
        let int = btf.record(reader, 1).unwrap();
        assert_eq!(btf.int_encoding(reader, &int).unwrap(), 1);
    })
    .unwrap();
}

#[test]
fn kinds_that_came_later_are_stepped_over_if_btf_says_how() {
    let mut made = all_kinds(Endian::Little);
    made.add(25, false, "later", 0, &[1, 2, 3, 4, 5, 6], 2);
    made.structure("behind", 24, &[]);
    let count = made.count;
    let mut layout = vec![0; 4 * 26];
    layout[100..102].copy_from_slice(&[8, 8]);
    let behind = |layout: Option<&[u8]>| {
        with(&made, layout, 16, |reader, btf| {
            let size = btf.size_of(reader, btf.count() - 1);
            (btf.count() - 1, btf.cut(), size)
        })
    };
    assert_eq!(behind(Some(&layout)), Ok((count, None, Ok(24))));
    // Without that, what is in front of it is there.
    let cut = behind(None).unwrap();
    assert_eq!((cut.0, cut.1), (count - 2, Some(25)));
}

#[test]
fn types_that_go_round_have_no_answer() {
    let mut made = MakeBtf::new(Endian::Little);
    // A typedef of itself, and two of each other.
    made.add(kind::TYPEDEF, false, "self", 1, &[], 0);
    made.add(kind::CONST, false, "", 3, &[], 0);
    made.add(kind::VOLATILE, false, "", 2, &[], 0);
    // An array of itself, of more elements than there are bytes.
    made.add(kind::ARRAY, false, "", 0, &[4, 4, u32::MAX], 0);
    // A structure that has itself inside, without a name, twice.
    let itself = made.count + 1;
    made.structure("loop", 8, &[("", itself, 0, 0), ("", itself, 0, 0), ("end", 4, 0, 0)]);
    // Seventeen in one another are one too many, sixteen are not.
    let int = made.int("int", 4);
    let mut inner = made.structure("", 4, &[("deep", int, 0, 0)]);
    let mut nested = vec![inner];
    for _ in 0..18 {
        inner = made.structure("", 4, &[("", inner, 0, 0)]);
        nested.push(inner);
    }
    let names = (made.name("end"), made.name("deep"), made.name("never"));
    with(&made, None, 2, |reader, btf| {
        for id in 1..=4 {
            assert_eq!(btf.size_of(reader, id), Err(Failed));
            assert!(matches!(reader.error(), SymbolsError::Malformed { .. }));
        }
        assert_eq!(member(reader, btf, itself, names.2), Err(Failed));
        let what = "a structure in BTF";
        assert!(matches!(reader.error(), SymbolsError::Malformed { what: w, .. } if w == what));
        assert!(member(reader, btf, nested[15], names.1).unwrap().is_some());
        assert!(member(reader, btf, nested[16], names.1).is_err());
    })
    .unwrap();
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let made = all_kinds(Endian::Little);
    let load = |change: &dyn Fn(&mut Flat), shorter: u64| {
        let (mut memory, start, end) = made.memory(None);
        change(&mut memory);
        let mut entries = [0; 8];
        let mut reader = Reader::new(&mut memory);
        let btf = Btf::load(&mut reader, start, end - shorter, &mut entries);
        btf.map(|_| ()).map_err(|Failed| reader.error())
    };
    assert_eq!(load(&|_| (), 0), Ok(()));
    assert!(load(&|_| (), 1).is_err());
    let header = 0x17c;
    // Magic, version, length of the header, lengths of the sections.
    for (at, value) in [(0, 0x9e), (2, 2), (4, 23), (7, 1), (15, 1), (23, 1), (11, 0xff)] {
        let refused = load(&|memory| memory.bytes[header + at] = value, 0);
        assert!(matches!(refused, Err(SymbolsError::Malformed { .. })), "{at}");
    }
    // Strings begin and end with a NUL.
    let strings = header + 24 + made.types.len();
    for at in [strings, strings + made.strings.len() - 1] {
        assert!(load(&|memory| memory.bytes[at] = b'x', 0).is_err());
    }
    // A type with more members than there is room for.
    let last = strings - 12 - 12;
    assert!(load(&|memory| memory.bytes[last + 4] = 2, 0).is_err());
}

#[test]
fn mutants_end() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let made = all_kinds(Endian::Little);
    let (mut memory, start, end) = made.memory(None);
    let whole = memory.bytes.clone();
    let mut loaded = 0;
    for _ in 0..4000 {
        memory.bytes.copy_from_slice(&whole);
        for _ in 0..1 + dice.below(3) {
            let at = 0x17c + dice.below((end - start) as usize);
            memory.bytes[at] =
                [0, 0xff, dice.below(40) as u8, dice.below(256) as u8][dice.below(4)];
        }
        let mut entries = [0; 8];
        let mut reader = Reader::new(&mut memory);
        let Ok(btf) = Btf::load(&mut reader, start, end, &mut entries) else { continue };
        loaded += 1;
        let mut words = Words::<32>::new();
        assert!(WORDS.iter().all(|word| words.add(word)));
        let _ = btf.find_words(&mut reader, &mut words);
        let Ok(members) = Members::<8>::find(&mut reader, &btf, &words, &mut |_, _, _| ()) else {
            continue;
        };
        for (structure, field) in
            [("page", "lru.prev"), ("zone", "free_area"), ("bits", "whole"), ("console", "same")]
        {
            let _ = members.member(&mut reader, &btf, &words, structure, field);
            let _ = members.size(&mut reader, &btf, &words, structure);
        }
        for id in 0..btf.count() {
            let _ = btf.size_of(&mut reader, id);
        }
    }
    assert!(loaded > 500, "{loaded}");
}
