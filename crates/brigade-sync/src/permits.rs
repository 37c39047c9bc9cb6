//! The permits of a semaphore: the protocol.
//!
//! # The word
//!
//! | bits | meaning |
//! |---|---|
//! | 0: [`WAITERS`] | threads wait in the queue; changes only under the queue's lock |
//! | the others | the number of permits that nobody holds |
//!
//! # Invariants
//!
//! 1. *First in, first out.* While `WAITERS` is set, permits are taken from the word only under the lock, and only for
//!    the oldest waiter. So the permits that a waiter for many needs gather in the word, and nobody overtakes it.
//! 2. *No permit is lost or invented.* A permit is in the word or with a holder. [`Permits::grant`] takes it out of the
//!    word and the waiter out of the queue in one critical section; a waiter that was taken out has its permits, even
//!    if its time was up (`wait_queue.rs`, invariant 1).
//! 3. *Nobody waits beside permits that are enough for the oldest waiter.* A waiter sets `WAITERS` by an exchange of
//!    the word in which it found too little; who adds permits does so by an exchange of the same word and calls `grant`
//!    if it finds `WAITERS`; who leaves the front of the queue calls it too.
//!
//! # Rejected
//!
//! Permits that everybody may take while others wait (faster when one permit is fought for, as a mutex is): then a
//! waiter for many can starve. Giving a waiter a part of what it wants: a waiter whose time is up would have to give it
//! back.

use crate::prim::{AtomicUsize, Ordering};
use crate::wait_queue::{Locked, Sleep, WaitQueue, Waited};

/// Threads wait.
pub(crate) const WAITERS: usize = 1;
/// One permit in the word.
pub(crate) const ONE: usize = 2;
/// The most permits that the word can count.
pub(crate) const MAX: usize = usize::MAX >> 3;

/// Permits and those who wait for them; see the module.
pub(crate) struct Permits<S> {
    pub(crate) word: AtomicUsize,
    pub(crate) queue: WaitQueue<S>,
}

impl<S: Sleep> Permits<S> {
    /// Permits that nobody holds.
    pub(crate) fn available(&self) -> usize {
        // ORDER: Relaxed: a number that stands for itself.
        self.word.load(Ordering::Relaxed) / ONE
    }

    /// Takes `count` permits, at most `MAX`, if they are there and nobody waits.
    #[inline(always)]
    pub(crate) fn try_take(&self, count: usize) -> bool {
        // ORDER: Relaxed: the exchange decides.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 && word >= count * ONE {
            // ORDER: Acquire: pairs with the Release in `give`; Relaxed on failure: tried again.
            match self.word.compare_exchange_weak(
                word,
                word - count * ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// By a waiter for `count` permits, under the lock: true if it must wait; else it has them.
    fn must_wait(&self, count: usize) -> bool {
        // ORDER: Relaxed: the exchanges decide.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            let is_enough = word >= count * ONE;
            let next = if is_enough {
                word - count * ONE
            } else {
                word | WAITERS
            };
            // ORDER: Acquire: pairs with the Release in `give`, if permits are taken; nothing is published by the bit:
            // who finds it takes the lock (invariant 3). Relaxed on failure: tried again.
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return !is_enough,
                Err(now) => word = now,
            }
        }
        true
    }

    /// Adds `count` permits and passes them on. False, and nothing is done, if there would be more than `MAX`.
    #[inline]
    pub(crate) fn give(&self, count: usize) -> bool {
        // ORDER: Relaxed: the exchange decides.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if count > MAX - word / ONE {
                return false;
            }
            // ORDER: Release: pairs with the Acquire of who takes the permits; Relaxed on failure: tried again.
            match self.word.compare_exchange_weak(
                word,
                word + count * ONE,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            self.grant_slow();
        }
        true
    }

    #[cold]
    pub(crate) fn grant_slow(&self) {
        self.queue.with(|locked| self.grant(locked));
    }

    /// Under the lock: gives the oldest waiters what they want, as long as there is enough.
    pub(crate) fn grant(&self, locked: &mut Locked<'_, S, ()>) {
        while let Some(want) = locked.first_want() {
            // ORDER: Relaxed: others only add meanwhile (invariant 1).
            if self.word.load(Ordering::Relaxed) / ONE < want {
                return;
            }
            // ORDER: Acquire: pairs with the Release in `give`, for the waiter, which acquires from this thread.
            self.word.fetch_sub(want * ONE, Ordering::Acquire);
            locked.wake_first();
        }
        // ORDER: Relaxed: as where the bit is set.
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
    }

    /// Waits for `count` permits; false when the time was up. `park` and `is_in_time` as in [`WaitQueue::wait`].
    pub(crate) fn take_slow(
        &self,
        (sleeper, count): (S, usize),
        park: impl FnMut(),
        is_in_time: impl FnMut() -> bool,
    ) -> bool {
        let enter = |_: &mut Locked<'_, S, ()>| self.must_wait(count);
        let leave = |locked: &mut Locked<'_, S, ()>| self.grant(locked);
        let waited = self
            .queue
            .wait((sleeper, count), enter, park, is_in_time, leave);
        waited != Waited::TimedOut
    }
}
