//! The largest resident set of a run.
//!
//! The number wait4(2) gives is no use for a program smaller than its parent: what the parent had
//! at the fork counts as well. So the run is traced to its exit, and asked there.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{fs, ptr};

/// Runs the program to its end and gives its exit status, if no signal ended it, and `VmHWM`: the
/// most memory that was resident at once, in KiB, mapped files included.
pub fn peak_rss_kib<I>(program: &OsStr, args: I) -> io::Result<(Option<i32>, u64)>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args);
    peak_rss_kib_of(command)
}

/// As [`peak_rss_kib`], for a program that is to have more than words: an environment, say.
pub fn peak_rss_kib_of(mut command: Command) -> io::Result<(Option<i32>, u64)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only ptrace(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(|| check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)).map(drop));
    }
    let pid = command.spawn()?.id() as libc::pid_t;
    let mut peak = 0;
    let mut known = false;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live int, which is all that waitpid(2) writes to.
        check(unsafe { libc::waitpid(pid, &mut status, 0) }.into())?;
        if libc::WIFEXITED(status) {
            return Ok((Some(libc::WEXITSTATUS(status)), peak));
        }
        if libc::WIFSIGNALED(status) {
            return Ok((None, peak));
        }
        let mut signal = libc::WSTOPSIG(status);
        if status >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8 {
            peak = high_water_mark(pid)?;
            signal = 0;
        } else if !known && signal == libc::SIGTRAP {
            // Stopped at the exec: from here on it is the program.
            let options = libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, pid, options)?;
            known = true;
            signal = 0;
        }
        ptrace(libc::PTRACE_CONT, pid, signal)?;
    }
}

/// What ptrace(2)'s first argument is: not the same in every C library.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

fn ptrace(request: Request, pid: libc::pid_t, data: i32) -> io::Result<()> {
    let data = ptr::without_provenance_mut::<libc::c_void>(data as usize);
    // SAFETY: both requests take a number in place of the last pointer and touch no memory here.
    check(unsafe { libc::ptrace(request, pid, ptr::null_mut::<libc::c_void>(), data) }).map(drop)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn high_water_mark(pid: libc::pid_t) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|n| n.parse().ok());
    kib.ok_or_else(|| io::Error::other("no VmHWM in the process's status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_program_is_seen_as_small() {
        let grown = vec![1u8; 64 << 20];
        let (code, kib) = peak_rss_kib(OsStr::new("true"), [""; 0]).unwrap();
        assert_eq!(code, Some(0));
        assert!(grown[grown.len() / 2] == 1 && kib > 0 && kib < 32 << 10, "{kib} KiB");
    }
}
