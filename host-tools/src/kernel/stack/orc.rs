//! Stacks of x86_64 by ORC: for every address of the kernel's code, where its caller is.
//!
//! # Sources
//! Linux `arch/x86/include/asm/orc_types.h`, `Documentation/arch/x86/orc-unwinder.rst`, and what
//! `unwind_next_frame` of `arch/x86/kernel/unwind_orc.c` does with them.

use super::frame::{End, Frame, Walked};
use std::collections::HashSet;

/// Frames at most.
const MOST: usize = 1024;

/// Offsets in `struct pt_regs`.
const BP: u64 = 32;
const IP: u64 = 128;
const CS: u64 = 136;
const SP: u64 = 152;

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing is known.
    Undefined,
    /// The first code of a task: there is no caller.
    EndOfStack,
    /// The caller's address is on the stack.
    Call,
    /// All registers are on the stack: what they belong to was interrupted.
    Regs,
    /// Address, flags and stack pointer of what was interrupted are on the stack.
    RegsPartial,
}

/// What an address is counted from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing.
    None,
    /// The caller's stack pointer.
    Caller,
    /// The stack pointer.
    Sp,
    /// What it points to.
    SpIndirect,
    /// The frame pointer.
    Bp,
    /// What it points to.
    BpIndirect,
    /// A register, by its offset in `struct pt_regs`.
    Register(u64),
}

/// `ORC_REG_` up to some version after 6.12, and from 7.2 at the latest.
const OLD: [Base; 10] = [
    Base::None,
    Base::Caller,
    Base::Register(96),
    Base::Register(112),
    Base::Bp,
    Base::Sp,
    Base::Register(56),
    Base::Register(16),
    Base::BpIndirect,
    Base::SpIndirect,
];
const NEW: [Base; 11] = [
    Base::None,
    Base::Register(80),
    Base::Register(96),
    Base::Sp,
    Base::Bp,
    Base::Register(112),
    Base::Register(56),
    Base::Register(16),
    Base::Caller,
    Base::SpIndirect,
    Base::BpIndirect,
];

/// An entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where the caller's stack pointer is: a register, an offset.
    sp: (Base, i16),
    /// Where the caller's frame pointer is.
    bp: (Base, i16),
    kind: Kind,
    /// Whether the address that is found is the instruction itself, not the one behind a call.
    exact: bool,
}

/// Code without an entry: it may have a frame pointer.
const BY_FRAME_POINTER: Entry =
    Entry { sp: (Base::Bp, 16), bp: (Base::Caller, -16), kind: Kind::Call, exact: false };

/// How entries are laid out: it changed over the years, and the kernel's own types tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// From 6.4 on: three bits of a kind, with kinds for what is undefined and for the end.
    pub wide_kind: bool,
    /// The bit that says that an address is exact (6.3 and later).
    pub signal: Option<u32>,
    /// The bit that marks the end (4.19 to 6.3).
    pub end: Option<u32>,
    /// Whether registers have the numbers of 7.2: entries tell ([`Layout::is_renumbered`]).
    pub renumbered: bool,
    /// Before 5.12, an offset is added before the stack is looked at, not behind it.
    pub offset_first: bool,
}

impl Layout {
    /// An entry of 6 bytes.
    pub fn entry(self, raw: [u8; 6]) -> Entry {
        let [a, b, c, d, regs, flags] = raw;
        let (sp, bp) = (i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]));
        let bit =
            |bit: Option<u32>| bit.map(|bit| u16::from_le_bytes([regs, flags]) >> bit & 1 != 0);
        let (sp_reg, bp_reg) = (regs & 15, regs >> 4);
        let kind = match (self.wide_kind, flags & 7) {
            (true, 1) => Kind::EndOfStack,
            (true, 2) => Kind::Call,
            (true, 3) => Kind::Regs,
            (true, 4) => Kind::RegsPartial,
            (true, _) => Kind::Undefined,
            // No register has the stack pointer.
            _ if sp_reg == 0 && bit(self.end) == Some(false) => Kind::Undefined,
            _ if sp_reg == 0 => Kind::EndOfStack,
            (false, kind) => match kind & 3 {
                0 => Kind::Call,
                1 => Kind::Regs,
                _ => Kind::RegsPartial,
            },
        };
        let exact = bit(self.signal).unwrap_or(matches!(kind, Kind::Regs | Kind::RegsPartial));
        let numbers: &[Base] = if self.renumbered { &NEW } else { &OLD };
        let base = |number: u8| numbers.get(usize::from(number)).copied().unwrap_or(Base::None);
        Entry { sp: (base(sp_reg), sp), bp: (base(bp_reg), bp), kind, exact }
    }

    /// Whether registers have new numbers in these entries: most are counted from the stack pointer, and its
    /// numbers were those of registers that hardly any is counted from.
    pub fn is_renumbered(entries: &[[u8; 6]]) -> bool {
        let count = |number| entries.iter().filter(|raw| raw[4] & 15 == number).count();
        count(3) > count(5)
    }
}

/// What the unwinder asks for.
pub trait Code {
    /// The word on a stack.
    fn word(&mut self, at: u64) -> Option<u64>;
    /// The entry for an address.
    fn entry(&mut self, address: u64) -> Option<Entry>;
    /// Whether an address is code.
    fn is_code(&mut self, address: u64) -> bool;
    /// Whether the instruction in front of `ip` calls the function that `address` is in.
    fn calls(&mut self, ip: u64, address: u64) -> bool;
}

/// Where registers are.
#[derive(Clone, Copy)]
pub enum Regs<'r> {
    /// Of a note: as `struct pt_regs` has them.
    Note(&'r [u64]),
    /// On the stack; all of them, or the last five only.
    Stack(u64, bool),
}

impl Regs<'_> {
    fn get(self, code: &mut dyn Code, offset: u64) -> Option<u64> {
        match self {
            Regs::Note(all) => all.get((offset / 8) as usize).copied(),
            Regs::Stack(_, false) if offset < IP => None,
            Regs::Stack(at, _) => code.word(at.wrapping_add(offset)),
        }
    }
}

/// Where to begin.
pub struct Start<'r> {
    /// Address of the code.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
    /// Whether the address is the instruction itself.
    pub exact: bool,
    /// The registers, of a task that was running.
    pub regs: Option<Regs<'r>>,
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct At<'r> {
    ip: u64,
    sp: u64,
    bp: u64,
    exact: bool,
    regs: Option<Regs<'r>>,
    /// Those that the last ones are in front of.
    older: Option<Regs<'r>>,
    /// Whether an address had no entry.
    guessed: bool,
}

/// Where a step leads.
enum Step<'r> {
    /// To a caller, or to what was interrupted, with its registers there.
    To(At<'r>, Option<u64>),
    End(End),
}

/// Goes from caller to caller. `top` is the address behind the stack, if it is known: where the table says
/// nothing, what is left of the stack is looked through.
pub fn walk(code: &mut dyn Code, start: &Start<'_>, top: Option<u64>, layout: Layout) -> Walked {
    let Start { ip, sp, bp, exact, regs } = *start;
    let mut at = At { ip, sp, bp, exact, regs, older: None, guessed: false };
    let mut frames = vec![Frame { pc: ip, sp, exact, guessed: false, registers: None }];
    let mut seen = HashSet::new();
    let end = loop {
        let cs = at.regs.and_then(|regs| regs.get(code, CS));
        if cs.is_some_and(|cs| cs & 3 != 0) {
            frames.pop();
            break End::User(at.ip);
        }
        if frames.len() >= MOST || !seen.insert((at.ip, at.sp)) {
            break End::Broken("it goes round".into());
        }
        let (next, guessed, registers) = match step(code, at, layout) {
            Step::To(next, registers) => (next, next.guessed, registers),
            // What was called from there says where it goes on.
            Step::End(End::Lost) => match caller(code, at, top) {
                Some(next) => (next, true, None),
                None => {
                    guess(code, &mut frames, at.sp, top);
                    break End::Lost;
                }
            },
            Step::End(end) => break end,
        };
        if next.ip == 0 {
            break End::Whole;
        }
        at = next;
        frames.push(Frame { pc: at.ip, sp: at.sp, exact: at.exact, guessed, registers });
    };
    Walked { frames, end }
}

/// By the entry of where it is.
fn step<'r>(code: &mut dyn Code, at: At<'r>, layout: Layout) -> Step<'r> {
    let lost = Step::End(End::Lost);
    let mut next = at;
    let entry = match code.entry(if at.exact { at.ip } else { at.ip.wrapping_sub(1) }) {
        Some(Entry { kind: Kind::Undefined, .. }) => return lost,
        Some(Entry { kind: Kind::EndOfStack, .. }) => return Step::End(End::Whole),
        Some(entry) => entry,
        None => {
            next.guessed = true;
            BY_FRAME_POINTER
        }
    };
    let register = |offset, code: &mut dyn Code| {
        let of = |regs: Option<Regs<'_>>, code: &mut dyn Code| regs?.get(code, offset);
        of(at.regs, code).or_else(|| of(at.older, code))
    };
    let (base, offset) = (entry.sp.0, entry.sp.1 as i64 as u64);
    let caller = match base {
        Base::Sp => Some(at.sp.wrapping_add(offset)),
        Base::Bp => Some(at.bp.wrapping_add(offset)),
        Base::Register(number) => register(number, code).map(|base| base.wrapping_add(offset)),
        // What is there is the stack pointer.
        Base::SpIndirect if !layout.offset_first => {
            code.word(at.sp).map(|caller| caller.wrapping_add(offset))
        }
        Base::SpIndirect => code.word(at.sp.wrapping_add(offset)),
        Base::BpIndirect => code.word(at.bp.wrapping_add(offset)),
        Base::None | Base::Caller => None,
    };
    let Some(caller) = caller else { return lost };
    let offset = entry.bp.1 as i64 as u64;
    let frame_pointer = match entry.bp.0 {
        Base::None => Some(register(BP, code).unwrap_or(at.bp)),
        Base::Caller => code.word(caller.wrapping_add(offset)),
        Base::Bp => code.word(at.bp.wrapping_add(offset)),
        _ => None,
    };
    let (ip, registers) = match entry.kind {
        Kind::Regs => {
            let found = Regs::Stack(caller, true);
            (next.regs, next.older) = (Some(found), None);
            next.sp = found.get(code, SP).unwrap_or(0);
            (found.get(code, IP), Some(caller))
        }
        Kind::RegsPartial => {
            // They begin in front of what is there.
            let found = Regs::Stack(caller.wrapping_sub(IP), false);
            next.older = at.regs.filter(|regs| !matches!(regs, Regs::Stack(_, false)));
            next.regs = Some(found);
            next.sp = found.get(code, SP).unwrap_or(0);
            (found.get(code, IP), Some(caller.wrapping_sub(IP)))
        }
        _ => {
            (next.regs, next.older) = (None, None);
            next.sp = caller;
            (code.word(caller.wrapping_sub(8)), None)
        }
    };
    let (Some(ip), Some(bp)) = (ip, frame_pointer) else { return lost };
    (next.ip, next.bp, next.exact) = (ip, bp, entry.exact);
    // What has no entry and is called by no code has no frame pointer either.
    if next.guessed && registers.is_none() && !code.is_code(ip) {
        return lost;
    }
    Step::To(next, registers)
}

/// The addresses of a stack from here on, as far as it can be.
fn rest(sp: u64, top: Option<u64>) -> impl Iterator<Item = u64> {
    let top = top.filter(|top| top.wrapping_sub(sp) <= 1 << 16);
    (sp.wrapping_add(7) & !7..top.unwrap_or(0)).step_by(8)
}

/// The caller of a function of which the table says nothing: the first address on the stack behind an
/// instruction that calls this very function.
fn caller<'r>(code: &mut dyn Code, at: At<'r>, top: Option<u64>) -> Option<At<'r>> {
    rest(at.sp, top).find_map(|place| {
        let ip = code.word(place).filter(|ip| code.calls(*ip, at.ip))?;
        let (regs, older) = (None, None);
        Some(At { ip, sp: place + 8, exact: false, regs, older, ..at })
    })
}

