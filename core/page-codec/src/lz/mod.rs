//! Formats of bytes and copies, without entropy coding.

pub(super) mod lz4;
pub(super) mod lzo;
pub(super) mod snappy;
