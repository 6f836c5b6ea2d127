//! Text and JSON.

pub mod json;
pub mod picture;
pub mod progress;
pub mod text;
