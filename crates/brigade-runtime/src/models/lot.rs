//! Threads in the lot, wakers and those who give up: no wake is lost, one remover each, nobody is touched after its end.

use std::sync::Arc;

use brigade_event::Mode;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::lot::{Bucket, Choice, Parked, Queue, Sleep, Ticket};
use crate::prim::Lock;

const ADDRESS: usize = 8;
const OTHER: usize = 16;
/// What wakes say in these models.
const TOKEN: usize = 7;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// A thread with a park word, as far as a waiter sees it. (`park.rs` has the models of the word itself.)
struct Body {
    word: AtomicU32,
    scheduled: Notify,
    ended: AtomicBool,
}

impl Body {
    fn new() -> &'static Body {
        Box::leak(Box::new(Body {
            word: AtomicU32::new(RUNNING),
            scheduled: Notify::new(),
            ended: AtomicBool::new(false),
        }))
    }

    /// Parks once; returns when it was notified, or at once if `gives_up`.
    fn park(&self, gives_up: bool) {
        let next = if gives_up { RUNNING } else { PARKED };
        // ORDER: AcqRel: the runtime's park word has its own proof.
        let parked = self
            .word
            .compare_exchange(RUNNING, next, Ordering::AcqRel, Ordering::Acquire);
        if parked.is_err() {
            // ORDER: AcqRel: as above; takes the notification.
            self.word.swap(RUNNING, Ordering::AcqRel);
            return;
        }
        // ORDER: Acquire: pairs with `schedule`.
        while !gives_up && self.word.load(Ordering::Acquire) != RUNNING {
            self.scheduled.wait();
        }
    }

    fn schedule(&self) {
        // ORDER: Release: pairs with the Acquire in `park`.
        self.word.store(RUNNING, Ordering::Release);
        self.scheduled.notify();
    }
}

/// A thread in the list. The model never frees it, so that a late look is found and not undefined.
#[derive(Clone, Copy)]
struct Sleeper(&'static Body);

impl Sleep for Sleeper {
    type Runnable = &'static Body;

    unsafe fn notify(self) -> Option<&'static Body> {
        // ORDER: Acquire: pairs with the Release in `Shared::wait`.
        let ended = self.0.ended.load(Ordering::Acquire);
        assert!(!ended, "touched after its end");
        // ORDER: AcqRel: as in the runtime's park word.
        let before = self.0.word.fetch_or(NOTIFIED, Ordering::AcqRel);
        (before == PARKED).then_some(self.0)
    }
}

/// A bucket, and a word that says under its lock whether to wait.
struct Shared {
    bucket: Bucket<Sleeper>,
    is_due: AtomicBool,
    woken: AtomicU32,
}

// SAFETY: the threads that wait are shared by the bucket's own rules, which the models check.
unsafe impl Sync for Shared {}
// SAFETY: the bucket's pointers are used only under its lock.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            bucket: Bucket {
                queue: Lock::new(Queue::new()),
            },
            is_due: AtomicBool::new(true),
            woken: AtomicU32::new(0),
        })
    }

    /// Waits as a thread of its own while there is reason to.
    fn wait(&self, address: usize, mode: Mode, gives_up: bool) -> Parked<()> {
        self.wait_unless(address, mode, gives_up, || None)
    }

    fn wait_unless(
        &self,
        address: usize,
        mode: Mode,
        gives_up: bool,
        queued: impl FnOnce() -> Option<()>,
    ) -> Parked<()> {
        let body = Body::new();
        let ticket = Ticket {
            sleeper: Sleeper(body),
            address,
            mode,
            timed: gives_up,
            front: false,
        };
        // ORDER: Relaxed: written and read under the bucket's lock.
        let is_due = || self.is_due.load(Ordering::Relaxed);
        let parked = self
            .bucket
            .wait(ticket, is_due, queued, || body.park(gives_up), || !gives_up);
        // ORDER: Release: pairs with the Acquire in `notify`.
        body.ended.store(true, Ordering::Release);
        if parked == Parked::Woken(TOKEN) {
            // ORDER: Relaxed: read after the threads were joined.
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
        parked
    }

    /// Wakes those that `choose` picks, and changes under the lock whether there is reason to wait.
    fn wake(&self, choose: impl Fn(Mode) -> Choice, is_due: bool) -> u32 {
        let mut runnable = Vec::new();
        let mut seen = 0;
        let taken = self.bucket.take(
            ADDRESS,
            |mode, _| choose(mode),
            |found| {
                seen = found.taken;
                // ORDER: Relaxed: under the bucket's lock.
                self.is_due.store(is_due, Ordering::Relaxed);
                TOKEN
            },
            |body| runnable.push(body),
        );
        assert_eq!(taken, seen);
        runnable.into_iter().for_each(Body::schedule);
        taken as u32
    }

    fn count_woken(&self) -> u32 {
        // ORDER: Relaxed: after the threads were joined.
        self.woken.load(Ordering::Relaxed)
    }
}

