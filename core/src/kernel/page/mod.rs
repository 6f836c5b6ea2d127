//! What a page is for, read off its `struct page`.
//!
//! Which rule holds is decided by which keys VMCOREINFO has; by the kernel version only where no
//! key decides. Where a key is missing, the class that needs it is kept, and the key is named
//! ([`Classifier::unclassified`]). `core/docs/differences.md` lists where this is stricter than
//! makedumpfile.
//!
//! # How to add a rule
//! 1. What it compares, resolved once, as a field of [`Classifier`] in `classifier.rs`.
//! 2. A row of `RULES` in `keys.rs`: the class, the dump levels that drop it, and the function that
//!    looks for the facts.
//! 3. Its place in `rules.rs`: the first rule that matches decides.

mod about;
mod classifier;
mod doubt;
mod fields;
mod keys;
#[cfg(feature = "rules")]
mod owner;
mod rules;
mod scan;

pub use about::About;
pub use classifier::{Classifier, Unclassified};
#[cfg(feature = "rules")]
pub use owner::Belongs;
pub use rules::Verdict;
pub use scan::Block;
