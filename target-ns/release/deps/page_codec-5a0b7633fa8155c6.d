/work/wt/codec/target-ns/release/deps/page_codec-5a0b7633fa8155c6.d: core/page-codec/src/lib.rs core/page-codec/src/bits.rs core/page-codec/src/block.rs core/page-codec/src/bytes.rs core/page-codec/src/codec.rs core/page-codec/src/decoders.rs core/page-codec/src/deflate.rs core/page-codec/src/encoders.rs core/page-codec/src/huffman.rs core/page-codec/src/inflate.rs core/page-codec/src/lz4.rs core/page-codec/src/lzo.rs core/page-codec/src/matcher.rs core/page-codec/src/snappy.rs core/page-codec/src/stream.rs core/page-codec/src/zstd/mod.rs core/page-codec/src/zstd/fse.rs core/page-codec/src/zstd/tables.rs

/work/wt/codec/target-ns/release/deps/libpage_codec-5a0b7633fa8155c6.rlib: core/page-codec/src/lib.rs core/page-codec/src/bits.rs core/page-codec/src/block.rs core/page-codec/src/bytes.rs core/page-codec/src/codec.rs core/page-codec/src/decoders.rs core/page-codec/src/deflate.rs core/page-codec/src/encoders.rs core/page-codec/src/huffman.rs core/page-codec/src/inflate.rs core/page-codec/src/lz4.rs core/page-codec/src/lzo.rs core/page-codec/src/matcher.rs core/page-codec/src/snappy.rs core/page-codec/src/stream.rs core/page-codec/src/zstd/mod.rs core/page-codec/src/zstd/fse.rs core/page-codec/src/zstd/tables.rs

/work/wt/codec/target-ns/release/deps/libpage_codec-5a0b7633fa8155c6.rmeta: core/page-codec/src/lib.rs core/page-codec/src/bits.rs core/page-codec/src/block.rs core/page-codec/src/bytes.rs core/page-codec/src/codec.rs core/page-codec/src/decoders.rs core/page-codec/src/deflate.rs core/page-codec/src/encoders.rs core/page-codec/src/huffman.rs core/page-codec/src/inflate.rs core/page-codec/src/lz4.rs core/page-codec/src/lzo.rs core/page-codec/src/matcher.rs core/page-codec/src/snappy.rs core/page-codec/src/stream.rs core/page-codec/src/zstd/mod.rs core/page-codec/src/zstd/fse.rs core/page-codec/src/zstd/tables.rs

core/page-codec/src/lib.rs:
core/page-codec/src/bits.rs:
core/page-codec/src/block.rs:
core/page-codec/src/bytes.rs:
core/page-codec/src/codec.rs:
core/page-codec/src/decoders.rs:
core/page-codec/src/deflate.rs:
core/page-codec/src/encoders.rs:
core/page-codec/src/huffman.rs:
core/page-codec/src/inflate.rs:
core/page-codec/src/lz4.rs:
core/page-codec/src/lzo.rs:
core/page-codec/src/matcher.rs:
core/page-codec/src/snappy.rs:
core/page-codec/src/stream.rs:
core/page-codec/src/zstd/mod.rs:
core/page-codec/src/zstd/fse.rs:
core/page-codec/src/zstd/tables.rs:
