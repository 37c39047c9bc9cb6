//! The handle of a thread: [`JoinHandle`].

use std::fmt;

use brigade_runtime::{Join, Thread};

use super::Result;

/// The right to join a thread. Dropping it detaches the thread. See [`std::thread::JoinHandle`].
pub struct JoinHandle<T> {
    join: Join<T>,
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(crate) fn new(join: Join<T>) -> JoinHandle<T> {
        JoinHandle { join }
    }

    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.join.thread()
    }

    /// Waits until the thread has ended, its thread-local destructors included, and returns its value.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only. A thread that joins itself never wakes.
    ///
    /// # Errors
    ///
    /// The payload of the thread's panic.
    ///
    /// # Examples
    ///
    /// ```
    /// let thread = brigade::thread::spawn(|| 42);
    /// assert_eq!(thread.join().unwrap(), 42);
    ///
    /// let thread = brigade::thread::spawn(|| std::panic::panic_any("why"));
    /// assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&"why"));
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.join.join()
    }

    /// As [`JoinHandle::join`], until the deadline (nanoseconds of `CLOCK_MONOTONIC`).
    #[track_caller]
    pub(crate) fn join_until(self, deadline_ns: u64) -> std::result::Result<Result<T>, Self> {
        self.join.join_until(deadline_ns).map_err(JoinHandle::new)
    }

    /// Whether the thread has ended. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}
