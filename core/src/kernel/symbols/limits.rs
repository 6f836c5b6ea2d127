//! Bounds on the kernel's tables. Real ones are far below: kernels of 2026 have 200,000 symbols in 3 MiB of
//! names, and 120,000 types in 5 MiB.

/// Symbols.
pub const SYMBOLS: u32 = 1 << 22;
/// Bytes of all names, compressed.
pub const NAMES: u64 = 64 << 20;
/// Bytes of a name with the letter of its type (`KSYM_NAME_LEN` of Linux 6.1 and later, without the NUL).
pub const NAME: usize = 511;
/// Symbols of a module.
pub const MODULE_SYMBOLS: u32 = 1 << 20;
/// Bytes of the token table.
pub const TOKENS: usize = 4096;
/// Bytes of memory that are searched for tables.
pub const SEARCHED: u64 = 256 << 20;
/// Bytes in a row that are not mapped: behind these the kernel's image is taken to have ended.
pub const UNMAPPED: u64 = 16 << 20;
/// Places that look like a token table and are held against its index.
pub const PROOFS: u32 = 64;
/// Places that look like a part of the letters in it.
pub const LETTERS: u32 = 1 << 16;
/// Bytes in front of the tokens that may lie between them and the markers.
pub const MARKERS_BEFORE: u64 = 4 << 20;
/// Bytes of the types, and of the strings.
pub const SECTION: u32 = 64 << 20;
/// Types: the format has room for no more.
pub const TYPES: u32 = 1 << 20;
/// Typedefs and qualifiers in front of a type, and dimensions of an array.
pub const CHAIN: u32 = 32;
/// Members without a name in one another.
pub const NESTED: u32 = 16;
/// Members that are looked at for one answer.
pub const MEMBERS: u32 = 1 << 16;
/// Bytes of a name in BTF that can be compared: longer ones are no word that is looked for.
pub const WORD: usize = 128;
/// Elements of a list.
pub const LIST: u32 = 1 << 20;
