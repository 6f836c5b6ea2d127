//! Hostile input for every parser of tamis.
//!
//! A crashed kernel's memory is ruined in ways that nobody planned, and a dump on a workstation may
//! come from anybody. What is here makes such input and says what must hold for it:
//!
//! * [`TARGETS`]: one function for each parser that takes any bytes and must come back. Each has
//!   goals: states deep in the parser, which its corpus has to reach.
//! * [`base`] are intact vmcores, made up or real, [`mutate`] ruins them, [`engine`] captures them
//!   without a process, [`view`] says which pages the ruin may have changed.
//!
//! `tests/fuzz` feeds the targets with libFuzzer; the suite here replays its corpus and runs
//! mutants by number.

pub mod base;
pub mod engine;
pub mod input;
pub mod mutate;
pub mod overlay;
mod targets;
pub mod view;

pub use targets::TARGETS;

/// A parser under attack.
pub struct Target {
    /// Its name, also that of its folder in the corpus.
    pub name: &'static str,
    /// What is parsed.
    pub about: &'static str,
    /// States that the corpus has to reach, so that it does not stop at the first check.
    pub goals: &'static [&'static str],
    /// Takes any bytes; must not panic.
    pub run: fn(&[u8], &mut Reach),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Which goals of a target were reached.
pub struct Reach {
    goals: &'static [&'static str],
    seen: u64,
}

impl Reach {
    /// Nothing yet.
    pub fn new(target: &Target) -> Reach {
        Reach { goals: target.goals, seen: 0 }
    }

    /// A goal is reached.
    pub fn at(&mut self, goal: &str) {
        let index = self.goals.iter().position(|g| *g == goal);
        self.seen |= 1 << index.unwrap_or_else(|| panic!("{goal} is not among the goals"));
    }

    /// Goals that were not reached.
    pub fn missing(&self) -> Vec<&'static str> {
        let missed = self.goals.iter().enumerate().filter(|(n, _)| self.seen >> n & 1 == 0);
        missed.map(|(_, goal)| *goal).collect()
    }
}

/// The target with this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
