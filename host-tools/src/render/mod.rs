//! Text, JSON and pictures.

pub mod console;
pub mod json;
pub mod picture;
pub mod progress;
pub mod text;
