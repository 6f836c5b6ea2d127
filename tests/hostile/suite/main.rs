//! What hostile input must not do.

mod corpus;
mod doubts;
mod mutants;
