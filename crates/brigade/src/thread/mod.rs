//! Threads with the names, signatures and semantics of `std::thread`.
//!
//! Everything here works on green threads and on ordinary kernel threads in any mix. Threads are spawned on the
//! runtime of the calling green thread, and on the default runtime elsewhere.
//!
//! # What is a guarantee
//!
//! * A thread has its own thread-locals, `errno`, panic count and `std::thread::current()`; its destructors run once,
//!   before `join` returns.
//! * A panic ends one thread and is what `join` returns.
//! * `unpark` before `park` makes the `park` return; tokens do not add up.
//! * What happened before `unpark`, or before the end of a thread, is visible after the `park`, or the `join`.
//!
//! # What is today's behaviour
//!
//! * A thread that is spawned runs next on the processor of its parent, or earlier on an idle one.
//! * `std::thread::current().name()` is `None` on a green thread: only [`Thread::name`] knows the name.

mod builder;
mod handle;
mod scope;

use std::io;
use std::num::NonZero;
use std::time::{Duration, Instant};

use brigade_runtime::clock;

pub use brigade_runtime::{Thread, ThreadId, current};
pub use builder::{Builder, spawn};
pub use handle::JoinHandle;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use std::thread::{AccessError, LocalKey, Result, panicking};

/// Blocks the current thread until its token is there, and takes it. See [`std::thread::park`].
///
/// # Blocking
///
/// Blocks the calling thread only; a parked green thread uses no kernel thread.
///
/// # Examples
///
/// ```
/// use brigade::thread;
/// let parked = thread::spawn(|| thread::park());
/// parked.thread().unpark();
/// parked.join().unwrap();
/// ```
#[track_caller]
pub fn park() {
    brigade_runtime::park_for_token(clock::NEVER);
}

/// [`park`], but for `dur` at most.
///
/// # Blocking
///
/// Blocks the calling thread only.
#[track_caller]
pub fn park_timeout(dur: Duration) {
    brigade_runtime::park_for_token(clock::deadline_after(dur));
}

/// Blocks the current thread for at least `dur`. See [`std::thread::sleep`].
///
/// # Blocking
///
/// Blocks the calling thread only; a million sleeping green threads need no kernel thread.
#[track_caller]
pub fn sleep(dur: Duration) {
    if !dur.is_zero() {
        brigade_runtime::sleep_until(clock::deadline_after(dur));
    }
}

/// Blocks the current thread until `deadline` has passed.
///
/// # Blocking
///
/// Blocks the calling thread only.
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    brigade_runtime::sleep_until(clock::deadline_at(deadline));
}

/// Lets other runnable threads run. See [`std::thread::yield_now`].
///
/// Returns at once if there are none.
pub fn yield_now() {
    brigade_runtime::park::yield_now();
}

/// How many green threads can run at the same time: the workers of the current runtime on a green thread; elsewhere
/// as [`std::thread::available_parallelism`], which is also the default number of workers.
///
/// # Errors
///
/// As in std: the number cannot be found out on this machine.
pub fn available_parallelism() -> io::Result<NonZero<usize>> {
    let workers =
        brigade_runtime::RuntimeHandle::current().and_then(|handle| NonZero::new(handle.workers()));
    match workers {
        Some(workers) => Ok(workers),
        None => std::thread::available_parallelism(),
    }
}
