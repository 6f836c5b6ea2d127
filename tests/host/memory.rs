//! Dumps that were looked at give back their memory.

use crate::common::Bench;
use tamis_tests::peak::peak_rss_kib_of;
use tamis_tests::run::host_command;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

#[test]
fn two_hundred_dumps_take_no_more_memory_than_two() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 1", &["dump"]);
    let peak = |count: usize| {
        let names = (0..count).map(|number| bench.file(&format!("dump.{number}")));
        let names = names.inspect(|name| {
            if !name.exists() {
                std::fs::hard_link(bench.file("dump"), name).expect("another name of the dump");
            }
        });
        let mut command = host_command();
        command.arg("info").args(names);
        // Large pieces go back to the system each time. Without this the allocator keeps them after the first.
        command.env("MALLOC_MMAP_THRESHOLD_", "131072");
        let (code, kib) = peak_rss_kib_of(command).expect("tracing the run");
        assert_eq!(code, Some(0), "{count} dumps");
        kib
    };
    let (two, many) = (peak(2), peak(200));
    println!("2 dumps: {two} KiB, 200 dumps: {many} KiB");
    // Every dump is 4 MiB of page cache and tables: what is left over of them is noise.
    assert!(many <= two + 1024, "{many} KiB for 200 dumps, {two} KiB for two");
}
