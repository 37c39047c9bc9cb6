//! The word of an interpreter lock: the protocol.
//!
//! One thread holds the lock, and threads that wait get it in the order in which they came. The holder computes for long;
//! so one of those that wait looks at the time and asks it to give the lock up, which it does when it looks at the word
//! (the *tick*).
//!
//! # States
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | `LOCKED` | who takes a free lock | the holder, when nobody is in the lot; who hands the lock over leaves it |
//! | `PARKED` | a thread that enters the lot, under the lot's lock | the holder, under the lot's lock, when it leaves nobody there |
//! | `DROP` | the timekeeper, if `PARKED` is set | the holder, as it hands the lock over |
//!
//! # Invariants
//!
//! 1. *In turn.* The lock becomes free only in a step that finds nobody in the lot, and a thread enters the lot only if
//!    the lock is taken; both look under the lot's lock. So nobody overtakes one that waits, and a holder that was asked
//!    to give the lock up cannot take it again before another thread has had it: the switch is forced by the order.
//! 2. *Somebody keeps time.* The timekeeper is the last thread to have entered the lot: each of them takes the next
//!    number (`newest`) under the lot's lock, and has an alarm until it sees a higher one. The last in line is the last to
//!    be served, so it is there as long as anybody is. One that leaves without having been served (it must not wait)
//!    makes the others enter anew.
//! 3. *A request is not lost.* `DROP` is cleared only in the step that hands the lock over.
//! 4. `DROP` may come too early for a holder that has only just taken the lock: then its turn is a short one. Nothing
//!    depends on it.
//! 5. After the step that clears `LOCKED`, or hands it over, the thread does not touch the word again.
//!
//! # Where it differs from CPython's
//!
//! There each waiting thread has a timer, any of them may get the lock, and one that gave it up to block may take it
//! again before those that waited. Here one thread has a timer, so a thousand that wait cost one wake-up per interval, and
//! the order is that of arrival, so the longest wait is bounded by the threads in front.
//!
//! # Rejected
//!
//! The first in line as timekeeper: who comes first changes with each switch, and the next one would have to be woken to
//! take over. A free lock for one that is woken (as the mutex does): the lock is given up by threads that are going to
//! block, or were asked to, and neither wants it back at once.

use core::cell::Cell;

use brigade_event::Mode;

use crate::prim::{AtomicU32, Ordering, Parked, Waiting, unpark_all, unpark_one};

const LOCKED: u32 = 1;
const PARKED: u32 = 2;
const DROP: u32 = 4;

/// What a wake says: the lock is yours.
const OWN: usize = 0;
/// What a wake says: enter anew.
const AGAIN: usize = 1;

/// What the timekeeper finds when its alarm rings.
pub(crate) struct Clock {
    /// Whether the holder has had its time.
    pub(crate) is_over: bool,
    /// When to look again, in nanoseconds.
    pub(crate) next_ns: u64,
}

/// The word; see the module. 0 is free.
pub(crate) struct RawInterpreterLock {
    pub(crate) state: AtomicU32,
    /// The number of the last thread that entered the lot; changes under the lot's lock.
    pub(crate) newest: AtomicU32,
}

impl RawInterpreterLock {
    /// Takes the lock if it is free.
    #[inline(always)]
    pub(crate) fn enter_now(&self) -> bool {
        // ORDER: Acquire: pairs with the Release of who gave the lock back. Relaxed on failure: reads nothing.
        self.state
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock; waits for it in the lot, at `address`. `clock` says what the time is for the holder; `requested`
    /// is told when this thread has asked it to give the lock up. An error says why the thread must not wait.
    pub(crate) fn enter_parking(
        &self,
        address: usize,
        waiting: &Waiting,
        mut clock: impl FnMut() -> Clock,
        mut requested: impl FnMut(),
    ) -> Result<(), String> {
        while !self.enter_now() {
            let number = Cell::new(0);
            let on_alarm = || {
                // ORDER: Relaxed: an old value only lets two threads keep time.
                if self.newest.load(Ordering::Relaxed) != number.get() {
                    return u64::MAX;
                }
                let clock = clock();
                if clock.is_over && self.request() {
                    requested();
                }
                clock.next_ns
            };
            let is_due = || self.is_due(&number);
            match waiting.park_owned_with_alarm(address, Mode::Exclusive, on_alarm, is_due) {
                Parked::Woken(OWN) => return Ok(()),
                Parked::NotDue | Parked::Woken(_) | Parked::TimedOut => {}
                Parked::Refused(reason) => {
                    unpark_all(address, |_| AGAIN);
                    return Err(reason);
                }
            }
        }
        Ok(())
    }

    /// By a thread that enters the lot, under the lot's lock: says that it is there, unless the lock is free.
    fn is_due(&self, number: &Cell<u32>) -> bool {
        // ORDER: Relaxed: who hands over looks at the list under the lot's lock. On failure: the closure looks again.
        let is_due = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state & LOCKED != 0).then_some(state | PARKED)
            })
            .is_ok();
        if is_due {
            // ORDER: Relaxed: a number that stands for itself.
            number.set(self.newest.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        }
        is_due
    }

    /// Asks the holder to give the lock up; false if that was done before, or nobody waits any more.
    pub(crate) fn request(&self) -> bool {
        // ORDER: Relaxed: the holder takes the lot's lock before it acts on it. On failure: the closure looks again.
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state & PARKED != 0 && state & DROP == 0).then_some(state | DROP)
            })
            .is_ok()
    }

    /// Whether the holder was asked to give the lock up.
    #[inline(always)]
    pub(crate) fn is_requested(&self) -> bool {
        // ORDER: Relaxed: a hint that publishes nothing; the next look sees it.
        self.state.load(Ordering::Relaxed) & DROP != 0
    }

    /// By the holder: gives the lock to the first in line, if there is one; else it keeps it. `handing_over` runs before
    /// that thread can know.
    pub(crate) fn pass(&self, address: usize, handing_over: impl FnOnce()) -> bool {
        self.hand_over(address, LOCKED, handing_over)
    }

    /// By the holder: gives the lock back, to the first in line if there is one. `handing_over` as in
    /// [`RawInterpreterLock::pass`].
    #[inline]
    pub(crate) fn leave(&self, address: usize, handing_over: impl FnOnce()) {
        // ORDER: Release: pairs with the Acquire of who takes the lock. Relaxed on failure: reads nothing.
        let left = self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed);
        if left.is_err() {
            self.leave_slow(address, handing_over);
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_slow(&self, address: usize, handing_over: impl FnOnce()) {
        self.hand_over(address, 0, handing_over);
    }

    /// Hands the lock over, or leaves the word as `unwanted` if nobody waits. True: it was handed over.
    fn hand_over(&self, address: usize, unwanted: u32, handing_over: impl FnOnce()) -> bool {
        let taken = unpark_one(address, |found| {
            let next = match (found.taken, found.left) {
                (0, _) => unwanted,
                (_, true) => LOCKED | PARKED,
                (_, false) => LOCKED,
            };
            if found.taken != 0 {
                handing_over();
            }
            // ORDER: Release: pairs with the Acquire of who takes the lock. An exchange, so that it is ordered with the
            // steps of threads that find the lock taken.
            self.state.swap(next, Ordering::Release);
            OWN
        });
        taken != 0
    }
}