fn spawn<R: 'static>(
    shared: &Arc<Shared>,
    body: impl FnOnce(&Shared) -> R + 'static,
) -> thread::JoinHandle<R> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

#[test]
fn who_finds_reason_to_wait_is_found_by_who_takes_it_away() {
    loom::model(|| {
        let shared = Shared::new();
        let waker = spawn(&shared, |shared| shared.wake(|_| Choice::Take, false));
        let parked = shared.wait(ADDRESS, Mode::Exclusive, false);
        assert!(parked == Parked::NotDue || parked == Parked::Woken(TOKEN));
        assert_eq!(waker.join().unwrap(), shared.count_woken());
    });
}

#[test]
fn a_wake_and_a_thread_that_gives_up_agree_on_who_was_first() {
    loom::model(|| {
        let shared = Shared::new();
        let waker = spawn(&shared, |shared| shared.wake(|_| Choice::Take, true));
        shared.wait(ADDRESS, Mode::Exclusive, true);
        assert_eq!(waker.join().unwrap(), shared.count_woken());
    });
}

#[test]
fn a_wake_and_a_thread_that_is_refused_agree_on_who_was_first() {
    loom::model(|| {
        let shared = Shared::new();
        let waker = spawn(&shared, |shared| shared.wake(|_| Choice::Take, true));
        shared.wait_unless(ADDRESS, Mode::Exclusive, true, || Some(()));
        assert_eq!(waker.join().unwrap(), shared.count_woken());
    });
}

#[test]
fn a_wake_for_all_leaves_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        let other = spawn(&shared, |shared| {
            shared.wait(ADDRESS, Mode::Shared, false);
        });
        let waker = spawn(&shared, |shared| shared.wake(|_| Choice::Take, false));
        shared.wait(ADDRESS, Mode::Exclusive, false);
        other.join().unwrap();
        assert_eq!(waker.join().unwrap(), shared.count_woken());
    });
}

#[test]
fn a_wake_takes_only_those_it_picks() {
    loom::model(|| {
        let shared = Shared::new();
        let reader = spawn(&shared, |shared| shared.wait(ADDRESS, Mode::Shared, true));
        let stranger = spawn(&shared, |shared| shared.wait(OTHER, Mode::Shared, true));
        let taken = shared.wake(
            |mode| match mode {
                Mode::Exclusive => Choice::Take,
                Mode::Shared => Choice::Skip,
            },
            true,
        );
        assert_eq!(taken, 0);
        assert_eq!(reader.join().unwrap(), Parked::TimedOut);
        assert_eq!(stranger.join().unwrap(), Parked::TimedOut);
    });
}

/// A waiter that enters the list and then sees a waker finish is in the list no longer.
fn enter_and_see_the_waker_finish(waker: impl FnOnce(&Shared) + 'static) {
    let shared = Shared::new();
    let waker = spawn(&shared, waker);
    let parked = shared.wait_unless(ADDRESS, Mode::Exclusive, false, || {
        waker.join().unwrap();
        Some(())
    });
    assert_ne!(parked, Parked::Refused(()), "nobody would have woken it");
}

#[test]
fn who_enters_the_list_is_found_by_a_waker_that_comes_later() {
    loom::model(|| {
        enter_and_see_the_waker_finish(|shared| {
            shared.wake(|_| Choice::Take, false);
        });
    });
}

/// Planted fault: whether there is reason to wait changes outside of the lock, after the wake.
#[test]
#[should_panic(expected = "nobody would have woken it")]
fn the_checker_finds_a_waker_that_changes_the_word_too_late() {
    loom::model(|| {
        enter_and_see_the_waker_finish(|shared| {
            shared.wake(|_| Choice::Take, true);
            // ORDER: Relaxed: the fault is the place.
            shared.is_due.store(false, Ordering::Relaxed);
        });
    });
}

/// Planted fault: a waiter that ends as soon as it is notified, without passing the lock.
#[test]
#[should_panic(expected = "touched after its end")]
fn the_checker_finds_a_waiter_that_ends_too_early() {
    loom::model(|| {
        let body = Body::new();
        let taken = Arc::new(AtomicBool::new(false));
        let waker = {
            let taken = Arc::clone(&taken);
            thread::spawn(move || {
                // ORDER: Release: pairs with the Acquire below.
                taken.store(true, Ordering::Release);
                // SAFETY: the model keeps the thread; that it has ended is what is to be found.
                unsafe { Sleeper(body).notify() };
            })
        };
        // ORDER: Acquire: pairs with the Release above.
        if taken.load(Ordering::Acquire) {
            // ORDER: Release: pairs with the Acquire in `notify`.
            body.ended.store(true, Ordering::Release);
        }
        waker.join().unwrap();
    });
}
