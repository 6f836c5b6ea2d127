//! Sealed dumps: `tamis keygen`, `seal`, `unseal`.

use crate::common::Bench;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tamis_tests::synth::KernelStyle;
use tamis_tests::zoo::zoo;

/// A key of age-keygen 1.1.1, to which `sealed.age` is sealed (by age 1.1.1, to another one as well).
const KEY: &str = "AGE-SECRET-KEY-1ZL9U8GQ67Y74CK0RKX6ZAUYPJRKKMTYF0WL0V6NA6DXAL0S0ZXNQLGVACD\n";
const CHUNK: usize = 64 << 10;

fn bench() -> Bench {
    let bench = Bench::of(&zoo(KernelStyle::V6_12).build());
    bench.tamis("keygen -o key").expect(0);
    bench
}

/// The public key in the file of `tamis keygen`.
fn public(bench: &Bench) -> String {
    let text = String::from_utf8(bench.get("key")).unwrap();
    text.lines().next().unwrap().strip_prefix("# public key: ").expect("a comment").to_owned()
}

#[test]
fn what_age_sealed_opens() {
    let bench = Bench::new();
    bench.put("key", KEY.as_bytes());
    bench.put("sealed", include_bytes!("../golden/host/sealed.age"));
    bench.tamis("unseal -i key sealed plain").expect(0);
    let plain: Vec<u8> = (0..300u32).map(|n| (n * 7 % 251) as u8).collect();
    assert_eq!(bench.get("plain"), plain);
}

#[test]
fn a_dump_goes_through_a_seal() {
    let bench = bench();
    bench.capture("-d 0", &["dump"]);
    assert_eq!(fs::metadata(bench.file("key")).unwrap().permissions().mode() & 0o777, 0o600);
    let public = public(&bench);
    bench.put("keys.pub", format!("# those who may\n{public}\n").as_bytes());
    bench.tamis("seal -R keys.pub dump sealed").expect(0);
    let (dump, sealed) = (bench.get("dump"), bench.get("sealed"));
    let chunks = dump.len().div_ceil(CHUNK);
    assert_eq!(sealed.len(), 22 + 98 + 48 + 16 + dump.len() + 16 * chunks);
    // No page of it is in the clear: a name that is in each dump is not.
    let has = |bytes: &[u8]| bytes.windows(9).any(|window| window == b"OSRELEASE");
    assert!(has(&dump) && !has(&sealed));
    bench.tamis("unseal -i key sealed again").expect(0);
    assert!(bench.get("again") == dump);
    bench.tamis("unseal -i key sealed again").expect(3).says("--force overwrites it");
    bench.tamis("seal -R keys.pub sealed sealed -f").expect(3).says("is the input itself");
    // Twice the same dump is never the same file.
    bench.tamis(&format!("seal -r {public} dump other")).expect(0);
    assert!(bench.get("other") != sealed);
    let piped = bench.tamis("seal -R keys.pub dump -");
    bench.put("piped", &piped.expect(0).stdout);
    bench.tamis("unseal -i key piped again -f").expect(0);
    assert!(bench.get("again") == dump);
}

#[test]
fn keys_that_do_not_fit_are_told() {
    let bench = bench();
    bench.put("other", KEY.as_bytes());
    let public = public(&bench);
    bench.tamis(&format!("seal -r {public} vmcore sealed")).expect(0);
    bench
        .tamis("unseal -i other sealed out")
        .expect(3)
        .says("is sealed to 1 recipients, of whom none has this key");
    bench.tamis("unseal -i other vmcore out").expect(3).says("is not sealed");
    bench.tamis("unseal -i vmcore sealed out").expect(3);
    bench.tamis("seal -R other vmcore out").expect(3).says("is a secret key");
    let wrong = public.replace("age1", "age1q");
    bench
        .tamis(&format!("seal -r {wrong} vmcore out"))
        .expect(3)
        .says("a letter is wrong")
        .says("tamis keygen");
    bench.tamis("seal vmcore out").expect(64).says("--recipient");
    bench.tamis("keygen -o key").expect(3).says("--force");
    assert!(!bench.file("out").exists());
}

#[test]
fn a_cut_or_changed_file_opens_up_to_there() {
    let bench = bench();
    bench.tamis(&format!("seal -r {} vmcore sealed", public(&bench))).expect(0);
    let (plain, sealed) = (bench.get("vmcore"), bench.get("sealed"));
    let start = sealed.len() - plain.len() - 16 * plain.len().div_ceil(CHUNK);
    let mut changed = sealed.clone();
    changed[start + 3 * (CHUNK + 16) + 5] ^= 1;
    let at = |chunks: usize, more: usize| start + chunks * (CHUNK + 16) + more;
    let cases = [
        (changed, 3),
        (sealed[..at(2, 0)].to_vec(), 2),
        (sealed[..at(2, 7)].to_vec(), 2),
        (sealed[..at(2, CHUNK + 15)].to_vec(), 2),
        (sealed[..at(0, 0)].to_vec(), 0),
        (sealed[..sealed.len() - 1].to_vec(), plain.len() / CHUNK),
    ];
    for (file, chunks) in cases {
        bench.put("cut", &file);
        let text = format!("cut or changed in chunk {chunks}, {} bytes", chunks * CHUNK);
        bench.tamis("unseal -i key cut out").expect(3).says(&text).says("--partial");
        assert!(!bench.file("out").exists());
        bench.tamis("unseal --partial -i key cut part -f").expect(2).says(&text);
        assert!(bench.get("part") == plain[..chunks * CHUNK], "{chunks}");
    }
    bench.put("cut", &sealed[..start - 20]);
    bench.tamis("unseal --partial -i key cut out").expect(3).says("ends in its header");
}
