//! Dumps of machines with a terabyte and more: two bitmaps of 32 MiB or of half a GiB are counted, never held.

use std::ffi::OsStr;

use crate::common::{Bench, json};
use tamis_tests::make::{Make, USUAL};
use tamis_tests::peak::peak_rss_kib;
use tamis_tests::run::host_binary;
use tamis_tests::synth::{Content, KernelStyle, Machine};

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

/// Pfns of more than 32 bits. The bitmaps of so much memory are nearly all gaps of the file: that is no damage.
#[test]
fn seventeen_terabytes_open_as_they_were_captured() {
    const FAR: u64 = (17 << 40 >> 12) - 0x8000;
    let machine = Machine::new(KernelStyle::V6_12).ram(0x100..0x200).ram(FAR..FAR + 0x40);
    let image = machine.fill(FAR..FAR + 0x20, Content::Stamp).build();
    let bench = Bench::of(&image);
    bench.capture("-c -d 1", &["dump"]);
    let page = bench.tamis(&format!("read dump --raw --pfn {}", FAR + 3));
    assert!(page.expect(0).stdout == image.page(FAR + 3));
    let args = ["info".into(), bench.file("dump").into_os_string()];
    let args = args.iter().map(|arg: &std::ffi::OsString| arg.as_os_str());
    let (code, kib) = peak_rss_kib(host_binary().as_os_str(), args).expect("tracing the run");
    assert_eq!(code, Some(0));
    assert!(kib <= MOST_KIB, "info takes {kib} KiB");
}
