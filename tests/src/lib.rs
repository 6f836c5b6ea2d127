//! Test support for tamis: machines made up for tests, what must come of them, and readers of the
//! dumps that share nothing with the code under test.
//!
//! * [`synth`] builds ELF vmcores from a description of a machine.
//! * [`oracle`] says from the same description which pages a dump must hold.

pub mod oracle;
pub mod synth;
