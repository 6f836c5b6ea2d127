//! Writing dumps anew.

pub mod plan;
pub mod refilter;
