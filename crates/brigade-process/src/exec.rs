//! Starting a worker: the program of this process once more, with nothing of this process in it.
//!
//! The child is made by `clone` with `CLONE_VM | CLONE_VFORK`: it shares this memory until it executes the program, and
//! the caller sleeps that long. So starting costs the same however much memory this process has, needs no memory for
//! a copy, and runs no handler of `pthread_atfork`. What fails in the child is written where the parent reads it.
//!
//! # Invariants
//!
//! 1. From `clone` to `execve` the child makes raw system calls and writes to the [`Plan`]; it allocates nothing, takes
//!    no lock, and calls no libc function (which would be this process's hooks, with this process's tables).
//! 2. All signals are blocked in the caller, the C library's own too, until the child has executed: no handler of this
//!    process runs in the child. The child resets all handlers before it unblocks any.
//! 3. The caller's thread lives as long as the child: the kernel kills the child (`PR_SET_PDEATHSIG`) when the *thread*
//!    that made it ends.
//! 4. Descriptors of a worker: 0 is `/dev/null`, 1 and 2 as the pool says, 3 the connection. The others are closed,
//!    whether or not they were marked close-on-exec.
//!
//! Rejected: `std::process::Command`. With `pre_exec` it forks, which copies page tables and fails where memory is
//! short; without, there is a time in which a worker has foreign descriptors and outlives its parent.

use std::ffi::{CString, OsString, c_char, c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use brigade_runtime::raw::sys;

use crate::error::{StartError, StartKind};
use crate::frame::NONCE;
use crate::marker::{self, Draft};
use crate::process::Process;

/// This program, as long as the process lives, even if its file is replaced or removed.
const SELF: &std::ffi::CStr = c"/proc/self/exe";
/// Bytes of the stack of a child before it executes.
const STACK: usize = 64 * 1024;
/// Descriptors are moved above this number before they are put in place.
const ABOVE: usize = 10;
/// Signals there are.
const SIGNALS: usize = 64;

/// What workers are started with, the same for all of a pool.
#[derive(Debug)]
pub(crate) struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    null: OwnedFd,
    discards_stdout: bool,
}

/// What the configuration of a pool says about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) variables: Vec<(OsString, OsString)>,
    pub(crate) discards_stdout: bool,
}

impl Program {
    /// Takes a copy of this process's environment.
    pub(crate) fn new(setup: Setup) -> Result<Program, StartError> {
        let name = std::env::args_os().next();
        let name = name.unwrap_or_else(|| OsString::from("brigade-worker"));
        let arguments = std::iter::once(name).chain(setup.arguments);
        let is_ours = |name: &OsString| setup.variables.iter().any(|(other, _)| other == name);
        let inherited =
            std::env::vars_os().filter(|(name, _)| name != marker::VARIABLE && !is_ours(name));
        let variables = inherited
            .chain(setup.variables.clone())
            .map(|(name, value)| {
                let mut text = name;
                text.push("=");
                text.push(value);
                text
            });
        let null = std::fs::File::open("/dev/null")
            .map_err(|error| StartError::new(StartKind::System("open /dev/null", error)))?;
        Ok(Program {
            arguments: c_strings(arguments)?,
            environment: c_strings(variables)?,
            null: null.into(),
            discards_stdout: setup.discards_stdout,
        })
    }

