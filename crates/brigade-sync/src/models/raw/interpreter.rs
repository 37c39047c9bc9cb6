//! The interpreter lock: one at a time, in turn, and one that was asked gives it up.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{FOR_EVER, NOT_AT_ALL, Plain, Tally};
use crate::prim::{Waiting, waiting};
use crate::raw::interpreter::{Clock, RawInterpreterLock};

const ADDRESS: usize = 8;

struct Shared {
    lock: RawInterpreterLock,
    value: Plain,
    done: Tally,
    requests: Tally,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: RawInterpreterLock {
                state: AtomicU32::new(0),
                newest: AtomicU32::new(0),
            },
            value: Plain::new(),
            done: Tally::new(),
            requests: Tally::new(),
        })
    }

    /// Takes the lock; one whose alarm rings asks for it.
    fn enter(&self, waiting: Waiting) {
        let clock = || Clock {
            is_over: true,
            next_ns: u64::MAX,
        };
        let entered = self
            .lock
            .enter_parking(ADDRESS, &waiting, clock, || self.requests.up());
        assert!(entered.is_ok());
    }

    fn leave(&self) {
        self.lock.leave(ADDRESS, || ());
    }

    fn work(&self) {
        self.value.add();
        self.done.up();
    }

    /// What a tick does; true: another thread has had the lock in between.
    fn tick(&self) -> bool {
        let is_passed = self.lock.is_requested() && self.lock.pass(ADDRESS, || ());
        if is_passed {
            self.enter(FOR_EVER);
        }
        is_passed
    }

    fn spawn(shared: &Arc<Shared>, body: impl FnOnce(&Shared) + 'static) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || body(&shared))
    }

    /// After all threads have ended: every addition counted, nobody waits, and the word is as new.
    fn check(&self, done: u32) {
        assert!(self.lock.enter_now());
        assert_eq!((self.value.get(), self.done.get()), (done, done));
        assert_eq!(waiting(), 0);
        assert!(!self.lock.is_requested());
    }
}

/// Enters, adds one, leaves.
fn visit(waiting: Waiting) -> impl FnOnce(&Shared) + 'static {
    move |shared| {
        shared.enter(waiting);
        shared.work();
        shared.leave();
    }
}

#[test]
fn three_threads_all_get_the_lock_one_at_a_time() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [
            Shared::spawn(&shared, visit(FOR_EVER)),
            Shared::spawn(&shared, visit(NOT_AT_ALL)),
        ];
        visit(FOR_EVER)(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        shared.check(3);
    });
}

#[test]
fn a_holder_that_is_asked_goes_on_after_the_one_that_asked() {
    loom::model(|| {
        let shared = Shared::new();
        shared.enter(FOR_EVER);
        let asking = Shared::spawn(&shared, visit(NOT_AT_ALL));
        while !shared.lock.is_requested() {
            thread::yield_now();
        }
        assert_eq!(shared.done.get(), 0);
        assert!(shared.tick(), "who asked is there to take the lock");
        assert_eq!(shared.done.get(), 1, "the other one has had its turn");
        assert_eq!(shared.requests.get(), 1);
        shared.work();
        shared.leave();
        asking.join().unwrap();
        shared.check(2);
    });
}

#[test]
fn ticks_between_threads_that_ask_lose_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        let other = |shared: &Shared| {
            shared.enter(NOT_AT_ALL);
            shared.work();
            shared.tick();
            shared.leave();
        };
        let others = [
            Shared::spawn(&shared, other),
            Shared::spawn(&shared, visit(FOR_EVER)),
        ];
        other(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        shared.check(3);
    });
}

#[test]
fn a_request_that_comes_as_the_holder_leaves_troubles_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        shared.enter(FOR_EVER);
        let asking = Shared::spawn(&shared, visit(NOT_AT_ALL));
        let late = Shared::spawn(&shared, |shared| {
            shared.lock.request();
        });
        shared.work();
        shared.leave();
        asking.join().unwrap();
        late.join().unwrap();
        shared.check(2);
    });
}

/// Planted fault: a tick that frees the lock and takes it again, instead of handing it over.
#[test]
#[should_panic(expected = "the other one has had its turn")]
fn the_checker_finds_a_switch_that_is_not_forced() {
    loom::model(|| {
        let shared = Shared::new();
        shared.enter(FOR_EVER);
        let asking = Shared::spawn(&shared, visit(NOT_AT_ALL));
        while !shared.lock.is_requested() {
            thread::yield_now();
        }
        // ORDER: Release: as in `leave`; the fault is that nobody is handed the lock.
        shared.lock.state.store(0, Ordering::Release);
        shared.enter(FOR_EVER);
        assert_eq!(shared.done.get(), 1, "the other one has had its turn");
        shared.leave();
        asking.join().unwrap();
    });
}

/// Planted fault: a way out that looks for waiters and frees the lock in two steps.
#[test]
#[should_panic(expected = "deadlock")]
fn the_checker_finds_a_leave_in_two_steps() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Shared::spawn(&shared, visit(FOR_EVER));
        shared.enter(FOR_EVER);
        // ORDER: Relaxed: as where a path is chosen.
        if shared.lock.state.load(Ordering::Relaxed) == 1 {
            // ORDER: Release: as in `leave`; the fault is that it is a step of its own.
            shared.lock.state.store(0, Ordering::Release);
        } else {
            shared.leave();
        }
        other.join().unwrap();
    });
}

/// Planted fault: a way out that publishes nothing.
#[test]
#[should_panic(expected = "Causality violation")]
fn the_checker_finds_a_leave_without_release() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Shared::spawn(&shared, visit(FOR_EVER));
        if shared.lock.enter_now() {
            shared.value.add();
            // ORDER: Relaxed: the fault.
            let left = shared.lock.state.compare_exchange(
                1,
                0,
                Ordering::Relaxed,
                Ordering::Relaxed, // ORDER: Relaxed: as above.
            );
            if left.is_err() {
                shared.leave();
            }
        }
        other.join().unwrap();
    });
}
