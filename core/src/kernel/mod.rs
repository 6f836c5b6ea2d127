//! What the dead kernel's memory means.

#[cfg(feature = "free-lists")]
pub mod free_lists;
pub mod log;
pub mod mem_map;
pub mod memory;
#[cfg(feature = "symbols")]
pub mod own_copy;
pub mod page;
#[cfg(feature = "rules")]
pub mod rules;
#[cfg(feature = "symbols")]
pub mod symbols;
pub mod utsname;
#[cfg(feature = "xen")]
pub mod xen;
pub mod zones;
