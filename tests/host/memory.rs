//! Dumps that were looked at give back their memory.

use std::ffi::OsString;

use crate::common::Bench;
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::host_binary;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

#[test]
fn two_hundred_dumps_take_no_more_memory_than_two() {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.capture("-c -d 1", &["dump"]);
    let peak = |count: usize| {
        let names = (0..count).map(|number| bench.file(&format!("dump.{number}")));
        let names: Vec<OsString> = names
            .inspect(|name| {
                if !name.exists() {
                    std::fs::hard_link(bench.file("dump"), name).expect("another name of the dump");
                }
            })
            .map(Into::into)
            .collect();
        let words = [OsString::from("info")].into_iter().chain(names);
        let (code, kib) = peak_rss_kib(host_binary().as_os_str(), words).expect("tracing the run");
        assert_eq!(code, Some(0), "{count} dumps");
        kib
    };
    let (two, many) = (peak(2), peak(200));
    println!("2 dumps: {two} KiB, 200 dumps: {many} KiB");
    // Every dump is 4 MiB of page cache and tables. The allocator keeps about 1 MiB of the first ten,
    // and a name on the command line is 1 KiB or so; 10 KiB left over of each dump is too much.
    assert!(many <= two + 2048, "{many} KiB for 200 dumps, {two} KiB for two");
}
