//! Dump levels.

use tamis_core::level::DumpLevel;

/// The level of the output: what was left out of the input stays out.
pub fn both_levels(old: DumpLevel, asked: Option<u8>) -> DumpLevel {
    DumpLevel::from_bits(old.bits() | asked.unwrap_or(0)).unwrap_or(old)
}

/// The levels of a table, without those that are the same for this dump.
pub fn levels(old: DumpLevel, wanted: &[u8]) -> Vec<DumpLevel> {
    let mut levels: Vec<DumpLevel> =
        wanted.iter().map(|level| both_levels(old, Some(*level))).collect();
    levels.sort_unstable_by_key(|level| level.bits());
    levels.dedup();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_do_not_differ_are_one() {
        let numbers = |old: u8| {
            let levels = levels(DumpLevel::from_bits(old).unwrap(), &[0, 1, 17, 31]);
            levels.into_iter().map(|level| level.bits()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), [0, 1, 17, 31]);
        assert_eq!(numbers(1), [1, 17, 31]);
        assert_eq!(numbers(31), [31]);
    }
}
