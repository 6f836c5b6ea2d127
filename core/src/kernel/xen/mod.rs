//! A Xen hypervisor: which machine frames it has given to whom.
//!
//! Under Xen, a vmcore holds the memory of the whole machine, and its page numbers are those of machine frames. The
//! hypervisor's frame table says of each frame who owns it. Where that table is, Xen tells in two notes
//! (`public/elfnote.h`: `XEN_ELFNOTE_CRASH_INFO`; `VMCOREINFO_XEN`, whose keys name addresses and offsets). What it
//! does not tell is read off its memory: the frames behind its direct map, as holes in memory are left out of that, and
//! where in `count_info` the state of a frame is, as those bits moved in 2022 and in updates of older releases.
//!
//! What is not certain keeps a page: see [`Frame`].

mod error;
mod find;
mod frames;
mod host;

pub use error::XenError;
pub use find::find;
pub use frames::Frames;
pub use host::{Domain, Frame, Host, Layout};
