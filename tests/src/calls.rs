//! The system calls of a run, as its tracer sees them. x86_64 only, as is the program under test.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

/// A system call that came back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number (`libc::SYS_...`).
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// What it gave.
    pub result: i64,
}

/// What is done to a call before the system sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddle {
    /// Nothing.
    Leave,
    /// The system does not see it: the program gets this error number.
    Fail(i32),
    /// One of its arguments becomes another: its index, and the value.
    Argument(usize, u64),
}

/// Runs a program to its end, threads included, and gives its exit status and its calls.
pub fn trace<I>(program: &OsStr, args: I) -> io::Result<(Option<i32>, Vec<Call>)>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    trace_and(program, args, &mut |_| Meddle::Leave)
}

/// As [`trace`]; `meddle` sees each call before the system does, with 0 as its result.
pub fn trace_and<I>(
    program: &OsStr,
    args: I,
    meddle: &mut dyn FnMut(&Call) -> Meddle,
) -> io::Result<(Option<i32>, Vec<Call>)>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own, so that its threads can be waited for and nothing else.
    command.process_group(0);
    // SAFETY: between fork and exec only ptrace(2) is called, which is a bare system call.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let main = command.spawn()?.id() as libc::pid_t;
    let mut calls = Vec::new();
    // The threads that are in a call, its number, and what became of it.
    let mut begun: Vec<(libc::pid_t, u64, Meddle)> = Vec::new();
    let mut known = false;
    loop {
        let mut status = 0;
        // Threads of the program under test too, but no child of another test.
        let pid = match known {
            // SAFETY: `status` is a live int, which is all that waitpid(2) writes to.
            false => unsafe { libc::waitpid(main, &mut status, 0) },
            // SAFETY: as above.
            true => unsafe { libc::waitpid(-main, &mut status, libc::__WALL) },
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if pid == main {
                let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                return Ok((code, calls));
            }
            continue;
        }
        let mut signal = libc::WSTOPSIG(status);
        if !known {
            let options =
                libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            request(libc::PTRACE_SETOPTIONS, pid, options)?;
            known = true;
            signal = 0;
        } else if signal == libc::SIGTRAP | 0x80 {
            let mut r = registers(pid)?;
            let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
            if let Some(at) = begun.iter().position(|(p, ..)| *p == pid) {
                let (_, number, done) = begun.swap_remove(at);
                if let Meddle::Fail(error) = done {
                    r.rax = i64::from(-error) as u64;
                    set_registers(pid, &mut r)?;
                }
                calls.push(Call { number: number as i64, args, result: r.rax as i64 });
            } else {
                let number = r.orig_rax;
                let todo = meddle(&Call { number: number as i64, args, result: 0 });
                match todo {
                    Meddle::Leave => {}
                    // No call has this number.
                    Meddle::Fail(_) => r.orig_rax = u64::MAX,
                    Meddle::Argument(which, value) => {
                        *[&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9]
                            [which] = value;
                    }
                }
                if todo != Meddle::Leave {
                    set_registers(pid, &mut r)?;
                }
                begun.push((pid, number, todo));
            }
            signal = 0;
        } else if signal == libc::SIGTRAP || signal == libc::SIGSTOP {
            signal = 0;
        }
        request(libc::PTRACE_SYSCALL, pid, signal)?;
    }
}

/// What ptrace(2)'s first argument is: not the same in every C library.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

fn request(request: Request, pid: libc::pid_t, data: i32) -> io::Result<()> {
    let data = ptr::without_provenance_mut::<libc::c_void>(data as usize);
    // SAFETY: these requests take a number in place of the last pointer and touch no memory here.
    let done = unsafe { libc::ptrace(request, pid, ptr::null_mut::<libc::c_void>(), data) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn registers(pid: libc::pid_t) -> io::Result<libc::user_regs_struct> {
    // SAFETY: plain numbers, for which zeros are a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: PTRACE_GETREGS fills the structure that the last pointer leads to, and no more.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_GETREGS, pid, ptr::null_mut::<libc::c_void>(), &raw mut registers)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(registers) }
}

fn set_registers(pid: libc::pid_t, registers: &mut libc::user_regs_struct) -> io::Result<()> {
    let from = ptr::from_mut(registers).cast::<libc::c_void>();
    // SAFETY: PTRACE_SETREGS reads the structure that the last pointer leads to, and no more.
    let done =
        unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, ptr::null_mut::<libc::c_void>(), from) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_seen_with_their_arguments() {
        let (code, calls) = trace(OsStr::new("cat"), ["/dev/null"]).unwrap();
        assert_eq!(code, Some(0));
        assert!(calls.iter().any(|c| c.number == libc::SYS_read && c.result == 0));
    }
    #[test]
    fn calls_fail_as_told() {
        let cat = OsStr::new("cat");
        let mut refuse = |call: &Call| match call.number == libc::SYS_read && call.args[0] > 2 {
            true => Meddle::Fail(libc::EIO),
            false => Meddle::Leave,
        };
        let (code, calls) = trace_and(cat, ["/dev/zero"], &mut refuse).unwrap();
        assert_ne!(code, Some(0));
        let failed = |c: &Call| c.number == libc::SYS_read && c.result == i64::from(-libc::EIO);
        assert!(calls.iter().any(failed));
    }
}
