//! makedumpfile's command line, for scripts on a running system: which commands of `tamis` do what it asks
//! for. Options are read by the parser of the capture program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use tamis_boot::cli::{Args, Compression, HELP, Messages, Mode, parse};

/// The version that is stood in for: scripts look up in a table which kernels it is good for.
pub const VERSION: &str = concat!(
    "makedumpfile: version 1.7.9 (tamis ",
    env!("CARGO_PKG_VERSION"),
    ")\nzlib\tenabled\nlzo\tenabled\nsnappy\tenabled\nzstd\tenabled\n"
);

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Print this text.
    Print(String),
    /// Run commands of `tamis`, one after the other, until one fails.
    Run(Run),
}

/// Commands, and what is said of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Each one's words, without `tamis` itself.
    pub commands: Vec<Vec<OsString>>,
    /// What is said in the end, if ordinary messages are wanted and this is not empty.
    pub saved: String,
    /// Whether standard output is the output, so that nothing else may go there.
    pub to_stdout: bool,
    /// Said beforehand.
    pub remarks: Vec<String>,
}

impl Run {
    /// One command.
    fn of(command: Vec<OsString>, saved: String, args: &Args<'_>) -> Run {
        let (to_stdout, remarks) = (args.flattened, notices(args));
        Run { commands: vec![command], saved, to_stdout, remarks }
    }
}

/// The plan for a command line, the program's name not among its words.
///
/// # Errors
///
/// One line that says what is not valid, or what `tamis` has instead.
pub fn plan(words: &[OsString]) -> Result<Plan, String> {
    let mut words = Words(words.to_vec());
    if let Some(file) = words.take_value("-g") {
        return vmcoreinfo(words, file);
    }
    if words.take("-R") {
        return rearrange(words);
    }
    if words.take("--reassemble") {
        return reassemble(words);
    }
    if words.take("--mem-usage") {
        return mem_usage(words);
    }
    let address = words.take_value("--vtop");
    let args = words.parse(&[])?;
    match args.mode {
        Mode::Help => Ok(Plan::Print(help())),
        Mode::Version => Ok(Plan::Print(VERSION.to_owned())),
        _ if args.check_params => Ok(Plan::Print(String::new())),
        Mode::Dmesg => Ok(Plan::Run(dmesg(&args))),
        Mode::Capture => write(&args, address),
    }
}

/// The help of the capture program, with what is here beside it.
fn help() -> String {
    let usage = "\n       makedumpfile [-f] -R DUMPFILE < STREAM\n       makedumpfile [-f] --reassemble PART1 \
                 PART2 [...] DUMPFILE\n       makedumpfile --mem-usage /proc/kcore\n       makedumpfile [-f] -g FILE -x VMLINUX\n\nWrites";
    HELP.replace("tamis-capture [", "makedumpfile [").replacen("\n\nWrites", usage, 1)
}

/// `-g FILE -x VMLINUX`.
fn vmcoreinfo(mut words: Words, file: OsString) -> Result<Plan, String> {
    let Some(vmlinux) = words.take_value("-x") else {
        return Err("-g: -x VMLINUX is missing: the file is made out of one".to_owned());
    };
    let vmlinux = vmlinux.as_bytes().to_owned();
    let name = String::from_utf8_lossy(&vmlinux);
    let more = ["--dry-run", &name];
    let args = words.parse(&more)?;
    only_moves(&args, "-g")?;
    let mut command = words_of(&["vmcoreinfo", "-x"]);
    command.extend([word(&vmlinux), "-o".into(), file.clone()]);
    force(&mut command, &args);
    let saved = said(&args, "vmcoreinfo", &[file.as_bytes()]);
    Ok(Plan::Run(Run::of(command, saved, &args)))
}

/// `-R OUT < STREAM`.
fn rearrange(words: Words) -> Result<Plan, String> {
    let args = words.parse(&["-"])?;
    only_moves(&args, "-R")?;
    let mut command = words_of(&["rearrange", "-"]);
    command.extend(args.outputs().iter().map(|name| word(name)));
    force(&mut command, &args);
    let saved = said(&args, "dumpfile", args.outputs());
    Ok(Plan::Run(Run::of(command, saved, &args)))
}

/// `--reassemble PART... OUT`.
fn reassemble(words: Words) -> Result<Plan, String> {
    let args = words.parse(&["--split"])?;
    only_moves(&args, "--reassemble")?;
    let mut command = words_of(&["reassemble"]);
    command.extend(args.vmcore.iter().chain(args.outputs()).map(|name| word(name)));
    force(&mut command, &args);
    let saved = said(&args, "dumpfile", args.outputs().last().map_or(&[], std::slice::from_ref));
    Ok(Plan::Run(Run::of(command, saved, &args)))
}

/// `--mem-usage /proc/kcore`, or a dump.
fn mem_usage(words: Words) -> Result<Plan, String> {
    let args = words.parse(&["--dry-run"])?;
    let name = word(args.vmcore.unwrap_or_default());
    let mut command = words_of(&[if name == "/proc/kcore" { "estimate" } else { "stats" }]);
    command.push(name);
    let saved = String::new();
    Ok(Plan::Run(Run::of(command, saved, &args)))
}

/// `--dump-dmesg`.
fn dmesg(args: &Args<'_>) -> Run {
    let mut command = words_of(&["dmesg"]);
    if args.partial_dmesg {
        command.push("--since-clear".into());
    }
    if let Some(name) = args.outputs().first() {
        command.extend(["--output".into(), word(name)]);
        force(&mut command, args);
    }
    command.extend(args.vmcore.map(word));
    Run::of(command, said(args, "dmesg log", args.outputs()), args)
}

