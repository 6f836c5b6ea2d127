//! Symbols and types of made-up kernels.

mod symbols;
mod types;
