//! The condition variable. The protocol is that of its word (`raw/condvar.rs`).

use core::fmt;
use core::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use brigade_event::WaitReason;
use brigade_runtime::park::{self, NEVER, Wait, deadline_after};

use crate::mutex::MutexGuard;
use crate::prim::{AtomicU32, Waiting};
use crate::raw::condvar::RawCondvar;

/// Lets threads wait until something that a [`Mutex`](crate::Mutex) protects has changed.
///
/// It has the names and signatures of [`std::sync::Condvar`] and works between green and kernel threads in any mix. A
/// green thread that waits parks; a kernel thread blocks.
///
/// A thread that waits gives its mutex back and can be notified from that moment on. As in std, it may also wake for no
/// reason: look at the condition again, in a loop, or with the variants that do.
///
/// # Present behaviour
///
/// It may be used with several mutexes at the same time. Do not rely on it; std's may panic.
///
/// # Examples
///
/// ```
/// use brigade_sync::{Condvar, Mutex};
/// use std::sync::Arc;
///
/// let shared = Arc::new((Mutex::new(false), Condvar::new()));
/// let theirs = Arc::clone(&shared);
/// let other = std::thread::spawn(move || {
///     *theirs.0.lock().unwrap() = true;
///     theirs.1.notify_one();
/// });
/// let (is_ready, changed) = &*shared;
/// let guard = changed
///     .wait_while(is_ready.lock().unwrap(), |is_ready| !*is_ready)
///     .unwrap();
/// assert!(*guard);
/// # drop(guard);
/// # other.join().unwrap();
/// ```
pub struct Condvar {
    raw: RawCondvar,
}

/// Whether a wait ended because its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    /// True if the time was up and nobody had notified the thread.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    /// A condition variable for which nobody waits.
    #[inline]
    #[must_use]
    pub const fn new() -> Condvar {
        Condvar {
            raw: RawCondvar {
                state: AtomicU32::new(0),
            },
        }
    }

    /// Gives the mutex back, waits until it is notified, and takes the mutex again. May wake for no reason.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned. The error holds the guard.
    ///
    /// # Panics
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock), when it takes the mutex again; the guard is gone then.
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until_ns(guard, NEVER, Location::caller()).0
    }

    /// Waits as long as `condition` is true. It looks at the value with the mutex held, first before it waits at all.
    ///
    /// # Errors
    ///
    /// As [`Condvar::wait`].
    ///
    /// # Panics
    ///
    /// As [`Condvar::wait`].
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`Condvar::wait`], but waits at most for `time`.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned. The error holds guard and result.
    ///
    /// # Panics
    ///
    /// As [`Condvar::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    /// // Nobody notifies it.
    /// let guard = mutex.lock().unwrap();
    /// let condition = |_: &mut ()| true;
    /// let (_guard, result) = condvar
    ///     .wait_timeout_while(guard, Duration::from_millis(1), condition)
    ///     .unwrap();
    /// assert!(result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (result, timed_out) =
            self.wait_until_ns(guard, deadline_after(time), Location::caller());
        let result_of = |guard| (guard, WaitTimeoutResult { timed_out });
        match result {
            Ok(guard) => Ok(result_of(guard)),
            Err(poisoned) => Err(PoisonError::new(result_of(poisoned.into_inner()))),
        }
    }

    /// As [`Condvar::wait_while`], but waits at most for `time`. The result says that the time was up if the condition
    /// is still true.
    ///
    /// # Errors
    ///
    /// As [`Condvar::wait_timeout`].
    ///
    /// # Panics
    ///
    /// As [`Condvar::wait`].
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline_ns = deadline_after(time);
        let mut timed_out = false;
        loop {
            let is_due = condition(&mut *guard);
            if !is_due || timed_out {
                return Ok((guard, WaitTimeoutResult { timed_out: is_due }));
            }
            let (result, is_late) = self.wait_until_ns(guard, deadline_ns, Location::caller());
            timed_out = is_late;
            guard = match result {
                Ok(guard) => guard,
                Err(poisoned) => {
                    let result = WaitTimeoutResult { timed_out };
                    return Err(PoisonError::new((poisoned.into_inner(), result)));
                }
            };
        }
    }

    /// Waits once. Says also whether the time was up.
    #[track_caller]
    fn wait_until_ns<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline_ns: u64,
        site: &'static Location<'static>,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        // Taking the mutex again may panic; then there must be no guard.
        let guard = ManuallyDrop::new(guard);
        let lock = guard.lock();
        let wait = Wait::new(WaitReason::Condvar, self.raw.address(), site);
        let is_woken = park::with_current(|current| {
            let waiting = Waiting {
                current,
                wait: &wait,
                deadline_ns,
            };
            // SAFETY: the guard shows that this thread holds the lock, and it is not used until the lock is taken again.
            self.raw.wait(&waiting, || unsafe { lock.release() })
        });
        lock.acquire(site);
        let guard = ManuallyDrop::into_inner(guard);
        (lock.poison.result(guard), !is_woken)
    }

    /// Wakes the thread that has waited longest, if there is one. Does not block.
    #[inline]
    pub fn notify_one(&self) {
        self.raw.notify_one();
    }

    /// Wakes all threads that wait. Does not block.
    #[inline]
    pub fn notify_all(&self) {
        self.raw.notify_all();
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
