//! Sizes with a unit.

use tamis_core::units::{SIZE_SYNTAX, parse_size};

/// A size as `tamis-capture` takes it, too.
pub fn size(text: &str) -> Result<u64, &'static str> {
    parse_size(text.as_bytes()).ok_or(SIZE_SYNTAX)
}
