//! The machines that a dump can be of.

/// `e_machine` of x86_64.
pub const EM_X86_64: u16 = 62;
/// `e_machine` of aarch64.
pub const EM_AARCH64: u16 = 183;

/// `uname -m` of x86_64.
pub const X86_64: &str = "x86_64";
/// `uname -m` of aarch64.
pub const AARCH64: &str = "aarch64";
