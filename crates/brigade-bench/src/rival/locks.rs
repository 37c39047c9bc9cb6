//! The mutex lines for blocking locks: threads of any system add to one number.

use std::sync::{Arc, Mutex};

use super::threads::{Threads, check};

/// A mutex around a number.
pub(super) trait Lock: Send + Sync + 'static {
    /// Around zero.
    fn new() -> Self;
    /// Adds one under the lock and returns the new value.
    fn add(&self) -> u64;
}

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Mutex::new(0)
    }

    fn add(&self) -> u64 {
        let mut value = self.lock().expect("a workload panicked");
        *value += 1;
        *value
    }
}

#[cfg(feature = "rivals")]
impl Lock for parking_lot::Mutex<u64> {
    fn new() -> Self {
        parking_lot::Mutex::new(0)
    }

    fn add(&self) -> u64 {
        let mut value = self.lock();
        *value += 1;
        *value
    }
}

/// `threads` threads take the lock `n` times together.
pub(super) fn adders<R: Threads, L: Lock>(threads: u64, n: u64) -> Result<u64, String> {
    let each = n / threads;
    let total = Arc::new(L::new());
    let spawn = |_| {
        let total = total.clone();
        R::spawn(move || {
            for _ in 0..each {
                total.add();
            }
        })
    };
    let handles: Vec<_> = (0..threads).map(spawn).collect();
    handles.into_iter().for_each(R::join);
    let ops = each * threads;
    check(total.add(), ops + 1, ops, "the count under the mutex")
}
