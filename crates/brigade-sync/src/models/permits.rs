//! Permits: none is lost, none is made, nobody waits beside enough of them.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::green::{Green, Sleeper};
use crate::permits::{ONE, Permits, WAITERS};
use crate::prim::Lock;
use crate::wait_queue::{Inner, WaitQueue, Waited};

/// A semaphore, and how many permits are with threads.
struct Semaphore {
    permits: Permits<Sleeper>,
    held: AtomicUsize,
    most: usize,
}

// SAFETY: the queue's pointers are used only under its lock, which the models check.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    /// Never freed: a planted fault unwinds in the middle of a run.
    fn new(permits: usize, most: usize) -> &'static Semaphore {
        Box::leak(Box::new(Semaphore {
            permits: Permits {
                word: AtomicUsize::new(permits * ONE),
                queue: WaitQueue {
                    inner: Lock::new(Inner::new(())),
                },
            },
            held: AtomicUsize::new(0),
            most,
        }))
    }

    /// Acquires as a thread of its own; false if its time was up.
    fn acquire(&self, count: usize, gives_up: bool) -> bool {
        let has = self.permits.try_take(count) || {
            let green = Green::new();
            let has = self.permits.take_slow(
                (Sleeper(green), count),
                || green.park(gives_up),
                || !gives_up,
            );
            green.end();
            has
        };
        if has {
            // ORDER: Relaxed: one word; the permits themselves order what they guard.
            let held = self.held.fetch_add(count, Ordering::Relaxed) + count;
            assert!(held <= self.most, "{held} permits of {}", self.most);
        }
        has
    }

    fn release(&self, count: usize) {
        // ORDER: Relaxed: as in `acquire`.
        self.held.fetch_sub(count, Ordering::Relaxed);
        assert!(self.permits.give(count));
    }

    /// Acquires and gives back; says whether it got them.
    fn visit(&self, count: usize, gives_up: bool) -> bool {
        let has = self.acquire(count, gives_up);
        if has {
            self.release(count);
        }
        has
    }

    /// After all threads: every permit is back and nobody waits.
    fn check(&self) {
        // ORDER: Relaxed: the threads were joined.
        let word = self.permits.word.load(Ordering::Relaxed);
        assert_eq!(word, self.most * ONE, "permits, or a forgotten waiter");
    }
}

fn spawn<T: 'static>(
    semaphore: &'static Semaphore,
    body: impl FnOnce(&Semaphore) -> T + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || body(semaphore))
}

#[test]
fn one_permit_admits_one_thread_at_a_time() {
    loom::model(|| {
        let semaphore = Semaphore::new(1, 1);
        let other = spawn(semaphore, |semaphore| semaphore.visit(1, false));
        let third = spawn(semaphore, |semaphore| semaphore.visit(1, false));
        assert!(semaphore.visit(1, false));
        assert!(other.join().unwrap() && third.join().unwrap());
        semaphore.check();
    });
}

#[test]
fn what_a_permit_guards_is_seen_by_who_gets_it_next() {
    loom::model(|| {
        let semaphore = Semaphore::new(1, 1);
        let guarded = Arc::new(loom::cell::UnsafeCell::new(0));
        let add = |semaphore: &Semaphore, guarded: &loom::cell::UnsafeCell<u32>| {
            semaphore.acquire(1, false);
            // SAFETY: one permit; loom checks it.
            guarded.with_mut(|place| unsafe { *place += 1 });
            semaphore.release(1);
        };
        let place = Arc::clone(&guarded);
        let other = spawn(semaphore, move |semaphore| add(semaphore, &place));
        add(&semaphore, &guarded);
        other.join().unwrap();
        semaphore.check();
    });
}

#[test]
fn a_timeout_beside_a_release_loses_no_permit() {
    loom::model(|| {
        let semaphore = Semaphore::new(0, 1);
        let releaser = spawn(semaphore, |semaphore| semaphore.permits.give(1));
        let other = spawn(semaphore, |semaphore| semaphore.visit(1, true));
        semaphore.visit(1, true);
        assert!(releaser.join().unwrap());
        other.join().unwrap();
        semaphore.check();
    });
}

#[test]
fn a_waiter_for_many_gets_what_comes_one_by_one() {
    loom::model(|| {
        let semaphore = Semaphore::new(0, 2);
        let one = spawn(semaphore, |semaphore| semaphore.permits.give(1));
        let other = spawn(semaphore, |semaphore| semaphore.permits.give(1));
        assert!(semaphore.visit(2, false));
        assert!(one.join().unwrap() && other.join().unwrap());
        semaphore.check();
    });
}

#[test]
fn who_gives_up_in_front_lets_those_behind_pass() {
    loom::model(|| {
        let semaphore = Semaphore::new(1, 1);
        // Wants more than there ever is.
        let greedy = spawn(semaphore, |semaphore| semaphore.acquire(2, true));
        assert!(semaphore.visit(1, false));
        assert!(!greedy.join().unwrap());
        semaphore.check();
    });
}

/// Planted fault: a thread that gives up in front without a look at who is behind.
#[test]
#[should_panic]
fn the_checker_finds_a_timeout_that_leaves_the_next_one_waiting() {
    loom::model(|| {
        let semaphore = Semaphore::new(1, 1);
        let greedy = spawn(semaphore, |semaphore| {
            let green = Green::new();
            let waited = semaphore.permits.queue.wait(
                (Sleeper(green), 2),
                |_| {
                    // ORDER: Relaxed: as in `must_wait`.
                    semaphore.permits.word.fetch_or(WAITERS, Ordering::Relaxed);
                    true
                },
                || green.park(true),
                || false,
                |_| (),
            );
            green.end();
            waited
        });
        semaphore.visit(1, false);
        assert_eq!(greedy.join().unwrap(), Waited::TimedOut);
    });
}

/// Planted fault: a release that looks for waiters before it adds its permit.
#[test]
#[should_panic]
fn the_checker_finds_a_release_that_looks_too_early() {
    loom::model(|| {
        let semaphore = Semaphore::new(0, 1);
        let releaser = spawn(semaphore, |semaphore| {
            // ORDER: Relaxed: the fault is in the order of the two steps.
            let word = semaphore.permits.word.load(Ordering::Relaxed);
            // ORDER: Release: as in `give`.
            semaphore.permits.word.fetch_add(ONE, Ordering::Release);
            if word & WAITERS != 0 {
                semaphore.permits.grant_slow();
            }
        });
        semaphore.visit(1, false);
        releaser.join().unwrap();
    });
}
