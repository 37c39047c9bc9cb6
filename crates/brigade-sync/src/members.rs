//! The members of a group, and those who wait until there is none: the protocol.
//!
//! # Invariants
//!
//! 1. The number counts the members. At 0 it stays: only a member adds another one, and a waiter that becomes a member
//!    again does so only while the number is not 0.
//! 2. *No lost wake.* Whoever brings the number to 0 then takes the lock and wakes all; a waiter looks at the number
//!    under the lock before it enters the queue.

use crate::prim::{AtomicUsize, Ordering};
use crate::wait_queue::{Sleep, WaitQueue, Waited};

/// The number and those who wait; see the module.
pub(crate) struct Members<S> {
    pub(crate) number: AtomicUsize,
    pub(crate) queue: WaitQueue<S>,
}

impl<S: Sleep> Members<S> {
    /// By a member: there is one more.
    #[inline]
    pub(crate) fn add(&self) {
        // ORDER: Relaxed: the caller keeps the number above 0.
        self.number.fetch_add(1, Ordering::Relaxed);
    }

    /// By a member: it is one no longer. True if it was the last one; then all that waited were woken.
    #[inline]
    pub(crate) fn remove(&self) -> bool {
        // ORDER: AcqRel: Release pairs with the Acquire of those that see 0, this one included.
        let is_over = self.number.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_over {
            self.queue.with(|locked| locked.wake_all());
        }
        is_over
    }

    fn is_over(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `remove`.
        self.number.load(Ordering::Acquire) == 0
    }

    /// By a waiter whose time is up: it becomes a member again, unless there is none.
    fn add_unless_over(&self) -> bool {
        // ORDER: Acquire on failure: as in `is_over`. Relaxed on success: one more publishes nothing.
        self.number
            .fetch_update(Ordering::Relaxed, Ordering::Acquire, |number| {
                (number > 0).then_some(number + 1)
            })
            .is_ok()
    }

    /// Waits until there is no member. False when the time was up: the caller is a member again. `park` and `is_in_time`
    /// as in [`WaitQueue::wait`].
    pub(crate) fn wait(
        &self,
        sleeper: S,
        park: impl FnMut(),
        is_in_time: impl FnMut() -> bool,
    ) -> bool {
        let mut is_member = false;
        let waited = self.queue.wait(
            (sleeper, 0),
            |_| !self.is_over(),
            park,
            is_in_time,
            |_| is_member = self.add_unless_over(),
        );
        debug_assert!(!is_member || waited == Waited::TimedOut);
        !is_member
    }
}
