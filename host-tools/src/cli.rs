//! The command line.

use crate::args::raw::Raw;
use crate::cmd;
use crate::fail::{DONE, NO, Result, USAGE};
use crate::makedumpfile::{Plan, plan};
use crate::render::console::{print, remark};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Inspect and convert Linux kernel dumps.
///
/// tamis reads what a crash kernel left behind: ELF vmcores, kdump-compressed dumps of every
/// version and machine, split and flattened ones, from makedumpfile, QEMU or tamis-capture. It
/// looks at what is in a file, never at its name. A dump named - is read from standard input.
///
/// Memory images are read as well: sadump (all disks of a set), LiME, AVML, and VMware's .vmss or
/// .vmsn (with the .vmem beside it). Memory as it is, without a header, is with --raw-memory:
/// `tamis info --raw-memory FILE --at ADDRESS` says where it begins (0 if not given; one for each
/// file), and --machine NAME of what machine it is, as uname -m has it (x86_64 if not given).
/// VMCOREINFO of an image, and of a dump that lacks it, is looked for in memory.
///
/// `tamis help COMMAND` is the manual of a command, with examples.
///
/// Exit status, for all commands; each one's own are in its help:
///   0   done, and all is well
///   1   the answer is no: the dump is damaged, the two differ
///   2   the dump is sound as far as it goes, but incomplete
///   3   it could not be done: no such file, not a dump, disk full
///   64  the command line is not valid
///   141 the reader of the output went away
///
/// Colours are for terminals only; NO_COLOR=1 turns them off. --json output has a "schema" with a
/// version, and is described in host-tools/docs/json.md.
#[derive(Parser)]
#[command(name = "tamis", version, verbatim_doc_comment, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    raw: Raw,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Info(cmd::info::Args),
    Verify(cmd::verify::Args),
    Dmesg(cmd::dmesg::Args),
    Vmcoreinfo(cmd::vmcoreinfo::Args),
    Notes(cmd::notes::Args),
    Map(cmd::map::Args),
    Pages(cmd::pages::Args),
    Why(cmd::why::Args),
    Stats(cmd::stats::Args),
    Read(cmd::read::Args),
    Vtop(cmd::vtop::Args),
    Sym(cmd::sym::Args),
    Print(cmd::print::Args),
    Tasks(cmd::tasks::Args),
    Bt(cmd::bt::Args),
    Modules(cmd::modules::Args),
    Slabs(cmd::slabs::Args),
    Top(cmd::top::Args),
    Report(cmd::report::Args),
    Diff(cmd::diff::Args),
    Refilter(cmd::refilter::Args),
    #[command(about = cmd::convert::ABOUT, long_about = cmd::convert::MANUAL, override_usage = cmd::convert::USAGE)]
    Convert(cmd::refilter::Args),
    Estimate(cmd::estimate::Args),
    Rearrange(cmd::rearrange::Args),
    Reassemble(cmd::reassemble::Args),
    Split(cmd::split::Args),
    Repair(cmd::repair::Args),
    Seal(cmd::seal::Args),
    Unseal(cmd::unseal::Args),
    Initramfs(Box<cmd::initramfs::Args>),
    Doctor(cmd::doctor::Args),
    Keygen(cmd::keygen::Args),
    Makedumpfile(cmd::makedumpfile::Args),
    Completions(cmd::completions::Args),
    Man(cmd::man::Args),
}

/// What commands are for, as the help lists them; all others are for looking.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Look into a dump", &[]),
    ("Check and compare", &["verify", "diff", "estimate"]),
    (
        "Write a dump anew",
        &["refilter", "convert", "rearrange", "reassemble", "split", "repair", "seal", "unseal"],
    ),
    (
        "Prepare, and other",
        &["initramfs", "doctor", "keygen", "makedumpfile", "completions", "man"],
    ),
];

/// The command line, with the commands in groups.
fn command() -> clap::Command {
    let command = Cli::command();
    let mut list = String::new();
    for (heading, of_group) in GROUPS {
        let _ = writeln!(list, "{heading}:");
        for sub in command.get_subcommands() {
            let name = sub.get_name();
            let elsewhere = GROUPS.iter().any(|(_, names)| names.contains(&name));
            if of_group.contains(&name) || (of_group.is_empty() && !elsewhere) {
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                let _ = writeln!(list, "  {name:<13} {about}");
            }
        }
        list.push('\n');
    }
    let template = "{about-with-newline}\n{usage-heading} {usage}\n\n";
    command.help_template(format!("{template}{list}Options:\n{{options}}"))
}

/// A level of zstd stands right behind its letter (`-z19`), so that `-z` cannot take a file name
/// for one; clap wants an equals sign there.
fn attach(arg: OsString) -> OsString {
    let level = arg.to_str().and_then(|a| a.strip_prefix("-z"));
    match level {
        Some(level) if !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit()) => {
            format!("-z={level}").into()
        }
        _ => arg,
    }
}

/// Runs the command; returns the exit status.
pub fn run() -> Result<u8> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "makedumpfile") {
        return makedumpfile(&words.collect::<Vec<_>>());
    }
    run_words(std::iter::once(name).chain(words))
}

