//! `cargo xtask bench`: tamis against makedumpfile.

use super::{output, root};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use tamis_tests::bench::{Case, HEAD, Job, Row, json, line, measure};
use tamis_tests::run::{capture_binary, host_release};
use tamis_tests::tiled::tile;

pub const USAGE: &str = "\
cargo xtask bench [OPTIONS] [VMCORE]

Times tamis against makedumpfile on one vmcore, in alternating runs, and prints a table: CPU (user
and system time) and wall seconds, the phase that looks at struct pages, memory of the program's own,
bytes written, and ratios of medians (below 1: tamis is faster). Without VMCORE it is that of a 3 GB
guest, made by `tests/vm/vm raw 6.1-3g`.

  --sparse GIB[,GIB...]  also on larger machines (8 to 64 GiB), made of VMCORE: its struct pages
                         tiled, in over 1,000 memory ranges
  --rounds N             runs of each command (default 5)
  --only TEXT            only the rows whose names contain TEXT
  --makedumpfile COMMAND another one than that of Debian sid, which tests/vm fetches
  --folder FOLDER        where dumps go, and are deleted again (default: target/bench)
  --json FILE            the table as JSON (default: target/bench.json)";

struct Bench {
    other: Vec<OsString>,
    rounds: usize,
    only: Vec<String>,
    folder: PathBuf,
    rows: Vec<Row>,
}

/// Runs it.
pub fn run(mut words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let (mut vmcore, mut sparse) = (None, Vec::new());
    let (mut other, mut json_at) = (Vec::new(), root().join("target/bench.json"));
    let mut bench = Bench {
        other: Vec::new(),
        rounds: 5,
        only: Vec::new(),
        folder: root().join("target/bench"),
        rows: Vec::new(),
    };
    while let Some(word) = words.next() {
        let name = word.to_string_lossy().into_owned();
        let mut value = || words.next().ok_or(format!("{name} needs a value\n\n{USAGE}"));
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("{name}: no number: {text}"));
        match name.as_str() {
            "--sparse" => {
                for gib in text(value()?).split(',') {
                    sparse.push(number(gib)?);
                }
            }
            "--rounds" => bench.rounds = number(&text(value()?))?.max(1) as usize,
            "--only" => bench.only.push(text(value()?)),
            "--makedumpfile" => other = vec![value()?],
            "--folder" => bench.folder = value()?.into(),
            "--json" => json_at = value()?.into(),
            _ if name.starts_with('-') || vmcore.is_some() => return Err(USAGE.into()),
            _ => vmcore = Some(PathBuf::from(&word)),
        }
    }
    let vmcore = match vmcore {
        Some(path) => path,
        None => {
            let said = output(Command::new(root().join("tests/vm/vm")).args(["raw", "6.1-3g"]))?;
            said.lines().last().unwrap_or_default().trim().into()
        }
    };
    if other.is_empty() {
        let script = "from vmlib.packages import makedumpfile\n\
                      print('\\n'.join(map(str, makedumpfile('sid'))))";
        let mut python = Command::new("python3");
        let said = output(python.args(["-c", script]).env("PYTHONPATH", root().join("tests/vm")))?;
        other = said.lines().map(OsString::from).collect();
    }
    bench.other = other;
    let failed = |e: std::io::Error| e.to_string();
    std::fs::create_dir_all(&bench.folder).map_err(failed)?;

    let version = output(Command::new(&bench.other[0]).args(&bench.other[1..]).arg("-v"))?;
    let version = version.lines().next().unwrap_or("makedumpfile").to_owned();
    let size = std::fs::metadata(&vmcore).map_err(|e| format!("{}: {e}", vmcore.display()))?.len();
    println!("{version}; a vmcore of {size} bytes; medians of {} rounds\n\n{HEAD}", bench.rounds);
    // Both are to find it in the page cache.
    std::io::copy(&mut std::fs::File::open(&vmcore).map_err(failed)?, &mut std::io::sink())
        .map_err(failed)?;

    bench.captures(&vmcore)?;
    bench.conversions(&vmcore)?;
    for gib in sparse {
        let large = bench.folder.join("large");
        tile(&vmcore, &large, gib).map_err(failed)?;
        let done = bench.large(&large, gib);
        std::fs::remove_file(&large).map_err(failed)?;
        done?;
    }
    let about = [("makedumpfile", version), ("vmcore_bytes", size.to_string())];
    std::fs::write(&json_at, json(&bench.rows, &about)).map_err(failed)?;
    println!("\n{}", json_at.display());
    Ok(())
}

impl Bench {
    fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// tamis-capture with these options.
    fn ours(&self, options: &str, vmcore: &Path) -> Job {
        let mut words = vec![capture_binary().as_os_str().to_owned()];
        words.extend(options.split_whitespace().map(OsString::from));
        words.extend(["--message-level", "31"].map(OsString::from));
        words.extend([vmcore.as_os_str().to_owned(), self.out().into()]);
        Job::new(words, &self.out())
    }