/// Whatever is left on the stack that is an address of code.
fn guess(code: &mut dyn Code, frames: &mut Vec<Frame>, sp: u64, top: Option<u64>) {
    for place in rest(sp, top) {
        let Some(pc) = code.word(place).filter(|_| frames.len() < MOST) else { break };
        if code.is_code(pc) {
            let sp = place + 8;
            frames.push(Frame { pc, sp, exact: false, guessed: true, registers: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A stack at 0x1000, code from 0x8000 to 0x9000, and entries for some of it.
    #[derive(Default)]
    struct Made {
        stack: HashMap<u64, u64>,
        entries: Vec<(u64, Entry)>,
        calls: Option<(u64, u64)>,
    }

    impl Code for Made {
        fn word(&mut self, at: u64) -> Option<u64> {
            (0x1000..0x2000).contains(&at).then(|| self.stack.get(&at).copied().unwrap_or(0))
        }

        fn entry(&mut self, address: u64) -> Option<Entry> {
            let last = self.entries.iter().rev().find(|(from, _)| *from <= address);
            last.map(|(_, entry)| *entry).filter(|_| address >= 0x8000)
        }

        fn is_code(&mut self, address: u64) -> bool {
            (0x8000..0x9000).contains(&address)
        }

        fn calls(&mut self, ip: u64, address: u64) -> bool {
            self.calls == Some((ip, address))
        }
    }

    const LATEST: Layout = Layout {
        wide_kind: true,
        signal: Some(11),
        end: None,
        renumbered: false,
        offset_first: false,
    };

    fn entry(sp: (u8, i16), bp: (u8, i16), kind: Kind, exact: bool) -> Entry {
        let base = |(number, offset): (u8, i16)| (OLD[usize::from(number)], offset);
        Entry { sp: base(sp), bp: base(bp), kind, exact }
    }

    fn pcs(walked: &Walked) -> Vec<(u64, bool)> {
        walked.frames.iter().map(|frame| (frame.pc, frame.guessed)).collect()
    }

    #[test]
    fn entries_of_all_years_are_read() {
        // 16 bytes above the stack pointer, a call; the frame pointer 16 below.
        let raw = |flags| [16, 0, 0xf0, 0xff, 0x15, flags];
        let call = entry((5, 16), (1, -16), Kind::Call, false);
        let old = Layout { wide_kind: false, signal: None, end: Some(10), ..LATEST };
        assert_eq!(old.entry(raw(0)), call);
        assert_eq!(LATEST.entry(raw(2)), call);
        let regs = |exact| entry((5, 16), (1, -16), Kind::Regs, exact);
        assert_eq!(old.entry(raw(1)), regs(true));
        assert_eq!(LATEST.entry(raw(3 | 8)), regs(true));
        assert_eq!(LATEST.entry(raw(3)), regs(false));
        let middle = Layout { wide_kind: false, signal: Some(10), end: Some(11), ..LATEST };
        assert_eq!(middle.entry(raw(1)), regs(false));
        assert_eq!(middle.entry(raw(1 | 4)), regs(true));
        let none = |flags| [0, 0, 0, 0, 0, flags];
        assert_eq!(old.entry(none(0)).kind, Kind::Undefined);
        assert_eq!(old.entry(none(4)).kind, Kind::EndOfStack);
        assert_eq!(middle.entry(none(8)).kind, Kind::EndOfStack);
        assert_eq!(LATEST.entry(none(0)).kind, Kind::Undefined);
        assert_eq!(LATEST.entry(none(1)).kind, Kind::EndOfStack);
        assert_eq!(LATEST.entry(raw(4)).kind, Kind::RegsPartial);
        // The same with the numbers of 7.2, which most entries show.
        let renumbered = Layout { renumbered: true, ..LATEST };
        let raw = [16, 0, 0xf0, 0xff, 0x83, 2];
        assert_eq!(renumbered.entry(raw), call);
        assert!(Layout::is_renumbered(&[raw, raw, [8, 0, 0, 0, 5, 2]]));
        assert!(!Layout::is_renumbered(&[[16, 0, 0xf0, 0xff, 0x15, 2], [8, 0, 0, 0, 5, 2], raw]));
    }

    #[test]
    fn a_stack_with_an_interrupt_in_it_is_followed_to_user_mode() {
        // Asleep in 0x8010, called from 0x8110, which has a frame pointer and was called by 0x8205; that is
        // entry code with all registers behind it, which were those of 0x8300; and that came from user mode.
        let entries = vec![
            (0x8000, entry((5, 16), (0, 0), Kind::Call, false)),
            (0x8100, entry((4, 16), (1, -16), Kind::Call, false)),
            (0x8200, entry((5, 0), (0, 0), Kind::Regs, true)),
            (0x8300, entry((5, 8), (0, 0), Kind::Call, false)),
            (0x8301, entry((0, 0), (0, 0), Kind::Undefined, false)),
            (0x8400, entry((5, 0), (0, 0), Kind::Regs, true)),
        ];
        let mut made = Made { entries, ..Made::default() };
        made.stack.insert(0x1018, 0x8110);
        // The frame of 0x8110.
        made.stack.insert(0x1040, 0x1777);
        made.stack.insert(0x1048, 0x8205);
        // Registers of 0x8300: bp, ip, cs, sp.
        for (offset, value) in [(BP, 0x1555), (IP, 0x8300), (CS, 0x10), (SP, 0x1200)] {
            made.stack.insert(0x1050 + offset, value);
        }
        made.stack.insert(0x1200, 0x8410);
        for (offset, value) in [(IP, 0x40_0000), (CS, 0x33), (SP, 0x7fff_0000)] {
            made.stack.insert(0x1208 + offset, value);
        }
        let start = Start { ip: 0x8010, sp: 0x1010, bp: 0x1040, exact: false, regs: None };
        let walked = walk(&mut made, &start, None, LATEST);
        assert_eq!(walked.end, End::User(0x40_0000));
        let wanted = [0x8010, 0x8110, 0x8205, 0x8300, 0x8410].map(|pc| (pc, false));
        assert_eq!(pcs(&walked), wanted);
        assert!(walked.frames[3].exact && walked.frames[3].registers == Some(0x1050));
        // Where the entry of the address behind a call is taken, 0x8300 has none.
        made.entries[2].1.exact = false;
        made.entries[4].0 = 0x8299;
        let walked = walk(&mut made, &start, None, LATEST);
        assert_eq!(walked.end, End::Lost);
    }

    #[test]
    fn where_the_table_says_nothing_it_is_guessed_and_said() {
        let entries = vec![
            (0x8000, entry((5, 16), (0, 0), Kind::Call, false)),
            (0x8100, entry((0, 0), (0, 0), Kind::Undefined, false)),
        ];
        let mut made = Made { entries, ..Made::default() };
        made.stack.insert(0x1018, 0x8110);
        made.stack.insert(0x1030, 0x8020);
        made.stack.insert(0x1038, 0x10);
        made.stack.insert(0x1100, 0x8fff);
        let start = Start { ip: 0x8010, sp: 0x1010, bp: 0, exact: true, regs: None };
        let walked = walk(&mut made, &start, Some(0x1100), LATEST);
        assert_eq!(walked.end, End::Lost);
        assert_eq!(pcs(&walked), [(0x8010, false), (0x8110, false), (0x8020, true)]);
        // What calls 0x8110 is on the stack: from there on the table is right again.
        made.calls = Some((0x8020, 0x8110));
        made.stack.insert(0x1040, 0x8130);
        let walked = walk(&mut made, &start, Some(0x1100), LATEST);
        let found = [(0x8010, false), (0x8110, false), (0x8020, true), (0x8130, false)];
        assert_eq!(pcs(&walked), found);
        made.calls = None;
        // Nothing is known of where the stack ends.
        let walked = walk(&mut made, &start, None, LATEST);
        assert_eq!(pcs(&walked), [(0x8010, false), (0x8110, false)]);
    }

    #[test]
    fn stacks_that_go_round_end() {
        let entries = vec![(0x8000, entry((4, 0), (0, 0), Kind::Call, false))];
        let mut made = Made { entries, ..Made::default() };
        made.stack.insert(0x1038, 0x8010);
        let start = Start { ip: 0x8010, sp: 0x1010, bp: 0x1040, exact: false, regs: None };
        let walked = walk(&mut made, &start, None, LATEST);
        assert!(matches!(walked.end, End::Broken(_)), "{:?}", walked.end);
        assert!(walked.frames.len() < 4);
    }
}
