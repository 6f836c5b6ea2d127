//! Stacks, with tables and words of any kind.

use crate::input::Input;
use crate::{Reach, Target};
use tamis_host::kernel::stack::frame::{End, Walked};
use tamis_host::kernel::stack::{chain, orc};

/// Addresses of the stack and of code.
const STACK: u64 = 0xffff_c900_0000_0000;
const CODE: u64 = 0xffff_ffff_8100_0000;
/// Words of the stack, and entries of a table, at most.
const WORDS: usize = 256;
const ENTRIES: usize = 32;
/// Bytes of code that an entry is for, and of a function.
const EACH: u64 = 16;

/// A machine: what it has is read off the input.
struct Made {
    words: Vec<u64>,
    entries: Vec<[u8; 6]>,
    layout: orc::Layout,
    /// Words that were read.
    read: usize,
}

impl Made {
    fn new(input: &mut Input<'_>, layout: orc::Layout) -> Made {
        let count = usize::from(input.byte()) % ENTRIES;
        let entry = |input: &mut Input<'_>| {
            let mut raw = [0; 6];
            raw.fill_with(|| input.byte());
            // Offsets that stay in the stack are the ones that lead somewhere.
            (raw[1], raw[3]) = (raw[1] >> 7, if raw[3] & 1 == 0 { 0 } else { 0xff });
            raw
        };
        let entries = (0..count).map(|_| entry(input)).collect();
        let mut words = Vec::new();
        while !input.is_empty() && words.len() < WORDS {
            let (kind, low) = (input.byte(), u64::from(input.byte()));
            words.push(match kind % 5 {
                0 => STACK + 8 * low,
                1 => CODE + 4 * low,
                2 => low,
                3 => 0,
                _ => input.u64(),
            });
        }
        Made { words, entries, layout, read: 0 }
    }

    fn at(&mut self, at: u64) -> Option<u64> {
        self.read += 1;
        self.words.get(usize::try_from(at.checked_sub(STACK)? / 8).ok()?).copied()
    }

    fn is_code(address: u64) -> bool {
        (CODE..CODE + 1024).contains(&address)
    }
}

impl orc::Code for Made {
    fn word(&mut self, at: u64) -> Option<u64> {
        self.at(at)
    }

    fn entry(&mut self, address: u64) -> Option<orc::Entry> {
        let index = (address.checked_sub(CODE)? / EACH) as usize;
        self.entries.get(index % ENTRIES).map(|raw| self.layout.entry(*raw))
    }

    fn is_code(&mut self, address: u64) -> bool {
        Made::is_code(address)
    }

    fn calls(&mut self, ip: u64, address: u64) -> bool {
        Made::is_code(ip) && (ip ^ address) & 0x30 == 0
    }
}

impl chain::Code for Made {
    fn word(&mut self, at: u64) -> Option<u64> {
        self.at(at)
    }

    fn function(&mut self, address: u64) -> Option<u64> {
        Made::is_code(address).then_some(address & !(EACH - 1))
    }
}

pub const STACKS: Target = Target {
    name: "stacks",
    about: "stacks of x86_64 by ORC and of arm64 by frames, with any words and entries",
    goals: &["whole", "program", "lost", "broken", "guessed", "interrupted", "frames of arm64"],
    run: stacks,
    seeds: || {
        // Calls with 16 bytes above the stack pointer; registers; nothing; the end.
        let (call, regs) = ([16, 0, 0xf0, 0xff, 0x15, 2], [0, 0, 0, 0, 5, 3]);
        let (part, none, end) = ([0, 0, 0, 0, 5, 4], [0; 6], [0, 0, 0, 0, 0, 1]);
        // Words: code, stack, numbers.
        let code = |at: u8| [1, at];
        let stack = |at: u8| [0, at];
        // Registers of a note that are those of a program.
        let mut seeds = vec![[vec![16, 0, 0, 0], [2, 0x33].repeat(24)].concat()];
        for (head, tables) in [
            (0, vec![call, end]),
            (0, vec![call, call, regs, part]),
            (0, vec![regs, call, none]),
            (0, vec![part, end, none]),
            (0, vec![none]),
            (0, vec![]),
            (1, vec![[16, 0, 0xf0, 0xff, 0x83, 2]]),
            (2, vec![[16, 0, 0xf0, 0xff, 0x15, 0], [0, 0, 0, 0, 0, 4]]),
            (0x80, vec![]),
            (0x81, vec![]),
            (0xc2, vec![]),
        ] {
            for first in [0, 4, 8, 12] {
                let mut seed = vec![head, first, 0, tables.len() as u8];
                seed.extend(tables.iter().flatten());
                for word in 0..48u8 {
                    seed.extend(match word % 4 {
                        0 => stack(word + 4),
                        1 => code(4 * (word % 7)),
                        2 if word % 3 == 0 => [2, 0x33],
                        2 => code(word),
                        _ => [3, 0],
                    });
                }
                seeds.push(seed);
            }
        }
        seeds
    },
};

fn stacks(data: &[u8], reach: &mut Reach) {
    let mut input = Input::new(data);
    let head = input.byte();
    let layout = orc::Layout {
        wide_kind: head & 2 == 0,
        signal: Some(11).filter(|_| head & 2 == 0),
        end: Some(10).filter(|_| head & 2 != 0),
        renumbered: head & 1 != 0,
        offset_first: head & 4 != 0,
    };
    let (ip, sp) = (CODE + 4 * u64::from(input.byte()), STACK + 8 * u64::from(input.byte() & 15));
    let mut made = Made::new(&mut input, layout);
    let top = Some(STACK + 8 * made.words.len() as u64).filter(|_| head & 8 == 0);
    let walked = if head & 0x80 == 0 {
        let regs: Vec<u64> = made.words.iter().copied().take(21).collect();
        let regs = Some(orc::Regs::Note(&regs)).filter(|_| head & 16 != 0);
        let start = orc::Start { ip, sp, bp: sp + 16, exact: head & 32 != 0, regs };
        orc::walk(&mut made, &start, top, layout)
    } else {
        let layout = chain::Layout {
            signed: 0,
            frame_in_regs: Some(64).filter(|_| head & 1 == 0),
            typed: head & 2 != 0,
        };
        let lr = Some(CODE + 64).filter(|_| head & 0x40 != 0);
        chain::walk(&mut made, &chain::Start { pc: ip, sp, fp: sp, lr }, layout)
    };
    let Walked { frames, end } = walked;
    assert!(frames.len() <= 1024 + 3, "{} frames", frames.len());
    assert!(made.read <= 1 << 20, "{} words were read of {}", made.read, made.words.len());
    reach.at(match end {
        End::Whole => "whole",
        End::User(_) => "program",
        End::Lost => "lost",
        End::Broken(_) => "broken",
    });
    if frames.iter().any(|frame| frame.guessed) {
        reach.at("guessed");
    }
    if frames.iter().any(|frame| frame.registers.is_some()) {
        reach.at("interrupted");
    }
    if head & 0x80 != 0 && frames.len() > 2 {
        reach.at("frames of arm64");
    }
}
