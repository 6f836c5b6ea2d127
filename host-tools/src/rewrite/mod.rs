//! Writing dumps anew.

pub mod codec;
pub mod estimate;
pub mod finish;
pub mod image;
pub mod plan;
pub mod rearrange;
pub mod reassemble;
pub mod refilter;
pub mod repair;
