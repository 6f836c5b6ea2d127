//! The subcommands, one file each. The doc comment of `Args` is the manual page.

pub mod bt;
pub mod completions;
pub mod diff;
pub mod dmesg;
pub mod estimate;
pub mod info;
pub mod initramfs;
pub mod makedumpfile;
pub mod man;
pub mod map;
pub mod modules;
pub mod notes;
pub mod pages;
pub mod print;
pub mod read;
pub mod rearrange;
pub mod reassemble;
pub mod refilter;
pub mod repair;
pub mod split;
pub mod stats;
pub mod sym;
pub mod tasks;
pub mod verify;
pub mod vmcoreinfo;
pub mod vtop;
