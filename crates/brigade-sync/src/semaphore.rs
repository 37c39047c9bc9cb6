//! A semaphore: a number of permits, first come, first served.
//!
//! The protocol is in `permits.rs`.
//!
//! # Rejected
//!
//! Closing a semaphore, as async runtimes do: every `acquire` would return a `Result` for the sake of programs that
//! shut down, and those have channels. Borrowed and owned permits as one type: the owned one costs a count.

use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, Sleeper, deadline_after, deadline_at};

use crate::block::{Blocking, queue};
use crate::permits::{MAX, ONE, Permits};
use crate::prim::AtomicUsize;

/// A number of permits that threads acquire and give back.
///
/// [`acquire`](Semaphore::acquire) returns a guard that gives its permit back when it is dropped, on a panic too.
/// Several permits are acquired together or not at all ([`acquire_many`](Semaphore::acquire_many)).
///
/// # Fairness
///
/// Permits go to waiting threads in the order in which they began to wait. While a thread waits for many, those that
/// are given back gather for it, and nobody takes them away: not who wants fewer, and not `try_acquire`. So nobody
/// starves. No permit is lost or made when a wait times out while a permit arrives.
///
/// # Blocking
///
/// Acquiring blocks the calling green thread, or an ordinary kernel thread as such; both kinds may share a semaphore.
/// A semaphore has no owner, so a deadlock through one is seen only when all threads wait.
///
/// # Examples
///
/// At most two threads at a time:
///
/// ```
/// use brigade_sync::Semaphore;
///
/// static SLOTS: Semaphore = Semaphore::new(2);
///
/// std::thread::scope(|scope| {
///     for _ in 0..10 {
///         scope.spawn(|| {
///             let _slot = SLOTS.acquire();
///             // ... at most two threads are here
///         });
///     }
/// });
/// assert_eq!(SLOTS.available_permits(), 2);
/// ```
///
/// Without a permit, `try_acquire` says so at once:
///
/// ```
/// use brigade_sync::Semaphore;
///
/// let slots = Semaphore::new(1);
/// let first = slots.try_acquire();
/// assert!(first.is_some());
/// assert!(slots.try_acquire().is_none());
/// drop(first);
/// assert!(slots.try_acquire().is_some());
/// ```
pub struct Semaphore {
    permits: Permits<Sleeper>,
}

impl Semaphore {
    /// The most permits that a semaphore can have available.
    pub const MAX_PERMITS: usize = MAX;

    /// A semaphore with so many permits.
    ///
    /// # Panics
    ///
    /// If `permits` is more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    #[must_use]
    #[track_caller]
    pub const fn new(permits: usize) -> Semaphore {
        assert!(
            permits <= MAX,
            "a semaphore cannot have more than Semaphore::MAX_PERMITS permits"
        );
        Semaphore {
            permits: Permits {
                word: AtomicUsize::new(permits * ONE),
                queue: queue(()),
            },
        }
    }

