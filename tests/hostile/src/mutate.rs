//! Ruins a vmcore as an input says: a program of small changes at the places that matter, with the
//! values that hurt: nothing, everything, one bit, pointers to themselves and to each other.

use crate::base::{Base, KINDS, Kind, Place};
use crate::input::Input;
use crate::overlay::Overlay;
use std::collections::BTreeSet;

/// Most changes of a program that fuzzing makes.
pub const MOST: usize = 64;

/// What was done to a vmcore.
#[derive(Clone, Debug, Default)]
pub struct Ruin {
    /// Kinds of places that bytes were changed at.
    pub kinds: BTreeSet<Kind>,
    /// Whether the VMCOREINFO text was changed.
    pub text: bool,
    /// Whether all that was done to the text was to take facts away: lines removed, values that are
    /// none, second lines for a key behind the first.
    pub only_less: bool,
    /// Whether the file was cut off.
    pub cut: bool,
    /// For messages.
    pub steps: Vec<String>,
}

impl Ruin {
    /// Whether headers, notes and text are as they were, and the file is whole.
    pub fn only_memory(&self) -> bool {
        !self.text && !self.cut && !self.kinds.contains(&Kind::Headers) && !self.notes()
    }

    /// Whether nothing but facts of the text went.
    pub fn only_facts(&self) -> bool {
        self.text && self.only_less && !self.cut && self.kinds.is_empty()
    }

    fn notes(&self) -> bool {
        self.kinds.contains(&Kind::Notes)
    }
}

/// Values that are none for any key.
const NONE: [&str; 8] = ["", "x", "12x", "0x", "-", "1.5", "999999999999999999999999", "\u{fe}"];
/// Values that hurt.
const HURTS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "63",
    "64",
    "4095",
    "4096",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "0xffffffffffffffff",
    "ffffffffffffffff",
];

/// What may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Anything.
    All,
    /// Memory.
    Memory,
    /// VMCOREINFO.
    Facts,
    /// VMCOREINFO, and only so that it says less.
    LessFacts,
    /// Headers, notes and the end of the file.
    Headers,
}

/// Applies the program that `input` is, up to so many changes. The same bytes do the same to the
/// same vmcore.
pub fn apply(
    base: &Base,
    file: &mut Overlay<'_>,
    input: &mut Input<'_>,
    focus: Focus,
    most: usize,
) -> Ruin {
    let mut ruin = Ruin { only_less: true, ..Ruin::default() };
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for _ in 0..most {
        if input.is_empty() {
            break;
        }
        let operation = input.byte();
        let operation = match focus {
            Focus::All => operation % 16,
            Focus::Memory => operation % 8,
            Focus::Facts | Focus::LessFacts => 15,
            Focus::Headers => 8 + operation % 3,
        };
        match operation {
            0..=4 => word(base, file, input, focus, &mut ruin),
            5 => bytes(base, file, input, focus, &mut ruin),
            6 => flip(base, file, input, focus, &mut ruin),
            7 => copy(base, file, input, focus, &mut ruin),
            8 => header(base, file, input, &mut ruin),
            9 => {
                let len = input.below(file.len() + 1);
                // Most cuts fall into the part that matters.
                let len = if input.byte().is_multiple_of(2) { len % 0x2000 } else { len };
                file.truncate(len);
                ruin.cut = true;
                ruin.steps.push(format!("cut off at {len:#x}"));
            }
            10 => number(base, file, input, &mut ruin),
            _ => {
                if !ruin.text {
                    let (at, len) = base.view.text;
                    let text = &base.bytes[at as usize..(at + len) as usize];
                    lines = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                    ruin.text = true;
                }
                fact(&mut lines, input, focus, &mut ruin);
            }
        }
    }
    if ruin.text {
        rewrite(base, file, &lines.join(&b'\n'));
    }
    ruin
}

fn place<'b>(base: &'b Base, input: &mut Input<'_>, focus: Focus) -> (Kind, &'b Place) {
    // The first two are no memory.
    let kinds = if focus == Focus::Memory { &KINDS[2..] } else { &KINDS[..] };
    let wanted = kinds[input.below(kinds.len() as u64) as usize];
    let kind = if base.places.contains_key(&wanted) { wanted } else { Kind::Other };
    let list = &base.places[&kind];
    (kind, &list[input.below(list.len() as u64) as usize])
}

/// A place, and an offset in it.
fn spot(base: &Base, input: &mut Input<'_>, focus: Focus, align: u64) -> (Kind, Place, u64) {
    let (kind, place) = place(base, input, focus);
    // Structures have their fields at multiples of their size.
    let offset = input.below(place.len.max(1)) / align * align;
    (kind, *place, offset)
}