    /// Starts a worker that talks through `connection`, and writes its errors to `stderr` if there is one.
    pub(crate) fn start(
        &self,
        nonce: &[u8; NONCE],
        connection: BorrowedFd<'_>,
        stderr: Option<BorrowedFd<'_>>,
    ) -> Result<Process, StartError> {
        let mut draft = Draft::new(nonce);
        let marker = draft.as_mut_ptr();
        let arguments = pointers(&self.arguments, None);
        let environment = pointers(&self.environment, Some(marker.cast()));
        let null = self.null.as_raw_fd();
        let mut plan = Plan {
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            // SAFETY: the digits are inside of the draft's text.
            digits: unsafe { marker.add(draft.digits()) },
            descriptors: [
                null,
                if self.discards_stdout { null } else { -1 },
                stderr.map_or(-1, |fd| fd.as_raw_fd()),
                connection.as_raw_fd(),
            ],
            parent: std::process::id(),
            failed: None,
        };
        let (pid, pidfd) = spawn(&mut plan)?;
        let mut process = Process::new(pid, pidfd);
        match plan.failed {
            None => Ok(process),
            Some((what, errno)) => {
                process.wait();
                let error = io::Error::from_raw_os_error(errno);
                Err(StartError::new(StartKind::System(what, error)))
            }
        }
    }
}

fn c_strings(texts: impl Iterator<Item = OsString>) -> Result<Vec<CString>, StartError> {
    texts
        .map(|text| {
            CString::new(text.into_vec()).map_err(|error| {
                StartError::new(StartKind::System(
                    "an argument or variable of the worker",
                    error.into(),
                ))
            })
        })
        .collect()
}

/// The addresses of `texts` and of `last`, ended by a null.
fn pointers(texts: &[CString], last: Option<*const c_char>) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain(last).chain([ptr::null()]).collect()
}

/// What the child is to do, and where it says what it could not.
struct Plan {
    arguments: *const *const c_char,
    environment: *const *const c_char,
    /// Where in the marker the child's number goes.
    digits: *mut u8,
    /// What becomes descriptor 0 to 3; -1: what it is already.
    descriptors: [c_int; 4],
    parent: u32,
    failed: Option<(&'static str, i32)>,
}

/// Makes the child and sleeps until it has executed or failed; in the latter case the plan says why.
fn spawn(plan: &mut Plan) -> Result<(libc::pid_t, OwnedFd), StartError> {
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    let mask = block_signals();
    // SAFETY: the stack has room for `child`, is aligned to 16 bytes, and lives until the child has left this memory,
    // which the kernel makes this thread wait for. The plan lives as long and is the child's alone until then. The
    // kernel writes the pidfd to the third argument after the flags' own.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let argument = ptr::from_mut(plan).cast::<c_void>();
        libc::clone(child, top.cast(), flags, argument, &raw mut pidfd)
    };
    let error = io::Error::last_os_error();
    unblock_signals(mask);
    drop(stack);
    if pid < 0 {
        return Err(StartError::new(StartKind::System("clone", error)));
    }
    // SAFETY: the kernel made the descriptor for this call, and nobody else knows of it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Blocks every signal there is, and returns what was blocked before.
fn block_signals() -> u64 {
    let all = u64::MAX;
    let mut before = 0_u64;
    // SAFETY: the kernel reads one mask and writes the other; both are as long as it is told.
    unsafe {
        sys::call(
            libc::SYS_rt_sigprocmask,
            [
                libc::SIG_SETMASK as usize,
                (&raw const all).addr(),
                (&raw mut before).addr(),
                size_of::<u64>(),
                0,
                0,
            ],
        )
    };
    before
}

fn unblock_signals(mask: u64) {
    // SAFETY: the kernel reads a mask that is as long as it is told.
    unsafe {
        sys::call(
            libc::SYS_rt_sigprocmask,
            [
                libc::SIG_SETMASK as usize,
                (&raw const mask).addr(),
                0,
                size_of::<u64>(),
                0,
                0,
            ],
        )
    };
}

/// Runs in the child, in the parent's memory.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its plan and sleeps.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: this is the child; see the invariants of the module.
    let failed = unsafe { plan.execute() };
    plan.failed = Some(failed);
    // SAFETY: ends this process, which has nothing to clean up.
    unsafe { sys::call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]) };
    127
}

/// A system call of the child; the name of the call if it fails.
///
/// # Safety
///
/// * As the system call has it.
unsafe fn step(
    what: &'static str,
    number: c_long,
    arguments: [usize; 6],
) -> Result<usize, (&'static str, i32)> {
    // SAFETY: the caller's contract.
    let result = unsafe { sys::call(number, arguments) };
    usize::try_from(result).map_err(|_| (what, -result as i32))
}

