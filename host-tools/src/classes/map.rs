//! A picture of the memory of the dead machine.

use crate::classes::{ByClass, Class, Classes};
use crate::dump::bits::{Held, joined};
use crate::dump::opened::Opened;
use crate::render::json::{Document, Hex};
use crate::render::picture::{Colour, LETTER, Picture};
use crate::render::progress::Progress;
use crate::render::text::{number, percent, plain, size};
use anstyle::Style;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use tamis_core::memory::Ranges as _;
use tamis_core::tally::Reason;
use tamis_core::units::{Pfn, PfnSpan};

/// Cells in a row.
const COLUMNS: u64 = 64;
/// Pixels of a cell.
const CELL: u32 = 10;
/// Most rows of a picture.
pub const ROWS: u64 = 96;
/// Most rows of one on a terminal.
pub const ROWS_ON_TERMINAL: u64 = 48;

/// Pages of a block or range.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// Pages by class.
    classes: ByClass<u64>,
    /// Pages in the dump.
    stored: u64,
}

impl Cell {
    fn pages(&self) -> u64 {
        self.classes.values().sum()
    }

    /// The class that most pages are of.
    fn class(&self) -> Class {
        let most = Class::ALL.into_iter().rev().max_by_key(|c| self.classes[*c]);
        most.unwrap_or(Class::Unknown)
    }

    fn colour(&self) -> Colour {
        let out = self.pages() - self.stored.min(self.pages());
        // Up to two thirds of the way to white.
        let pale = |c: u8| {
            let c = u64::from(c);
            (c + (255 - c) * out * 2 / (3 * self.pages().max(1))) as u8
        };
        colour(self.class()).map(pale)
    }

    /// Counts a page.
    fn add(&mut self, class: Class, stored: bool) {
        self.classes[class] += 1;
        self.stored += u64::from(stored);
    }
}

/// Colour-blind safe palette (Okabe and Ito).
fn colour(class: Class) -> Colour {
    match class {
        Class::Hole => [255, 255, 255],
        Class::Kernel => [213, 94, 0],
        Class::Spare(Reason::Cache) => [0, 114, 178],
        Class::Spare(Reason::CachePrivate) => [86, 180, 233],
        Class::Spare(Reason::User) => [0, 158, 115],
        Class::Spare(Reason::Free) => [170, 170, 170],
        Class::Spare(Reason::HwPoison) => [0, 0, 0],
        Class::Spare(Reason::Offline) => [204, 121, 167],
        Class::Spare(Reason::Zero) | Class::Unknown => [240, 228, 66],
    }
}

/// What there is in each block, and in all.
pub struct Map {
    /// Pages of a block: a power of two.
    block: u64,
    /// Blocks that have memory, by number.
    cells: BTreeMap<u64, Cell>,
    all: Cell,
}

impl Map {
    /// Numbers of rows that have memory.
    fn rows(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.cells.keys().map(|cell| cell / COLUMNS).collect();
        rows.dedup();
        rows
    }
}

/// The memory ranges in order; those that overlap are one.
fn ranges(opened: &Opened) -> Vec<PfnSpan> {
    let shift = opened.shift;
    joined(opened.dump.ranges().iter().map(|s| shift.touched(s.phys, s.len)).collect())
}

/// The smallest block with which the memory takes no more rows than these.
fn block(ranges: &[PfnSpan], most: u64) -> u64 {
    let mut block = 1;
    loop {
        let row = block * COLUMNS;
        let (mut rows, mut next) = (0, 0);
        for range in ranges.iter().filter(|r| !r.is_empty()) {
            let first = next.max(range.start.0 / row);
            let end = (range.end.0 - 1) / row + 1;
            rows += end.saturating_sub(first);
            next = next.max(end);
        }
        if rows <= most || block >= 1 << 50 {
            return block;
        }
        block *= 2;
    }
}

/// Looks at every page; calls `each` for it.
fn walk(opened: &mut Opened, mut each: impl FnMut(Pfn, Class, bool)) {
    let mut classes = Classes::of_any(opened);
    let mut progress = Progress::new("Looking at pages");
    let mut bits = vec![0; 32 << 10];
    let held = Held::of(opened);
    while let Some(window) = classes.next(opened) {
        let map = held.bits(opened, window, &mut bits);
        for (pfn, class) in classes.pages().filter(|(_, class)| *class != Class::Hole) {
            each(pfn, class, map.get(pfn));
        }
        progress.set(window.end.0, opened.max_pfn.0);
    }
}

