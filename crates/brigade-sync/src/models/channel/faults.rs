//! Planted faults, which the checker must find.

use brigade_event::WaitReason;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{model, spawn};
use crate::channel::prim::{self, Lock, NEVER, Wait, with_current};
use crate::channel::{Receiver, Sender, bounded, unbounded};

/// The fault: a sender looks for waiting receivers before others see that it has sent.
fn without_total_order(run: fn()) {
    prim::forget_total_order();
    model(2, run);
}

/// Never freed: a planted fault unwinds in the middle of a run.
fn leak<T>(
    (sender, receiver): (Sender<T>, Receiver<T>),
) -> (&'static Sender<T>, &'static Receiver<T>) {
    (Box::leak(Box::new(sender)), Box::leak(Box::new(receiver)))
}

#[test]
#[should_panic]
fn the_checker_finds_a_ring_whose_sides_miss_each_other() {
    without_total_order(|| {
        let (sender, receiver) = leak(bounded(1));
        let receives = spawn(move || receiver.recv().is_ok());
        assert!(sender.send(()).is_ok());
        assert!(receives.join().unwrap());
    });
}

#[test]
#[should_panic]
fn the_checker_finds_a_list_whose_sides_miss_each_other() {
    without_total_order(|| {
        let (sender, receiver) = leak(unbounded());
        let receives = spawn(move || receiver.recv().is_ok());
        assert!(sender.send(()).is_ok());
        assert!(receives.join().unwrap());
    });
}

/// The fault: two wakers of one select look and store, instead of exchanging.
#[test]
#[should_panic]
fn the_checker_finds_a_select_that_is_chosen_twice() {
    model(2, || {
        let state = Arc::new(AtomicUsize::new(0));
        let claim = |state: &AtomicUsize| {
            // ORDER: Acquire, Release: the strongest that there are; the fault is that they are two steps.
            let is_waiting = state.load(Ordering::Acquire) == 0;
            if is_waiting {
                // ORDER: as above.
                state.store(1, Ordering::Release);
            }
            is_waiting
        };
        let other = {
            let state = state.clone();
            spawn(move || claim(&state))
        };
        let own = claim(&state);
        assert!(!(own && other.join().unwrap()), "two arms were chosen");
    });
}

/// The fault: a thread that sees that it was taken goes on without passing the lock of who took it.
#[test]
#[should_panic]
fn the_checker_finds_a_waiter_that_leaves_too_early() {
    model(2, || {
        let waiting = Arc::new((Lock::new(None), AtomicBool::new(false)));
        let waker = {
            let waiting = waiting.clone();
            spawn(move || {
                let mut sleeper = waiting.0.lock();
                if let Some(sleeper) = sleeper.take() {
                    // ORDER: Release: pairs with the Acquire below.
                    waiting.1.store(true, Ordering::Release);
                    // SAFETY: the model keeps the thread; that it has ended is what is to be found.
                    if let Some(runnable) = unsafe { prim::Sleeper::notify(sleeper) } {
                        runnable.schedule();
                    }
                }
            })
        };
        with_current(|me| {
            *waiting.0.lock() = Some(me.sleeper());
            // ORDER: Acquire: pairs with the Release above.
            if !waiting.1.load(Ordering::Acquire) && waiting.0.lock().take().is_none() {
                let site = std::panic::Location::caller();
                me.park(&Wait::new(WaitReason::Recv, 0, site), NEVER);
            }
        });
        waker.join().unwrap();
    });
}
