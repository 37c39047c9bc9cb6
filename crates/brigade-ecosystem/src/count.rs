//! A counter that threads of every kind share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter; whoever sees a value sees all that was written before it.
#[derive(Debug, Default)]
pub struct Count(AtomicUsize);

impl Count {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Count {
        Count(AtomicUsize::new(0))
    }

    /// Adds one and returns the value before.
    pub fn up(&self) -> usize {
        // ORDER: SeqCst, partner of every other access in this type: tests compare several counters with each other.
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// The value.
    pub fn get(&self) -> usize {
        // ORDER: SeqCst, as in `up`.
        self.0.load(Ordering::SeqCst)
    }
}
