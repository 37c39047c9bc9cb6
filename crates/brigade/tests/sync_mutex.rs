//! `brigade::sync::Mutex` between green and kernel threads in any mix: exclusion, fairness in the end, poisoning, time
//! limits, guards.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::sync::Mutex;

use common::mixed::{mixed, on_workers};
use common::on_each_model;

const GREEN: usize = 40;
const KERNEL: usize = 3;
const ROUNDS: usize = 2_000;

/// Every thread adds to a plain number under the lock; nothing is lost.
fn count_under_the_lock(runtime: &brigade::runtime::Runtime) {
    let mutex = Arc::new(Mutex::new(0_usize));
    let shared = Arc::clone(&mutex);
    let inside = AtomicUsize::new(0);
    mixed(runtime, GREEN, KERNEL, move |index| {
        for round in 0..ROUNDS {
            let mut sum = shared.lock().expect("nobody panics");
            // ORDER: Relaxed: the lock orders it; were it broken, the counts would show it.
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
            *sum += 1;
            if (round + index).is_multiple_of(97) {
                brigade::thread::yield_now();
            }
            // ORDER: Relaxed: as above.
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    });
    assert_eq!(
        *mutex.lock().expect("nobody panics"),
        (GREEN + KERNEL) * ROUNDS
    );
}

#[test]
fn no_addition_is_lost_with_any_number_of_workers() {
    on_workers(count_under_the_lock);
}

#[test]
fn no_addition_is_lost_under_any_model() {
    on_each_model(count_under_the_lock);
}
