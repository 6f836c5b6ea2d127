//! Times commands against each other: in turn, on the same files, medians of some rounds.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A command that makes something of files.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program and its arguments.
    pub words: Vec<OsString>,
    /// What it reads from standard input.
    pub stdin: Option<PathBuf>,
    /// What it writes: deleted before each run.
    pub outputs: Vec<PathBuf>,
    /// Whether standard output goes to the first of the outputs.
    pub stream: bool,
}

impl Job {
    /// A command without standard input or output.
    pub fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>, output: &Path) -> Job {
        let words = words.into_iter().map(Into::into).collect();
        Job { words, stdin: None, outputs: vec![output.to_owned()], stream: false }
    }

    /// What it cost, once.
    fn run(&self, sample: bool) -> io::Result<Cost> {
        for path in &self.outputs {
            let _ = fs::remove_file(path);
        }
        let (program, args) = self.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let said = tempfile_beside(&self.outputs[0]);
        let mut command = Command::new(program);
        command.args(args).stderr(File::create(&said)?);
        command.stdout(match self.stream {
            true => Stdio::from(File::create(&self.outputs[0])?),
            false => Stdio::from(File::options().append(true).open(&said)?),
        });
        command.stdin(match &self.stdin {
            Some(path) => Stdio::from(File::open(path)?),
            None => Stdio::null(),
        });
        let start = Instant::now();
        let child = command.spawn()?;
        let pid = child.id() as libc::pid_t;
        let ended = AtomicBool::new(false);
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        let (wall, peak) = thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut peak = 0;
                while sample && !ended.load(Ordering::Relaxed) {
                    peak = peak.max(anonymous(pid));
                    thread::sleep(Duration::from_micros(300));
                }
                peak
            });
            // SAFETY: a child of ours that nobody else waits for, and places of the right types.
            unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) };
            let wall = start.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            (wall, sampler.join().unwrap_or(0))
        });
        // SAFETY: zeros are a value of it, and wait4 fills it in.
        let usage = unsafe { usage.assume_init() };
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        let text = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
        let _ = fs::remove_file(&said);
        if status != 0 {
            return Err(io::Error::other(format!("{:?}: status {status:#x}\n{text}", self.words)));
        }
        Ok(Cost {
            cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            wall,
            classify: steps(&text, "Excluding unnecessary pages"),
            peak,
            size: self.outputs.iter().filter_map(|p| Some(fs::metadata(p).ok()?.len())).sum(),
        })
    }
}

fn tempfile_beside(path: &Path) -> PathBuf {
    path.with_extension("said")
}

/// KiB of memory that is the process's own.
fn anonymous(pid: libc::pid_t) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// Seconds of all `STEP [name ...] : seconds` lines, which both programs print.
fn steps(text: &str, name: &str) -> f64 {
    let lines = text.split(['\n', '\r']).filter_map(|line| line.strip_prefix("STEP ["));
    let of_name = lines.filter(|line| line.starts_with(name));
    of_name.filter_map(|l| l.split(" : ").nth(1)?.split(' ').next()?.parse::<f64>().ok()).sum()
}

/// What a run costs; of several, the medians.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds of user and system time.
    pub cpu: f64,
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of the phase that looks at `struct page`s, as the program tells.
    pub classify: f64,
    /// Most KiB of anonymous memory.
    pub peak: u64,
    /// Bytes of the outputs.
    pub size: u64,
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Cost {
        cpu: middle(|c| c.cpu),
        wall: middle(|c| c.wall),
        classify: middle(|c| c.classify),
        peak: costs.iter().map(|c| c.peak).max().unwrap_or(0),
        size: costs.last().map_or(0, |c| c.size),
    }
}

/// Two ways to do the same.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is done.
    pub name: String,
    /// Ours.
    pub ours: Job,
    /// The other one, and what it is called.
    pub other: Option<(String, Job)>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// What it cost us.
    pub ours: Cost,
    /// Who the other one is, and what it cost that.
    pub other: Option<(String, Cost)>,
}

