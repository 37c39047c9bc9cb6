//! The parker: no wake is lost, and what the waker did is seen.

use std::panic::Location;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::parker::Parker;

#[test]
fn a_wake_is_never_lost_and_publishes_what_came_before() {
    loom::model(|| {
        let parker = Arc::new(Parker::new());
        let value = Arc::new(AtomicUsize::new(0));
        let (waker, theirs) = (Arc::clone(&parker), Arc::clone(&value));
        let thread = loom::thread::spawn(move || {
            // ORDER: Relaxed: published by the wake, which is what the model shows.
            theirs.store(1, Ordering::Relaxed);
            waker.wake();
        });
        parker.wait(Location::caller());
        // ORDER: Relaxed: as above.
        assert_eq!(value.load(Ordering::Relaxed), 1);
        thread.join().unwrap();
    });
}

#[test]
fn two_wakers_are_as_good_as_one() {
    loom::model(|| {
        let parker = Arc::new(Parker::new());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let waker = Arc::clone(&parker);
                loom::thread::spawn(move || waker.wake())
            })
            .collect();
        parker.wait(Location::caller());
        for thread in threads {
            thread.join().unwrap();
        }
        // The second may have been taken together with the first, or is still there; either way nothing hangs.
        parker.take();
        assert!(!parker.take());
    });
}
