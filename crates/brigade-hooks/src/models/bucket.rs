//! Green threads that wait for a word, and wakers: no wake is lost, none is counted twice, nobody is touched after
//! its end.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::sync::{Arc, Notify};
use loom::thread;

use crate::bucket::{Bucket, Queue, Sleep, Waited};
use crate::prim::Lock;

const ADDRESS: usize = 8;
const BITS: u32 = 1;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// The park word of the runtime, as far as a waiter sees it.
struct Green {
    word: AtomicU32,
    scheduled: Notify,
    ended: AtomicBool,
}

impl Green {
    fn new() -> &'static Green {
        Box::leak(Box::new(Green {
            word: AtomicU32::new(RUNNING),
            scheduled: Notify::new(),
            ended: AtomicBool::new(false),
        }))
    }

    /// Parks once; returns when it was notified or, unless it was notified, at once if `gives_up`.
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
}

/// A thread in a list of waiters. The model never frees it, so that a late look is found and not undefined.
#[derive(Clone, Copy)]
struct Sleeper(&'static Green);

impl Sleep for Sleeper {
    type Runnable = &'static Green;

    unsafe fn notify(self) -> Option<&'static Green> {
        // ORDER: Acquire: pairs with the Release in `Waiters::wait`.
        let ended = self.0.ended.load(Ordering::Acquire);
        assert!(!ended, "touched after its end");
        // ORDER: AcqRel: as in the runtime's park word.
        let before = self.0.word.fetch_or(NOTIFIED, Ordering::AcqRel);
        (before == PARKED).then_some(self.0)
    }
}

fn schedule(green: &Green) {
    // ORDER: Release: pairs with the Acquire in `park`.
    green.word.store(RUNNING, Ordering::Release);
    green.scheduled.notify();
}

/// A word, its bucket, and what the threads did.
struct Waiters {
    bucket: Bucket<Sleeper>,
    word: AtomicU32,
    woken: AtomicU32,
}

// SAFETY: the threads that wait are shared by the bucket's own rules, which the models check.
unsafe impl Sync for Waiters {}
// SAFETY: the bucket's pointers are used only under its lock.
unsafe impl Send for Waiters {}

impl Waiters {
    fn new() -> Arc<Waiters> {
        Arc::new(Waiters {
            bucket: Bucket {
                queue: Lock::new(Queue::new()),
                waiters: AtomicU32::new(0),
            },
            word: AtomicU32::new(0),
            woken: AtomicU32::new(0),
        })
    }

    /// Waits as a thread of its own while the word is 0.
    fn wait(&self, gives_up: bool) -> Waited {
        let green = Green::new();
        // ORDER: SeqCst: see `Bucket::enqueue`.
        let is_due = || self.word.load(Ordering::SeqCst) == 0;
        let waited = self.bucket.wait(
            (ADDRESS, BITS, Sleeper(green)),
            is_due,
            || green.park(gives_up),
            || !gives_up,
        );
        // ORDER: Release: pairs with the Acquire in `notify`.
        green.ended.store(true, Ordering::Release);
        if waited == Waited::Woken {
            // ORDER: Relaxed: read after the threads were joined.
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
        waited
    }

    /// Wakes up to `most`; says how many.
    fn wake(&self, most: u32) -> u32 {
        if self.bucket.is_empty() {
            return 0;
        }
        let mut runnable = Vec::new();
        let taken = self
            .bucket
            .take(ADDRESS, BITS, most, |green| runnable.push(green));
        runnable.into_iter().for_each(schedule);
        taken
    }

    /// Changes the word, as a waker does first.
    fn change(&self) {
        // ORDER: Relaxed: the fence in `Bucket::is_empty` must do.
        self.word.store(1, Ordering::Relaxed);
    }

    fn count_woken(&self) -> u32 {
        // ORDER: Relaxed: the threads were joined.
        self.woken.load(Ordering::Relaxed)
    }
}

fn spawn<T: 'static>(
    waiters: &Arc<Waiters>,
    body: impl FnOnce(&Waiters) -> T + 'static,
) -> thread::JoinHandle<T> {
    let waiters = Arc::clone(waiters);
    thread::spawn(move || body(&waiters))
}