/// Does what a command line of makedumpfile asks for, with its messages and its exit statuses.
fn makedumpfile(words: &[OsString]) -> Result<u8> {
    let run = match plan(words) {
        Ok(Plan::Print(text)) => {
            print(text)?;
            return Ok(DONE);
        }
        Ok(Plan::Run(run)) => run,
        Err(error) => {
            remark(format_args!("{error}"));
            return Ok(NO);
        }
    };
    run.remarks.iter().for_each(|text| remark(format_args!("{text}")));
    let mut status = Ok(DONE);
    for command in run.commands {
        status = run_words(std::iter::once("tamis".into()).chain(command));
        if !matches!(status, Ok(DONE)) {
            break;
        }
    }
    let end = match &status {
        Ok(DONE) if run.saved.is_empty() => String::new(),
        Ok(DONE) => format!("\n{}\n\nmakedumpfile Completed.\n", run.saved),
        Err(fail) => {
            fail.report();
            "makedumpfile Failed.\n".to_owned()
        }
        Ok(_) => "makedumpfile Failed.\n".to_owned(),
    };
    // Where standard output is the dump, nothing else goes there.
    if run.to_stdout {
        let _ = std::io::stderr().write_all(end.as_bytes());
    } else {
        print(end)?;
    }
    Ok(if matches!(status, Ok(DONE)) { DONE } else { NO })
}

/// Runs a command of `tamis`, whose name is the first word.
fn run_words(words: impl Iterator<Item = OsString>) -> Result<u8> {
    let cli = match command()
        .try_get_matches_from(words.map(attach))
        .and_then(|found| Cli::from_arg_matches(&found))
    {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are errors to clap.
            let printed = e.print();
            if e.use_stderr() {
                return Ok(USAGE);
            }
            printed?;
            return Ok(DONE);
        }
    };
    cli.raw.apply()?;
    match cli.command {
        Command::Info(args) => cmd::info::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
        Command::Dmesg(args) => cmd::dmesg::run(&args),
        Command::Vmcoreinfo(args) => cmd::vmcoreinfo::run(&args),
        Command::Notes(args) => cmd::notes::run(&args),
        Command::Map(args) => cmd::map::run(&args),
        Command::Pages(args) => cmd::pages::run(&args),
        Command::Why(args) => cmd::why::run(&args),
        Command::Stats(args) => cmd::stats::run(&args),
        Command::Read(args) => cmd::read::run(&args),
        Command::Vtop(args) => cmd::vtop::run(&args),
        Command::Sym(args) => cmd::sym::run(&args),
        Command::Print(args) => cmd::print::run(&args),
        Command::Tasks(args) => cmd::tasks::run(&args),
        Command::Bt(args) => cmd::bt::run(&args),
        Command::Modules(args) => cmd::modules::run(&args),
        Command::Slabs(args) => cmd::slabs::run(&args),
        Command::Top(args) => cmd::top::run(&args),
        Command::Report(args) => cmd::report::run(&args),
        Command::Diff(args) => cmd::diff::run(&args),
        Command::Refilter(args) => cmd::refilter::run(&args),
        Command::Convert(args) => cmd::refilter::run(&args),
        Command::Estimate(args) => cmd::estimate::run(&args),
        Command::Rearrange(args) => cmd::rearrange::run(&args),
        Command::Reassemble(args) => cmd::reassemble::run(&args),
        Command::Split(args) => cmd::split::run(&args),
        Command::Repair(args) => cmd::repair::run(&args),
        Command::Seal(args) => cmd::seal::run(&args),
        Command::Unseal(args) => cmd::unseal::run(&args),
        Command::Initramfs(args) => cmd::initramfs::run(&args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Keygen(args) => cmd::keygen::run(&args),
        Command::Makedumpfile(args) => makedumpfile(&args.words()),
        Command::Completions(args) => cmd::completions::run(&args, Cli::command()),
        Command::Man(args) => cmd::man::run(&args, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_each_command_once_in_its_group() {
        let help = command().render_help().to_string();
        for sub in Cli::command().get_subcommands() {
            let line = format!("\n  {} ", sub.get_name());
            assert_eq!(help.matches(&line).count(), 1, "{help}");
        }
        for (heading, names) in GROUPS {
            let (_, list) = help.split_once(&format!("\n{heading}:\n")).unwrap();
            let (list, _) = list.split_once("\n\n").unwrap();
            assert!(
                names.iter().all(|name| list.contains(&format!("  {name} "))),
                "{heading}: {list}"
            );
            assert!(names.is_empty() || list.lines().count() == names.len(), "{heading}: {list}");
        }
    }

    #[test]
    fn every_command_has_a_manual_with_an_example() {
        for sub in Cli::command().get_subcommands() {
            let about = sub.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.contains("\n  $ tamis "), "{} has no example", sub.get_name());
            assert!(about.contains("\nExit status: 0 "), "{} has no statuses", sub.get_name());
            assert!(about.lines().all(|line| line.len() <= 100), "{}: long lines", sub.get_name());
            for arg in sub.get_arguments() {
                let helped = arg.get_help().is_some() || arg.is_global_set();
                assert!(helped, "{} {} has no help", sub.get_name(), arg.get_id());
            }
        }
    }
}
