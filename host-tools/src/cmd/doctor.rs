//! `tamis doctor`.

use crate::doctor::Doctor;
use crate::fail::{DONE, Fail, NO, Result};
use crate::render::console::{paint, print};
use crate::render::json::show;
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

/// Look whether this machine would save a dump if its kernel died now.
///
/// Looked at are the memory that is reserved for a crash kernel, whether one is loaded, the options
/// of the running kernel, the image that `tamis initramfs` made (its orders, its modules, its target,
/// and the room there), the watchdog, and the settings for a panic. Each line is good, a note, or
/// BAD, with what to do next. Nothing is changed. What is only seen as root is looked at as root.
///
/// The image is the one that is named by --image, or by KDUMP_INITRD in /etc/tamis-kdump.conf, or
/// /boot/tamis-kdump-RELEASE.img, which `tamis-kdump load` makes.
///
/// Options that a kernel needs: KEXEC or KEXEC_FILE, CRASH_DUMP, VMCORE_INFO (older kernels:
/// CRASH_CORE, KEXEC_CORE), PROC_VMCORE, PROC_FS, SYSFS, DEVTMPFS, BLK_DEV_INITRD, RD_GZIP,
/// BINFMT_ELF, FUTEX, KALLSYMS; what each is for stands where one is missing.
///
/// Whether it works is shown by a crash alone: --try makes one, if nothing is BAD, after the word
/// `crash` was typed. All programs end at once, unsaved work is lost, and the machine starts again.
///
/// Exit status: 0 nothing is bad; 1 something is; 3 it could not be looked at.
///
/// Examples:
///   $ tamis doctor
///   $ tamis doctor --image kdump.img --json
///   $ tamis doctor --try
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The crash kernel's initramfs, made by `tamis initramfs`
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Crash this machine, to see whether it saves a dump
    #[arg(long = "try", conflicts_with = "json")]
    crash: bool,
    /// Print JSON (schema tamis.doctor/1)
    #[arg(long)]
    json: bool,
}

/// What has to be typed for a crash.
const WORD: &str = "crash";

/// Runs it.
pub fn run(args: &Args) -> Result<u8> {
    let found = Doctor::new(args.image.as_deref()).examine()?;
    if args.json {
        show(&found)?;
    } else {
        paint(found.text())?;
    }
    if !found.is_good() {
        return Ok(NO);
    }
    if args.crash {
        crash()?;
    }
    Ok(DONE)
}

/// Crashes the machine, once that was asked for twice.
fn crash() -> Result<()> {
    print(format!(
        "\nNow this machine crashes, if you type `{WORD}`: all programs end, and unsaved work is lost.\n"
    ))?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() != WORD {
        return Err(Fail::new("nothing was done").next(format_args!("type {WORD} for a crash")));
    }
    rustix::fs::sync();
    let trigger = Path::new("/proc/sysrq-trigger");
    fs::write(trigger, "c").map_err(|e| Fail::file(trigger, e).next("only root may do that"))?;
    Ok(())
}
