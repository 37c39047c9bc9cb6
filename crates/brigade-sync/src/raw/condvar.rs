//! The word of a condition variable: the protocol.
//!
//! The word says whether threads may be in the lot. A thread sets it when it enters, under the lot's lock and before it
//! gives its mutex back; who notifies clears it, under the lot's lock, when it leaves nobody there.
//!
//! # Invariants
//!
//! 1. *No lost wake.* A thread that changes what is waited for under the mutex, after the waiter gave the mutex back,
//!    sees the word set, by the order of the mutex; the waiter is in the lot by then.
//! 2. A notification is spent on a thread that was in the lot, or on nobody; a thread that gave up took none
//!    (`lot/bucket.rs`, invariant 1).
//!
//! # Rejected
//!
//! Moving the waiters of `notify_all` to the mutex's queue: green threads that are woken queue at the processors, so
//! that no more of them fight for the mutex at a time than there are processors; and it would tie the condition variable
//! to one mutex.

use core::convert::Infallible;

use brigade_event::Mode;

use crate::prim::{AtomicU32, Ordering, Parked, Waiting, unpark_all, unpark_one};

/// Nobody waits.
const EMPTY: u32 = 0;
/// Threads may be in the lot.
const PARKED: u32 = 1;

/// The word; see the module.
pub(crate) struct RawCondvar {
    pub(crate) state: AtomicU32,
}

impl RawCondvar {
    /// The address of the word, at which threads wait.
    #[inline(always)]
    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Waits until it is notified or the deadline; `unlock` gives the mutex back. False: it was the deadline.
    pub(crate) fn wait(&self, waiting: &Waiting, unlock: impl FnOnce()) -> bool {
        let is_due = || {
            // ORDER: Relaxed: see invariant 1; among those who change the word the lot's lock orders.
            self.state.store(PARKED, Ordering::Relaxed);
            true
        };
        let queued = || {
            unlock();
            None::<Infallible>
        };
        let parked = waiting.park(self.address(), Mode::Exclusive, is_due, queued);
        !matches!(parked, Parked::TimedOut)
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        // ORDER: Relaxed: see invariant 1.
        self.state.load(Ordering::Relaxed) == EMPTY
    }

    /// Under the lot's lock: says whether threads are `left` there.
    fn settle(&self, left: bool) {
        if !left {
            // ORDER: Relaxed: as in `wait`.
            self.state.store(EMPTY, Ordering::Relaxed);
        }
    }

    /// Wakes the thread that has waited longest.
    #[inline]
    pub(crate) fn notify_one(&self) {
        if !self.is_empty() {
            self.notify_one_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_one_slow(&self) {
        unpark_one(self.address(), |found| {
            self.settle(found.left);
            0
        });
    }

    /// Wakes all threads that wait.
    #[inline]
    pub(crate) fn notify_all(&self) {
        if !self.is_empty() {
            self.notify_all_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_all_slow(&self) {
        unpark_all(self.address(), |found| {
            self.settle(found.left);
            0
        });
    }
}