impl Plan {
    /// Becomes the worker. Returns only if it could not.
    ///
    /// # Safety
    ///
    /// * The caller is a child that shares this memory, and its parent sleeps.
    unsafe fn execute(&mut self) -> (&'static str, i32) {
        // SAFETY: the caller's contract, for both.
        match unsafe { self.isolate().and_then(|()| self.place_descriptors()) } {
            Ok(()) => {}
            Err(failed) => return failed,
        }
        let none = 0_u64;
        // SAFETY: the kernel reads a mask of that length; the texts and their lists end with zeros and live in the
        // parent.
        unsafe {
            let mask = (&raw const none).addr();
            let set = libc::SIG_SETMASK as usize;
            let unblocked = step(
                "rt_sigprocmask",
                libc::SYS_rt_sigprocmask,
                [set, mask, 0, size_of::<u64>(), 0, 0],
            );
            let path = SELF.as_ptr().addr();
            let (arguments, environment) = (self.arguments.addr(), self.environment.addr());
            let executed = unblocked.and_then(|_| {
                step(
                    "execute /proc/self/exe",
                    libc::SYS_execve,
                    [path, arguments, environment, 0, 0, 0],
                )
            });
            executed.err().unwrap_or(("execve", 0))
        }
    }

    /// A group of its own, death with the parent, default handlers, its own number in the marker.
    ///
    /// # Safety
    ///
    /// * As [`execute`](Plan::execute).
    unsafe fn isolate(&mut self) -> Result<(), (&'static str, i32)> {
        let (option, signal) = (libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize);
        // The kernel's record of an action: default handler, no flags, empty mask.
        let default = [0_u64; 4];
        // SAFETY: the calls take numbers, and an action that is longer than the kernel reads.
        unsafe {
            step("setpgid", libc::SYS_setpgid, [0; 6])?;
            step("prctl", libc::SYS_prctl, [option, signal, 0, 0, 0, 0])?;
            if step("getppid", libc::SYS_getppid, [0; 6])? != self.parent as usize {
                return Err(("the pool's process has ended", libc::ESRCH));
            }
            for signal in 1..=SIGNALS {
                // Two of them cannot be changed, and need not be.
                let action = (&raw const default).addr();
                let arguments = [signal, action, 0, size_of::<u64>(), 0, 0];
                let _ = step("rt_sigaction", libc::SYS_rt_sigaction, arguments);
            }
            let pid = step("getpid", libc::SYS_getpid, [0; 6])?;
            marker::write_pid(self.digits, pid as u32);
        }
        Ok(())
    }

    /// Puts the descriptors in their places and closes all others.
    ///
    /// # Safety
    ///
    /// * As [`execute`](Plan::execute).
    unsafe fn place_descriptors(&mut self) -> Result<(), (&'static str, i32)> {
        // Out of the way first: the places may be among them.
        for fd in self.descriptors.iter_mut().filter(|fd| **fd >= 0) {
            // SAFETY: takes numbers; this table of descriptors is the child's own.
            let moved = unsafe {
                let arguments = [*fd as usize, libc::F_DUPFD as usize, ABOVE, 0, 0, 0];
                step("fcntl", libc::SYS_fcntl, arguments)?
            };
            *fd = moved as c_int;
        }
        for (place, fd) in self.descriptors.iter().enumerate() {
            if *fd >= 0 {
                // SAFETY: takes numbers, as above.
                unsafe { step("dup3", libc::SYS_dup3, [*fd as usize, place, 0, 0, 0, 0])? };
            }
        }
        let first = self.descriptors.len();
        // SAFETY: takes numbers, as above.
        unsafe {
            let arguments = [first, u32::MAX as usize, 0, 0, 0, 0];
            step("close_range", libc::SYS_close_range, arguments)?;
        }
        Ok(())
    }
}
