//! What the dead kernel's memory means.

pub mod mem_map;
pub mod memory;
pub mod page;
pub mod utsname;
