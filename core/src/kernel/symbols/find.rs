//! kallsyms by their shape, for kernels that do not say where they are (before 6.0).
//!
//! Every character that names have is a token of its own, so that the tokens `a` to `z` stand behind one
//! another: 52 bytes that are looked for in the kernel's image. The index that belongs to the tokens proves
//! them. In front of them are the markers, which begin with 0 and rise; in front of those the names, which
//! end where the markers begin; and on either side the numbers.

use super::names::Names;
use super::numbers::{Numbers, Proof, Rule, choose, finish};
use super::tokens::{COUNT, Tokens};
use super::{Failed, Image, Reader, SymbolsError, limits};

/// Steps between two markers: 256 names of one token at least, of 127 on average at most.
const STEP: core::ops::RangeInclusive<u32> = 512..=32_768;
/// Markers in a row that are taken for such: a kernel has 300 at least.
const MARKERS: u32 = 64;
/// Bytes of the last block of names, and what is between names and markers.
const LAST_BLOCK: u64 = 33_280;

/// Tables that were found, and proved.
pub(super) struct Parts {
    pub(super) names: Names,
    pub(super) numbers: Numbers,
    /// Virtual address of the markers.
    pub(super) markers: u64,
}

/// Finds all tables.
#[inline]
pub(super) fn by_shape(
    reader: &mut Reader<'_>,
    image: &Image,
    proof: &mut Proof<'_, '_>,
    wide: Option<bool>,
) -> Result<Parts, Failed> {
    let (table, index) = tokens(reader, image)?;
    let end = table & !3;
    let (mut at, mut next, mut run) = (end, None, 0u32);
    let mut tries = 0;
    let mut attempts = 0;
    // Backwards: `run` is how many markers rise from here on.
    while end - at < limits::MARKERS_BEFORE && at > 4 {
        at -= 4;
        let value = reader.u32("kallsyms_markers", at)?;
        let rises = next.and_then(|next: u32| next.checked_sub(value));
        run = if rises.is_some_and(|step| STEP.contains(&step)) { run + 1 } else { 1 };
        next = Some(value);
        if value == 0 && run >= MARKERS {
            tries += 1;
            if tries > limits::PROOFS {
                break;
            }
            // What follows them may look like one more.
            for count in [run, run - 1] {
                let place = Place { markers: at, count, table, index };
                if let Some(found) = place.names(reader, proof, wide, &mut attempts)? {
                    return Ok(found);
                }
            }
        }
    }
    Err(reader.fail(SymbolsError::NotFound("kallsyms markers")))
}

/// Where the token table and its index are.
#[inline]
fn tokens(reader: &mut Reader<'_>, image: &Image) -> Result<(u64, u64), Failed> {
    let mut proofs = 0;
    let mut from = *image;
    while proofs < limits::PROOFS {
        let Some(letters) = letters(reader, &from)? else { break };
        proofs += 1;
        if let Some(found) = prove(reader, letters) {
            return Ok(found);
        }
        from.start = letters + 1;
    }
    Err(reader.fail(SymbolsError::NotFound("kallsyms")))
}

/// Where the tokens `a` to `z` stand behind one another.
///
/// Of as many bytes, only one letter, and the NUL beside it, is looked at, and then the letter behind or in front of it:
/// where these are as they shall be, all are held against memory.
#[inline]
fn letters(reader: &mut Reader<'_>, image: &Image) -> Result<Option<u64>, Failed> {
    let mut from = *image;
    // Each round ends behind a place that looked like them.
    for _ in 0..limits::LETTERS {
        let mut found = None;
        let done = from.search(reader, &mut |start, bytes| {
            found = like_letters(bytes).map(|(letter, at)| (letter, start.wrapping_add(at as u64)));
            found.is_some()
        });
        if from.start == image.start {
            done?;
        }
        let Some((letter, seen)) = found else { break };
        let first = seen.wrapping_sub(2 * u64::from(letter - b'a'));
        if first >= image.start && are_letters(reader, first) {
            return Ok(Some(first));
        }
        from.start = seen + 1;
    }
    Ok(None)
}

/// Bytes of the tokens `a` to `z`.
const LETTERS: usize = 2 * 26;

/// A letter, and its place, that may be one of `a` to `z` behind one another.
fn like_letters(bytes: &[u8]) -> Option<(u8, usize)> {
    // Of each piece of memory the first letter, too: the others may be in the piece in front of it.
    let mut at = 0;
    while let Some([one, two, ..]) = bytes.get(at..) {
        let place = match (one, two) {
            (b'a'..=b'z', 0) => Some((*one, at)),
            (0, b'a'..=b'z') => Some((*two, at + 1)),
            _ => None,
        };
        if let Some((letter, place)) = place {
            let is = |place: Option<usize>, letter| {
                place.and_then(|place| bytes.get(place)).is_none_or(|byte| *byte == letter)
            };
            let behind = letter == b'z' || is(Some(place + 2), letter + 1);
            let before = letter == b'a' || is(place.checked_sub(2), letter - 1);
            if behind && before {
                return Some((letter, place));
            }
        }
        at += LETTERS - 4;
    }
    None
}

/// Whether the letters stand here.
fn are_letters(reader: &mut Reader<'_>, at: u64) -> bool {
    let mut bytes = [0; LETTERS];
    let read = reader.bytes("the token table", at, &mut bytes).is_ok();
    read && (b'a'..=b'z').zip(bytes.chunks_exact(2)).all(|(letter, two)| two == [letter, 0])
}

