//! The park word: how a thread stops and how it is woken, without ever losing a wake-up.
//!
//! # States
//!
//! | word | meaning | who may leave it |
//! |---|---|---|
//! | `RUNNING` | runs or is queued to run | the thread (to `PARKED`), a waker (to `NOTIFIED`) |
//! | `NOTIFIED` | runs or is queued, and was woken since it last looked | the thread or its dispatcher (to `RUNNING`) |
//! | `PARKED` | its context is saved, it is in no queue | a waker (to `PARKED + NOTIFIED`) |
//! | `PARKED + NOTIFIED` | one waker has won the right to queue it | the dispatcher (to `RUNNING`) |
//!
//! A kernel thread has no dispatcher: its waker makes the last step ([`ParkWord::resume`]), and it does not return from
//! its wait before. So it too stays where it is until the waker is done with it. When its time is up it takes itself
//! out of `PARKED` ([`ParkWord::give_up`]).
//!
//! # Invariants
//!
//! 1. The word becomes `PARKED` only after the thread's context has been saved, by whoever runs next on the
//!    same carrier ([`ParkWord::commit_park`]); so whoever sees `PARKED` may resume the thread elsewhere.
//! 2. Exactly one waker sees the step from `PARKED` to `PARKED + NOTIFIED`; only that waker queues the thread.
//!    A thread is therefore in at most one queue.
//! 3. A wake-up is not lost: it either finds `PARKED` (2), or it leaves `NOTIFIED` behind and `commit_park`
//!    fails, or the thread consumes it before it parks.
//! 4. What a waker wrote before [`ParkWord::notify`] is visible to the thread after it has consumed the
//!    notification, even if the thread was queued already: the waker's read-modify-write is Release and the
//!    consuming swap is Acquire.
//!
//! Wake-ups are not counted and may come late or from an earlier wait: every caller of park re-checks its
//! condition in a loop. The public token of `thread::park` is a separate word, so an internal wait never
//! eats it.
//!
//! # Rejected
//!
//! A commit closure that runs after the switch (Go's `gopark` unlock function): with the `NOTIFIED` state the
//! waiter can unlock before it switches, and nothing of the caller's runs on the next thread's stack.

use crate::prim::{AtomicU32, Ordering};

const RUNNING: u32 = 0;
pub(crate) const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// The park word of a thread; see the module.
pub(crate) struct ParkWord(AtomicU32);

impl ParkWord {
    pub(crate) fn new() -> ParkWord {
        ParkWord(AtomicU32::new(RUNNING))
    }

    /// By the thread itself: takes a pending notification. True means "do not park, re-check".
    #[inline(always)]
    pub(crate) fn take_notification(&self) -> bool {
        // ORDER: Relaxed: only decides whether the swap is worth it; a notification missed here is caught by
        // `commit_park`.
        if self.0.load(Ordering::Relaxed) == RUNNING {
            return false;
        }
        // ORDER: Acquire: pairs with the Release of `notify` (invariant 4).
        self.0.swap(RUNNING, Ordering::Acquire) & NOTIFIED != 0
    }

    /// By whoever runs next on the carrier, after the context was saved. False means that a notification
    /// arrived: the thread is not parked and the caller must queue it.
    #[inline(always)]
    #[must_use]
    pub(crate) fn commit_park(&self) -> bool {
        // ORDER: Release on success: publishes the saved context to the waker that sees PARKED (its `notify`
        // acquires). Relaxed on failure: the caller only queues the thread; the dispatcher's swap acquires.
        self.0
            .compare_exchange(RUNNING, PARKED, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// By any thread. True means that the caller must make the thread runnable (invariant 2).
    #[inline(always)]
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        // ORDER: AcqRel: Release publishes what the waker wrote to the consuming swap (invariant 4); Acquire
        // sees the context that `commit_park` published, before the thread is queued.
        self.0.fetch_or(NOTIFIED, Ordering::AcqRel) == PARKED
    }

    /// By the dispatcher, which took the thread out of a queue: it runs from here on.
    #[inline(always)]
    pub(crate) fn dispatch(&self) {
        // ORDER: Relaxed: RUNNING means that no notification is pending that happened before the queueing; a
        // later one stays in the word.
        if self.0.load(Ordering::Relaxed) != RUNNING {
            // ORDER: Acquire: pairs with the Release of `notify` (invariant 4).
            self.0.swap(RUNNING, Ordering::Acquire);
        }
    }

    /// By a kernel thread that is parked and whose time is up: true if nobody has woken it, then it is parked no longer.
    #[cfg(not(loom))]
    pub(crate) fn give_up(&self) -> bool {
        // ORDER: Relaxed: nothing was published to the thread by nobody; on failure it waits for `resume`.
        self.0
            .compare_exchange(PARKED, RUNNING, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// By the waker of a kernel thread, instead of queueing it. The caller then wakes the futex.
    #[cfg(not(loom))]
    pub(crate) fn resume(&self) {
        // ORDER: Release: pairs with `parked_value` (invariant 4). An exchange, so that the Release of wakers that came
        // second is passed on, too.
        self.0.swap(RUNNING, Ordering::Release);
    }

    /// By any thread: parked, and nobody has woken it.
    #[cfg(not(loom))]
    pub(crate) fn is_parked(&self) -> bool {
        // ORDER: Acquire: what the thread wrote before it was parked is seen.
        self.0.load(Ordering::Acquire) == PARKED
    }

    /// By any thread: woken, and not dispatched since. Of a thread that does not run: it is queued, or about to be.
    #[cfg(not(loom))]
    pub(crate) fn is_notified(&self) -> bool {
        // ORDER: Relaxed: a guess.
        self.0.load(Ordering::Relaxed) & NOTIFIED != 0
    }

    /// By a kernel thread that is parked: the value to wait on; none when it was resumed.
    #[cfg(not(loom))]
    pub(crate) fn parked_value(&self) -> Option<u32> {
        // ORDER: Acquire: pairs with the Release in `resume` (invariant 4).
        let value = self.0.load(Ordering::Acquire);
        (value & PARKED != 0).then_some(value)
    }

    /// The word itself, for a kernel thread that waits on it.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn futex(&self) -> &AtomicU32 {
        &self.0
    }
}