fn write(
    file: &mut Overlay<'_>,
    ruin: &mut Ruin,
    (kind, place, offset): (Kind, Place, u64),
    bytes: &[u8],
) {
    let room = (place.len - offset.min(place.len)).min(bytes.len() as u64) as usize;
    file.write(place.at + offset, &bytes[..room]);
    ruin.kinds.insert(kind);
    ruin.steps.push(format!(
        "{kind:?} phys {:#x} file {:#x}: {:02x?}",
        place.phys + offset,
        place.at + offset,
        &bytes[..room.min(64)]
    ));
}

fn word(base: &Base, file: &mut Overlay<'_>, input: &mut Input<'_>, focus: Focus, ruin: &mut Ruin) {
    let (form, len) = (base.view.form, base.view.long);
    let spot = spot(base, input, focus, len as u64);
    let old = form.read(file, spot.1.at + spot.2, len).unwrap_or(0);
    let (other_kind, other) = place(base, input, focus);
    let value = match input.byte() % 16 {
        0 => 0,
        1 => u64::MAX,
        2 => 1,
        3 => i64::MAX as u64,
        // Itself: as a table entry, as a pointer.
        4 => spot.1.phys & !0xfff | 0x67,
        5 => spot.1.virt + spot.2,
        6 => spot.1.virt,
        // Another place: as a table entry of each size, as a pointer, as a section's word.
        7 => other.phys & !0xfff | 0x67,
        8 => other.phys & !0xfff | 0xe7,
        9 => other.virt,
        10 => other.virt & !0x3f | 0xf,
        11 => old ^ 1 << input.below(64),
        12 => old.wrapping_add(u64::from(input.byte())).wrapping_sub(128),
        // Outside of all memory.
        13 => 0x000f_ffff_ffff_f067,
        14 => old & !1,
        _ => input.u64(),
    };
    let _ = other_kind;
    write(file, ruin, spot, &form.number(value, len));
}

fn bytes(
    base: &Base,
    file: &mut Overlay<'_>,
    input: &mut Input<'_>,
    focus: Focus,
    ruin: &mut Ruin,
) {
    let spot = spot(base, input, focus, 1);
    let len = 1 + input.below(64) as usize;
    let bytes = input.take(len).to_vec();
    write(file, ruin, spot, &bytes);
}

fn flip(base: &Base, file: &mut Overlay<'_>, input: &mut Input<'_>, focus: Focus, ruin: &mut Ruin) {
    let spot = spot(base, input, focus, 1);
    let mut byte = [0];
    if file.get(spot.1.at + spot.2, &mut byte) {
        byte[0] ^= 1 << input.below(8);
        write(file, ruin, spot, &byte);
    }
}

/// A structure over another, or a stretch of one value.
fn copy(base: &Base, file: &mut Overlay<'_>, input: &mut Input<'_>, focus: Focus, ruin: &mut Ruin) {
    let align = [8, 64, base.view.page_struct][input.below(3) as usize];
    let to = spot(base, input, focus, align);
    let len = [8, 64, 128, 512, 4096][input.below(5) as usize].min(to.1.len) as usize;
    let mut bytes = vec![[0, 0xff, 0xa5][input.below(3) as usize]; len];
    if input.byte().is_multiple_of(2) {
        let from = spot(base, input, focus, align);
        file.get(from.1.at + from.2, &mut bytes);
    }
    write(file, ruin, to, &bytes);
}

