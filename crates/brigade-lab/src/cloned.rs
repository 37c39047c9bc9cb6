//! Processes and threads made by `clone` with flags of the caller's choice, whose maker sleeps until they have ended.
//!
//! # Invariants
//!
//! 1. `CLONE_VFORK` is always among the flags: while the new one runs, the thread that made it is suspended. So the two
//!    may share memory, the thread-locals of the maker, and errno, without meeting in them.
//! 2. The new one runs on a stack of its own, which is given back after its end.
//! 3. A process that was made is waited for before [`while_suspended`] returns.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of_val;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Enough for a few system calls, in units of 16 bytes.
const STACK: usize = 4096;

/// Runs `body(argument)` in what `clone` makes with `flags`, waits for its end and returns its number.
///
/// # Safety
///
/// 1. `body` may be run with `argument` by a process or thread that shares with this one what the flags say.
/// 2. `body` makes system calls without touching thread-locals, takes no locks, allocates nothing and does not panic.
///
/// # Errors
///
/// Those of `clone`: the kernel refuses some flags without others.
pub(crate) unsafe fn while_suspended(
    flags: c_int,
    body: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<i32> {
    let is_thread = flags & libc::CLONE_THREAD != 0;
    let at_end = if is_thread { 0 } else { libc::SIGCHLD };
    let mut stack = vec![0_u128; STACK];
    let bytes = size_of_val(stack.as_slice());
    // SAFETY: one past the end of the allocation.
    let top = unsafe { stack.as_mut_ptr().cast::<u8>().add(bytes) };
    // SAFETY: the stack is memory of this process that nobody else uses until the new one has ended, which
    // `CLONE_VFORK` waits for, aligned to 16 bytes, and grows downwards; the caller vouches for `body`, which ends
    // with the exit of the new one alone. No flag asks for further arguments.
    let number = unsafe {
        libc::clone(
            body,
            top.cast(),
            flags | libc::CLONE_VFORK | at_end,
            argument,
        )
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    if !is_thread {
        waitpid(Pid::from_raw(number), WaitOptions::empty())?;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    /// A system call and a store: what the contract allows.
    extern "C" fn note_own_process(place: *mut c_void) -> c_int {
        // SAFETY: the test passes the address of an atomic that outlives the call.
        let place = unsafe { &*place.cast::<AtomicI32>() };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        place.store(own, Ordering::SeqCst); // ORDER: SeqCst, a test.
        0
    }

    fn noted(flags: c_int) -> io::Result<(i32, i32)> {
        let place = AtomicI32::new(0);
        let argument = (&raw const place).cast_mut().cast();
        // SAFETY: the body above keeps to the contract; `place` lives until the call returns.
        let made = unsafe { while_suspended(flags, note_own_process, argument)? };
        Ok((made, place.load(Ordering::SeqCst))) // ORDER: SeqCst, a test.
    }

    #[test]
    fn what_shares_memory_is_seen_to_have_ended_when_the_call_returns() {
        let (made, noted) = noted(libc::CLONE_VM).unwrap();
        assert_eq!(made, noted);
        assert!(!std::fs::exists(format!("/proc/{made}")).unwrap());
    }

    #[test]
    fn what_shares_no_memory_leaves_no_trace_in_it() {
        assert_eq!(noted(0).unwrap().1, 0);
    }

    #[test]
    fn flags_that_the_kernel_refuses_are_an_error() {
        let error = noted(libc::CLONE_THREAD).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
