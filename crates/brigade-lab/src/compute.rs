//! Computation of a known length.
//!
//! A task that should compute for 10 µs cannot look at a clock until 10 µs have passed: where the kernel takes the
//! CPU away meanwhile, it would do less work than its neighbours. So the work is a number of rounds, and how many
//! of them make a microsecond is measured first.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How fast this machine computes, as measured in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rounds_per_ns: f64,
}

impl Pace {
    /// Measures it, in about two milliseconds. The fastest of many short tries counts: a disturbance makes a try
    /// slower and never faster.
    pub(crate) fn measure() -> Self {
        const TRIES: u32 = 100;
        const ROUNDS: u64 = 10_000;
        let one = || {
            let begun = Instant::now();
            burn(ROUNDS);
            begun.elapsed()
        };
        let fastest = (0..TRIES).map(|_| one()).min().unwrap_or(Duration::MAX);
        Self {
            rounds_per_ns: ROUNDS as f64 / fastest.as_nanos().max(1) as f64,
        }
    }

    /// How many rounds take `time`; at least one.
    pub(crate) fn rounds(self, time: Duration) -> u64 {
        (self.rounds_per_ns * time.as_nanos() as f64).max(1.0) as u64
    }
}

/// Computes for so many rounds, each of which needs the result of the one before.
pub(crate) fn burn(rounds: u64) {
    let mut x = 1_u64;
    for _ in 0..rounds {
        x = black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7));
    }
}

/// Computes without a pause until `end`, whatever it takes.
pub(crate) fn burn_until(end: Instant) {
    while Instant::now() < end {
        burn(1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_means_proportionally_more_rounds() {
        let pace = Pace { rounds_per_ns: 0.5 };
        assert_eq!(pace.rounds(Duration::from_micros(2)), 1_000);
        assert_eq!(pace.rounds(Duration::from_millis(2)), 1_000_000);
        assert_eq!(pace.rounds(Duration::ZERO), 1);
    }

    #[test]
    fn the_measured_pace_is_a_number() {
        let pace = Pace::measure();
        assert!(pace.rounds_per_ns.is_finite() && pace.rounds_per_ns > 0.0);
    }

    #[test]
    fn burning_until_a_time_does_not_end_before_it() {
        let end = Instant::now() + Duration::from_millis(2);
        burn_until(end);
        assert!(Instant::now() >= end);
    }
}