/// A field of the ELF header or of a program header.
fn header(base: &Base, file: &mut Overlay<'_>, input: &mut Input<'_>, ruin: &mut Ruin) {
    let count = base.view.loads.len() as u64 + 1;
    let (form, which) = (base.view.form, input.below(count + 1));
    let (first, size) = form.headers();
    let (at, len) = if which == count {
        let fields = match form.wide {
            true => [(4, 1), (5, 1), (16, 2), (18, 2), (32, 8), (40, 8), (54, 2), (56, 2)],
            false => [(4, 1), (5, 1), (16, 2), (18, 2), (28, 4), (32, 4), (42, 2), (44, 2)],
        };
        fields[input.below(8) as usize]
    } else {
        let fields = match form.wide {
            true => [(0, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (24, 8), (32, 8)],
            false => [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (12, 4), (16, 4)],
        };
        let (at, len) = fields[input.below(8) as usize];
        (first + size * which + at, len)
    };
    let old = form.read(file, at, len).unwrap_or(0);
    let (paddr, long) = if form.wide { (24, 8) } else { (12, 4) };
    let other = form.read(file, first + size * input.below(count) + paddr, long).unwrap_or(0);
    let value: u64 = match input.byte() % 12 {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX - 0xfff,
        3 => 1 << 63,
        4 => 1 << input.below(64),
        5 => old.wrapping_add(0x1000),
        6 => old.wrapping_sub(0x1000),
        7 => other,
        8 => old ^ 1 << input.below(64),
        9 => file.len(),
        10 => old.wrapping_add(input.byte().into()),
        _ => input.u64(),
    };
    file.write(at, &form.number(value, len));
    ruin.kinds.insert(Kind::Headers);
    ruin.steps.push(format!("header bytes {at:#x}: {value:#x}"));
}

/// A number of a note's header.
fn number(base: &Base, file: &mut Overlay<'_>, input: &mut Input<'_>, ruin: &mut Ruin) {
    let (start, len, _) = base.view.notes;
    let at = start + input.below(len) / 4 * 4;
    let values = [0, 1, 5, 11, 12, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, u32::MAX];
    let value = match input.below(10) {
        9 => input.u32(),
        n => values[n as usize],
    };
    file.write(at, &base.view.form.number(value.into(), 4));
    ruin.kinds.insert(Kind::Notes);
    ruin.steps.push(format!("note bytes {:#x}: {value:#x}", at - start));
}

/// Changes a line of VMCOREINFO.
fn fact(lines: &mut Vec<Vec<u8>>, input: &mut Input<'_>, focus: Focus, ruin: &mut Ruin) {
    let index = input.below(lines.len().max(1) as u64) as usize;
    let Some(line) = lines.get(index).cloned() else { return };
    let shown = String::from_utf8_lossy(&line).into_owned();
    let Some(equals) = line.iter().position(|b| *b == b'=') else { return };
    let with = |value: &[u8]| [&line[..=equals], value].concat();
    // Plain keys are texts: for them nothing counts as none.
    let named = line.contains(&b'(');
    let how = input.byte() % if focus == Focus::LessFacts { 4 } else { 8 };
    let how = if how == 2 && !named { 0 } else { how };
    match how {
        0 | 1 => {
            // All lines of the key: what came behind the first would count now.
            let key = with(b"");
            lines.retain(|line| !line.starts_with(&key));
            ruin.steps.push(format!("without {shown}"));
        }
        2 => {
            let value = NONE[input.below(NONE.len() as u64) as usize];
            lines[index] = with(value.as_bytes());
            ruin.steps.push(format!("{shown} becomes {value:?}"));
        }
        3 => {
            // The first counts: what comes behind it says nothing.
            let value = HURTS[input.below(HURTS.len() as u64) as usize];
            let end = lines.len() - usize::from(lines.last().is_some_and(Vec::is_empty));
            lines.insert(end.max(index + 1), with(value.as_bytes()));
            ruin.steps.push(format!("{shown} again, with {value:?}"));
        }
        _ => {
            ruin.only_less = false;
            let value = match input.byte() as usize % (HURTS.len() + 3) {
                n if n < HURTS.len() => HURTS[n].as_bytes().to_vec(),
                16 => {
                    let len = input.below(20) as usize;
                    input.take(len).to_vec()
                }
                17 => {
                    let from = input.below(lines.len() as u64) as usize;
                    let at = lines[from].iter().position(|b| *b == b'=').map_or(0, |at| at + 1);
                    lines[from][at..].to_vec()
                }
                _ => {
                    let mut value = line[equals + 1..].to_vec();
                    let at = input.below(value.len().max(1) as u64) as usize;
                    if let Some(byte) = value.get_mut(at) {
                        *byte = b"0123456789abcdef-x"[input.below(18) as usize];
                    }
                    value
                }
            };
            let value: Vec<u8> = value.into_iter().filter(|b| *b != b'\n').collect();
            ruin.steps.push(format!("{shown} becomes {:?}", value.escape_ascii().to_string()));
            if how == 4 {
                lines.insert(index, with(&value));
            } else {
                lines[index] = with(&value);
            }
        }
    }
}

/// Puts other notes behind the end of the file, with this text in them.
fn rewrite(base: &Base, file: &mut Overlay<'_>, text: &[u8]) {
    let (start, len, header) = base.view.notes;
    let (text_at, text_len) = base.view.text;
    let mut notes = vec![0; (text_at - start) as usize];
    if !file.get(start, &mut notes) {
        return;
    }
    let head = notes.len() - 24;
    let form = base.view.form;
    notes[head + 4..head + 8].copy_from_slice(&form.number(text.len() as u64, 4));
    notes.extend(text);
    notes.resize(notes.len().next_multiple_of(4), 0);
    let behind = text_at + text_len.next_multiple_of(4);
    let mut rest = vec![0; (start + len).saturating_sub(behind) as usize];
    if file.get(behind, &mut rest) {
        notes.extend(rest);
    }
    let at = file.append(&notes);
    form.move_segment(file, header, at, notes.len() as u64);
}
