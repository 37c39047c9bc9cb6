//! What looks like a circle of waiting threads and is none is not reported.

mod common;

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::diag::{DeadlockResponse, ThreadState, WaitReason, on_deadlock, threads};
use brigade::runtime::Builder;
use brigade::sync::{Event, Mutex};
use brigade::thread;
use common::Watch;

static REPORTS: AtomicUsize = AtomicUsize::new(0);

fn count_reports() {
    brigade::diag::lock_order(false);
    on_deadlock(|_| {
        REPORTS.fetch_add(1, Ordering::Relaxed);
        DeadlockResponse::PanicClosing
    });
}

/// Until so many threads wait for mutexes.
fn until_waiting(count: usize) {
    let is_stuck = |state| matches!(state, ThreadState::Waiting(WaitReason::Mutex));
    while threads().iter().filter(|info| is_stuck(info.state)).count() < count {
        thread::yield_now();
    }
}

#[test]
fn a_forgotten_guard_does_not_hold_a_new_lock_at_the_same_place() {
    let _watch = Watch::new("a forgotten guard");
    count_reports();
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    runtime.run(|| {
        let mut place = Mutex::new(0);
        mem::forget(place.lock());
        place = Mutex::new(1);
        let other = Mutex::new(0);
        let taken = Event::new();
        thread::scope(|scope| {
            // The owner of the new lock, which lets the others go on when both wait.
            scope.spawn(|| {
                let held = place.lock().expect("a fresh lock");
                taken.set();
                until_waiting(2);
                drop(held);
            });
            scope.spawn(|| {
                taken.wait();
                let held = other.lock().expect("a fresh lock");
                drop(place.lock().expect("a fresh lock"));
                drop(held);
            });
            // This thread forgot a guard where the other one waits.
            taken.wait();
            until_waiting(1);
            drop(other.lock().expect("no circle"));
        });
    });
    assert_eq!(REPORTS.load(Ordering::Relaxed), 0);
}
