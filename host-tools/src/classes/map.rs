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

/// Cells in a row of a picture.
pub const COLUMNS: u64 = 64;
/// Pixels of a cell.
const CELL: u32 = 10;
/// Most rows of a picture.
pub const ROWS: u64 = 96;
/// Most rows of one on a terminal.
pub const ROWS_ON_TERMINAL: u64 = 48;
/// Letters before the cells of a row on a terminal: an address of 52 bits.
const LABEL_ON_TERMINAL: usize = 15;

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

    fn shade(&self) -> Shade {
        let out = self.pages() - self.stored.min(self.pages());
        // To the nearest quarter, but not to all or nothing of what is neither.
        let quarters = (8 * out + self.pages()) / (2 * self.pages()).max(1);
        let quarters = match out {
            0 => 0,
            out if out == self.pages() => 4,
            _ => quarters.clamp(1, 3),
        };
        Shade { class: self.class(), quarters: quarters as u8 }
    }

    /// Counts a page.
    fn add(&mut self, class: Class, stored: bool) {
        self.classes[class] += 1;
        self.stored += u64::from(stored);
    }
}

/// How a block is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shade {
    /// The class that most of its pages are of.
    class: Class,
    /// How many quarters of its pages were left out.
    quarters: u8,
}

impl Shade {
    /// One that is in the dump whole.
    fn full(class: Class) -> Shade {
        Shade { class, quarters: 0 }
    }

    /// In a picture, and on terminals with all colours: paler the more was left out.
    fn colour(self) -> Colour {
        // Up to two thirds of the way to white.
        let pale = |c: u8| {
            let c = u16::from(c);
            (c + (255 - c) * u16::from(self.quarters) / 6) as u8
        };
        colour(self.class).map(pale)
    }

    /// On a terminal with 256 colours, where most of it was left out or not: chosen by hand, since the nearest ones
    /// of two classes may be the same.
    fn indexed(self) -> u8 {
        let (most_in, most_out) = match self.class {
            Class::Hole => (231, 231),
            Class::Kernel => (166, 216),
            Class::Spare(Reason::Cache) => (25, 110),
            Class::Spare(Reason::CachePrivate) => (74, 153),
            Class::Spare(Reason::User) => (29, 115),
            Class::Spare(Reason::Free) => (243, 252),
            Class::Spare(Reason::HwPoison) => (16, 238),
            Class::Spare(Reason::Offline) => (169, 225),
            Class::Spare(Reason::Zero | Reason::Rule) => (220, 229),
            Class::Spare(Reason::Guest) => (91, 183),
            Class::Hypervisor => (52, 95),
            Class::Domain0 => (208, 223),
            Class::Unknown => (142, 187),
        };
        if self.quarters > 2 { most_out } else { most_in }
    }

    /// For whoever points at it.
    fn words(self) -> String {
        let rest = match self.quarters {
            0 => "in the dump",
            1 => "a quarter left out",
            2 => "half left out",
            3 => "three quarters left out",
            _ => "left out",
        };
        format!("{}: {rest}", self.class.name())
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
        Class::Spare(Reason::Free) => [150, 150, 150],
        Class::Spare(Reason::HwPoison) => [0, 0, 0],
        Class::Spare(Reason::Offline) => [204, 121, 167],
        Class::Spare(Reason::Zero | Reason::Rule) => [240, 228, 66],
        Class::Spare(Reason::Guest) => [120, 80, 200],
        Class::Hypervisor => [110, 45, 20],
        Class::Domain0 => [230, 159, 0],
        Class::Unknown => [160, 150, 40],
    }
}

/// What there is in each block, and in all.
pub struct Map {
    /// Pages of a block: a power of two.
    block: u64,
    /// Cells in a row.
    columns: u64,
    /// Blocks that have memory, by number.
    cells: BTreeMap<u64, Cell>,
    all: Cell,
    /// Pages of the gaps below the end of memory.
    holes: u64,
}

impl Map {
    /// Numbers of rows that have memory.
    fn rows(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.cells.keys().map(|cell| cell / self.columns).collect();
        rows.dedup();
        rows
    }
}

