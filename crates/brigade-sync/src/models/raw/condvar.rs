//! The condition variable: no wake is lost, none is spent on a thread that gave up.

use std::sync::Arc;

use loom::sync::atomic::AtomicU32;
use loom::thread;

use super::{FOR_EVER, NOT_AT_ALL, Plain, Tally};
use crate::prim::Waiting;
use crate::raw::condvar::RawCondvar;
use crate::raw::mutex::RawMutex;

const MUTEX: usize = 8;

struct Shared {
    mutex: RawMutex,
    condvar: RawCondvar,
    value: Plain,
    woken: Tally,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            mutex: RawMutex {
                state: AtomicU32::new(0),
            },
            condvar: RawCondvar {
                state: AtomicU32::new(0),
            },
            value: Plain::new(),
            woken: Tally::new(),
        })
    }

    fn lock(&self) {
        if !self.mutex.lock_now() {
            let locked = self.mutex.lock_parking(MUTEX, &FOR_EVER, || true);
            assert!(locked.is_ok());
        }
    }

    /// Waits once, with the mutex held before and after. Says whether it was woken.
    fn wait(&self, waiting: Waiting) -> bool {
        let woken = self.condvar.wait(&waiting, || self.mutex.unlock(MUTEX));
        self.lock();
        woken
    }

    /// Waits until the value is not 0.
    fn wait_for_value(&self) {
        self.lock();
        while self.value.get() == 0 {
            self.wait(FOR_EVER);
        }
        self.mutex.unlock(MUTEX);
        self.woken.up();
    }

    fn set_value(&self) {
        self.lock();
        self.value.add();
        self.mutex.unlock(MUTEX);
    }

    fn spawn(shared: &Arc<Shared>, body: fn(&Shared)) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || body(&shared))
    }
}

#[test]
fn a_notification_after_the_change_is_not_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let waiter = Shared::spawn(&shared, Shared::wait_for_value);
        shared.set_value();
        shared.condvar.notify_one();
        waiter.join().unwrap();
    });
}

#[test]
fn a_notification_under_the_mutex_is_not_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let waiter = Shared::spawn(&shared, Shared::wait_for_value);
        shared.lock();
        shared.value.add();
        shared.condvar.notify_one();
        shared.mutex.unlock(MUTEX);
        waiter.join().unwrap();
    });
}

#[test]
fn a_notification_for_all_leaves_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [
            Shared::spawn(&shared, Shared::wait_for_value),
            Shared::spawn(&shared, Shared::wait_for_value),
        ];
        shared.set_value();
        shared.condvar.notify_all();
        others.map(|other| other.join().unwrap());
        assert_eq!(shared.woken.get(), 2);
    });
}

#[test]
fn a_notification_is_not_spent_on_a_thread_that_gave_up() {
    loom::model(|| {
        let shared = Shared::new();
        let hasty = Shared::spawn(&shared, |shared| {
            shared.lock();
            if shared.value.get() == 0 && shared.wait(NOT_AT_ALL) {
                // It took the notification, so it passes it on.
                shared.condvar.notify_one();
            }
            shared.mutex.unlock(MUTEX);
        });
        let waiter = Shared::spawn(&shared, Shared::wait_for_value);
        shared.set_value();
        shared.condvar.notify_one();
        hasty.join().unwrap();
        waiter.join().unwrap();
    });
}

/// Planted fault: a waiter that gives the mutex back before it enters the lot.
#[test]
#[should_panic(expected = "deadlock")]
fn the_checker_finds_a_waiter_that_unlocks_too_early() {
    loom::model(|| {
        let shared = Shared::new();
        let waiter = Shared::spawn(&shared, |shared| {
            shared.lock();
            let is_due = shared.value.get() == 0;
            shared.mutex.unlock(MUTEX);
            if is_due {
                shared.condvar.wait(&FOR_EVER, || {});
            }
        });
        shared.set_value();
        shared.condvar.notify_one();
        waiter.join().unwrap();
    });
}
