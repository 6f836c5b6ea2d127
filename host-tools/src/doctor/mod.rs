//! Whether this machine would save a dump if its kernel died now.

mod check;
mod image;

pub use check::{Check, Examination, Outcome};

use crate::fail::Result;
use crate::initramfs::gzip;
use crate::initramfs::machine::Machine;
use crate::render::text::size;
use image::Image;
use std::fs;
use std::path::{Path, PathBuf};

/// Kernel options, any of which will do, and what they are for.
const OPTIONS: [(&[&str], &str); 12] = [
    (&["KEXEC", "KEXEC_FILE"], "loads the crash kernel"),
    (&["CRASH_DUMP"], "reserves memory for it, and starts it"),
    (
        &["VMCORE_INFO", "CRASH_CORE", "KEXEC_CORE"],
        "keeps the kernel's facts where they are found after a crash",
    ),
    (&["PROC_VMCORE"], "shows the dead kernel's memory to the crash kernel"),
    (&["PROC_FS"], "has /proc/vmcore, and the command line with orders"),
    (&["SYSFS"], "finds disks and partitions"),
    (&["DEVTMPFS"], "makes device files in an initramfs without udev"),
    (&["BLK_DEV_INITRD"], "takes an initramfs"),
    (&["RD_GZIP"], "unpacks it"),
    (&["BINFMT_ELF"], "runs a program"),
    (&["FUTEX"], "lets threads compress"),
    (&["KALLSYMS"], "has the symbols by which tamis shows stacks and types"),
];

/// Less than this was too little for tamis alone under Debian's kernels.
const LITTLE: u64 = 80 << 20;

/// Looks at a machine.
pub struct Doctor {
    machine: Machine,
    image: Option<PathBuf>,
}

impl Doctor {
    /// For this machine; `image` is the initramfs of its crash kernel.
    pub fn new(image: Option<&Path>) -> Doctor {
        Doctor { machine: Machine::running(), image: image.map(Path::to_owned) }
    }

    #[cfg(test)]
    fn pictured(root: &Path) -> Doctor {
        Doctor { machine: Machine::pictured(root), image: None }
    }

    /// Looks at everything. An error: the image that was named cannot be read.
    pub fn examine(&self) -> Result<Examination> {
        let image = Image::find(&self.machine, self.image.as_deref())?;
        let mut checks = vec![self.reserved(), self.loaded()];
        checks.extend(self.locked());
        checks.push(self.kernel());
        checks.extend(image::checks(&self.machine, image.as_ref()));
        checks.push(self.watchdog(image.as_ref()));
        checks.push(self.panic());
        Ok(Examination { checks })
    }

    fn reserved(&self) -> Check {
        let check = |outcome, found: String| Check::new("memory", outcome, found);
        let boot = "boot with crashkernel=128M on the kernel's command line, for one";
        let Some(reserved) = self.machine.read("sys/kernel/kexec_crash_size") else {
            return check(Outcome::Bad, "this kernel cannot load a crash kernel".into())
                .next("take one with CONFIG_KEXEC and CONFIG_CRASH_DUMP");
        };
        match reserved.parse::<u64>() {
            Ok(0)
                if self
                    .machine
                    .read("proc/cmdline")
                    .is_some_and(|line| line.contains("crashkernel=")) =>
            {
                check(
                    Outcome::Bad,
                    "nothing is reserved, although the command line has crashkernel=".into(),
                )
                .next("see `dmesg | grep -i crashkernel`: there may be no such room in one piece")
            }
            Ok(0) => {
                check(Outcome::Bad, "no memory is reserved for a crash kernel".into()).next(boot)
            }
            Ok(bytes) if bytes < LITTLE => check(
                Outcome::Note,
                format!(
                    "{} are reserved; Debian's kernels with tamis alone took 68 to 80 MiB",
                    size(bytes)
                ),
            )
            .next("try it, or reserve more"),
            Ok(bytes) => check(Outcome::Good, format!("{} are reserved", size(bytes))),
            Err(_) => check(
                Outcome::Note,
                format!("kexec_crash_size is {reserved:?}, which is no number"),
            ),
        }
    }

