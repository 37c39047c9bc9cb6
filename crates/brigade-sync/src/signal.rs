//! The word of an event: the protocol.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | `RESET` | nobody waits | `set` (to `SET`); a waiter under the lock (to `WAITERS`) |
//! | `SET` | waits return at once | `reset` (to `RESET`) |
//! | `WAITERS` | not set, and threads wait | under the lock only: `set` (to `SET`), the last waiter whose time is up (to `RESET`) |
//!
//! # Invariants
//!
//! 1. The queue holds waiters exactly while the word is `WAITERS`, as seen under the lock.
//! 2. `set` takes all waiters out in the critical section in which it sets the word. So all of them return, even if
//!    the event is reset at once, and nobody who began to wait after that reset.

use crate::prim::{AtomicU32, Ordering};
use crate::wait_queue::{Sleep, WaitQueue, Waited};

/// The word at first.
pub(crate) const RESET: u32 = 0;
const SET: u32 = 1;
const WAITERS: u32 = 2;

/// The word and those who wait; see the module.
pub(crate) struct Signal<S> {
    pub(crate) word: AtomicU32,
    pub(crate) queue: WaitQueue<S>,
}

impl<S: Sleep> Signal<S> {
    #[inline(always)]
    pub(crate) fn is_set(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `set`.
        self.word.load(Ordering::Acquire) == SET
    }

    #[inline]
    pub(crate) fn set(&self) {
        // ORDER: Release: pairs with the Acquire of waits that return. One that finds the event set already must publish
        // too, and does so in the slow path.
        let set = self
            .word
            .compare_exchange(RESET, SET, Ordering::Release, Ordering::Relaxed);
        if set.is_err() {
            self.set_slow();
        }
    }

    #[cold]
    fn set_slow(&self) {
        self.queue.with(|locked| {
            // ORDER: Release: as in `set`. Under the lock nobody else leaves `WAITERS`.
            if self.word.swap(SET, Ordering::Release) == WAITERS {
                locked.wake_all();
            }
        });
    }

    #[inline]
    pub(crate) fn reset(&self) {
        // ORDER: Relaxed: a reset publishes nothing.
        let _ = self
            .word
            .compare_exchange(SET, RESET, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Waits until it is set; false when the time was up. `park` and `is_in_time` as in [`WaitQueue::wait`].
    pub(crate) fn wait_slow(
        &self,
        sleeper: S,
        park: impl FnMut(),
        is_in_time: impl FnMut() -> bool,
    ) -> bool {
        let waited = self.queue.wait(
            (sleeper, 0),
            |_| self.must_wait(),
            park,
            is_in_time,
            |locked| {
                if locked.is_empty() {
                    // ORDER: Relaxed: nothing is published. Under the lock nobody else leaves `WAITERS`.
                    self.word.store(RESET, Ordering::Relaxed);
                }
            },
        );
        waited != Waited::TimedOut
    }

    /// By a waiter under the lock.
    fn must_wait(&self) -> bool {
        // ORDER: Acquire on failure: pairs with the Release in `set`. On success nothing was published yet.
        let waiting =
            self.word
                .compare_exchange(RESET, WAITERS, Ordering::Relaxed, Ordering::Acquire);
        waiting != Err(SET)
    }
}
