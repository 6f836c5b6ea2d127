//! Files of the initramfs that `tamis-capture` reads as PID 1.

/// The orders, see [`crate::orders`].
pub const ORDERS: &str = "/etc/tamis.conf";

/// Kernel modules to load, a path a line, in this order.
pub const MODULES: &str = "/etc/tamis.modules";

/// Rules by which pages stay or go, a rule a line; the option `--rules` names it.
pub const RULES: &str = "/etc/tamis.rules";

/// Bytes of a file of rules, at most.
pub const RULES_TEXT: u64 = 16 << 10;

/// Rules that a capture follows, at most.
pub const RULES_MOST: usize = 32;

/// Bytes of the first two files that are read; what comes after them is not.
pub const MOST_TEXT: usize = 4096;
