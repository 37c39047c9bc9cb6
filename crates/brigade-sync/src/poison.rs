//! Poisoning: a lock remembers that a thread panicked while it could write what the lock protects.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError};
use std::thread;

/// Whether a lock is poisoned.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

/// What a guard remembers: whether its thread was panicking when it took the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    was_panicking: bool,
}

impl Flag {
    pub(crate) const fn new() -> Flag {
        Flag(AtomicBool::new(false))
    }

    #[inline(always)]
    pub(crate) fn is_poisoned(&self) -> bool {
        // ORDER: Relaxed: the lock orders it for those who hold it; for others it is a hint.
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        // ORDER: Relaxed: as in `is_poisoned`.
        self.0.store(false, Ordering::Relaxed);
    }

    /// By who has taken the lock.
    #[inline(always)]
    pub(crate) fn witness(&self) -> Witness {
        Witness {
            was_panicking: thread::panicking(),
        }
    }

    /// By who gives the lock back, before that.
    #[inline(always)]
    pub(crate) fn settle(&self, witness: Witness) {
        if !witness.was_panicking && thread::panicking() {
            // ORDER: Relaxed: as in `is_poisoned`.
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// `value`, as an error if the lock is poisoned.
    #[inline(always)]
    pub(crate) fn result<T>(&self, value: T) -> LockResult<T> {
        if self.is_poisoned() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}
