//! Ticks at a fixed rate.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::{Sleep, sleep_until};

/// Ticks at a fixed rate; see [`interval`]. As a [`Stream`] it does not end.
#[derive(Debug)]
#[must_use = "an interval does nothing unless it is waited for"]
pub struct Interval {
    next: Instant,
    period: Duration,
    sleep: Sleep,
}

/// Ticks now and then every `period`.
///
/// The ticks do not drift: they stay at multiples of the period after the first. Ticks that were missed, because nobody
/// waited, are left out: the late one comes at once, and the one after it at the next multiple.
///
/// # Blocking
///
/// As [`sleep`](super::sleep()).
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let period = Duration::from_millis(2);
/// let (first, third) = brigade_task::block_on(async {
///     let mut ticks = brigade_task::interval(period);
///     let first = ticks.tick().await;
///     ticks.tick().await;
///     (first, ticks.tick().await)
/// });
/// assert!(third >= first + 2 * period);
/// ```
///
/// ```should_panic
/// let _ticks = brigade_task::interval(std::time::Duration::ZERO);
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// As [`interval`], with the first tick at `start`.
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "the period of an interval must not be zero"
    );
    Interval {
        next: start,
        period,
        sleep: sleep_until(start),
    }
}

impl Interval {
    /// Waits for the next tick; the time it was due. Cancel safe: a tick that nobody got is still to come.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`Interval::tick`], for futures written by hand.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        if Pin::new(&mut self.sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        let due = self.next;
        self.next = after(due, self.period, Instant::now());
        self.sleep.reset(self.next);
        Poll::Ready(due)
    }

    /// The next tick comes one period from now. The task is woken for it once the interval has been polled again.
    pub fn reset(&mut self) {
        let now = Instant::now();
        self.next = after(now, self.period, now);
        self.sleep.reset(self.next);
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// The first multiple of `period` after `due` that is not before `now`, or a time that nobody lives to see.
fn after(due: Instant, period: Duration, now: Instant) -> Instant {
    let late_ns = now.saturating_duration_since(due).as_nanos();
    let periods = late_ns.div_ceil(period.as_nanos()).max(1);
    let ns = periods.saturating_mul(period.as_nanos());
    let whole = Duration::new(
        u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX),
        (ns % 1_000_000_000) as u32,
    );
    due.checked_add(whole).unwrap_or(now + FAR)
}

/// Instead of a tick that an `Instant` cannot express; some 136 years.
const FAR: Duration = Duration::from_secs(u32::MAX as u64);

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_left_out_and_the_others_stay_in_step() {
        let start = Instant::now();
        let period = Duration::from_millis(10);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(after(start, period, at(0)), at(10));
        assert_eq!(after(start, period, at(3)), at(10));
        assert_eq!(after(start, period, at(10)), at(10));
        assert_eq!(after(start, period, at(11)), at(20));
        assert_eq!(after(start, period, at(95)), at(100));
        assert_eq!(after(at(10), period, at(5)), at(20));
    }

    #[test]
    fn a_period_without_end_ticks_once() {
        let mut ticks = interval(Duration::MAX);
        let now = Instant::now();
        ticks.next = after(ticks.next, ticks.period, now);
        assert!(ticks.next > now + FAR / 2);
        ticks.reset();
        assert!(ticks.next > now + FAR / 2);
    }
}
