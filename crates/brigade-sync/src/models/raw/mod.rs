//! The protocols of the locks under all interleavings, with planted faults that the checker must find.

mod condvar;
mod interpreter;
mod mutex;
mod rwlock;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};

use crate::prim::Waiting;

/// Waits as long as it takes.
const FOR_EVER: Waiting = Waiting { gives_up: false };
/// Its time is up at once.
const NOT_AT_ALL: Waiting = Waiting { gives_up: true };

/// A number that only a lock protects: the checker finds uses that are not ordered.
struct Plain(UnsafeCell<u32>);

impl Plain {
    fn new() -> Plain {
        Plain(UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY: the checker tracks the access, and fails if another one is not ordered with it.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as in `add`.
        self.0.with(|value| unsafe { *value })
    }
}

/// Counts what threads did, to be read when they have ended.
struct Tally(AtomicU32);

impl Tally {
    fn new() -> Tally {
        Tally(AtomicU32::new(0))
    }

    fn up(&self) {
        // ORDER: Relaxed: read after the threads were joined.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        // ORDER: Relaxed: as in `up`.
        self.0.load(Ordering::Relaxed)
    }
}