/// Goes back from the token `a`, the 98th, to the first, and looks for the index behind the last one. What
/// cannot be read proves nothing.
#[inline]
fn prove(reader: &mut Reader<'_>, letters: u64) -> Option<(u64, u64)> {
    const WHAT: &str = "the token table";
    // The NULs that end tokens 96 down to 0; in front of token 0 there may be one, or not.
    let (mut at, mut ends) = (letters, 0);
    let mut last = letters;
    while ends < u32::from(b'a') {
        at = at.checked_sub(1).filter(|at| letters - at <= limits::TOKENS as u64)?;
        if reader.u8(WHAT, at).ok()? == 0 {
            (ends, last) = (ends + 1, at);
        } else if ends == 0 {
            return None;
        }
    }
    // `last` ends token 0, which begins at one of the places in front of it.
    let mut start = last;
    while last - start < 512 {
        if start & 3 == 0
            && let Some(found) = index_behind(reader, start)
        {
            return Some(found);
        }
        start = start.checked_sub(1)?;
        if reader.u8(WHAT, start).ok()? == 0 {
            break;
        }
    }
    None
}

/// The index of a token table that begins here, if there is one.
#[inline]
fn index_behind(reader: &mut Reader<'_>, table: u64) -> Option<(u64, u64)> {
    Tokens::find(reader, table, None).ok().map(|(_, index)| (table, index))
}

/// What looks like the markers, and the tokens behind them.
struct Place {
    markers: u64,
    count: u32,
    table: u64,
    index: u64,
}

impl Place {
    /// The names that end where the markers begin: in front of them is their number.
    #[inline]
    fn names(
        &self,
        reader: &mut Reader<'_>,
        proof: &mut Proof<'_, '_>,
        wide: Option<bool>,
        attempts: &mut u32,
    ) -> Result<Option<Parts>, Failed> {
        let marker = |reader: &mut Reader<'_>, index: u32| {
            reader.u32("kallsyms_markers", self.markers.wrapping_add(4 * u64::from(index)))
        };
        let last = u64::from(marker(reader, self.count - 1)?);
        let marks = [marker(reader, 1)?, marker(reader, 2)?].map(u64::from);
        let symbols = 256 * (self.count - 1) + 1..=256 * self.count;
        let Some(end) = self.markers.checked_sub(last) else { return Ok(None) };
        for back in (0..LAST_BLOCK).step_by(4) {
            let Some(at) = (end & !3).checked_sub(back) else { break };
            for gap in [4, 8] {
                if at % gap != 0 || at < gap {
                    continue;
                }
                let count = reader.u32("kallsyms_num_syms", at - gap)?;
                if !symbols.contains(&count) || *attempts > limits::PROOFS {
                    continue;
                }
                *attempts += 1;
                let first = wide.unwrap_or(true);
                for wide in [first, !first] {
                    let (tokens, _) = Tokens::find(reader, self.table, Some(self.index))?;
                    let names = Names { at, count, tokens, wide };
                    if blocks(reader, &names)? != Some(marks) {
                        continue;
                    }
                    if finish(reader, &names, proof) == Ok(self.markers) {
                        let numbers = self.numbers(reader, at - gap, count, proof)?;
                        return Ok(Some(Parts { names, numbers, markers: self.markers }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The numbers: in front of the count of symbols, or behind the index of tokens.
    #[inline]
    fn numbers(
        &self,
        reader: &mut Reader<'_>,
        count_at: u64,
        count: u32,
        proof: &Proof<'_, '_>,
    ) -> Result<Numbers, Failed> {
        let long = reader.word_size().bytes() as u64;
        let count = u64::from(count);
        let up = |at: u64| at.wrapping_add(long - 1) & !(long - 1);
        let mut all = heapless::Vec::<Numbers, 6>::new();
        let mut add = |at, base, rules: &[Rule]| {
            all.extend(rules.iter().map(|rule| Numbers { at, base, rule: *rule }));
        };
        let relative = [Rule::PerCpu, Rule::Base];
        // Before 6.4: numbers, base, count.
        let base_at = count_at.wrapping_sub(long) & !(long - 1);
        let before = base_at.wrapping_sub(up(4 * count));
        if let Ok(base) = reader.word("kallsyms_relative_base", base_at) {
            add(before, base, &relative);
        }
        // From 6.4 on: index, numbers, base. From 7.0 on, no base.
        let behind = self.index.wrapping_add(2 * COUNT as u64);
        let base_at = up(behind.wrapping_add(4 * count));
        if let Ok(base) = reader.word("kallsyms_relative_base", base_at) {
            add(up(behind), base, &relative);
        }
        add(behind, 0, &[Rule::Place]);
        let absolute = (count_at & !(long - 1)).wrapping_sub(long * count);
        add(absolute, 0, &[Rule::Absolute]);
        choose(reader, &all, proof)
    }
}

/// Where the second and the third block of names begin.
#[inline]
fn blocks(reader: &mut Reader<'_>, names: &Names) -> Result<Option<[u64; 2]>, Failed> {
    let (mut offset, mut starts) = (0, [0; 2]);
    for start in &mut starts {
        for _ in 0..256 {
            offset = match names.skip(reader, offset) {
                Ok(next) => next,
                Err(Failed) if matches!(reader.error(), SymbolsError::Malformed { .. }) => {
                    return Ok(None);
                }
                Err(Failed) => return Err(Failed),
            };
        }
        *start = offset;
    }
    Ok(Some(starts))
}
