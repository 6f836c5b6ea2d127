//! Rules by which pages stay or go: a file of them, which a capture can do without.

use super::error::JobError;
use crate::arena::Arena;
use crate::cli::NO_RULES;
use crate::console::Console;
use crate::input::Vmcore;
use crate::sys::{File, FileKind};
#[cfg(feature = "rules")]
use tamis_boot::paths::RULES_MOST;
use tamis_boot::paths::RULES_TEXT;
#[cfg(feature = "rules")]
use tamis_core::kernel::rules::{Given, PageRules};
#[cfg(feature = "rules")]
use tamis_core::units::PfnSpan;

/// Runs of pages that rules keep and drop, together: 64 KiB.
const RUNS: usize = 4096;
/// Bytes of a run.
const RUN: u64 = 16;

/// The open file.
#[cfg_attr(not(feature = "rules"), expect(dead_code, reason = "no rule is followed"))]
pub(crate) struct RulesFile<'a> {
    name: &'a [u8],
    file: File,
    len: u64,
}

impl<'a> RulesFile<'a> {
    /// Opens it. Without it, pages stay or go by their classes alone, which is said: the dump matters more.
    pub(super) fn open(name: &'a [u8], console: &Console) -> Option<RulesFile<'a>> {
        if !cfg!(feature = "rules") {
            console.warn(format_args!("{NO_RULES}"));
            return None;
        }
        let opened = File::open(name).and_then(|file| Ok((file.kind()?, file)));
        match opened {
            Ok((FileKind::Regular(len), file)) if len <= RULES_TEXT => {
                return Some(RulesFile { name, file, len });
            }
            Ok(_) => {
                let name = name.escape_ascii();
                console.warn(format_args!(
                    "{name} is not a file of rules of {RULES_TEXT} bytes at most"
                ));
            }
            Err(io) => drop(JobError::Open { name, io }.report(console)),
        }
        console.warn(format_args!("no rules are followed"));
        None
    }

    /// What following them takes, beside the bits of a window.
    pub(super) fn bytes(&self) -> u64 {
        self.len + RUNS as u64 * RUN
    }

    /// Follows them. What cannot be followed is said; its pages stay.
    #[cfg(feature = "rules")]
    pub(super) fn follow(
        self,
        vmcore: &mut Vmcore,
        bitmap: u64,
        arena: &mut Arena,
        console: &Console,
    ) {
        const _: () = assert!(size_of::<PfnSpan>() as u64 == RUN);
        let name = self.name;
        let text = arena.take(self.len as usize);
        if let Err(io) = self.file.read_at(0, text) {
            JobError::Read { name, io }.report(console);
            return;
        }
        let runs = arena.take_slice(RUNS, PfnSpan::default());
        let kept = arena.take(bitmap as usize);
        let (name, mut given) =
            (name.escape_ascii(), heapless::Vec::<Given<'_>, RULES_MOST>::new());
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let read = core::str::from_utf8(line).map(Given::line);
            match read {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(rule))) => {
                    if given.push(rule).is_err() {
                        console.warn(format_args!(
                            "{name}: line {number}: more than {RULES_MOST} rules"
                        ));
                    }
                }
                Ok(Err(error)) => console.warn(format_args!("{name}: line {number}, {error}")),
                Err(_) => console.warn(format_args!("{name}: line {number} is not a text")),
            }
        }
        vmcore.follow_rules(&given, PageRules::new(runs, kept), &mut |index, done| {
            let Some(Given { keep, text }) = given.get(index) else { return };
            let word = if *keep { "keep" } else { "drop" };
            match done {
                Ok(objects) => console.debug(format_args!("{word} {text}: {objects} objects\n")),
                Err(error) if *keep => {
                    console.warn(format_args!("{word} {text}: not followed to its end: {error}"));
                }
                Err(error) => {
                    console.warn(format_args!(
                        "{word} {text}: not followed, its pages are kept: {error}"
                    ));
                }
            }
        });
    }

    /// Never so: [`RulesFile::open`] opens none.
    #[cfg(not(feature = "rules"))]
    pub(super) fn follow(self, _: &mut Vmcore, _: u64, _: &mut Arena, _: &Console) {}
}
