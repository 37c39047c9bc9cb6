//! A program without a data race that loses an update all the same: both threads load before either stores.
//!
//! The experiment runs it and gives this very text to the compiler, which accepts it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// What is left of two additions of one.
pub(crate) fn add_twice() -> u32 {
    let counter = AtomicU32::new(0);
    let both_have_loaded = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // ORDER: Relaxed, the race itself.
                let value = counter.load(Ordering::Relaxed);
                both_have_loaded.wait();
                // ORDER: Relaxed, as above.
                counter.store(value + 1, Ordering::Relaxed);
            });
        }
    });
    counter.into_inner()
}
