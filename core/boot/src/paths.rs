//! Files of the initramfs that `tamis-capture` reads as PID 1.

/// The orders, see [`crate::orders`].
pub const ORDERS: &str = "/etc/tamis.conf";

/// Kernel modules to load, a path a line, in this order.
pub const MODULES: &str = "/etc/tamis.modules";

/// Bytes of each of these files that are read; what comes after them is not.
pub const MOST_TEXT: usize = 4096;
