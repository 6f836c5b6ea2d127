//! Text and JSON.

pub mod json;
pub mod progress;
pub mod text;
