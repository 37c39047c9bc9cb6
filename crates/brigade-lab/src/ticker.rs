//! A ticker: something that should happen at fixed times, and how late it happened.
//!
//! The times are fixed before the start (tick `i` is due at `start + i * period`), so a freeze
//! delays every tick that was due during it and each of them counts with its own lateness. A ticker
//! that sleeps for a period after each tick would hide a freeze behind a single late tick. For the
//! same reason the longest gap counts, and not the number of ticks: a ticker that stood still for
//! seconds may catch up afterwards and miss none.

use std::time::{Duration, Instant};

use crate::stats::quantile;

/// What a ticker saw.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    /// How late each tick was, in nanoseconds, ascending.
    lateness: Vec<f64>,
    /// The longest time between two ticks, or between a tick and either end, in nanoseconds.
    pub(crate) longest_gap: f64,
    /// How many of them came before the end, late or not.
    pub(crate) before_end: usize,
}

impl Ticks {
    /// How many ticks there were.
    pub(crate) fn count(&self) -> usize {
        self.lateness.len()
    }

    /// The lateness that half of the ticks keep, in nanoseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.late(0.5)
    }

    /// The lateness that 99 of 100 ticks keep, in nanoseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.late(0.99)
    }

    fn late(&self, q: f64) -> f64 {
        if self.lateness.is_empty() {
            f64::NAN
        } else {
            quantile(&self.lateness, q)
        }
    }

    /// The lateness of the latest tick, in nanoseconds.
    pub(crate) fn latest(&self) -> f64 {
        self.lateness.last().copied().unwrap_or(f64::NAN)
    }
}

/// Ticks every `period` from `start` until `end`, waiting with `sleep_until`.
pub(crate) fn tick(
    start: Instant,
    end: Instant,
    period: Duration,
    sleep_until: impl Fn(Instant),
) -> Ticks {
    let mut schedule = Schedule::new(start, end, period);
    while let Some(due) = schedule.next() {
        sleep_until(due);
        schedule.ticked(Instant::now());
    }
    schedule.over()
}

/// The same in an async task.
pub(crate) async fn tick_async<S: Future<Output = ()>>(
    start: Instant,
    end: Instant,
    period: Duration,
    sleep_until: impl Fn(Instant) -> S,
) -> Ticks {
    let mut schedule = Schedule::new(start, end, period);
    while let Some(due) = schedule.next() {
        sleep_until(due).await;
        schedule.ticked(Instant::now());
    }
    schedule.over()
}

/// The times that are fixed, and what became of those that have passed.
struct Schedule {
    due: Instant,
    end: Instant,
    period: Duration,
    last: Instant,
    longest: Duration,
    lateness: Vec<f64>,
    before_end: usize,
}

impl Schedule {
    fn new(start: Instant, end: Instant, period: Duration) -> Self {
        Self {
            due: start + period,
            end,
            period,
            last: start,
            longest: Duration::ZERO,
            lateness: Vec::with_capacity(1024),
            before_end: 0,
        }
    }

    /// When the next tick is due, if there is one.
    fn next(&self) -> Option<Instant> {
        (self.due < self.end).then_some(self.due)
    }

    /// The tick that was due came at `now`.
    fn ticked(&mut self, now: Instant) {
        self.lateness.push((now - self.due).as_nanos() as f64);
        self.longest = self.longest.max(now - self.last);
        self.before_end += usize::from(now < self.end);
        self.last = now;
        self.due += self.period;
    }

    fn over(mut self) -> Ticks {
        let rest = Instant::now().saturating_duration_since(self.last);
        self.lateness.sort_by(f64::total_cmp);
        Ticks {
            lateness: self.lateness,
            longest_gap: self.longest.max(rest).as_nanos() as f64,
            before_end: self.before_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn every_tick_that_was_due_is_counted_even_after_a_freeze() {
        let start = Instant::now() - Duration::from_secs(10);
        let calls = Cell::new(0);
        let period = Duration::from_secs(1);
        // Nothing ever sleeps: all ticks come at once, ten seconds after the start.
        let ticks = tick(start, start + Duration::from_secs(5), period, |_| {
            calls.set(calls.get() + 1)
        });
        assert_eq!((ticks.count(), calls.get()), (4, 4));
        assert_eq!(ticks.before_end, 0);
        assert!(ticks.longest_gap >= 10e9);
        assert!(ticks.latest() >= 9e9 && ticks.p99() <= ticks.latest());
    }

    #[test]
    fn a_ticker_that_never_ticked_has_no_lateness() {
        let start = Instant::now();
        let ticks = tick(start, start, Duration::from_secs(1), |_| ());
        assert_eq!(ticks.count(), 0);
        assert!(ticks.p99().is_nan() && ticks.latest().is_nan());
    }
}
