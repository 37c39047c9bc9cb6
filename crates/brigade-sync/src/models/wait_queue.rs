//! Waiters and wakers: no wake is lost, none is counted twice, nobody is touched after its end.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::green::{Green, Sleeper};
use crate::prim::Lock;
use crate::wait_queue::{Inner, Sleep, WaitQueue, Waited};

/// A queue that holds what waiters wait for: whether the door is open, and how many have left it on their own.
struct Door(WaitQueue<Sleeper, (bool, u32)>);

// SAFETY: the queue's pointers are used only under its lock, which the models check.
unsafe impl Sync for Door {}

impl Door {
    /// Never freed: a planted fault unwinds in the middle of a run.
    fn new() -> &'static Door {
        Box::leak(Box::new(Door(WaitQueue {
            inner: Lock::new(Inner::new((false, 0))),
        })))
    }

    /// Waits as a thread of its own while the door is closed.
    fn pass(&self, gives_up: bool) -> Waited {
        let green = Green::new();
        let waited = self.0.wait(
            (Sleeper(green), 0),
            |locked| !locked.data().0,
            || green.park(gives_up),
            || !gives_up,
            |locked| locked.data().1 += 1,
        );
        green.end();
        waited
    }

    /// Opens the door for one or for all; says how many were let in.
    fn open(&self, stays_open: bool) -> u32 {
        self.0.with(|locked| {
            locked.data().0 = stays_open;
            let mut woken = 0;
            while (stays_open || woken == 0) && locked.wake_first() {
                woken += 1;
            }
            woken
        })
    }
}

fn spawn<T: 'static>(
    door: &'static Door,
    body: impl FnOnce(&Door) -> T + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || body(door))
}

fn woken(waited: Waited) -> u32 {
    u32::from(waited == Waited::Woken)
}

#[test]
fn a_waiter_does_not_miss_the_waker_that_ends_what_it_waits_for() {
    loom::model(|| {
        let door = Door::new();
        let waker = spawn(door, |door| door.open(true));
        let waited = door.pass(false);
        assert_eq!(waker.join().unwrap(), woken(waited));
    });
}

#[test]
fn a_wake_and_a_timeout_agree_on_who_was_first() {
    loom::model(|| {
        let door = Door::new();
        let waker = spawn(door, |door| door.open(false));
        let waited = door.pass(true);
        assert_eq!(waker.join().unwrap(), woken(waited));
        let left = door.0.with(|locked| locked.data().1);
        assert_eq!(left, u32::from(waited == Waited::TimedOut));
    });
}

#[test]
fn waiters_that_leave_from_the_middle_leave_the_others_in_the_list() {
    loom::model(|| {
        let door = Door::new();
        let first = spawn(door, |door| door.pass(true));
        let second = spawn(door, |door| door.pass(false));
        let waited = door.pass(true);
        let opened = door.open(true);
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert_eq!(opened, woken(first) + woken(second) + woken(waited));
        assert!(second != Waited::TimedOut);
        assert!(door.0.with(|locked| locked.is_empty()));
    });
}

#[test]
fn a_wake_for_all_leaves_nobody() {
    loom::model(|| {
        let door = Door::new();
        let other = spawn(door, |door| door.pass(false));
        let waker = spawn(door, |door| door.open(true));
        let waited = door.pass(false);
        let other = other.join().unwrap();
        assert_eq!(waker.join().unwrap(), woken(waited) + woken(other));
    });
}

/// Planted fault: a waiter that looks at the door before it takes the lock, and enters the list unconditionally.
#[test]
#[should_panic]
fn the_checker_finds_a_waiter_that_decides_outside_the_lock() {
    loom::model(|| {
        let door = Door::new();
        let waker = spawn(door, |door| door.open(true));
        let is_open = door.0.with(|locked| locked.data().0);
        if !is_open {
            let green = Green::new();
            door.0.wait(
                (Sleeper(green), 0),
                |_| true,
                || green.park(false),
                || true,
                |_| (),
            );
        }
        waker.join().unwrap();
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
                unsafe { Sleeper(green).notify(&mut Vec::new()) };
            })
        };
        // ORDER: Acquire: pairs with the Release above.
        if taken.load(Ordering::Acquire) {
            green.end();
        }
        waker.join().unwrap();
    });
}
