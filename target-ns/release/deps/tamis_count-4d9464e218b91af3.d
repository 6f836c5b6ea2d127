/work/wt/codec/target-ns/release/deps/tamis_count-4d9464e218b91af3.d: tests/count/src/main.rs

/work/wt/codec/target-ns/release/deps/tamis_count-4d9464e218b91af3: tests/count/src/main.rs

tests/count/src/main.rs:
