//! A once: one thread at a time initialises, everybody sees what it did, nobody waits for ever.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::green::{Green, Sleeper};
use crate::once_word::{Begin, OnceWord, Until};
use crate::prim::Lock;
use crate::wait_queue::{Inner, WaitQueue};

/// A once, where its waiters wait, and what it guards.
struct Once {
    word: OnceWord,
    queue: WaitQueue<Sleeper>,
    value: UnsafeCell<u32>,
}

// SAFETY: the value is guarded by the word, which the models check; the queue's pointers by its lock.
unsafe impl Sync for Once {}

impl Once {
    /// Never freed: a planted fault unwinds in the middle of a run.
    fn new() -> &'static Once {
        Box::leak(Box::new(Once {
            word: OnceWord(AtomicU32::new(OnceWord::NEW)),
            queue: WaitQueue {
                inner: Lock::new(Inner::new(())),
            },
            value: UnsafeCell::new(0),
        }))
    }

    fn block(&self, until: Until) {
        let green = Green::new();
        self.queue.wait(
            (Sleeper(green), 0),
            |_| self.word.must_wait(until),
            || green.park(false),
            || true,
            |_| (),
        );
        green.end();
    }

    fn end(&self, is_complete: bool) {
        if self.word.end(is_complete) {
            self.queue.with(|locked| locked.wake_all());
        }
    }

    /// Adds one to the value if it is the one to initialise, and fails as told; false if it found a failure.
    fn call(&self, forced: bool, fails: bool) -> bool {
        loop {
            match self.word.begin(forced) {
                Begin::Run { .. } => {
                    // SAFETY: one thread initialises; loom checks it.
                    self.value.with_mut(|place| unsafe { *place += 1 });
                    self.end(!fails);
                    return !fails;
                }
                Begin::Done => return true,
                Begin::Poisoned => return false,
                Begin::Wait => self.block(Until::NotRunning),
            }
        }
    }

    /// The value of one that is done.
    fn value(&self) -> u32 {
        assert!(self.word.is_complete());
        // SAFETY: nobody writes any more; loom checks it.
        self.value.with(|place| unsafe { *place })
    }
}

fn spawn<T: 'static>(
    once: &'static Once,
    body: impl FnOnce(&Once) -> T + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || body(once))
}

#[test]
fn three_callers_initialise_once_and_all_see_it() {
    loom::model(|| {
        let once = Once::new();
        let call = |once: &Once| {
            assert!(once.call(false, false));
            once.value()
        };
        let (first, second) = (spawn(once, call), spawn(once, call));
        assert_eq!(call(once), 1);
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (1, 1));
    });
}

#[test]
fn a_waiter_is_woken_by_who_begins_after_it() {
    loom::model(|| {
        let once = Once::new();
        let caller = spawn(once, |once| once.call(false, false));
        while !once.word.is_complete() {
            once.block(Until::Settled);
        }
        assert_eq!(once.value(), 1);
        assert!(caller.join().unwrap());
    });
}

#[test]
fn after_a_failure_another_one_goes_on_and_waiters_for_the_value_get_it() {
    loom::model(|| {
        let once = Once::new();
        let failing = spawn(once, |once| once.call(true, true));
        let waiter = spawn(once, |once| {
            while !once.word.is_complete() {
                once.block(Until::Complete);
            }
            once.value()
        });
        assert!(once.call(true, false));
        let failed = !failing.join().unwrap();
        assert_eq!(waiter.join().unwrap(), 1 + u32::from(failed));
    });
}

#[test]
fn a_failure_is_seen_by_who_does_not_force() {
    loom::model(|| {
        let once = Once::new();
        let failing = spawn(once, |once| once.call(false, true));
        let done = once.call(false, false);
        let failed = !failing.join().unwrap();
        assert!(done != failed || once.word.is_complete());
        assert_eq!(once.word.is_complete(), done);
    });
}

/// Planted fault: an end that looks for waiters before it changes the word.
#[test]
#[should_panic]
fn the_checker_finds_an_end_that_looks_too_early() {
    loom::model(|| {
        let once = Once::new();
        let ending = spawn(once, |once| {
            if once.word.begin(false)
                != (Begin::Run {
                    was_poisoned: false,
                })
            {
                return;
            }
            // ORDER: Relaxed: the fault is in the order of the two steps.
            let had_waiters = once.word.0.load(Ordering::Relaxed) > 3;
            let _ = once.word.end(true);
            if had_waiters {
                once.queue.with(|locked| locked.wake_all());
            }
        });
        once.call(false, false);
        ending.join().unwrap();
    });
}

/// Planted fault: a caller that takes a word it has read relaxed for the end of the wait.
#[test]
#[should_panic]
fn the_checker_finds_a_reader_that_does_not_acquire() {
    loom::model(|| {
        let once = Once::new();
        let caller = spawn(once, |once| once.call(false, false));
        // ORDER: Relaxed: the fault.
        while once.word.0.load(Ordering::Relaxed) != 3 {
            thread::yield_now();
        }
        // SAFETY: not so, which is what is to be found.
        once.value.with(|place| unsafe { *place });
        caller.join().unwrap();
    });
}
