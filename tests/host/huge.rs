//! Dumps of machines with a terabyte: two bitmaps of 32 MiB are counted, never held.

use std::ffi::OsStr;

use crate::common::{Bench, json};
use tamis_tests::make::{Make, USUAL};
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::host_binary;

/// What a command may take, whatever the machine's size: far less than a bitmap.
const MOST_KIB: u64 = 24 << 10;

#[test]
fn a_terabyte_takes_no_more_memory() {
    let bench = Bench::new();
    let mut make = Make::new(USUAL).with_info("OSRELEASE=6.1.0\nPAGESIZE=4096\n");
    make.max = 1 << 28;
    let page = make.pages[&19].clone();
    for pfn in (1 << 20..make.max).step_by(1 << 17) {
        make.pages.insert(pfn, page.clone());
    }
    // More ranges of memory than the table has room for.
    make.left_out = (1 << 12..make.max).step_by(3001).collect();
    make.left_out.retain(|pfn| !make.pages.contains_key(pfn));
    bench.put("dump", &make.bytes());
    let run = bench.tamis("info --json dump");
    assert_eq!(json(run.expect(0), "max_pfn"), (1u64 << 28).to_string());
    assert_eq!(json(&run, "stored"), make.pages.len().to_string());
    let exist = make.pages.len() + make.left_out.len();
    assert_eq!(json(&run, "exist"), exist.to_string());
    for command in ["info", "verify", "stats", "map", "notes"] {
        let args = [OsStr::new(command), bench.file("dump").as_os_str()].map(OsStr::to_owned);
        let args = args.iter().map(|arg| arg.as_os_str());
        let (code, kib) = peak_rss_kib(host_binary().as_os_str(), args).expect("tracing the run");
        assert_eq!(code, Some(0), "{command}");
        println!("{command}: {kib} KiB");
        assert!(kib <= MOST_KIB, "{command} takes {kib} KiB");
    }
}
