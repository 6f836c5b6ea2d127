//! Why a job did not begin.

use crate::console::{Console, Why};
use crate::exit::Exit;
use core::fmt;
use tamis_core::capture::plan::OverBudget;
use tamis_core::input::elf::OpenError;
use tamis_core::io::IoError;
#[cfg(target_arch = "x86_64")]
use tamis_core::kernel::xen::XenError;

/// Why a job did not begin: nothing was written.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum JobError<'a> {
    /// A file cannot be opened.
    Open { name: &'a [u8], io: IoError },
    /// A file cannot be read.
    Read { name: &'a [u8], io: IoError },
    /// A header of the vmcore cannot be read.
    Header { name: &'a [u8], what: &'static str, at: u64, io: IoError },
    /// It is not a vmcore.
    NotVmcore { name: &'a [u8], error: OpenError, looks: &'static str },
    /// The vmcore cannot be loaded.
    Load { name: &'a [u8], error: OpenError },
    /// What `-i` names is no VMCOREINFO text.
    NotInfo { name: &'a [u8], why: &'static str },
    /// What `-i` names is of another kernel than the vmcore.
    OtherKernel { file: &'a [u8], vmcore: heapless::Vec<u8, 65> },
    /// Guests of a Xen host cannot be told from others.
    #[cfg(target_arch = "x86_64")]
    Guests(XenError),
    /// A Xen host is none of the machines that this program is for.
    #[cfg(not(target_arch = "x86_64"))]
    Guests,
    /// Blocks of a split dump are whole pages.
    SplitBlock { kib: u64, page: u64 },
    /// The memory limit that was asked for is not enough.
    Limit(OverBudget),
    /// No memory limit is enough.
    Memory(OverBudget),
    /// The system does not have the memory.
    Map { len: usize, io: IoError },
}

impl JobError<'_> {
    /// Prints it. Returns the end of the run, which is what is passed on.
    #[cold]
    #[inline(never)]
    pub(crate) fn report(self, console: &Console) -> Exit {
        console.warn(format_args!("{self}"));
        if let JobError::Limit(OverBudget { least, .. }) = self {
            console.warn(format_args!("try --memory-limit {least} or more; nothing was written"));
        }
        if let JobError::Open { name: b"/proc/vmcore", io } = self
            && io.code == libc::ENOENT
        {
            console.warn(format_args!(
                "only a crash kernel has it: one loaded with kexec -p, with CONFIG_PROC_VMCORE, and \
                 elfcorehdr= on its command line"
            ));
        }
        if let JobError::OtherKernel { .. } = self { Exit::OtherKernel } else { Exit::Failed }
    }
}

impl fmt::Display for JobError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Open { name, io } => {
                write!(f, "opening {}: {}", name.escape_ascii(), Why(*io))
            }
            JobError::Read { name, io } => {
                write!(f, "reading {}: {}", name.escape_ascii(), Why(*io))
            }
            JobError::Header { name, what, at, io } => {
                let name = name.escape_ascii();
                write!(f, "reading {what} of {name} at offset {at}: {}", Why(*io))
            }
            JobError::NotVmcore { name, error, looks } => {
                write!(f, "{} is not a vmcore: {looks} ({error})", name.escape_ascii())
            }
            JobError::Load { name, error } => {
                write!(f, "reading {}: {error}", name.escape_ascii())
            }
            JobError::NotInfo { name, why } => write!(f, "{} {why}", name.escape_ascii()),
            JobError::OtherKernel { file, vmcore } => write!(
                f,
                "the VMCOREINFO file is of kernel {}, the vmcore of kernel {}",
                file.escape_ascii(),
                vmcore.escape_ascii()
            ),
            #[cfg(target_arch = "x86_64")]
            JobError::Guests(why) => write!(
                f,
                "-X: {why}; without -X, the memory of all domains is kept; nothing was written"
            ),
            #[cfg(not(target_arch = "x86_64"))]
            JobError::Guests => f.write_str("-X is for Xen hosts, which are of x86_64"),
            JobError::SplitBlock { kib, page } => {
                write!(f, "--splitblock-size {kib} is not a multiple of a page, {page} bytes")
            }
            JobError::Limit(over) | JobError::Memory(over) => over.fmt(f),
            JobError::Map { len, io } => {
                write!(f, "reserving {len} bytes of memory: {}", Why(*io))
            }
        }
    }
}

impl core::error::Error for JobError<'_> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            JobError::Open { io, .. }
            | JobError::Read { io, .. }
            | JobError::Header { io, .. }
            | JobError::Map { io, .. } => Some(io),
            JobError::NotVmcore { error, .. } | JobError::Load { error, .. } => Some(error),
            JobError::Limit(over) | JobError::Memory(over) => Some(over),
            #[cfg(target_arch = "x86_64")]
            JobError::Guests(error) => Some(error),
            #[cfg(not(target_arch = "x86_64"))]
            JobError::Guests => None,
            JobError::NotInfo { .. }
            | JobError::OtherKernel { .. }
            | JobError::SplitBlock { .. } => None,
        }
    }
}
