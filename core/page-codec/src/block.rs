//! The sequences of a page, collected for formats that count before they write.

use crate::bytes::{part, part_mut, room, try_load};
use crate::matcher::{Emitter, Sequence};

/// Literals of a block, of which there may be 16 more.
pub(crate) const LITERALS: usize = 4096;
/// Sequences of a block. A match has 4 bytes at least, so those of a 4 KiB page always fit.
pub(crate) const STEPS: usize = 1024;

/// A literal run and the match behind it.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) literals: u16,
    pub(crate) len: u16,
    pub(crate) distance: u16,
}

/// Literals and steps. A page of 4 KiB is one block; larger ones get more where they need them.
pub(crate) struct Block {
    /// 16 more, so that short runs are copied as 16 bytes.
    literals: [u8; LITERALS + 16],
    steps: [Step; STEPS],
    literals_used: usize,
    steps_used: usize,
}

impl Block {
    pub(crate) const fn new() -> Block {
        Block {
            literals: [0; _],
            steps: [Step { literals: 0, len: 0, distance: 0 }; _],
            literals_used: 0,
            steps_used: 0,
        }
    }

    /// All literals: of the steps, and those behind the last of them.
    pub(crate) fn literals(&self) -> &[u8] {
        part(&self.literals, ..self.literals_used)
    }

    /// The literals with what lies behind them, so that a few more may be read.
    #[inline(always)]
    pub(crate) fn padded(&self) -> &[u8; LITERALS + 16] {
        &self.literals
    }

    pub(crate) fn steps(&self) -> &[Step] {
        part(&self.steps, ..self.steps_used)
    }

    /// All literals and the steps, to be changed.
    pub(crate) fn parts(&mut self) -> (&[u8], &mut [Step]) {
        (part(&self.literals, ..self.literals_used), part_mut(&mut self.steps, ..self.steps_used))
    }

    pub(crate) fn clear(&mut self) {
        self.literals_used = 0;
        self.steps_used = 0;
    }
}

/// What a format makes of a block.
pub(crate) trait Coder {
    /// Furthest match source.
    const FURTHEST: u32;
    /// Longest match of a step; longer ones become more steps.
    const LONGEST: u32;
    /// See [`Emitter::LAZY`].
    const LAZY: bool;
    /// See [`Emitter::REPEAT`].
    const REPEAT: bool;
    /// See [`Emitter::HASHED`].
    const HASHED: u32;
    /// See [`Emitter::PATIENCE`].
    const PATIENCE: u32;

    /// Writes a block; false to give the page up.
    fn block(&mut self, block: &mut Block, last: bool) -> bool;
}

/// Collects blocks for a coder.
pub(crate) struct Collector<'b, C> {
    pub(crate) block: &'b mut Block,
    pub(crate) coder: C,
}

impl<C: Coder> Collector<'_, C> {
    fn close(&mut self, last: bool) -> bool {
        let go_on = self.coder.block(self.block, last);
        self.block.clear();
        go_on
    }

    /// Takes a run of literals that may need more than what is left of the block.
    #[inline(never)]
    fn run(&mut self, mut run: &[u8]) -> bool {
        loop {
            let used = self.block.literals_used;
            let (now, later) = run.split_at(run.len().min(LITERALS - used.min(LITERALS)));
            if let Some(to) = self.block.literals.get_mut(used..used + now.len()) {
                to.copy_from_slice(now);
            }
            self.block.literals_used += now.len();
            if later.is_empty() {
                return true;
            }
            if !self.close(false) {
                return false;
            }
            run = later;
        }
    }

    /// The literals behind the last match, and the last block.
    pub(crate) fn finish(&mut self, rest: &[u8]) -> bool {
        self.run(rest) && self.close(true)
    }

    /// A sequence that does not fit the block as it is.
    #[inline(never)]
    fn odd(&mut self, page: &[u8], s: &Sequence) -> bool {
        let (start, mut len) = (s.start as usize, s.len);
        if self.block.steps_used == STEPS && !self.close(false) {
            return false;
        }
        if !self.run(part(page, start..start + s.literals as usize)) {
            return false;
        }
        // What a new block did not take with it.
        let taken: usize = self.block.steps().iter().map(|step| usize::from(step.literals)).sum();
        let mut literals = self.block.literals_used - taken;
        while len > 0 {
            if self.block.steps_used == STEPS && !self.close(false) {
                return false;
            }
            // What stays is a match too.
            let part = if len > C::LONGEST { C::LONGEST.min(len - 4) } else { len };
            self.step(literals as u32, part, s.distance);
            literals = 0;
            len -= part;
        }
        true
    }

    #[inline(always)]
    fn step(&mut self, literals: u32, len: u32, distance: u32) {
        if let Some(step) = self.block.steps.get_mut(self.block.steps_used) {
            *step = Step { literals: literals as u16, len: len as u16, distance: distance as u16 };
        }
        self.block.steps_used += 1;
    }
}

impl<C: Coder> Emitter for Collector<'_, C> {
    const FURTHEST: u32 = C::FURTHEST;
    const LAZY: bool = C::LAZY;
    const ENTERED: u32 = if C::LAZY { 4 } else { 1 };
    const REPEAT: bool = C::REPEAT;
    const HASHED: u32 = C::HASHED;
    const PATIENCE: u32 = C::PATIENCE;

    #[inline(always)]
    fn sequence(&mut self, page: &[u8], s: Sequence) -> bool {
        let used = self.block.literals_used;
        if s.literals <= 16
            && (C::LONGEST >= 65_535 || s.len <= C::LONGEST)
            && let Some(bytes) = try_load::<16>(page, s.start)
            && let Some(step) = self.block.steps.get_mut(self.block.steps_used)
            && let Some(to) = room::<16>(&mut self.block.literals, used)
        {
            *to = bytes;
            *step = Step {
                literals: s.literals as u16,
                len: s.len as u16,
                distance: s.distance as u16,
            };
            self.block.literals_used = used + s.literals as usize;
            self.block.steps_used += 1;
            return true;
        }
        self.odd(page, &s)
    }
}

/// How often each byte occurs. Four tables, so that equal bytes in a row do not wait for each
/// other.
pub(crate) fn histogram(bytes: &[u8], counts: &mut [u16; 256]) {
    let mut more = [[0u16; 256]; 3];
    let [b, c, d] = &mut more;
    let up = |table: &mut [u16; 256], byte: u8| {
        if let Some(count) = table.get_mut(usize::from(byte)) {
            *count += 1;
        }
    };
    counts.fill(0);
    let (fours, rest) = bytes.as_chunks::<4>();
    for four in fours {
        up(counts, four[0]);
        up(b, four[1]);
        up(c, four[2]);
        up(d, four[3]);
    }
    for byte in rest {
        up(counts, *byte);
    }
    for (((a, b), c), d) in counts.iter_mut().zip(b).zip(c).zip(d) {
        *a += *b + *c + *d;
    }
}