/// The pages of each range of memory.
#[derive(Serialize)]
pub struct RangePages {
    /// The ranges, in order.
    pub ranges: Vec<RangeClasses>,
}

impl Document for RangePages {
    const SCHEMA: &'static str = "tamis.map/1";
}

/// The pages of a range of memory.
#[derive(Serialize)]
pub struct RangeClasses {
    /// Address of its first byte.
    pub start: Hex,
    /// Its bytes.
    pub size: u64,
    /// Its pages.
    pub pages: u64,
    /// Pages in the dump.
    pub stored: u64,
    /// Pages by class.
    pub classes: ByClass<u64>,
}

/// Counts the pages of each range by class.
pub fn classes_of_ranges(opened: &mut Opened) -> RangePages {
    let spans = ranges(opened);
    let mut cells = vec![Cell::default(); spans.len()];
    let mut index = 0;
    walk(opened, |pfn, class, stored| {
        while spans.get(index).is_some_and(|span| pfn >= span.end) {
            index += 1;
        }
        if let Some(cell) = cells.get_mut(index) {
            cell.add(class, stored);
        }
    });
    let bits = opened.shift.bits();
    let range = |(span, cell): (PfnSpan, Cell)| RangeClasses {
        start: Hex(span.start.0 << bits),
        size: span.len() << bits,
        pages: span.len(),
        stored: cell.stored,
        classes: cell.classes,
    };
    RangePages { ranges: spans.into_iter().zip(cells).map(range).collect() }
}

/// Writes a line for each range of memory, with its pages in the dump: there may be very many.
pub fn lines_of_ranges(opened: &mut Opened, out: &mut impl Write) -> io::Result<()> {
    let shift = opened.shift;
    let mut bits = vec![0; 32 << 10];
    let ranges = ranges(opened);
    let mut counts = vec![0; ranges.len()];
    // Window by window: there may be more ranges than windows, and each asks for all segments.
    let (mut at, mut index) = (Pfn(0), 0);
    let held = Held::of(opened);
    while let Some(next) = held.next(at).filter(|next| *next < opened.max_pfn) {
        let start = Pfn(next.0 & !7);
        let end = Pfn((start.0 + 8 * bits.len() as u64).min(opened.max_pfn.0));
        let window = PfnSpan::new(start, end);
        let mut map = held.bits(opened, window, &mut bits);
        while let (Some(range), Some(count)) = (ranges.get(index), counts.get_mut(index)) {
            *count += map.count_span(range.intersect(window));
            if range.end > end {
                break;
            }
            index += 1;
        }
        at = end;
    }
    for (range, pages) in ranges.iter().zip(counts) {
        let (first, last) = (range.start.0 << shift.bits(), (range.end.0 << shift.bits()) - 1);
        writeln!(
            out,
            "{first:#018x} {last:#018x} {:>12} {:>14} pages in the dump ({})",
            size(range.len() << shift.bits()),
            number(pages),
            percent(pages, range.len())
        )?;
    }
    Ok(())
}

/// Counts the pages of each block, with blocks so large that there are at most `rows` rows.
pub fn picture_of(opened: &mut Opened, rows: u64) -> Map {
    let block = block(&ranges(opened), rows);
    let mut map = Map { block, cells: BTreeMap::new(), all: Cell::default() };
    walk(opened, |pfn, class, stored| {
        map.cells.entry(pfn.0 / block).or_default().add(class, stored);
        map.all.add(class, stored);
    });
    map
}

/// What the picture is of.
pub fn title(opened: &Opened, map: &Map) -> String {
    let page = opened.shift.bytes() as u64;
    let release = plain(opened.info().release().unwrap_or(b"(unknown)"));
    format!(
        "Linux {release}: {} of memory, {} of it in the dump; a cell is {}",
        size(map.all.pages() * page),
        percent(map.all.stored, map.all.pages()),
        size(map.block * page)
    )
}

/// The classes that occur, and their lines of the legend.
fn legend(opened: &Opened, map: &Map) -> Vec<(Class, String)> {
    let page = opened.shift.bytes() as u64;
    let line = |class: Class| {
        let pages = map.all.classes[class];
        let part = percent(pages, map.all.pages());
        let (name, pages, bytes) = (class.name(), number(pages), size(pages * page));
        (class, format!("{name:<20}{pages:>14} pages {part:>8} {bytes:>11}"))
    };
    let there = |class: &Class| map.all.classes[*class] > 0;
    Class::ALL.into_iter().filter(there).map(line).collect()
}

