//! Builds and runs the capture binary.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, thread};

/// The target that the capture binary is built for.
pub const TARGET: &str = "x86_64-unknown-linux-musl";

/// Path of the static capture binary, built once per test process. `TAMIS_CAPTURE` names another
/// binary to test instead.
pub fn capture_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TAMIS_CAPTURE") {
        Some(path) => path.into(),
        None => build_capture(),
    })
}

fn build_capture() -> PathBuf {
    ensure_target();
    let words = ["build", "--release", "--package", "tamis-capture", "--target", TARGET];
    executable(&words, "tamis-capture")
}

/// Path of the workstation tool, built once per test process. `TAMIS_HOST` names another one to test.
pub fn host_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TAMIS_HOST") {
        Some(path) => path.into(),
        None => executable(&["build", "--package", "tamis"], "tamis"),
    })
}

/// Variables by which the caller's environment would change what the workstation tool prints: whether a
/// terminal wants colours, and whether this is a machine that builds and tests.
const COLOUR_VARIABLES: [&str; 5] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "CI"];

/// The workstation tool, to be run with an environment that is the same wherever the tests run.
pub fn host_command() -> Command {
    let mut command = Command::new(host_binary());
    for variable in COLOUR_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// Path of the program that runs one inner loop of the engine, built as the capture binary is.
pub fn counted_loops() -> PathBuf {
    ensure_target();
    let words = ["build", "--release", "--package", "tamis-count", "--target", TARGET];
    executable(&words, "tamis-count")
}

/// Path of the workstation tool as users have it.
pub fn host_release() -> PathBuf {
    executable(&["build", "--release", "--package", "tamis"], "tamis")
}

/// Builds a program and returns its path.
fn executable(words: &[&str], name: &str) -> PathBuf {
    build(words, name, Stdio::piped()).unwrap_or_else(|why| panic!("{why}"))
}

/// Builds a program with cargo and these words, and returns its path; or what cargo said, as far as
/// its messages do not go elsewhere.
pub fn build(words: &[&str], name: &str, messages_to: Stdio) -> Result<PathBuf, String> {
    build_with(words, &[], name, messages_to)
}

/// The same, with these variables.
pub(crate) fn build_with(
    words: &[&str],
    variables: &[(&str, &str)],
    name: &str,
    messages_to: Stdio,
) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(words)
        .args(["--message-format", "json-render-diagnostics"])
        .envs(variables.iter().copied())
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(messages_to)
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|e| format!("cargo cannot be run to build {name}: {e}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} does not build:\n{complaint}"));
    }
    messages
        .lines()
        .filter(|line| line.contains(&format!(r#""name":"{name}""#)))
        .filter_map(|line| line.split(r#""executable":""#).nth(1))
        .filter_map(|rest| rest.split('"').next())
        .next_back()
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo names no executable of {name}:\n{messages}"))
}

/// Adds a target to the toolchain where it is missing: rustup installs what rust-toolchain.toml names only
/// together with the toolchain, not into one that is there already.
pub fn add_target(target: &str) -> Result<(), String> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|e| format!("rustc cannot be run to look for {target}: {e}"))?;
    if Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup")
        .env("RUST_BACKTRACE", "0")
        .args(["target", "add", target])
        .output()
        .map_err(|e| format!("{target} is missing, and rustup cannot be run to add it: {e}"))?;
    if added.status.success() {
        return Ok(());
    }
    Err(format!("rustup cannot add {target}:\n{}", String::from_utf8_lossy(&added.stderr)))
}

fn ensure_target() {
    add_target(TARGET).unwrap_or_else(|why| panic!("{why}"));
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// Exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The arguments, for messages.
    pub args: Vec<OsString>,
}

impl Run {
    /// Standard output and error as one text.
    pub fn text(&self) -> String {
        let out = String::from_utf8_lossy(&self.stdout);
        let err = String::from_utf8_lossy(&self.stderr);
        format!("{out}{err}")
    }

    /// Fails the test unless the run ended with this status.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "tamis-capture {:?} (signal {:?}) said:\n{}",
            self.args,
            self.signal,
            self.text()
        );
        self
    }

    /// Fails the test unless the messages contain this text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(
            self.text().contains(text),
            "tamis-capture {:?} does not say {text:?}, but:\n{}",
            self.args,
            self.text()
        );
        self
    }
}

/// Runs the capture binary to its end.
pub fn capture<I>(args: I) -> Run
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    run_command(Command::new(capture_binary()).args(&args), args)
}

/// Runs a line of a script in a folder, whose programs are found first.
pub fn shell(folder: &Path, line: &str) -> Run {
    let path = format!("{}:{}", folder.display(), env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).env("PATH", path);
    run_command(&mut command, vec![line.into()])
}

/// Runs a prepared command to its end; `args` are for messages.
pub fn run_command(command: &mut Command, args: Vec<OsString>) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{:?} cannot be run: {e}", command.get_program()));
    let mut out = child.stdout.take().expect("a pipe");
    let mut err = child.stderr.take().expect("a pipe");
    let stderr = thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).expect("reading standard error");
        bytes
    });
    let mut stdout = Vec::new();
    out.read_to_end(&mut stdout).expect("reading standard output");
    let stderr = stderr.join().expect("the reader of standard error");
    let status = child.wait().expect("waiting for the run");
    Run { code: status.code(), signal: status.signal(), stdout, stderr, args }
}

/// Lets a command begin with those of these signals ignored that are in `ignored`, and with the default of the
/// others: what our own caller ignores (as `nohup` does) would be ignored there too.
pub fn inherit_signals(
    command: &mut Command,
    signals: impl IntoIterator<Item = i32>,
    ignored: &'static [i32],
) {
    let signals: Vec<i32> = signals.into_iter().collect();
    // SAFETY: between fork and exec only signal(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(move || {
            for &number in &signals {
                let ignore = ignored.contains(&number);
                libc::signal(number, if ignore { libc::SIG_IGN } else { libc::SIG_DFL });
            }
            Ok(())
        });
    }
}

/// A directory of a test, removed at its end.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory below the system's one for temporary files.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("tamis-tests-{}-{n}", std::process::id()));
        fs::create_dir_all(&path)
            .unwrap_or_else(|e| panic!("{} cannot be made: {e}", path.display()));
        TempDir(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        TempDir::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
