//! The state of something that is initialised once: the protocol.
//!
//! # States
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `INCOMPLETE` | nobody has begun | whoever begins (to `RUNNING`) |
//! | `RUNNING` | one thread initialises | that thread (to `COMPLETE`, or to `POISONED` when it panics) |
//! | `POISONED` | the last one to initialise has panicked | whoever begins in spite of that (to `RUNNING`) |
//! | `COMPLETE` | it is done | nobody |
//!
//! Beside the state stands the bit `WAITERS`, in each state but `COMPLETE`: threads wait, or have waited.
//!
//! # Invariants
//!
//! 1. One thread at a time initialises: the step to `RUNNING` is an exchange.
//! 2. *No lost wake.* A waiter sets `WAITERS` by an exchange of the word that told it to wait, under the lock of the
//!    place where it waits, and is found there from the end of that critical section on. Who ends `RUNNING` swaps the
//!    word and, if it finds the bit, wakes all under that lock.
//! 3. Who reads `COMPLETE` sees what the initialiser wrote: the swap is Release and each reading of the word Acquire.

use crate::prim::{AtomicU32, Ordering};

const INCOMPLETE: u32 = 0;
const POISONED: u32 = 1;
const RUNNING: u32 = 2;
const COMPLETE: u32 = 3;
const STATE: u32 = 3;
const WAITERS: u32 = 4;

/// What a thread that wants it done finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// The caller initialises, and calls [`OnceWord::end`]; whether the one before it has panicked.
    Run { was_poisoned: bool },
    /// It is done.
    Done,
    /// The last one to initialise has panicked.
    Poisoned,
    /// Another thread initialises.
    Wait,
}

/// For what a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nobody initialises any more, or yet.
    NotRunning,
    /// It is done, or the last one to initialise has panicked.
    Settled,
    /// It is done.
    Complete,
}

/// The word; see the module.
pub(crate) struct OnceWord(pub(crate) AtomicU32);

impl OnceWord {
    /// The word at first.
    pub(crate) const NEW: u32 = INCOMPLETE;

    #[inline(always)]
    pub(crate) fn is_complete(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `end` (invariant 3).
        self.0.load(Ordering::Acquire) == COMPLETE
    }

    /// Whether the last one to initialise has panicked.
    pub(crate) fn is_poisoned(&self) -> bool {
        // ORDER: Acquire: as in `is_complete`: what the one that panicked wrote comes before.
        self.0.load(Ordering::Acquire) & STATE == POISONED
    }

    /// Begins to initialise if that is to be done, also after a panic if `forced`.
    pub(crate) fn begin(&self, forced: bool) -> Begin {
        // ORDER: Acquire: as in `is_complete`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let was_poisoned = match word & STATE {
                COMPLETE => return Begin::Done,
                RUNNING => return Begin::Wait,
                POISONED if !forced => return Begin::Poisoned,
                state => state == POISONED,
            };
            // ORDER: Acquire: what one that panicked wrote comes before; on failure as in `is_complete`.
            match self.0.compare_exchange_weak(
                word,
                word & WAITERS | RUNNING,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Begin::Run { was_poisoned },
                Err(now) => word = now,
            }
        }
    }

    /// By the one that initialises: it has done so, or has panicked. True: the caller wakes all waiters.
    #[must_use]
    pub(crate) fn end(&self, is_complete: bool) -> bool {
        let state = if is_complete { COMPLETE } else { POISONED };
        // ORDER: Release: pairs with the Acquire loads (invariant 3). That is also enough for the waiters, which look
        // at the word again; the bit publishes nothing.
        self.0.swap(state, Ordering::Release) & WAITERS != 0
    }

    /// By a thread under the lock of the place where it would wait: whether it must.
    pub(crate) fn must_wait(&self, until: Until) -> bool {
        // ORDER: Relaxed: the exchange decides, and who does not wait looks at the word again.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let is_over = match (word & STATE, until) {
                (COMPLETE, _) => true,
                (POISONED, until) => until != Until::Complete,
                (INCOMPLETE, until) => until == Until::NotRunning,
                _ => false,
            };
            if is_over {
                return false;
            }
            // ORDER: Relaxed: as above.
            match self.0.compare_exchange_weak(
                word,
                word | WAITERS,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }
}
