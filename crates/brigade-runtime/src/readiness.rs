//! The readiness of one direction of a descriptor: edges are counted, and none is lost between an attempt and a wait.
//!
//! | part of the word | meaning |
//! |---|---|
//! | `DRAINED` | an attempt since the last edge found nothing left: another one is pointless |
//! | `STICKY` | the end, an error or urgent data was reported: a short read proves nothing any more |
//! | the rest, the *tick* | counts the edges |
//!
//! # Invariants
//!
//! 1. The word is read before the attempt ([`Readiness::seen`]); `DRAINED` is set, and a waiter enters the list, only
//!    if the tick is still the same. So an edge that comes after the attempt began makes the thread try again.
//! 2. The poller moves the tick and takes the waiters out under the lock of the list, and a waiter compares the tick
//!    under it: either the waiter sees the new tick, or the poller sees the waiter.
//! 3. All bits but the tick are cleared when the number names another file; the tick never goes back.

use crate::prim::{AtomicU32, Ordering};

const DRAINED: u32 = 1;
const STICKY: u32 = 2;
const TICK: u32 = 4;

/// The word; zero at first. See the module.
#[repr(transparent)]
pub(crate) struct Readiness(AtomicU32);

/// What the word was before an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance(u32);

impl Readiness {
    #[cfg(loom)]
    pub(crate) fn new() -> Readiness {
        Readiness(AtomicU32::new(0))
    }

    /// To be taken before an attempt.
    #[inline(always)]
    pub(crate) fn glance(&self) -> Glance {
        // ORDER: Acquire: pairs with the Release of `advance`: the attempt comes after it and finds what the edge told.
        Glance(self.0.load(Ordering::Acquire))
    }

    /// Notes that an attempt found nothing, or less than it asked for where that proves the same.
    #[inline(always)]
    pub(crate) fn set_drained(&self, before: Glance, by_short_read: bool) {
        if by_short_read && before.0 & STICKY != 0 {
            return;
        }
        // ORDER: Relaxed: the bit publishes nothing; a tick that has moved makes the exchange fail (invariant 1).
        let _ = self.0.compare_exchange(
            before.0,
            before.0 | DRAINED,
            Ordering::Relaxed,
            Ordering::Relaxed, // ORDER: as above: nothing is read but the word.
        );
    }

    /// Under the lock of the waiters: whether no edge has come since `before`.
    #[inline]
    pub(crate) fn is_still(&self, before: Glance) -> bool {
        // ORDER: Acquire: as in `glance`; the tick moves only under the lock that the caller holds.
        self.0.load(Ordering::Acquire) & !DRAINED == before.0 & !DRAINED
    }

    /// Under the lock of the waiters: an edge has come, with `sticky` news or without; or, with `anew`, the number
    /// names another file.
    pub(crate) fn advance(&self, sticky: bool, anew: bool) {
        // ORDER: Release: pairs with the Acquire of `glance`. Relaxed on the load: an exchange of a counter.
        let _ = self
            .0
            .fetch_update(Ordering::Release, Ordering::Relaxed, |old| {
                let kept = if anew { 0 } else { old & STICKY };
                let sticky = if sticky { STICKY } else { 0 };
                Some((old & !(TICK - 1)).wrapping_add(TICK) | kept | sticky)
            });
    }

    /// From now on a short read proves nothing.
    #[cfg(not(loom))]
    pub(crate) fn set_sticky(&self) {
        // ORDER: Relaxed: as in `set_drained`, the bit publishes nothing.
        self.0.fetch_or(STICKY, Ordering::Relaxed);
    }

    /// Whether anything ever happened.
    #[cfg(not(loom))]
    pub(crate) fn is_used(&self) -> bool {
        // ORDER: Relaxed: a hint for who walks over all entries.
        self.0.load(Ordering::Relaxed) != 0
    }
}

impl Glance {
    /// Whether an attempt is pointless.
    #[inline(always)]
    pub(crate) fn is_drained(self) -> bool {
        self.0 & DRAINED != 0
    }
}
