//! What was found, and how it came out.

use crate::render::json::Document;
use serde::Serialize;
use std::fmt::Write as _;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Good,
    /// It may be as wanted, or not.
    Note,
    /// A crash would leave no dump, or the machine hanging.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Check {
    /// Without anything to do about it.
    pub fn new(name: &'static str, outcome: Outcome, found: impl Into<String>) -> Check {
        Check { name, outcome, found: found.into(), next: None }
    }

    /// Adds what to do about it.
    pub fn next(mut self, next: impl Into<String>) -> Check {
        self.next = Some(next.into());
        self
    }
}

/// What was found on a machine.
#[derive(Serialize)]
pub struct Examination {
    /// Everything that was looked at, in order.
    pub checks: Vec<Check>,
}

impl Document for Examination {
    const SCHEMA: &'static str = "tamis.doctor/1";
}

impl Examination {
    /// Whether nothing is bad.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Bad)
    }

    /// As text, a line for each check, and one for what to do about it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Good => "good",
                Outcome::Note => "note",
                Outcome::Bad => "BAD",
            };
            let _ = writeln!(text, "{mark:<6}{:<10}{}", check.name, check.found);
            if let Some(next) = &check.next {
                let _ = writeln!(text, "{:16}next: {next}", "");
            }
        }
        let end = match (self.is_good(), self.checks.iter().any(|c| c.outcome == Outcome::Note)) {
            (false, _) => "This machine would not save a dump.",
            (true, true) => {
                "Nothing stands against a dump but what the notes say; only a crash shows it: tamis doctor --try"
            }
            (true, false) => {
                "Nothing stands against a dump; only a crash shows it: tamis doctor --try"
            }
        };
        let _ = writeln!(text, "\n{end}");
        text
    }
}
