//! Symbols and types of made-up kernels.

mod facts;
mod symbols;
mod types;
