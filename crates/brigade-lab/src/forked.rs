//! Processes that an arm forks: copies of itself that do one thing and end.
//!
//! # Invariants
//!
//! 1. A forked process never returns into the code that forked it: it ends with the status of its body, or with 101 if
//!    that panics.
//! 2. It does not outlive the arm: dropping [`Forked`] kills it and waits for it, and the kernel kills it when the thread
//!    that forked it ends.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::experiment::ArmError;

/// A forked process that has not been waited for.
pub(crate) struct Forked {
    pid: Option<Pid>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Status(i32),
    /// By a signal.
    Signal(i32),
}

/// Forks a process that runs `body`, in which it may do anything.
///
/// # Errors
///
/// Failed if this process has more than one thread: what the others were in the middle of would stay so in the copy.
pub(crate) fn whole(body: impl FnOnce() -> i32) -> Result<Forked, ArmError> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        let reason = format!("cannot fork safely with {threads} threads");
        return Err(ArmError::Failed(reason));
    }
    // SAFETY: the only thread of this process forks, so no lock is held by another one.
    let pid = unsafe { libc::fork() };
    enter_or_return(pid.into(), body)
}

/// Forks a process that runs `body`, without the handlers that libraries have for forks.
///
/// # Safety
///
/// If the process has several threads, `body` neither allocates nor takes locks.
pub(crate) unsafe fn bare(body: impl FnOnce() -> i32) -> Result<Forked, ArmError> {
    // SAFETY: as `fork`: a copy of this process with its own memory; the stack is the copy of this one.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    enter_or_return(pid, body)
}

fn enter_or_return(pid: i64, body: impl FnOnce() -> i32) -> Result<Forked, ArmError> {
    if pid == 0 {
        // A process whose parent has gone just ends a little later by itself.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the process at once, and nothing of the parent's is run or written twice.
        unsafe { libc::_exit(status) };
    }
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    match pid.and_then(Pid::from_raw) {
        Some(pid) => Ok(Forked { pid: Some(pid) }),
        None => Err(ArmError::Skipped(format!(
            "cannot fork: {}",
            io::Error::last_os_error()
        ))),
    }
}

impl Forked {
    /// Its number; none once it has been waited for.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Result<End, ArmError> {
        let end = wait_for(self.pid)?;
        self.pid = None;
        Ok(end)
    }
}

fn wait_for(pid: Option<Pid>) -> Result<End, ArmError> {
    let waited = waitpid(pid, WaitOptions::empty())?;
    let status = waited.map(|(_, status)| status);
    let signal = status.and_then(|status| status.terminating_signal());
    let code = status.and_then(|status| status.exit_status());
    match (signal, code) {
        (Some(signal), _) => Ok(End::Signal(signal)),
        (None, Some(code)) => Ok(End::Status(code)),
        (None, None) => Err(ArmError::Failed("a process did not end".into())),
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // Errors mean that it is gone already.
            let _ = kill_process(pid, Signal::KILL);
            let _ = wait_for(Some(pid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests' process has several threads: only bodies that allocate nothing.
    fn forked(body: impl FnOnce() -> i32) -> Forked {
        // SAFETY: the bodies below only compute and make system calls.
        unsafe { bare(body) }.expect("a process")
    }

    #[test]
    fn a_forked_process_ends_with_what_its_body_says() {
        assert_eq!(forked(|| 7).wait(), Ok(End::Status(7)));
        let killed = forked(|| {
            let _ = kill_process(rustix::process::getpid(), Signal::TERM);
            0
        });
        assert_eq!(killed.wait(), Ok(End::Signal(libc::SIGTERM)));
    }

    #[test]
    fn a_forked_process_that_nobody_waits_for_is_gone() {
        let sleeping = forked(|| {
            loop {
                // SAFETY: no arguments; waits for a signal.
                unsafe { libc::pause() };
            }
        });
        let pid = sleeping.pid.expect("it runs").as_raw_nonzero();
        drop(sleeping);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    }

    #[test]
    fn a_process_with_several_threads_is_not_copied_whole() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || told.recv());
        assert!(matches!(whole(|| 0), Err(ArmError::Failed(_))));
        drop(tell);
        assert!(other.join().unwrap().is_err());
    }
}