#[test]
fn a_waker_that_changed_the_word_wakes_who_did_not_see_it() {
    loom::model(|| {
        let waiters = Waiters::new();
        let waker = spawn(&waiters, |waiters| {
            waiters.change();
            waiters.wake(1)
        });
        let waited = waiters.wait(false);
        let taken = waker.join().unwrap();
        assert_eq!(taken, u32::from(waited == Waited::Woken));
    });
}

#[test]
fn a_wake_and_a_timeout_agree_on_who_was_first() {
    loom::model(|| {
        let waiters = Waiters::new();
        let waker = spawn(&waiters, |waiters| waiters.wake(1));
        let waited = waiters.wait(true);
        let taken = waker.join().unwrap();
        assert_eq!(taken, u32::from(waited == Waited::Woken));
    });
}

#[test]
fn two_wakers_share_two_waiters() {
    loom::model(|| {
        let waiters = Waiters::new();
        let other = spawn(&waiters, |waiters| waiters.wait(true));
        let waker = spawn(&waiters, |waiters| waiters.wake(1));
        waiters.wait(true);
        let taken = waiters.wake(1) + waker.join().unwrap();
        other.join().unwrap();
        assert!(taken <= 2);
        assert_eq!(waiters.count_woken(), taken);
    });
}

#[test]
fn a_wake_for_all_leaves_nobody() {
    loom::model(|| {
        let waiters = Waiters::new();
        let other = spawn(&waiters, |waiters| waiters.wait(false));
        let waker = spawn(&waiters, |waiters| {
            waiters.change();
            waiters.wake(u32::MAX)
        });
        waiters.wait(false);
        other.join().unwrap();
        assert_eq!(waker.join().unwrap(), waiters.count_woken());
    });
}

/// Planted fault: a waker that looks at the count without the fence.
#[test]
#[should_panic]
fn the_checker_finds_a_waker_without_a_fence() {
    loom::model(|| {
        let waiters = Waiters::new();
        let waker = spawn(&waiters, |waiters| {
            waiters.change();
            // ORDER: Relaxed: the fault.
            waiters.bucket.waiters.load(Ordering::Relaxed) == 0
        });
        // ORDER: SeqCst: as `Bucket::enqueue`, in two steps that the model can order.
        waiters.bucket.waiters.store(1, Ordering::SeqCst);
        // ORDER: SeqCst: pairs with the fence that the waker lacks.
        fence(Ordering::SeqCst);
        // ORDER: SeqCst: as `is_due`.
        let must_wait = waiters.word.load(Ordering::SeqCst) == 0;
        let woken_nobody = waker.join().unwrap();
        assert!(!(must_wait && woken_nobody), "waits for ever");
    });
}

/// Planted fault: a waiter that leaves as soon as it sees that it was taken, without passing the lock.
#[test]
#[should_panic]
fn the_checker_finds_a_waiter_that_leaves_too_early() {
    loom::model(|| {
        let green = Green::new();
        let taken = Arc::new(AtomicBool::new(false));
        let waker = {
            let taken = Arc::clone(&taken);
            thread::spawn(move || {
                // ORDER: Release: pairs with the Acquire below.
                taken.store(true, Ordering::Release);
                // SAFETY: the model keeps the thread; that it has ended is what is to be found.
                unsafe { Sleeper(green).notify() };
            })
        };
        // ORDER: Acquire: pairs with the Release above.
        if taken.load(Ordering::Acquire) {
            // ORDER: Release: pairs with the Acquire in `notify`.
            green.ended.store(true, Ordering::Release);
        }
        waker.join().unwrap();
    });
}
