//! Circles through an initialiser are found like those of mutexes, and its order among locks is learnt.
//!
//! Handlers are one for the process, so the reports go to a list, and each test looks for the names it has given.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex as StdMutex};

use brigade::diag::{DeadlockResponse, LockKind, lock_order, on_deadlock, on_lock_order};
use brigade::sync::{Barrier, Mutex, Once, OnceLock};
use common::mixed::{everywhere, mixed};

static REPORTS: StdMutex<Vec<String>> = StdMutex::new(Vec::new());

fn note(text: String) {
    REPORTS.lock().expect("nobody panics").push(text);
}

/// The reports so far that begin and go on so.
fn reports(kind: &str, name: &str) -> Vec<String> {
    let reports = REPORTS.lock().expect("nobody panics");
    let matching = |text: &&String| text.starts_with(kind) && text.contains(name);
    reports.iter().filter(matching).cloned().collect()
}

/// Takes both kinds of report; who closes a circle panics.
fn take_reports() {
    lock_order(true);
    on_lock_order(|report| note(report.to_string()));
    on_deadlock(|report| {
        let mut held = report.threads.iter().flat_map(|thread| &thread.holds);
        let is_once = held.any(|held| {
            held.lock
                .facts
                .is_some_and(|facts| facts.kind == LockKind::Once)
        });
        assert!(is_once, "no circle through a once: {report}");
        note(report.to_string());
        DeadlockResponse::PanicClosing
    });
}

/// Runs two threads, green and green or green and kernel, that meet after their first step and then take the second.
/// Says how many of them panicked.
fn meet(
    runtime: &brigade::runtime::Runtime,
    kernel: bool,
    body: impl Fn(usize, &dyn Fn()) + Send + Sync + 'static,
) -> usize {
    let (barrier, panics) = (Barrier::new(2), Arc::new(StdMutex::new(0)));
    let counted = Arc::clone(&panics);
    mixed(
        runtime,
        2 - usize::from(kernel),
        usize::from(kernel),
        move |index| {
            let met = || {
                barrier.wait();
            };
            let panicked = catch_unwind(AssertUnwindSafe(|| body(index, &met))).is_err();
            *counted.lock().expect("nobody panics") += usize::from(panicked);
        },
    );
    let total = panics.lock().expect("nobody panics");
    *total
}

#[test]
fn an_initialiser_that_needs_a_lock_whose_holder_needs_its_value_is_reported() {
    take_reports();
    let rounds = StdMutex::new(0);
    everywhere(|runtime| {
        for kernel in [false, true] {
            let once = Once::new().with_name("once by mutex");
            let mutex = Mutex::new(());
            let panics = meet(runtime, kernel, move |index, met| {
                if index == 0 {
                    once.call_once_force(|_| {
                        met();
                        drop(mutex.lock());
                    });
                } else {
                    let _guard = mutex.lock();
                    met();
                    once.call_once_force(|_| ());
                }
            });
            assert_eq!(panics, 1, "one of them closes the circle");
            *rounds.lock().expect("nobody panics") += 1;
            let seen = reports("deadlock:", "once by mutex").len();
            assert_eq!(seen, *rounds.lock().expect("nobody panics"));
        }
    });
}

#[test]
fn values_that_need_each_other_are_reported() {
    take_reports();
    everywhere(|runtime| {
        let before = reports("deadlock:", "sync_once_deadlock.rs").len();
        let cells = [OnceLock::new(), OnceLock::new()];
        let panics = meet(runtime, false, move |index, met| {
            cells[index].get_or_init(|| {
                met();
                *cells[1 - index].get_or_init(|| 1) + 1
            });
        });
        assert_eq!(panics, 1, "one of them closes the circle");
        assert!(reports("deadlock:", "sync_once_deadlock.rs").len() > before);
    });
}

#[test]
fn a_wait_for_the_end_of_an_initialiser_that_needs_a_lock_of_the_waiter_is_reported() {
    take_reports();
    everywhere(|runtime| {
        let before = reports("deadlock:", "held by who waits").len();
        let once = Once::new();
        let mutex = Mutex::new(()).with_name("held by who waits");
        let panics = meet(runtime, false, move |index, met| {
            if index == 0 {
                once.call_once(|| {
                    met();
                    drop(mutex.lock());
                });
            } else {
                let _guard = mutex.lock();
                met();
                once.wait();
            }
        });
        // If it is the initialiser that closes the circle, the waiter finds the once poisoned.
        assert!(panics > 0);
        assert_eq!(reports("deadlock:", "held by who waits").len(), before + 1);
    });
}

/// The clean twin of the tests above.
#[test]
fn an_initialiser_that_waits_for_a_lock_that_comes_free_is_not_reported() {
    take_reports();
    everywhere(|runtime| {
        let once = Once::new().with_name("clean once");
        let mutex = Mutex::new(()).with_name("clean mutex");
        let panics = meet(runtime, false, move |index, met| {
            if index == 0 {
                once.call_once(|| {
                    met();
                    drop(mutex.lock());
                });
            } else {
                let guard = mutex.lock();
                met();
                brigade::thread::yield_now();
                drop(guard);
                once.call_once(|| unreachable!("the other one is at it"));
            }
        });
        assert_eq!(panics, 0);
    });
    assert_eq!(reports("deadlock:", "clean"), [""; 0]);
}

#[test]
fn an_order_of_lock_and_initialiser_is_reported_when_it_is_first_turned_round() {
    take_reports();
    let mutex = Mutex::new(()).with_name("ordered mutex");
    let once = || Once::new().with_name("ordered once");
    let inside = |name: &Mutex<()>| once().call_once(|| drop(name.lock()));
    inside(&mutex);
    {
        let _guard = mutex.lock();
        let complete = Once::new();
        complete.call_once(|| ());
        assert_eq!(reports("lock order:", "ordered once"), [""; 0]);
        once().call_once(|| ());
    }
    assert_eq!(reports("lock order:", "ordered once").len(), 1);
}

/// The clean twin of the test above.
#[test]
fn a_complete_once_has_no_order() {
    take_reports();
    let mutex = Mutex::new(()).with_name("free mutex");
    let once = Once::new().with_name("free once");
    once.call_once(|| drop(mutex.lock()));
    {
        let _guard = mutex.lock();
        once.call_once(|| unreachable!("it is complete"));
        once.wait();
    }
    assert_eq!(reports("lock order:", "free once"), [""; 0]);
}
