//! What the modules of the suite share.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tamis_core::capture::Notice;
use tamis_tests::check;
use tamis_tests::disk::Disk;
use tamis_tests::dumpread::Dump;
use tamis_tests::oracle::{self, Expected};
use tamis_tests::rig::{self, Watch, Wish};
use tamis_tests::run::{self, Run, TempDir};
use tamis_tests::synth::Image;

/// A vmcore on disk and a directory for what is made of it.
pub struct Bench {
    /// The machine.
    pub image: Image,
    /// The vmcore's path.
    pub vmcore: PathBuf,
    dir: TempDir,
}

impl Bench {
    /// Writes the vmcore.
    pub fn new(image: Image) -> Bench {
        let dir = TempDir::new();
        let vmcore = dir.file("vmcore");
        image.write(&vmcore).expect("writing the vmcore");
        Bench { image, vmcore, dir }
    }

    /// A path in the bench's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.file(name)
    }

    /// Runs with these options, the vmcore and an output name.
    pub fn run<S: AsRef<OsStr>>(&self, options: &[S], output: &Path) -> Run {
        let mut args: Vec<&OsStr> = options.iter().map(AsRef::as_ref).collect();
        args.extend([self.vmcore.as_os_str(), output.as_os_str()]);
        run::capture(args)
    }

    /// Makes a dump that must succeed; the output file is removed.
    #[track_caller]
    pub fn dump<S: AsRef<OsStr>>(&self, options: &[S]) -> (Run, Dump) {
        let output = self.file("dump");
        let run = self.run(options, &output);
        run.expect(0);
        let dump = Dump::open(&output).unwrap_or_else(|fault| panic!("{:?}: {fault}", run.args));
        std::fs::remove_file(&output).expect("removing the dump");
        (run, dump)
    }

    /// Makes a dump and checks headers, bitmaps, pages and report against the oracle.
    #[track_caller]
    pub fn check<S: AsRef<OsStr>>(&self, level: u32, options: &[S]) -> (Run, Dump) {
        let level_text = level.to_string();
        let mut all: Vec<&OsStr> = vec!["--show-stats".as_ref(), "-d".as_ref()];
        all.push(level_text.as_ref());
        all.extend(options.iter().map(AsRef::<OsStr>::as_ref));
        let (run, dump) = self.dump(&all);
        let expected = oracle::expect(&self.image, level);
        let what = format!("{:?}", run.args);
        check::assert_dump(&dump, &self.image, &expected, &what);
        assert_report(&run, &expected);
        (run, dump)
    }
}

/// Captures a machine's vmcore by the engine alone, with buffers of a usual size, and holds the dump against the oracle;
/// gives what was told.
#[track_caller]
pub fn check_inside(image: &Image, vmcore: &[u8], mut wish: Wish) -> Vec<Notice> {
    let (mut disk, mut watch) = (Disk::new(), Watch::default());
    let [bitmap, ..] = wish.sizes;
    wish.sizes = [if bitmap > 1024 { bitmap } else { 1 << 20 }, 1 << 20, 1 << 16];
    let outcome = rig::capture(vmcore, wish, &mut [&mut disk], &mut watch);
    outcome.result.expect("a capture without faults");
    let dump = Dump::new(disk.file).expect("a dump");
    let expected = oracle::expect(image, wish.level.into());
    let (machine, level) = (&image.machine, wish.level);
    let (cpu, model) = (machine.cpu(), machine.mem_model());
    let what = format!("-d {level}: {cpu:?}, {}, {model:?}", machine.facts().release);
    check::assert_dump(&dump, image, &expected, &what);
    watch.notices
}

/// Fails the test if the report's numbers are not the oracle's.
#[track_caller]
pub fn assert_report(run: &Run, expected: &Expected) {
    let faults = check::report_faults(&run.text(), expected);
    assert!(faults.is_empty(), "{:?}:\n{}\n{}", run.args, faults.join("\n"), run.text());
}

/// Frame numbers of page markers in `bytes` for which `allowed` is false, each once.
pub fn foreign_markers(bytes: &[u8], allowed: impl Fn(u64) -> bool) -> Vec<u64> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find(rest, b"TAMISPFN") {
        rest = &rest[at + 8..];
        let digits = rest.get(..8).and_then(|digits| std::str::from_utf8(digits).ok());
        let pfn = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if let Some(pfn) = pfn.filter(|pfn| !allowed(*pfn) && found.last() != Some(pfn)) {
            found.push(pfn);
        }
    }
    found
}

/// Where `needle` is first: the C library's search, as files here are large.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let (start, len) = (bytes.as_ptr(), bytes.len());
    // SAFETY: both pointers are to as many bytes as the lengths beside them say.
    let hit = unsafe {
        libc::memmem(start.cast(), len, needle.as_ptr().cast(), needle.len()).cast::<u8>()
    };
    (!hit.is_null()).then(|| hit.addr() - start.addr())
}
