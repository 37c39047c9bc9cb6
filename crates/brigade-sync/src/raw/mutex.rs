//! The word of a mutex: the protocol.
//!
//! # States
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | `LOCKED` | who takes the lock | the owner; who hands the lock over leaves it |
//! | `PARKED` | a thread that enters the lot, under the lot's lock | the owner, under the lot's lock, when it leaves nobody there |
//! | `WOKEN` | the owner that wakes a thread, under the lot's lock | that thread, when it takes the lock or enters the lot again |
//!
//! # Invariants
//!
//! 1. *Somebody cares.* While threads are in the lot, `PARKED` is set, and the lock is taken or `WOKEN` is set. The
//!    owner sees both when it unlocks; so does the woken thread, which takes the lock, and will unlock it, or finds it
//!    taken. A thread gives `WOKEN` back only in a step that sees `LOCKED`.
//! 2. *One at a time.* While `WOKEN` is set nobody else is woken: a thread that takes and gives back the lock again and
//!    again while the woken one is on its way pays no wake for each time.
//! 3. *In turn.* A running thread may take the lock before the woken one does, but not for ever: half a millisecond
//!    after the last turn the next wake hands the lock over (`LOCKED` stays set, the woken thread owns it).
//! 4. After the step that clears `LOCKED`, the unlocking thread does not touch the word again.
//!
//! In the child of a fork, the woken thread may not exist; there `WOKEN` does not keep anybody from being woken
//! ([`are_woken_alive`]).
//!
//! # Rejected
//!
//! Handing the lock over at each unlock: each lock would cost a switch as soon as two threads want it. Waking at each
//! unlock: one thread in a loop would wake all others, which find the lock taken. A queue in the lock: a word and a
//! pointer more, and who looks for deadlocks would have to touch the lock.

use brigade_event::Mode;

use super::Refusal;
use crate::prim::{
    AtomicU32, Ordering, Parked, SPINS, Waiting, are_woken_alive, spin_loop, unpark_one,
};

const LOCKED: u32 = 1;
const PARKED: u32 = 2;
const WOKEN: u32 = 4;

/// What a wake says: try again.
const TRY: usize = 0;
/// What a wake says: the lock is yours.
const OWN: usize = 1;

/// The word; see the module. 0 is free.
pub(crate) struct RawMutex {
    pub(crate) state: AtomicU32,
}

impl RawMutex {
    /// Takes the lock if it is free, in one step.
    #[inline(always)]
    pub(crate) fn lock_now(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `unlock`.
        self.state.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// As [`RawMutex::lock_now`], for a lock that is likely to be taken.
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> bool {
        !self.is_locked() && self.lock_now()
    }

    #[inline(always)]
    fn is_locked(&self) -> bool {
        // ORDER: Relaxed: a hint.
        self.state.load(Ordering::Relaxed) & LOCKED != 0
    }

    /// Looks a few times whether the lock becomes free; true: took it. `is_owner_running` says whether that may happen
    /// soon.
    pub(crate) fn spin(&self, is_owner_running: impl Fn() -> bool) -> bool {
        for round in 0..SPINS {
            if self.try_lock() {
                return true;
            }
            if !is_owner_running() {
                return false;
            }
            (0..1 << round).for_each(|_| spin_loop());
        }
        false
    }

    /// Takes the lock; waits for it in the lot, at `address`.
    pub(crate) fn lock_parking(
        &self,
        address: usize,
        waiting: &Waiting,
        is_owner_running: impl Fn() -> bool,
    ) -> Result<(), Refusal> {
        // The part of `WOKEN` that is this thread's to give back.
        let mut mine = 0;
        loop {
            // ORDER: Relaxed: the exchange below acquires.
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 {
                if self.exchange(state, (state | LOCKED) & !mine) {
                    return Ok(());
                }
                continue;
            }
            if mine != 0 && self.spin_woken(mine, &is_owner_running) {
                return Ok(());
            }
            let is_due = || self.is_due(mine);
            match waiting.park_owned(address, Mode::Exclusive, mine != 0, is_due) {
                Parked::NotDue => {}
                Parked::Woken(OWN) => return Ok(()),
                Parked::Woken(_) => mine = WOKEN,
                Parked::TimedOut => return Err(Refusal::TimedOut),
                Parked::Refused(reason) => return Err(Refusal::Deadlock(reason)),
            }
        }
    }

    /// By a thread that was woken and came too late.
    fn spin_woken(&self, mine: u32, is_owner_running: impl Fn() -> bool) -> bool {
        for round in 0..SPINS {
            // ORDER: Relaxed: the exchange acquires.
            let state = self.state.load(Ordering::Relaxed);
            if state & LOCKED == 0 && self.exchange(state, (state | LOCKED) & !mine) {
                return true;
            }
            if !is_owner_running() {
                return false;
            }
            (0..1 << round).for_each(|_| spin_loop());
        }
        false
    }

    #[inline(always)]
    fn exchange(&self, from: u32, to: u32) -> bool {
        // ORDER: Acquire: pairs with the Release in `unlock`. Relaxed on failure: the caller looks again.
        self.state
            .compare_exchange_weak(from, to, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// By a thread that enters the lot, under the lot's lock: says that it is there, unless the lock is free.
    fn is_due(&self, mine: u32) -> bool {
        // ORDER: Relaxed: who unlocks looks at the list under the lot's lock. On failure: the closure looks again.
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state & LOCKED != 0).then_some((state | PARKED) & !mine)
            })
            .is_ok()
    }

    /// By the owner: gives the lock back.
    #[inline(always)]
    pub(crate) fn unlock(&self, address: usize) {
        // ORDER: Relaxed: only chooses the path.
        let state = self.state.load(Ordering::Relaxed);
        if (state & PARKED == 0 || state & WOKEN != 0 && are_woken_alive())
            && self
                .state
                // ORDER: Release: pairs with the Acquire of who takes the lock. Relaxed on failure: reads nothing.
                .compare_exchange(state, state & !LOCKED, Ordering::Release, Ordering::Relaxed)
                .is_ok()
        {
            return;
        }
        self.unlock_slow(address);
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self, address: usize) {
        // ORDER: Relaxed: the exchange and the lot's lock order what follows.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & PARKED == 0 || state & WOKEN != 0 && are_woken_alive() {
            // ORDER: Release: as in `unlock`.
            match self.state.compare_exchange_weak(
                state,
                state & !LOCKED,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        // `LOCKED` is this thread's, `PARKED` changes only under the lot's lock, and `WOKEN` is set only by the owner.
        unpark_one(address, |found| {
            let parked = if found.left { PARKED } else { 0 };
            let (next, token) = if found.taken == 0 {
                (parked, TRY)
            } else if found.turn.take() {
                (LOCKED | parked, OWN)
            } else {
                (WOKEN | parked, TRY)
            };
            // ORDER: Release: pairs with the Acquire of who takes the lock. An exchange, so that it is ordered with the
            // steps of threads that find the lock taken; its value is known.
            self.state.swap(next, Ordering::Release);
            token
        });
    }
}
