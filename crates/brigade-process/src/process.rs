//! A worker process as its pool sees it: a number, a pidfd, and the duty to reap it.
//!
//! # Invariants
//!
//! 1. A process that was started is reaped before its `Process` is gone; until then its number belongs to nobody else.
//! 2. A worker leads a process group. When it ends or is killed, what is left of the group is killed too, and that is
//!    done while the number of the group cannot have gone to others: before the worker is reaped.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use brigade_runtime::raw::sys;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Somebody else reaped it.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ended::Code(code) => write!(f, "exited with code {code}"),
            Ended::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "was killed by signal {number} ({name})"),
                None => write!(f, "was killed by signal {number}"),
            },
            Ended::Unknown => f.write_str("ended, and something else took its status"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// A child of this process that leads a process group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    is_reaped: bool,
}

impl Process {
    pub(crate) fn new(pid: libc::pid_t, pidfd: OwnedFd) -> Process {
        Process {
            pid,
            pidfd,
            is_reaped: false,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Readable when the process has ended.
    pub(crate) fn pidfd(&self) -> i32 {
        self.pidfd.as_raw_fd()
    }

    /// Kills it, and what is in its group. Does not wait.
    pub(crate) fn kill(&self) {
        if self.is_reaped || self.status(libc::WNOHANG | libc::WNOWAIT).is_err() {
            return;
        }
        let (group, signal) = ((-self.pid) as usize, libc::SIGKILL as usize);
        let pidfd = self.pidfd.as_raw_fd() as usize;
        // SAFETY: both calls take numbers. The process is not reaped, so that both are its own.
        unsafe {
            sys::call(libc::SYS_pidfd_send_signal, [pidfd, signal, 0, 0, 0, 0]);
            sys::call(libc::SYS_kill, [group, signal, 0, 0, 0, 0]);
        }
    }

    /// Reaps it if it has ended. Must not be called again after that.
    pub(crate) fn reap(&mut self) -> Option<Ended> {
        let ended = match self.status(libc::WNOHANG | libc::WNOWAIT) {
            Ok(None) => return None,
            Ok(Some(ended)) => {
                self.kill();
                // Fails only if somebody else was quicker; the status is known already.
                let _ = self.status(libc::WNOHANG);
                ended
            }
            Err(()) => Ended::Unknown,
        };
        self.is_reaped = true;
        Some(ended)
    }

    /// Blocks until it has ended, and reaps it.
    pub(crate) fn wait(&mut self) {
        let _ = self.status(0);
        self.is_reaped = true;
    }

    /// How it ended; `None` if it lives. An error if it is no child of this process any more.
    fn status(&self, options: i32) -> Result<Option<Ended>, ()> {
        loop {
            // SAFETY: all zeros are a record of no signal and no process.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel writes to the record.
            let result = unsafe {
                sys::call(
                    libc::SYS_waitid,
                    [
                        libc::P_PIDFD as usize,
                        self.pidfd.as_raw_fd() as usize,
                        (&raw mut info).addr(),
                        (options | libc::WEXITED) as usize,
                        0,
                        0,
                    ],
                )
            };
            if result == -(libc::EINTR as isize) {
                continue;
            }
            if result < 0 {
                return Err(());
            }
            // SAFETY: the kernel filled in the fields of a child, or left zeros.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            return Ok(match info.si_code {
                _ if pid == 0 => None,
                libc::CLD_EXITED => Some(Ended::Code(status)),
                _ => Some(Ended::Signal(status)),
            });
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            self.wait();
        }
    }
}
