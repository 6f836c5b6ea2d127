//! Running the tool, and golden files.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use tamis_tests::run::{self, Run, TempDir, host_binary, host_command};
use tamis_tests::synth::Image;

/// A directory with a machine's vmcore, dumps of it, and what the tool makes of them. The tool runs
/// in it, so that its messages have no paths in them.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    /// An empty one.
    pub fn new() -> Bench {
        Bench { dir: TempDir::new() }
    }

    /// With `vmcore` in it.
    pub fn of(image: &Image) -> Bench {
        let bench = Bench::new();
        image.write(&bench.file("vmcore")).expect("writing the vmcore");
        bench
    }

    /// A path in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.file(name)
    }

    /// Writes a file.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).expect("writing a file");
    }

    /// Reads a file.
    #[track_caller]
    pub fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Makes a dump of `vmcore`; `words` are options and output names.
    #[track_caller]
    pub fn capture(&self, options: &str, outputs: &[&str]) {
        let mut args: Vec<PathBuf> = options.split_whitespace().map(PathBuf::from).collect();
        args.push(self.file("vmcore"));
        args.extend(outputs.iter().map(|name| self.file(name)));
        run::capture(args).expect(0);
    }

    /// Makes a flattened dump of `vmcore`.
    #[track_caller]
    pub fn capture_stream(&self, options: &str, output: &str) {
        let mut args: Vec<PathBuf> = options.split_whitespace().map(PathBuf::from).collect();
        args.extend([PathBuf::from("-F"), self.file("vmcore")]);
        let run = run::capture(args);
        run.expect(0);
        self.put(output, &run.stdout);
    }

    /// Runs the tool with words.
    pub fn tamis(&self, words: &str) -> Run {
        self.run(&words.split_whitespace().collect::<Vec<_>>(), None)
    }

    /// Runs the tool with a file as its standard input.
    pub fn tamis_with(&self, words: &str, stdin: &str) -> Run {
        self.run(&words.split_whitespace().collect::<Vec<_>>(), Some(stdin))
    }

    /// Runs the tool.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S], stdin: Option<&str>) -> Run {
        let mut command = host_command();
        command.current_dir(self.dir.path()).args(args);
        command.stdin(match stdin {
            Some(name) => Stdio::from(fs::File::open(self.file(name)).expect("opening stdin")),
            None => Stdio::null(),
        });
        let output = command.output().expect("running tamis");
        use std::os::unix::process::ExitStatusExt;
        Run {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: output.stdout,
            stderr: output.stderr,
            args: args.iter().map(|a| a.as_ref().to_owned()).collect(),
        }
    }
}

/// Compares what a command printed with a file in `tests/golden/host`; `TAMIS_UPDATE=1` writes it.
#[track_caller]
pub fn golden(name: &str, run: &Run) {
    golden_text(name, &run.text());
}

/// The same for any text.
#[track_caller]
pub fn golden_text(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/host").join(name);
    if env::var_os("TAMIS_UPDATE").is_some() {
        fs::write(&path, found).expect("writing a golden file");
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{name} (TAMIS_UPDATE=1 accepts it)");
}

/// Value of a key in JSON output, at any depth, as text; the first one.
#[track_caller]
pub fn json<'a>(run: &'a Run, key: &str) -> &'a str {
    let text = std::str::from_utf8(&run.stdout).expect("UTF-8");
    let needle = format!("\"{key}\": ");
    let at = text.find(&needle).unwrap_or_else(|| panic!("no {key} in {}", run.text()));
    let rest = &text[at + needle.len()..];
    rest.lines().next().unwrap_or_default().trim_end_matches(',').trim_matches('"')
}

impl Bench {
    /// Fails the test unless two files have the same bytes.
    #[track_caller]
    pub fn assert_same(&self, a: &str, b: &str, what: &str) {
        let (left, right) = (self.get(a), self.get(b));
        let at = left.iter().zip(&right).position(|(a, b)| a != b);
        assert!(
            left == right,
            "{what}: {a} ({} bytes) and {b} ({} bytes) differ at {at:x?}\n{}",
            left.len(),
            right.len(),
            self.tamis(&format!("verify {a} {b}")).text()
        );
    }
}

/// What the system counts of a kind (`rchar`, `syscw`, ... of proc_pid_io(5)) for a shell and the command that it runs.
pub fn system_counts(bench: &Bench, words: &str, kind: &str) -> u64 {
    let script = format!("\"$0\" {words} >/dev/null && cat /proc/$$/io");
    let mut command = Command::new("sh");
    command.current_dir(bench.file(".")).arg("-c").arg(script).arg(host_binary());
    let output = command.stdin(Stdio::null()).output().expect("running sh");
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words}: {said}");
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(": "));
    line.and_then(|count| count.parse().ok()).expect("a count")
}
