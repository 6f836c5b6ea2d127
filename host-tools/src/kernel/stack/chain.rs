//! Stacks of arm64 by frame pointers: each frame has the address of the one before it, and that of its code.
//!
//! # Sources
//! Linux `arch/arm64/kernel/stacktrace.c`, `arch/arm64/include/asm/stacktrace/frame.h`; "Procedure Call Standard
//! for the Arm 64-bit Architecture", The Frame Pointer.

use super::frame::{End, Frame, Walked};
use std::collections::HashSet;

/// Frames at most.
const MOST: usize = 1024;

/// Offsets in `struct pt_regs`: x29, x30, stack pointer, program counter, state.
const FP: u64 = 29 * 8;
const LR: u64 = 30 * 8;
const SP: u64 = 31 * 8;
const PC: u64 = 32 * 8;
const STATE: u64 = 33 * 8;

/// What the unwinder asks for.
pub trait Code {
    /// The word on a stack.
    fn word(&mut self, at: u64) -> Option<u64>;
    /// Where the function begins that an address is in; `None` where it is no code.
    fn function(&mut self, address: u64) -> Option<u64>;
}

/// What of this kernel has to be known.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Bits that hold a signature of return addresses.
    pub signed: u64,
    /// Where in `struct pt_regs` a frame is.
    pub frame_in_regs: Option<u64>,
    /// Whether that frame has a type behind it (6.13 and later).
    pub typed: bool,
}

/// Where to begin.
#[derive(Clone, Copy)]
pub struct Start {
    /// Program counter.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// The register with the return address, of a task that was running.
    pub lr: Option<u64>,
}

/// Goes from frame to frame.
pub fn walk(code: &mut dyn Code, start: &Start, layout: Layout) -> Walked {
    let Start { pc, sp, mut fp, lr } = *start;
    let exact = lr.is_some();
    let mut frames = vec![Frame { pc, sp, exact, guessed: false, registers: None }];
    if let Some(lr) = lr {
        leaf(code, &mut frames, lr | layout.signed, fp);
    }
    let mut seen = HashSet::new();
    let end = loop {
        if frames.len() >= MOST || !seen.insert(fp) {
            break End::Broken("it goes round".into());
        }
        if fp == 0 {
            break End::Whole;
        }
        let record = (code.word(fp), code.word(fp.wrapping_add(8)));
        let (Some(next), Some(raw)) = record else {
            break End::Broken(format!("the frame at {fp:#x} cannot be read"));
        };
        let regs = layout.frame_in_regs.map(|offset| fp.wrapping_sub(offset));
        if (next, raw) == (0, 0) {
            // The first frame of a task, or registers of what was interrupted.
            let kind = if layout.typed { code.word(fp.wrapping_add(16)) } else { Some(1) };
            let (Some(2), Some(regs)) = (kind, regs) else {
                let state = regs.and_then(|regs| code.word(regs.wrapping_add(STATE)));
                let pc = regs.and_then(|regs| code.word(regs.wrapping_add(PC)));
                break match (state, pc) {
                    // EL0, and not the empty registers of a thread of the kernel.
                    (Some(state), Some(pc)) if state & 0xf == 0 && pc != 0 && pc >> 63 == 0 => {
                        End::User(pc)
                    }
                    _ => End::Whole,
                };
            };
            match interrupted(code, &mut frames, regs, layout) {
                Some(next) => fp = next,
                None => break End::Broken(format!("the registers at {regs:#x} cannot be read")),
            }
            continue;
        }
        let pc = raw | layout.signed;
        // Before 6.13, a frame in front of registers has what was interrupted.
        let same = regs.filter(|regs| {
            !layout.typed
                && code.word(regs.wrapping_add(PC)) == Some(raw)
                && code.word(regs.wrapping_add(FP)) == Some(next)
        });
        if let Some(regs) = same {
            interrupted(code, &mut frames, regs, layout);
        } else if code.function(pc.wrapping_sub(4)).is_none() {
            break End::Broken(format!("the frame at {fp:#x} has no return address ({raw:#x})"));
        } else {
            let sp = fp.wrapping_add(16);
            frames.push(Frame { pc, sp, exact: false, guessed: false, registers: None });
        }
        fp = next;
    };
    Walked { frames, end }
}

/// What was interrupted: its registers say where it was. Returns its frame pointer.
fn interrupted(
    code: &mut dyn Code,
    frames: &mut Vec<Frame>,
    regs: u64,
    layout: Layout,
) -> Option<u64> {
    let mut of = |offset| code.word(regs.wrapping_add(offset));
    let (pc, sp, fp, lr) = (of(PC)?, of(SP)?, of(FP)?, of(LR)?);
    frames.push(Frame { pc, sp, exact: true, guessed: false, registers: Some(regs) });
    leaf(code, frames, lr | layout.signed, fp);
    Some(fp)
}

