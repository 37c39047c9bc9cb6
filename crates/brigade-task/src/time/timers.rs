//! The timers of futures: an ordered map from deadlines to wakers.
//!
//! # Invariants
//!
//! 1. A timer is in the map from the first poll of its future until it fires, or its future is ready or dropped. So a
//!    deadline that nobody waits for any more costs nothing.
//! 2. The driver says until when it parks (`parked_until_ns`) under the lock under which it read the earliest deadline;
//!    who adds an earlier one rouses it. While it is awake it looks by itself.
//! 3. Wakers are foreign code: none is cloned, called or dropped under the lock.
//!
//! # Rejected
//!
//! A heap with dead entries, as for threads (`timer.rs` of the runtime): a server that sets a deadline for each request
//! and answers at once would keep the memory of all requests of the last deadline's length, unless it sweeps. A wheel:
//! its tick rounds deadlines, and an idle wheel has to turn or to be told when to.

use std::collections::BTreeMap;
use std::task::Waker;

use brigade_runtime::clock::NEVER;
use brigade_runtime::raw::RawLock;

/// Timers that fire under one lock.
const FIRE_BATCH: usize = 256;

/// What names a timer: its deadline (nanoseconds of `CLOCK_MONOTONIC`) and a number.
pub(crate) type Key = (u64, u64);

struct State {
    timers: BTreeMap<Key, Waker>,
    next: u64,
    /// Until when the driver parks; 0 while it is awake.
    parked_until_ns: u64,
}

/// See the module.
pub(crate) struct Timers {
    state: RawLock<State>,
}

impl Timers {
    pub(crate) const fn new() -> Timers {
        Timers {
            state: RawLock::new(State {
                timers: BTreeMap::new(),
                next: 0,
                parked_until_ns: 0,
            }),
        }
    }

    /// Adds a timer. True: the driver would sleep too long, and must be roused.
    pub(crate) fn insert(&self, deadline_ns: u64, waker: Waker) -> (Key, bool) {
        let mut state = self.state.lock();
        let key = (deadline_ns, state.next);
        state.next += 1;
        // The key is new, so no waker is dropped here.
        let _none = state.timers.insert(key, waker);
        (key, deadline_ns < state.parked_until_ns)
    }

    /// Makes `waker` the one that the timer calls, and returns the one before; `Err`: the timer has fired.
    pub(crate) fn renew(&self, key: Key, waker: Waker) -> Result<Waker, Waker> {
        match self.state.lock().timers.get_mut(&key) {
            Some(place) => Ok(std::mem::replace(place, waker)),
            None => Err(waker),
        }
    }

    /// Takes a timer out, unless it has fired. The caller drops the waker.
    pub(crate) fn remove(&self, key: Key) -> Option<Waker> {
        self.state.lock().timers.remove(&key)
    }

    /// By the driver: takes out some of those whose time has come. True: there was one.
    pub(crate) fn take_due(&self, now_ns: u64, out: &mut Vec<Waker>) -> bool {
        let mut state = self.state.lock();
        let before = out.len();
        while let Some(first) = state.timers.first_entry()
            && first.key().0 <= now_ns
            && out.len() - before < FIRE_BATCH
        {
            out.push(first.remove());
        }
        out.len() > before
    }

    /// By the driver, which is about to park: until when.
    pub(crate) fn begin_wait(&self) -> u64 {
        let mut state = self.state.lock();
        let earliest = state.timers.first_key_value();
        let until_ns = earliest.map_or(NEVER, |(&(deadline_ns, _), _)| deadline_ns);
        state.parked_until_ns = until_ns;
        until_ns
    }

    /// By the driver, which is awake.
    pub(crate) fn end_wait(&self) {
        self.state.lock().parked_until_ns = 0;
    }
}