/// A dump out of a vmcore or another dump.
fn write(args: &Args<'_>, address: Option<OsString>) -> Result<Plan, String> {
    let input = word(args.vmcore.unwrap_or_default());
    let (level, more) = match args.levels() {
        [level, more @ ..] => (*level, more),
        [] => (0, &[][..]),
    };
    let mut remarks = notices(args);
    if !more.is_empty() {
        remarks.push(format!(
            "of the levels of -d only the first, {level}, is taken: the others are for a capture that fills its target"
        ));
    }
    let mut commands = Vec::new();
    if let Some(address) = address {
        commands.push(vec!["vtop".into(), input.clone(), address]);
    }
    let mut command = if args.dry_run {
        words_of(&["estimate", "--exact"])
    } else if args.split && level > 0 {
        return Err("--split with -d is for captures: `tamis refilter -d LEVEL DUMP SMALL`, then `tamis split SMALL \
                    PART1 PART2 [...]`"
            .to_owned());
    } else {
        words_of(&[if args.split { "split" } else { "refilter" }])
    };
    match args.compress {
        Compression::Zlib | Compression::ZlibFixed => command.push("-c".into()),
        Compression::Lzo => command.push("-l".into()),
        Compression::Snappy => command.push("-p".into()),
        Compression::Zstd | Compression::ZstdLazy => command.push("-z".into()),
        Compression::Lz4 => return Err("--lz4 is for captures: take -z or -l".to_owned()),
        Compression::None if args.elf => {}
        Compression::None => command.push("--raw".into()),
    }
    if !args.split {
        command.extend(["-d".into(), level.to_string().into()]);
    }
    if let Some(limit) = args.memory_limit {
        command.extend(["--memory-limit".into(), limit.to_string().into()]);
    }
    if args.num_threads > 1 {
        command.extend(["--threads".into(), args.num_threads.to_string().into()]);
    }
    if args.exclude_guests {
        if args.split || args.dry_run {
            return Err("-X: `tamis refilter -X DUMP SMALL` first".to_owned());
        }
        command.push("-X".into());
    }
    for (given, option) in [
        (args.size_limit.is_some(), "-L"),
        (args.vmcoreinfo.is_some(), "-i"),
        (args.xen_info.is_some(), "--xen-vmcoreinfo"),
    ] {
        if given {
            return Err(format!("{option} is for captures: leave it out"));
        }
    }
    if args.dry_run {
        command.push(input);
    } else {
        if args.elf {
            command.extend(words_of(&["--to", "elf"]));
        }
        if args.flattened {
            command.extend(words_of(&["--to", "flat"]));
        }
        if !args.page_checksums {
            command.push("--no-page-checksums".into());
        }
        if let Some(kib) = args.splitblock_kib.filter(|_| args.split) {
            command.extend(["--block".into(), kib.div_ceil(1024).to_string().into()]);
        }
        force(&mut command, args);
        command.push(input);
        command.extend(args.outputs().iter().map(|name| word(name)));
        if args.flattened {
            command.push("-".into());
        }
    }
    commands.push(command);
    let saved = if args.dry_run { String::new() } else { said(args, "dumpfile", args.outputs()) };
    Ok(Plan::Run(Run { commands, saved, to_stdout: args.flattened, remarks }))
}

/// The line by which scripts know that all is well.
fn said(args: &Args<'_>, what: &str, names: &[&[u8]]) -> String {
    if !args.messages.contains(Messages::COMMON) {
        return String::new();
    }
    let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    match &names[..] {
        [] => format!("The {what} is saved to STDOUT."),
        [name] => format!("The {what} is saved to {name}."),
        [first @ .., last] => format!("The {what}s are saved to {} and {last}.", first.join(", ")),
    }
}

/// For options that only move what is there.
fn only_moves(args: &Args<'_>, option: &str) -> Result<(), String> {
    let plain = args.compress == Compression::None && args.levels() == [0] && !args.elf;
    if plain { Ok(()) } else { Err(format!("{option} takes no compression, level or format")) }
}

fn notices(args: &Args<'_>) -> Vec<String> {
    args.notices.lines().map(str::to_owned).collect()
}

fn force(command: &mut Vec<OsString>, args: &Args<'_>) {
    if args.force {
        command.push("--force".into());
    }
}

fn word(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

fn words_of(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The words of a command line.
struct Words(Vec<OsString>);

impl Words {
    /// How many of them can be options.
    fn options(&self) -> usize {
        self.0.iter().position(|word| word == "--").unwrap_or(self.0.len())
    }

    /// Takes out an option without a value; whether it was there.
    fn take(&mut self, name: &str) -> bool {
        let at = self.0.iter().take(self.options()).position(|word| word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Takes out an option with its value, apart, attached or behind an equals sign.
    fn take_value(&mut self, name: &str) -> Option<OsString> {
        let long = name.starts_with("--");
        for at in 0..self.options() {
            let word = self.0.get(at)?.as_bytes();
            let Some(rest) = word.strip_prefix(name.as_bytes()) else { continue };
            let attached = match rest {
                [] => {
                    self.0.remove(at);
                    return (at < self.0.len()).then(|| self.0.remove(at));
                }
                [b'=', value @ ..] if long => value,
                _ if long => continue,
                value => value,
            };
            let value = OsStr::from_bytes(attached).to_owned();
            self.0.remove(at);
            return Some(value);
        }
        None
    }

    /// What the parser of the capture program makes of them, behind `more`.
    fn parse<'a>(&'a self, more: &'a [&'a str]) -> Result<Args<'a>, String> {
        let more = more.iter().map(|word| word.as_bytes());
        parse(more.chain(self.0.iter().map(|word| word.as_bytes())))
            .map_err(|error| error.to_string().replace("tamis-capture", "makedumpfile"))
    }
}