/// A function that calls none has no frame of its own, nor has one that is about to make it: the register has
/// its caller. In others it has what they called last, which is in themselves, or what their frame has.
fn leaf(code: &mut dyn Code, frames: &mut Vec<Frame>, lr: u64, fp: u64) {
    let Some(Frame { pc, sp, .. }) = frames.last().copied() else { return };
    let (Some(own), Some(caller)) = (code.function(pc), code.function(lr.wrapping_sub(4))) else {
        return;
    };
    if own != caller && code.word(fp.wrapping_add(8)) != Some(lr) {
        frames.push(Frame { pc: lr, sp, exact: false, guessed: true, registers: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const SIGNED: u64 = 0xff00_0000_0000_0000;
    const CODE: u64 = SIGNED | 0x8000;

    /// A stack at 0x1000, and functions of 0x100 bytes each.
    #[derive(Default)]
    struct Made(HashMap<u64, u64>);

    impl Code for Made {
        fn word(&mut self, at: u64) -> Option<u64> {
            (0x1000..0x2000).contains(&at).then(|| self.0.get(&at).copied().unwrap_or(0))
        }

        fn function(&mut self, address: u64) -> Option<u64> {
            (CODE..CODE + 0x1000).contains(&address).then_some(address & !0xff)
        }
    }

    impl Made {
        fn frame(&mut self, at: u64, next: u64, lr: u64) {
            self.0.insert(at, next);
            self.0.insert(at + 8, lr);
        }

        fn registers(&mut self, at: u64, all: &[(u64, u64)]) {
            self.0.extend(all.iter().map(|(offset, value)| (at + offset, *value)));
        }
    }

    fn layout(typed: bool) -> Layout {
        Layout { signed: SIGNED, frame_in_regs: Some(304), typed }
    }

    fn pcs(walked: &Walked) -> Vec<(u64, bool)> {
        walked.frames.iter().map(|frame| (frame.pc, frame.guessed)).collect()
    }

    #[test]
    fn frames_are_followed_through_an_interrupt_to_user_mode() {
        for typed in [false, true] {
            let mut made = Made::default();
            // Signed, as it is on the stack.
            made.frame(0x1010, 0x1050, 0x8120);
            let regs = 0x1100;
            // A function that has its frame was interrupted: 0x8340 had called something from 0x8310.
            let own = [(FP, 0x1400), (LR, CODE + 0x310), (SP, 0x13f0), (PC, CODE + 0x340)];
            made.registers(regs, &own);
            made.frame(0x1050, regs + 304, CODE + 0x250);
            if typed {
                made.0.insert(regs + 320, 2);
            } else {
                made.frame(regs + 304, 0x1400, CODE + 0x340);
            }
            made.frame(0x1400, 0x1500 + 304, CODE + 0x450);
            made.registers(0x1500, &[(PC, 0x40_0000)]);
            made.0.insert(0x1500 + 320, 1);
            let start = Start { pc: CODE + 0x10, sp: 0x1000, fp: 0x1010, lr: None };
            let walked = walk(&mut made, &start, layout(typed));
            assert_eq!(walked.end, End::User(0x40_0000), "{typed}");
            let wanted = [0x10, 0x120, 0x250, 0x340, 0x450].map(|at| (CODE + at, false));
            assert_eq!(pcs(&walked), wanted, "{typed}");
            assert_eq!(walked.frames[3].registers, Some(regs));
        }
    }

    #[test]
    fn the_caller_of_a_function_without_a_frame_is_guessed() {
        let mut made = Made::default();
        made.frame(0x1010, 0x1050, CODE + 0x220);
        made.frame(0x1050, 0, CODE + 0x320);
        let start = |lr| Start { pc: CODE + 0x10, sp: 0x1000, fp: 0x1010, lr: Some(CODE + lr) };
        let walked = walk(&mut made, &start(0x110), layout(false));
        assert_eq!(
            pcs(&walked),
            [(0x10, false), (0x110, true), (0x220, false), (0x320, false)]
                .map(|(at, guessed)| (CODE + at, guessed))
        );
        // What it called itself, and what its frame has.
        for lr in [0x20, 0x220] {
            assert_eq!(walk(&mut made, &start(lr), layout(false)).frames.len(), 3);
        }
    }

    #[test]
    fn chains_that_break_or_go_round_end() {
        let mut made = Made::default();
        made.frame(0x1010, 0x1050, CODE + 0x220);
        let start = Start { pc: CODE + 0x10, sp: 0x1000, fp: 0x1010, lr: None };
        for (next, lr) in [(0x1010, CODE + 0x320), (0x5000, CODE + 0x320), (0x1090, 0x10)] {
            made.frame(0x1050, next, lr);
            let walked = walk(&mut made, &start, Layout { signed: 0, ..layout(false) });
            assert!(matches!(walked.end, End::Broken(_)), "{:?}", walked.end);
            assert!(walked.frames.len() <= 3);
        }
    }
}