/// Runs both in turn, once with memory sampled and then `rounds` times.
pub fn measure(case: &Case, rounds: usize) -> io::Result<Row> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    let mut other = case.other.as_ref();
    // The first round is not timed: it warms the page cache and samples memory.
    let mut peaks = (0, 0);
    for round in 0..=rounds {
        let cost = case.ours.run(round == 0)?;
        if round > 0 {
            ours.push(cost)
        } else {
            peaks.0 = cost.peak
        }
        if let Some((name, job)) = other {
            match job.run(round == 0) {
                Ok(cost) if round > 0 => others.push(cost),
                Ok(cost) => peaks.1 = cost.peak,
                // A build without a codec, say.
                Err(error) if round == 0 => {
                    let first = error.to_string();
                    let said = first.lines().filter(|l| !l.trim().is_empty()).take(2);
                    eprintln!("{}: no {name}: {}", case.name, said.collect::<Vec<_>>().join(": "));
                    other = None;
                }
                Err(error) => return Err(error),
            }
        }
        for path in case.ours.outputs.iter().chain(other.iter().flat_map(|(_, j)| &j.outputs)) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(Row {
        name: case.name.clone(),
        ours: Cost { peak: peaks.0, ..median(&ours) },
        other: other.map(|(n, _)| (n.clone(), Cost { peak: peaks.1, ..median(&others) })),
    })
}

fn ratio(a: f64, b: f64) -> String {
    if a > 0.0 && b > 0.0 { format!("{:.2}", a / b) } else { "-".into() }
}

/// Head of the table.
pub const HEAD: &str = "\
| what | CPU s | against | CPU s | ratio | wall s | its | ratio | classify s | its | ratio | own KiB | its | bytes | its |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

/// A line of the table.
pub fn line(row: &Row) -> String {
    let seconds = |s: f64| if s > 0.0 { format!("{s:.3}") } else { "-".into() };
    let number = |n: u64| if n > 0 { n.to_string() } else { "-".into() };
    let none = Cost::default();
    let (name, theirs) = row.other.as_ref().map_or(("-", &none), |(n, c)| (n.as_str(), c));
    let mut cells = vec![row.name.clone(), seconds(row.ours.cpu), name.to_owned()];
    cells.extend([seconds(theirs.cpu), ratio(row.ours.cpu, theirs.cpu)]);
    for of in [|c: &Cost| c.wall, |c: &Cost| c.classify] {
        let (a, b) = (of(&row.ours), of(theirs));
        cells.extend([seconds(a), seconds(b), ratio(a, b)]);
    }
    cells.extend([number(row.ours.peak), number(theirs.peak)]);
    cells.extend([number(row.ours.size), number(theirs.size)]);
    format!("| {} |", cells.join(" | "))
}

/// All rows as JSON.
pub fn json(rows: &[Row], about: &[(&str, String)]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let cost = |c: &Cost| {
        format!(
            "{{\"cpu\":{:.6},\"wall\":{:.6},\"classify\":{:.6},\"anon_kib\":{},\"bytes\":{}}}",
            c.cpu, c.wall, c.classify, c.peak, c.size
        )
    };
    let mut text = String::from("{\"schema\":\"tamis-bench-1\"");
    for (key, value) in about {
        let _ = write!(text, ",{}:{}", quoted(key), quoted(value));
    }
    text.push_str(",\"rows\":[");
    for (index, row) in rows.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ =
            write!(text, "{comma}{{\"name\":{},\"tamis\":{}", quoted(&row.name), cost(&row.ours));
        if let Some((name, other)) = &row.other {
            let _ = write!(text, ",\"against\":{},\"other\":{}", quoted(name), cost(other));
        }
        text.push('}');
    }
    text.push_str("]}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_name_are_summed() {
        let text = "STEP [Excluding unnecessary pages] : 0.080000 seconds\rSTEP [Copying data] : \
                    9.0 seconds\nSTEP [Excluding unnecessary pages] : 0.050000 seconds\n";
        assert!((steps(text, "Excluding unnecessary pages") - 0.13).abs() < 1e-9);
    }

    #[test]
    fn a_row_has_as_many_cells_as_the_head() {
        let dir = crate::run::TempDir::new();
        let job = |words: &[&str]| Job::new(words.iter().copied(), &dir.file("out"));
        let case = Case {
            name: "nothing".into(),
            ours: job(&["true"]),
            other: Some(("touch".into(), job(&["touch", dir.file("out").to_str().unwrap()]))),
        };
        let row = measure(&case, 3).unwrap();
        let bars = |text: &str| text.matches('|').count();
        assert_eq!(bars(&line(&row)), bars(HEAD.lines().next().unwrap()));
        assert!(row.ours.wall > 0.0 && row.other.is_some());
        let text = json(&[row], &[("vmcore", "a\"b".into())]);
        assert!(text.contains(r#""vmcore":"a\"b""#) && text.ends_with("]}\n"), "{text}");
        let fails = Case { ours: job(&["false"]), ..case.clone() };
        assert!(measure(&fails, 1).is_err());
        let other = Case { other: Some(("false".into(), job(&["false"]))), ..case };
        assert!(measure(&other, 1).unwrap().other.is_none());
    }
}
