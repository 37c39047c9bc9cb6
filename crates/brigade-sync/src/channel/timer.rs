//! Channels that time sends messages on: once, or again and again.
//!
//! There is no sender. A receiver sleeps until the message is due and takes it; of several, one gets it.

use std::time::{Duration, Instant};

use super::prim::{AtomicU64, NEVER, Ordering, Wait, is_past, now_ns, with_current};

/// A channel of time. `due_ns` is `NEVER` when nothing is due any more.
pub(super) struct Timer<T> {
    due_ns: AtomicU64,
    /// 0: once.
    period_ns: u64,
    /// A moment, on both clocks.
    origin: (Instant, u64),
    /// What the message is made of: always the identity, without which the type would not be known here.
    make: fn(Instant) -> T,
}

fn to_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

impl Timer<Instant> {
    fn new(due_ns: u64, period_ns: u64, origin: (Instant, u64)) -> Timer<Instant> {
        Timer {
            due_ns: AtomicU64::new(due_ns),
            period_ns,
            origin,
            make: |instant| instant,
        }
    }

    /// One message at `instant`.
    pub(super) fn at(instant: Instant) -> Timer<Instant> {
        let origin = (Instant::now(), now_ns());
        let wait_ns = to_ns(instant.saturating_duration_since(origin.0));
        // A time in the past is due now; the message says when it was due.
        let early = origin.0.saturating_duration_since(instant);
        let origin = (origin.0 - early, origin.1);
        Timer::new(origin.1.saturating_add(wait_ns), 0, origin)
    }

    /// A message every `period`, the first after one.
    pub(super) fn every(period: Duration) -> Timer<Instant> {
        let origin = (Instant::now(), now_ns());
        let period_ns = to_ns(period).max(1);
        Timer::new(origin.1.saturating_add(period_ns), period_ns, origin)
    }
}

impl<T> Timer<T> {
    /// When the next message is due, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) fn due_ns(&self) -> u64 {
        // ORDER: Relaxed: a number that stands for itself.
        self.due_ns.load(Ordering::Relaxed)
    }

    /// Takes the message if it is due.
    pub(super) fn take(&self) -> Option<Instant> {
        let now_ns = now_ns();
        let due_ns = self.due_ns();
        if due_ns > now_ns || due_ns == NEVER {
            return None;
        }
        // A late receiver misses the messages in between; they do not pile up.
        let next_ns = match self.period_ns {
            0 => NEVER,
            period_ns => now_ns.saturating_add(period_ns),
        };
        // ORDER: Relaxed: a number that stands for itself; who exchanges it has the message.
        self.due_ns
            .compare_exchange(due_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            .then(|| self.origin.0 + Duration::from_nanos(due_ns.saturating_sub(self.origin.1)))
    }

    /// The message made of a moment that [`Timer::take`] returned.
    pub(super) fn message(&self, instant: Instant) -> T {
        (self.make)(instant)
    }

    /// Waits for the message until the deadline, or not at all if that is 0.
    pub(super) fn recv(&self, wait: Wait, deadline_ns: u64) -> Option<T> {
        loop {
            if let Some(instant) = self.take() {
                return Some(self.message(instant));
            }
            if is_past(deadline_ns) {
                return None;
            }
            with_current(|me| me.park(&wait, deadline_ns.min(self.due_ns())));
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.due_ns() <= now_ns())
    }
}

/// Waits for nothing until the deadline.
pub(super) fn wait_for_nothing(wait: Wait, deadline_ns: u64) {
    while !is_past(deadline_ns) {
        with_current(|me| me.park(&wait, deadline_ns));
    }
}
