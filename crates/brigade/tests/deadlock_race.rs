//! A circle that its threads close at the same instant is found by one of them, every time.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::diag::{DeadlockResponse, on_deadlock};
use brigade::sync::Mutex;
use common::Watch;

const ROUNDS: usize = 20_000;

static REPORTS: AtomicUsize = AtomicUsize::new(0);

/// One of two threads that each hold a lock and want the other's, again and again. Returns how often it was refused.
fn close_circles(own: &Mutex<()>, other: &Mutex<()>, arrived: &AtomicUsize) -> usize {
    let meet = |count: usize| {
        // ORDER: SeqCst: a starting line; whatever delays one of the threads makes the race rarer.
        arrived.fetch_add(1, Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        for spins in 1.. {
            if arrived.load(Ordering::SeqCst) >= 2 * count {
                break;
            }
            if spins % 1024 == 0 {
                std::thread::yield_now();
            }
        }
    };
    let mut refused = 0;
    for round in 0..ROUNDS {
        meet(2 * round + 1);
        let held = own.lock();
        meet(2 * round + 2);
        refused += usize::from(catch_unwind(AssertUnwindSafe(|| drop(other.lock()))).is_err());
        drop(held);
    }
    refused
}

#[test]
fn a_circle_closed_by_two_kernel_threads_at_once_is_always_found() {
    let _watch = Watch::new("circles closed at once");
    brigade::diag::lock_order(false);
    std::panic::set_hook(Box::new(|_| ()));
    on_deadlock(|_| {
        // ORDER: Relaxed: read after both threads were joined.
        REPORTS.fetch_add(1, Ordering::Relaxed);
        DeadlockResponse::PanicClosing
    });
    let (left, right) = (Mutex::new(()), Mutex::new(()));
    let arrived = AtomicUsize::new(0);
    let refused: usize = std::thread::scope(|scope| {
        let first = scope.spawn(|| close_circles(&left, &right, &arrived));
        let second = scope.spawn(|| close_circles(&right, &left, &arrived));
        [first, second]
            .map(|thread| thread.join().unwrap())
            .iter()
            .sum()
    });
    let _ = std::panic::take_hook();
    // ORDER: Relaxed: the threads were joined.
    assert_eq!((refused, REPORTS.load(Ordering::Relaxed)), (ROUNDS, ROUNDS));
}