    fn loaded(&self) -> Check {
        let check = |outcome, found: &str| Check::new("loaded", outcome, found);
        match self.machine.read("sys/kernel/kexec_crash_loaded").as_deref() {
            Some("1") => check(Outcome::Good, "a crash kernel is loaded"),
            _ if self.machine.read("proc/sys/kernel/kexec_load_disabled").as_deref() == Some("1") => {
                check(Outcome::Bad, "no crash kernel is loaded, and loading is disabled until the next boot")
                    .next("load it at boot, before kernel.kexec_load_disabled is set")
            }
            _ => check(Outcome::Bad, "no crash kernel is loaded")
                .next("tamis-kdump load, or kexec -p KERNEL --initrd=IMAGE, as `tamis initramfs` prints it"),
        }
    }

    /// What the kernel asks of kernels that are loaded.
    fn locked(&self) -> Option<Check> {
        let state = self.machine.read("sys/kernel/security/lockdown")?;
        let found = match state.contains("[none]") {
            true => return None,
            false => "this kernel is locked down: it loads only kernels whose signature it knows",
        };
        Some(
            Check::new("lockdown", Outcome::Note, found)
                .next("load the distribution's kernel, with kexec -p -s"),
        )
    }

    /// The options of the running kernel, which is the crash kernel as well unless another one is named.
    fn kernel(&self) -> Check {
        let check = |outcome, found: String| Check::new("kernel", outcome, found);
        let release = self.machine.read("proc/sys/kernel/osrelease").unwrap_or_default();
        let packed = || {
            let bytes = fs::read(self.machine.path("proc/config.gz")).ok()?;
            String::from_utf8(gzip::unpack(&bytes).ok()?).ok()
        };
        let Some(config) = self.machine.read(&format!("boot/config-{release}")).or_else(packed)
        else {
            return check(Outcome::Note, format!("the options of {release} are not known"))
                .next(format!("put its configuration at /boot/config-{release}"));
        };
        let has = |option: &&str| {
            let line = format!("CONFIG_{option}=");
            config.lines().any(|l| l.strip_prefix(&line).is_some_and(|value| value != "n"))
        };
        let missing = OPTIONS.iter().filter(|(any, _)| !any.iter().any(has));
        let missing: Vec<String> =
            missing.map(|(any, what)| format!("CONFIG_{} ({what})", any[0])).collect();
        if missing.is_empty() {
            return check(
                Outcome::Good,
                format!("{release} has the {} options that are needed", OPTIONS.len()),
            );
        }
        check(Outcome::Bad, format!("{release} lacks {}", missing.join(", ")))
            .next("build or install a kernel that has them; it may be another one than the running one, but for the first")
    }

    fn watchdog(&self, image: Option<&Image>) -> Check {
        let check = |outcome, found: String| Check::new("watchdog", outcome, found);
        let running = self.machine.watchdogs();
        let Some(first) = running.first() else {
            return check(Outcome::Note, "no watchdog runs: a crash kernel that hangs stays like that".into())
                .next("have one run (RuntimeWatchdogSec= of systemd); `tamis initramfs --from-running` packs its driver");
        };
        match image {
            None => check(Outcome::Note, format!("{first} runs: the crash kernel has to feed it")),
            Some(image) if running.iter().any(|driver| image.has(driver) || self.machine.is_built_in(driver)) => {
                check(Outcome::Good, format!("{first} runs, and the image has its driver"))
            }
            Some(_) => check(
                Outcome::Bad,
                format!("{first} runs, and the image has no driver for it: it resets the machine before the dump is saved"),
            )
            .next("make the image anew: tamis initramfs --from-running"),
        }
    }

    fn panic(&self) -> Check {
        let check = |outcome, found: String| Check::new("panic", outcome, found);
        let setting =
            |name: &str| self.machine.read(&format!("proc/sys/kernel/{name}")).unwrap_or_default();
        let notifiers =
            self.machine.read("sys/module/kernel/parameters/crash_kexec_post_notifiers");
        if notifiers.as_deref() == Some("Y") {
            return check(
                Outcome::Note,
                "crash_kexec_post_notifiers: the dying kernel does other things first, and may hang in them".into(),
            )
            .next("take it off the command line, unless something needs it");
        }
        let mut next = Vec::new();
        if setting("panic_on_oops") == "0" {
            next.push("kernel.panic_on_oops=1: an oops that ends only a process leaves no dump");
        }
        if setting("panic") == "0" {
            next.push("kernel.panic=10: where no crash kernel starts, the machine halts for good");
        }
        if next.is_empty() {
            return check(
                Outcome::Good,
                "an oops panics, and a panic that leaves no dump restarts the machine".into(),
            );
        }
        check(Outcome::Note, "not every end of the kernel is seen to".into())
            .next(format!("sysctl {}", next.join("; sysctl ")))
    }
}

#[cfg(test)]
mod tests;