    /// Acquires a permit; blocks until there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade_sync::Semaphore::new(1);
    /// let permit = semaphore.acquire();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Acquires `count` permits together; blocks until there are so many for it.
    ///
    /// For more permits than the semaphore ever gets it waits for ever. With 0 it never waits.
    ///
    /// # Panics
    ///
    /// If `count` is more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS).
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, count: usize) -> SemaphorePermit<'_> {
        if !self.try_take(count) {
            self.take_slow(count, NEVER);
        }
        self.permit(count)
    }

    /// Acquires a permit if there is one that no thread waits for. Does not block.
    #[inline]
    #[must_use]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Acquires `count` permits if there are so many and no thread waits. Does not block.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Semaphore::acquire_many).
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn try_acquire_many(&self, count: usize) -> Option<SemaphorePermit<'_>> {
        self.try_take(count).then(|| self.permit(count))
    }

    /// Acquires a permit; blocks for at most `timeout`. `None` if there was none in that time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let semaphore = brigade_sync::Semaphore::new(1);
    /// let permit = semaphore.acquire_timeout(Duration::from_millis(1));
    /// assert!(permit.is_some());
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Acquires a permit; blocks until `deadline` at most. `None` if there was none until then.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn acquire_deadline(&self, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_deadline(1, deadline)
    }

    /// Acquires `count` permits together; blocks for at most `timeout`. `None` if there were not so many in that time;
    /// then it has taken none.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Semaphore::acquire_many).
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Option<SemaphorePermit<'_>> {
        (self.try_take(count) || self.take_slow(count, deadline_after(timeout)))
            .then(|| self.permit(count))
    }

    /// Acquires `count` permits together; blocks until `deadline` at most. `None` if there were not so many until then;
    /// then it has taken none.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Semaphore::acquire_many).
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn acquire_many_deadline(
        &self,
        count: usize,
        deadline: Instant,
    ) -> Option<SemaphorePermit<'_>> {
        (self.try_take(count) || self.take_slow(count, deadline_at(deadline)))
            .then(|| self.permit(count))
    }

    /// As [`acquire`](Semaphore::acquire), with a permit that keeps the semaphore alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use brigade_sync::Semaphore;
    ///
    /// let slots = Arc::new(Semaphore::new(1));
    /// let slot = slots.acquire_owned();
    /// let thread = std::thread::spawn(move || drop(slot));
    /// drop(slots.acquire());
    /// thread.join().unwrap();
    /// ```
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Semaphore::acquire_many), with permits that keep the semaphore alive.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Semaphore::acquire_many).
    #[track_caller]
    pub fn acquire_many_owned(self: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
        self.acquire_many(count).forget();
        OwnedSemaphorePermit {
            semaphore: Arc::clone(self),
            count,
        }
    }

    /// As [`try_acquire`](Semaphore::try_acquire), with a permit that keeps the semaphore alive.
    #[must_use]
    pub fn try_acquire_owned(self: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        self.try_acquire()?.forget();
        Some(OwnedSemaphorePermit {
            semaphore: Arc::clone(self),
            count: 1,
        })
    }

    /// Adds so many permits, of which the threads that wait get theirs. Does not block.
    ///
    /// To take permits away for good, acquire them and [`forget`](SemaphorePermit::forget) them.
    ///
    /// # Panics
    ///
    /// If more than [`MAX_PERMITS`](Semaphore::MAX_PERMITS) would be available; then none is added.
    #[track_caller]
    pub fn add_permits(&self, count: usize) {
        assert!(
            self.permits.give(count),
            "a semaphore cannot have more than Semaphore::MAX_PERMITS permits"
        );
    }

    /// How many permits nobody holds at this moment, among them those that gather for a thread that waits for many.
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }

    #[inline(always)]
    fn permit(&self, count: usize) -> SemaphorePermit<'_> {
        SemaphorePermit {
            semaphore: self,
            count,
        }
    }

    #[inline(always)]
    #[track_caller]
    fn try_take(&self, count: usize) -> bool {
        assert!(
            count <= MAX,
            "more permits wanted than Semaphore::MAX_PERMITS"
        );
        count == 0 || self.permits.try_take(count)
    }

    #[cold]
    #[track_caller]
    fn take_slow(&self, count: usize, deadline_ns: u64) -> bool {
        let blocking = Blocking {
            reason: WaitReason::Semaphore,
            object: (&raw const *self).addr(),
            site: Location::caller(),
            deadline_ns,
        };
        blocking.run(|sleeper, park, is_in_time| {
            self.permits.take_slow((sleeper, count), park, is_in_time)
        })
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .finish_non_exhaustive()
    }
}

/// Permits of a [`Semaphore`]; gives them back when it is dropped.
#[must_use = "a permit that is not kept is given back at once"]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl<'a> SemaphorePermit<'a> {
    /// How many permits these are.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.count
    }

    /// Keeps the permits from being given back: the semaphore has fewer from now on.
    pub fn forget(self) {
        mem::forget(self);
    }

    /// Takes `count` of the permits out; `None`, and nothing happens, if there are not so many.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade_sync::Semaphore::new(3);
    /// let mut three = semaphore.acquire_many(3);
    /// let two = three.split(2).unwrap();
    /// assert_eq!((two.num_permits(), three.num_permits()), (2, 1));
    /// assert!(three.split(2).is_none());
    /// ```
    #[must_use]
    pub fn split(&mut self, count: usize) -> Option<SemaphorePermit<'a>> {
        self.count = self.count.checked_sub(count)?;
        Some(self.semaphore.permit(count))
    }

    /// Adds the permits of `other` to these.
    ///
    /// # Panics
    ///
    /// If they are of another semaphore. `other` is given back then.
    #[track_caller]
    pub fn merge(&mut self, mut other: SemaphorePermit<'a>) {
        assert!(
            std::ptr::eq(self.semaphore, other.semaphore),
            "permits of two semaphores cannot be merged"
        );
        self.count += mem::take(&mut other.count);
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.count > 0 {
            self.semaphore.add_permits(self.count);
        }
    }
}

/// Permits of a [`Semaphore`] that keep it alive; gives them back when it is dropped.
#[must_use = "a permit that is not kept is given back at once"]
#[derive(Debug)]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

impl OwnedSemaphorePermit {
    /// How many permits these are.
    #[must_use]
    pub fn num_permits(&self) -> usize {
        self.count
    }

    /// The semaphore.
    #[must_use]
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Keeps the permits from being given back: the semaphore has fewer from now on.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.count);
    }
}