    /// The same with makedumpfile.
    fn theirs(&self, options: &str, vmcore: &Path) -> (String, Job) {
        let mut job = self.ours(options, vmcore);
        job.words.splice(..1, self.other.iter().cloned());
        ("makedumpfile".into(), job)
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    fn case(&mut self, case: Case) -> Result<(), String> {
        if !self.is_wanted(&case.name) {
            return Ok(());
        }
        let row = measure(&case, self.rounds).map_err(|e| e.to_string())?;
        println!("{}", line(&row));
        self.rows.push(row);
        Ok(())
    }

    /// Dumps of a vmcore.
    fn captures(&mut self, vmcore: &Path) -> Result<(), String> {
        for options in [
            "-d 31",
            "-c -d 31",
            "-l -d 31",
            "-p -d 31",
            "-z -d 31",
            "-E -d 31",
            "-c -d 31 --cyclic-buffer 1",
            "-d 1",
            "-d 0",
        ] {
            self.case(Case {
                name: options.into(),
                ours: self.ours(options, vmcore),
                // Debian builds makedumpfile without snappy: it would store the pages as they are.
                other: (!options.starts_with("-p")).then(|| self.theirs(options, vmcore)),
            })?;
        }
        // A copy that is on the disk when it is done, as a dump is.
        let copy = "cp \"$0\" \"$1\" && sync \"$1\"";
        let words = ["sh".into(), "-c".into(), copy.into(), vmcore.into(), self.out().into()];
        let words: [OsString; 5] = words;
        self.case(Case {
            name: "-d 0 (a copy)".into(),
            ours: self.ours("-d 0", vmcore),
            other: Some(("cp, sync".into(), Job::new(words, &self.out()))),
        })?;
        for codec in ["-c", "-l", "-z"] {
            let one = format!("{codec} -d 31");
            self.case(Case {
                name: format!("{one} --num-threads 2"),
                ours: self.ours(&format!("{one} --num-threads 2"), vmcore),
                other: Some(("one thread".into(), self.ours(&one, vmcore))),
            })?;
        }
        let threads = |n: u64| format!("-c -d 31 --num-threads {n}");
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        self.case(Case {
            name: format!("{}, more than CPUs", threads(8 * cpus)),
            ours: self.ours(&threads(8 * cpus), vmcore),
            other: Some((format!("{cpus} threads"), self.ours(&threads(cpus), vmcore))),
        })?;
        for codec in ["--lz4", "-c0"] {
            let options = format!("{codec} -d 31");
            let ours = self.ours(&options, vmcore);
            self.case(Case { name: options, ours, other: None })?;
        }
        Ok(())
    }

    /// Dumps made out of dumps, on a workstation.
    fn conversions(&mut self, vmcore: &Path) -> Result<(), String> {
        // Making their inputs takes time.
        let names = ["refilter -c -d 31", "refilter -l -d 31", "verify", "rearrange", "reassemble"];
        if !names.iter().any(|name| self.is_wanted(name)) {
            return Ok(());
        }
        let at = |name: &str| self.folder.join(name);
        let (full, flat) = (at("full"), at("flat"));
        let parts = [at("part1"), at("part2"), at("part3")];
        let run = |options: &[&str], outputs: &[&Path]| {
            let mut command = Command::new(capture_binary());
            command.args(options).args(["-f", "--message-level", "4"]).arg(vmcore).args(outputs);
            output(&mut command).map(drop)
        };
        run(&["-l", "-d", "1"], &[&full])?;
        run(&["-c", "-d", "1", "--split"], &[&parts[0], &parts[1], &parts[2]])?;
        let mut stream = Command::new(capture_binary());
        stream.args(["-F", "-c", "-d", "1", "--message-level", "4"]).arg(vmcore);
        let failed = |e: std::io::Error| e.to_string();
        stream.stdout(std::fs::File::create(&flat).map_err(failed)?);
        if !stream.status().map_err(failed)?.success() {
            return Err("the stream for the rows below could not be made".into());
        }

        let host = OsString::from(host_release());
        let out = self.out();
        let ours = |words: &[&str], files: &[&Path]| {
            let words = words.iter().map(OsString::from);
            let files = files.iter().map(|file| file.as_os_str().to_owned());
            Job::new([host.clone()].into_iter().chain(words).chain(files), &out)
        };
        let theirs = |words: &[&str], files: &[&Path]| {
            let mut job = ours(words, files);
            job.words.splice(..1, self.other.iter().cloned());
            Some(("makedumpfile".to_owned(), job))
        };
        let mut rearrange = theirs(&["-R"], &[&out]);
        if let Some((_, job)) = &mut rearrange {
            job.stdin = Some(flat.clone());
        }
        let all = [parts[0].as_path(), &parts[1], &parts[2], &out];
        let cases = [
            Case {
                name: "refilter -c -d 31".into(),
                ours: ours(&["refilter", "-c", "-d", "31"], &[&full, &out]),
                other: theirs(&["-c", "-d", "31"], &[&full, &out]),
            },
            Case {
                name: "refilter -l -d 31".into(),
                ours: ours(&["refilter", "-l", "-d", "31"], &[&full, &out]),
                other: theirs(&["-l", "-d", "31"], &[&full, &out]),
            },
            Case { name: "verify".into(), ours: ours(&["verify"], &[&full]), other: None },
            Case {
                name: "rearrange".into(),
                ours: ours(&["rearrange"], &[&flat, &out]),
                other: rearrange,
            },
            Case {
                name: "reassemble".into(),
                ours: ours(&["reassemble"], &all),
                other: theirs(&["--reassemble"], &all),
            },
        ];
        for case in cases {
            self.case(case)?;
        }
        for path in parts.iter().chain([&full, &flat]) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        Ok(())
    }

    /// Dumps of a large, sparse machine.
    fn large(&mut self, vmcore: &Path, gib: u64) -> Result<(), String> {
        self.case(Case {
            name: format!("{gib} GiB: -d 31"),
            ours: self.ours("-d 31", vmcore),
            other: Some(self.theirs("-d 31", vmcore)),
        })?;
        self.case(Case {
            name: format!("{gib} GiB: -d 31 --cyclic-buffer 1"),
            ours: self.ours("-d 31 --cyclic-buffer 1", vmcore),
            other: Some(("one window".into(), self.ours("-d 31 --non-cyclic", vmcore))),
        })
    }
}