/// The memory ranges in order; those that overlap are one.
fn ranges(opened: &Opened) -> Vec<PfnSpan> {
    let shift = opened.shift;
    joined(opened.dump.ranges().iter().map(|s| shift.touched(s.phys, s.len)).collect())
}

/// The smallest block with which the memory takes no more rows of so many cells than these.
fn block(ranges: &[PfnSpan], columns: u64, most: u64) -> u64 {
    let mut block = 1;
    loop {
        let row = block * columns;
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

/// Counts the pages of each block, with blocks so large that there are at most `rows` rows of `columns` cells.
pub fn picture_of(opened: &mut Opened, columns: u64, rows: u64) -> Map {
    let ranges = ranges(opened);
    let block = block(&ranges, columns, rows);
    let end = ranges.last().map_or(0, |range| range.end.0);
    let holes = end.saturating_sub(ranges.iter().map(|range| range.len()).sum());
    let mut map = Map { block, columns, cells: BTreeMap::new(), all: Cell::default(), holes };
    walk(opened, |pfn, class, stored| {
        map.cells.entry(pfn.0 / block).or_default().add(class, stored);
        map.all.add(class, stored);
    });
    map
}

/// The cells in a row that fit on a terminal of so many letters: a power of two, so that rows begin at round addresses.
pub fn columns_of(letters: u16) -> u64 {
    let room = (usize::from(letters)).saturating_sub(LABEL_ON_TERMINAL + 1) as u64;
    match room.checked_ilog2() {
        Some(bits) => (1 << bits).clamp(16, 256),
        None => 16,
    }
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

/// What the legend says of pale and of white places.
fn notes(opened: &Opened, map: &Map) -> Vec<String> {
    let mut notes = Vec::new();
    if map.all.stored < map.all.pages() {
        notes.push("pale: left out of the dump".to_string());
    }
    if map.holes > 0 {
        let bytes = map.holes.saturating_mul(opened.shift.bytes() as u64);
        notes.push(format!("white: no memory, {} between the ranges", size(bytes)));
    }
    notes
}

/// Draws the blocks, the title and the legend.
pub fn draw(opened: &Opened, map: &Map) -> Picture {
    const MARGIN: u32 = 16;
    const LABEL: u32 = 19 * LETTER;
    let (rows, legend, notes) = (map.rows(), legend(opened, map), notes(opened, map));
    let top = MARGIN + 3 * LETTER;
    let below = top + CELL * rows.len() as u32 + 2 * LETTER;
    let width = 2 * MARGIN + (LABEL + CELL * map.columns as u32).max(90 * LETTER);
    let lines = (legend.len() + notes.len()) as u32;
    let mut picture = Picture::new(width, below + 2 * LETTER * lines + MARGIN);
    picture.words(MARGIN, MARGIN, title(opened, map));
    for (y, row) in (0u32..).zip(&rows) {
        let y = top + CELL * y;
        let at = row * map.columns * map.block * opened.shift.bytes() as u64;
        picture.words(MARGIN, y + 1, format!("{at:#018x}"));
        let mut cells = map.cells.range(row * map.columns..(row + 1) * map.columns).peekable();
        while let Some((first, cell)) = cells.next() {
            // Neighbours that look the same are one rectangle.
            let shade = cell.shade();
            let mut next = first + 1;
            while cells.next_if(|(at, cell)| **at == next && cell.shade() == shade).is_some() {
                next += 1;
            }
            let x = MARGIN + LABEL + CELL * (first % map.columns) as u32;
            let width = CELL * (next - first) as u32;
            picture.rectangle((x, y), (width, CELL - 1), shade.colour(), &shade.words());
        }
    }
    let mut y = below;
    for (class, line) in legend {
        picture.rectangle((MARGIN, y - 1), (CELL, CELL), colour(class), class.name());
        picture.words(MARGIN + 2 * CELL, y, line);
        y += 2 * LETTER;
    }
    for note in notes {
        picture.words(MARGIN + 2 * CELL, y, note);
        y += 2 * LETTER;
    }
    picture
}

/// Two rows of cells in a line, as the upper and lower half of a letter; with all colours, or those that terminals
/// with 256 have.
pub fn half_blocks(opened: &Opened, map: &Map, all_colours: bool) -> String {
    let colour = |shade: Shade| -> anstyle::Color {
        if all_colours {
            let [r, g, b] = shade.colour();
            anstyle::RgbColor(r, g, b).into()
        } else {
            anstyle::Ansi256Color(shade.indexed()).into()
        }
    };
    // Two lines, as one is longer than some terminals.
    let mut text = format!("{}\n", title(opened, map).replacen("; ", "\n", 1));
    let rows = map.rows();
    let mut at = 0;
    while let Some(upper) = rows.get(at) {
        // Rows that are no neighbours are in lines of their own.
        let lower = rows.get(at + 1).filter(|lower| **lower == upper + 1);
        at += if lower.is_some() { 2 } else { 1 };
        let address = upper * map.columns * map.block * opened.shift.bytes() as u64;
        text += &format!("{address:#width$x} ", width = LABEL_ON_TERMINAL);
        for column in 0..map.columns {
            let of = |row: &u64| map.cells.get(&(row * map.columns + column)).map(Cell::shade);
            let (upper, lower) = (of(upper), lower.and_then(of));
            let (half, fore, back) = match (upper, lower) {
                (None, None) => (' ', None, None),
                (None, lower) => ('▄', lower, None),
                (upper, lower) => ('▀', upper, lower),
            };
            let style = Style::new().fg_color(fore.map(colour)).bg_color(back.map(colour));
            text += &format!("{style}{half}{style:#}");
        }
        text.push('\n');
    }
    for (class, line) in legend(opened, map) {
        let style = Style::new().fg_color(Some(colour(Shade::full(class))));
        text += &format!("{style}██{style:#} {line}\n");
    }
    for note in notes(opened, map) {
        text += &format!("   {note}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_small_as_the_rows_allow() {
        let span = |start, end| PfnSpan::new(Pfn(start), Pfn(end));
        assert_eq!(block(&[span(0, 64 * 96)], 64, 96), 1);
        assert_eq!(block(&[span(0, 64 * 96 + 1)], 64, 96), 2);
        // A hole takes no rows, and two ranges in one row take one.
        assert_eq!(block(&[span(0, 64), span(1 << 40, (1 << 40) + 64 * 95)], 64, 96), 1);
        assert_eq!(block(&[span(0, 10), span(20, 64 * 96)], 64, 96), 1);
        assert_eq!(block(&[], 64, 96), 1);
        let most = block(&[span(0, u64::MAX >> 12)], 64, 96);
        assert!((u64::MAX >> 12) / (most * COLUMNS) <= 96);
    }

    #[test]
    fn a_row_fits_the_terminal() {
        assert_eq!(
            [0, 16, 47, 48, 80, 143, 144, 1000].map(columns_of),
            [16, 16, 16, 32, 64, 64, 128, 256]
        );
    }

    #[test]
    fn a_cell_has_the_colour_of_most_of_its_pages() {
        let mut cell = Cell::default();
        cell.add(Class::Spare(Reason::Free), true);
        cell.add(Class::Spare(Reason::User), true);
        cell.add(Class::Spare(Reason::User), true);
        assert_eq!(cell.shade(), Shade::full(Class::Spare(Reason::User)));
        assert_eq!(cell.shade().colour(), colour(Class::Spare(Reason::User)));
        cell.add(Class::Spare(Reason::User), false);
        let [r, ..] = cell.shade().colour();
        assert!(r > colour(Class::Spare(Reason::User))[0], "paler");
        assert_eq!(cell.shade().words(), "user pages: a quarter left out");
        (0..1000).for_each(|_| cell.add(Class::Spare(Reason::User), false));
        assert_eq!(cell.shade().quarters, 3, "not all of it was left out");
    }

    #[test]
    fn no_two_classes_look_the_same() {
        let shades =
            |quarters: u8| Class::ALL.into_iter().map(move |class| Shade { class, quarters });
        let shades: Vec<Shade> =
            shades(0).chain(shades(4)).filter(|s| s.class != Class::Hole).collect();
        for (n, one) in shades.iter().enumerate() {
            for other in &shades[n + 1..] {
                assert_ne!(one.indexed(), other.indexed(), "{one:?} {other:?}");
                assert_ne!(one.colour(), other.colour(), "{one:?} {other:?}");
            }
        }
    }
}
