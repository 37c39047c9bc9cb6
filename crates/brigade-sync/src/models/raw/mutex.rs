//! The mutex: one at a time, nobody forgotten, whoever gives up.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{FOR_EVER, NOT_AT_ALL, Plain, Tally};
use crate::prim::{Waiting, always_in_turn, waiting};
use crate::raw::Refusal;
use crate::raw::mutex::RawMutex;

const ADDRESS: usize = 8;

struct Shared {
    mutex: RawMutex,
    value: Plain,
    done: Tally,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            mutex: RawMutex {
                state: AtomicU32::new(0),
            },
            value: Plain::new(),
            done: Tally::new(),
        })
    }

    fn lock(&self, waiting: Waiting) -> Result<(), Refusal> {
        if self.mutex.lock_now() {
            return Ok(());
        }
        self.mutex.lock_parking(ADDRESS, &waiting, || true)
    }

    /// Adds one under the lock, if it gets it.
    fn add(&self, waiting: Waiting) {
        if self.lock(waiting).is_ok() {
            self.value.add();
            self.done.up();
            self.mutex.unlock(ADDRESS);
        }
    }

    fn spawn(shared: &Arc<Shared>, waiting: Waiting, times: u32) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || (0..times).for_each(|_| shared.add(waiting)))
    }

    /// After all threads have ended: every addition counted, and nobody waits.
    fn check(&self, least: u32) {
        assert!(self.lock(FOR_EVER).is_ok());
        assert_eq!(self.value.get(), self.done.get());
        assert!(self.done.get() >= least);
        assert_eq!(waiting(), 0);
    }
}

#[test]
fn two_threads_take_turns_twice() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Shared::spawn(&shared, FOR_EVER, 2);
        shared.add(FOR_EVER);
        shared.add(FOR_EVER);
        other.join().unwrap();
        shared.check(4);
    });
}

#[test]
fn three_threads_all_get_the_lock() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [
            Shared::spawn(&shared, FOR_EVER, 1),
            Shared::spawn(&shared, FOR_EVER, 1),
        ];
        shared.add(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(3);
    });
}

#[test]
fn three_threads_all_get_the_lock_when_it_is_handed_over() {
    loom::model(|| {
        always_in_turn();
        let shared = Shared::new();
        let others = [
            Shared::spawn(&shared, FOR_EVER, 1),
            Shared::spawn(&shared, FOR_EVER, 1),
        ];
        shared.add(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(3);
    });
}

#[test]
fn a_thread_that_gives_up_leaves_nobody_behind() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [
            Shared::spawn(&shared, FOR_EVER, 1),
            Shared::spawn(&shared, NOT_AT_ALL, 1),
        ];
        shared.add(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(2);
    });
}

/// Planted fault: an unlock that looks for waiters and gives the lock back in two steps.
#[test]
#[should_panic(expected = "deadlock")]
fn the_checker_finds_an_unlock_in_two_steps() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Shared::spawn(&shared, FOR_EVER, 1);
        shared.lock(FOR_EVER).unwrap();
        shared.value.add();
        // ORDER: Relaxed: as in `unlock`.
        if shared.mutex.state.load(Ordering::Relaxed) == 1 {
            // ORDER: Release: as in `unlock`; the fault is that it is a step of its own.
            shared.mutex.state.store(0, Ordering::Release);
        } else {
            shared.mutex.unlock(ADDRESS);
        }
        other.join().unwrap();
    });
}

/// Planted fault: an unlock that publishes nothing.
#[test]
#[should_panic(expected = "Causality violation")]
fn the_checker_finds_an_unlock_without_release() {
    loom::model(|| {
        let shared = Shared::new();
        let other = Shared::spawn(&shared, FOR_EVER, 1);
        if shared.mutex.lock_now() {
            shared.value.add();
            // ORDER: Relaxed: the fault.
            if shared.mutex.state.fetch_and(!1, Ordering::Relaxed) != 1 {
                shared.mutex.lock_now();
                shared.mutex.unlock(ADDRESS);
            }
        }
        other.join().unwrap();
    });
}
