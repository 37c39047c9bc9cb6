//! Counters with one writer at a time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A counter with one writer at a time and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds one. Only the writer may call it; a second writer would lose counts, nothing worse.
    #[inline(always)]
    pub fn bump(&self) {
        self.add(1);
    }

    /// Adds `n`. Only the writer may call it.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        // ORDER: Relaxed: there is one writer, and the value publishes no other data.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one and publishes what the writer did before. Only the writer may call it.
    #[inline(always)]
    pub fn bump_published(&self) {
        // ORDER: Relaxed load: there is one writer. Release store: pairs with `get_published`.
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Release);
    }

    /// Adds `n` from any thread and publishes what that thread did before.
    #[inline]
    pub fn add_shared(&self, n: u64) {
        // ORDER: Release: pairs with `get_published`.
        self.0.fetch_add(n, Release);
    }

    /// The value; what the writer did before it published it is visible.
    #[inline]
    #[must_use]
    pub fn get_published(&self) -> u64 {
        // ORDER: Acquire: pairs with `bump_published` and `add_shared`.
        self.0.load(Acquire)
    }

    /// The value, perhaps a few events old.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        // ORDER: Relaxed: readers accept a value that is a few events old.
        self.0.load(Relaxed)
    }
}

/// The counters of one processor.
#[derive(Debug, Default)]
pub struct Counters {
    /// Context switches to a green thread.
    pub switches: Counter,
    /// Times a green thread parked.
    pub parks: Counter,
    /// Threads taken from another processor.
    pub steals: Counter,
    /// Times a carrier began to search for work.
    pub searches: Counter,
    /// Timers that fired.
    pub timers_fired: Counter,
}

impl Counters {
    /// All counters at zero.
    #[must_use]
    pub const fn new() -> Counters {
        Counters {
            switches: Counter::new(),
            parks: Counter::new(),
            steals: Counter::new(),
            searches: Counter::new(),
            timers_fired: Counter::new(),
        }
    }

    /// Adds this processor's counts to `sum`.
    pub fn add_to(&self, sum: &mut Metrics) {
        sum.switches += self.switches.get();
        sum.parks += self.parks.get();
        sum.steals += self.steals.get();
        sum.searches += self.searches.get();
        sum.timers_fired += self.timers_fired.get();
    }
}

/// What a runtime has done so far: sums over its processors.
///
/// The numbers are read without stopping anything, so they need not belong to one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Threads spawned.
    pub spawned: u64,
    /// Threads that have terminated.
    pub finished: u64,
    /// Context switches to a green thread.
    pub switches: u64,
    /// Times a green thread parked.
    pub parks: u64,
    /// Threads one processor took from another.
    pub steals: u64,
    /// Processors taken from a carrier that was stuck or had declared to block.
    pub handoffs: u64,
    /// Kernel threads started to carry green threads.
    pub carriers_started: u64,
    /// Times an idle carrier searched for work.
    pub searches: u64,
    /// Timers that fired.
    pub timers_fired: u64,
}

#[cfg(test)]
mod tests {
    use super::{Counters, Metrics};

    #[test]
    fn sums_cover_every_counter() {
        let counters = Counters::new();
        counters.switches.bump();
        counters.parks.add(2);
        counters.steals.add(3);
        counters.searches.add_shared(4);
        counters.timers_fired.add(5);
        let mut sum = Metrics::default();
        counters.add_to(&mut sum);
        counters.add_to(&mut sum);
        assert_eq!(sum.switches, 2);
        assert_eq!(sum.parks, 4);
        assert_eq!(sum.steals, 6);
        assert_eq!(sum.searches, 8);
        assert_eq!(sum.timers_fired, 10);
    }
}