/// Draws the blocks, the title and the legend.
pub fn draw(opened: &Opened, map: &Map) -> Picture {
    const MARGIN: u32 = 16;
    const LABEL: u32 = 19 * LETTER;
    let (rows, legend) = (map.rows(), legend(opened, map));
    let top = MARGIN + 3 * LETTER;
    let below = top + CELL * rows.len() as u32 + 2 * LETTER;
    let width = 2 * MARGIN + (LABEL + CELL * COLUMNS as u32).max(90 * LETTER);
    let mut picture = Picture::new(width, below + 2 * LETTER * legend.len() as u32 + MARGIN);
    picture.words(MARGIN, MARGIN, title(opened, map));
    for (y, row) in (0u32..).zip(&rows) {
        let y = top + CELL * y;
        let at = row * COLUMNS * map.block * opened.shift.bytes() as u64;
        picture.words(MARGIN, y + 1, format!("{at:#018x}"));
        for (number, cell) in map.cells.range(row * COLUMNS..(row + 1) * COLUMNS) {
            let x = MARGIN + LABEL + CELL * (number % COLUMNS) as u32;
            picture.rectangle((x, y), (CELL - 1, CELL - 1), cell.colour());
        }
    }
    for (n, (class, line)) in (0u32..).zip(legend) {
        let y = below + 2 * LETTER * n;
        picture.rectangle((MARGIN, y - 1), (CELL, CELL), colour(class));
        picture.words(MARGIN + 2 * CELL, y, line);
    }
    picture
}

/// The colour of a terminal with 256 of them.
fn terminal(colour: Colour) -> anstyle::Color {
    let [r, g, b] = colour.map(|c| ((u16::from(c) * 5 + 127) / 255) as u8);
    anstyle::Ansi256Color(16 + 36 * r + 6 * g + b).into()
}

/// Two rows of cells in a line, as the upper and lower half of a letter.
pub fn half_blocks(opened: &Opened, map: &Map) -> String {
    let mut text = format!("{}\n", title(opened, map));
    let rows = map.rows();
    let mut at = 0;
    while let Some(upper) = rows.get(at) {
        // Rows that are no neighbours are in lines of their own.
        let lower = rows.get(at + 1).filter(|lower| **lower == upper + 1);
        at += if lower.is_some() { 2 } else { 1 };
        let address = upper * COLUMNS * map.block * opened.shift.bytes() as u64;
        text += &format!("{address:#018x} ");
        for column in 0..COLUMNS {
            let of = |row: &u64| map.cells.get(&(row * COLUMNS + column)).map(Cell::colour);
            let (upper, lower) = (of(upper), lower.and_then(of));
            let (half, fore, back) = match (upper, lower) {
                (None, None) => (' ', None, None),
                (None, lower) => ('▄', lower, None),
                (upper, lower) => ('▀', upper, lower),
            };
            let [fore, back] = [fore, back].map(|colour| colour.map(terminal));
            let style = Style::new().fg_color(fore).bg_color(back);
            text += &format!("{style}{half}{style:#}");
        }
        text.push('\n');
    }
    for (class, line) in legend(opened, map) {
        let style = Style::new().fg_color(Some(terminal(colour(class))));
        text += &format!("{style}██{style:#} {line}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_small_as_the_rows_allow() {
        let span = |start, end| PfnSpan::new(Pfn(start), Pfn(end));
        assert_eq!(block(&[span(0, 64 * 96)], 96), 1);
        assert_eq!(block(&[span(0, 64 * 96 + 1)], 96), 2);
        // A hole takes no rows, and two ranges in one row take one.
        assert_eq!(block(&[span(0, 64), span(1 << 40, (1 << 40) + 64 * 95)], 96), 1);
        assert_eq!(block(&[span(0, 10), span(20, 64 * 96)], 96), 1);
        assert_eq!(block(&[], 96), 1);
        let most = block(&[span(0, u64::MAX >> 12)], 96);
        assert!((u64::MAX >> 12) / (most * COLUMNS) <= 96);
    }

    #[test]
    fn a_cell_has_the_colour_of_most_of_its_pages() {
        let mut cell = Cell::default();
        cell.add(Class::Spare(Reason::Free), true);
        cell.add(Class::Spare(Reason::User), true);
        cell.add(Class::Spare(Reason::User), true);
        assert_eq!(cell.colour(), colour(Class::Spare(Reason::User)));
        cell.add(Class::Spare(Reason::User), false);
        let [r, ..] = cell.colour();
        assert!(r > colour(Class::Spare(Reason::User))[0], "paler");
    }
}
