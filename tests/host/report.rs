//! The page for a ticket: golden, with hostile names in it. `tests/vm/report` has one in a browser.

use std::process::Command;

use crate::common::{Bench, golden_text};
use tamis_tests::synth::{KernelStyle, LogLine};
use tamis_tests::zoo::zoo;

const HOSTILE: &str = "</pre><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;";

fn bench() -> Bench {
    let say = |ns: u64, text: &str| LogLine::new(ns, 7, text);
    let second = 1_000_000_000;
    let lines = [
        say(0, "Command line: root=<b>/dev/vda</b> quiet"),
        say(second, HOSTILE),
        say(61 * second, "BUG: unable to handle page fault for address: 0000000000000010"),
        say(61 * second, "Oops: 0002 [#1] SMP"),
        say(
            62 * second,
            &format!("CPU: 0 PID: 1 Comm: {HOSTILE} Tainted: G      D W  O       6.12.0 #1"),
        ),
        say(63 * second, &format!("Kernel panic - not syncing: {HOSTILE}")),
    ];
    let bench =
        Bench::of(&zoo(KernelStyle::V6_12).five_level().log(&lines, 0).own_tables().build());
    bench.capture("-c -d 31", &["<i>.dump"]);
    bench.tamis("report <i>.dump -o crash.html").expect(0);
    bench
}

#[test]
fn the_page_for_a_ticket_is_harmless_and_says_it_all() {
    let bench = bench();
    let page = String::from_utf8(bench.get("crash.html")).expect("UTF-8");
    let sum = Command::new("sha256sum").arg(bench.file("<i>.dump")).output().expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout).trim_start_matches('\\')[..64].to_owned();
    assert!(page.contains(&sum), "the SHA-256 {sum} is not in the page");
    golden_text("report.html", &page.replace(&sum, "(SHA-256)"));
    for markup in ["<script", "<img", "<b>", "<i>", "onerror=\"", "http:", "https:", "src="] {
        let known = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        let known = known.replace("src=x onerror=&quot;", "");
        assert!(!known.contains(markup), "{markup}");
    }
    // Every element that is opened and has to be closed is.
    for name in [
        "table", "pre", "details", "summary", "svg", "path", "text", "title", "body", "html",
        "mark",
    ] {
        let opened =
            page.matches(&format!("<{name}>")).count() + page.matches(&format!("<{name} ")).count();
        assert_eq!(opened, page.matches(&format!("</{name}>")).count(), "{name}");
        assert!(opened > 0, "no {name}");
    }
    bench.tamis("report <i>.dump -o crash.html").expect(3).says("--force overwrites it");
    // What is damaged, or no kernel is known of, has a page all the same.
    let mut cut = bench.get("<i>.dump");
    cut.truncate(cut.len() * 3 / 4);
    bench.put("cut", &cut);
    bench.tamis("report cut -o cut.html").expect(0);
    let page = String::from_utf8(bench.get("cut.html")).expect("UTF-8");
    assert!(page.contains("past the end of the file"), "{page}");
}
