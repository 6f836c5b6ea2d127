//! Test support for tamis: machines made up for tests, what must come of them, and readers of the
//! dumps that share nothing with the code under test.
//!
//! * [`synth`] builds ELF vmcores from a description of a machine.
//! * [`oracle`] says from the same description which pages a dump must hold.
//! * [`dumpread`], [`flat`] and [`elfread`] read what the capture binary wrote.
//! * [`check`] compares the two.
//! * [`make`] makes up kdump-compressed dumps of any form.
//! * [`images`] makes memory images: sadump, LiME, AVML, VMware.
//! * [`zoo`] is a small machine with a page of every kind.
//! * [`rig`] runs the engine inside the test's process, from a [`broken`] vmcore, into a [`disk`] that fails or is cut off;
//!   [`judge`] looks at what is left.
//! * [`run`] builds and runs the binary, [`peak`] says how much memory a run took, [`calls`] what it
//!   asked of the system.
//! * [`tiled`] makes large vmcores out of a real one, [`bench`](mod@bench) holds runs against each other.

pub mod bench;
pub mod broken;
pub mod calls;
pub mod check;
pub mod disk;
pub mod dumpread;
pub mod elfread;
pub mod flat;
pub mod images;
pub mod judge;
pub mod make;
pub mod oracle;
pub mod peak;
pub mod rig;
pub mod run;
pub mod synth;
pub mod targets;
pub mod tiled;
pub mod zoo;
