//! `brigade::sync::Condvar` between green and kernel threads in any mix: no wake is lost, and none is spent twice.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::sync::{Condvar, Mutex};
use brigade_runtime::WaitReason;
use brigade_runtime::park::me;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

const LONG: Duration = Duration::from_secs(250);
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn everything_put_into_a_bounded_queue_comes_out_once() {
    const PAIRS: usize = 8;
    const EACH: usize = 500;
    struct Queue {
        items: Mutex<VecDeque<usize>>,
        not_empty: Condvar,
        not_full: Condvar,
        sum: Count,
    }
    everywhere(|runtime| {
        let queue = Arc::new(Queue {
            items: Mutex::new(VecDeque::new()),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            sum: Count::new(),
        });
        let theirs = Arc::clone(&queue);
        // Half of the green threads and of the kernel threads put, the others take.
        mixed(runtime, 2 * PAIRS - 2, 2, move |index| {
            for number in 0..EACH {
                let items = theirs.items.lock().expect("nobody panics");
                if index.is_multiple_of(2) {
                    let mut items = theirs
                        .not_full
                        .wait_while(items, |items| items.len() == 3)
                        .expect("nobody panics");
                    items.push_back(number);
                    theirs.not_empty.notify_one();
                } else {
                    let mut items = theirs
                        .not_empty
                        .wait_while(items, |items| items.is_empty())
                        .expect("nobody panics");
                    let taken = items.pop_front().expect("waited for it");
                    drop(items);
                    theirs.not_full.notify_one();
                    (0..taken).for_each(|_| {
                        theirs.sum.up();
                    });
                }
            }
        });
        assert_eq!(queue.sum.get(), PAIRS * EACH * (EACH - 1) / 2);
        assert!(queue.items.lock().expect("nobody panics").is_empty());
    });
}

#[test]
fn each_notification_lets_one_thread_go_on() {
    const THREADS: usize = 20;
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0_usize), Condvar::new(), Count::new()));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let shared = Arc::clone(&shared);
                runtime.spawn(move || {
                    let (permits, changed, waiting) = &*shared;
                    let guard = permits.lock().expect("nobody panics");
                    waiting.up();
                    let mut guard = changed
                        .wait_while(guard, |permits| *permits == 0)
                        .expect("nobody panics");
                    *guard -= 1;
                })
            })
            .collect();
        let (permits, changed, waiting) = &*shared;
        waiting.kernel_wait_for(THREADS);
        for _ in 0..THREADS {
            *permits.lock().expect("nobody panics") += 1;
            changed.notify_one();
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(*permits.lock().expect("nobody panics"), 0);
    });
}

#[test]
fn notify_all_lets_all_go_on() {
    everywhere(|runtime| {
        for round in 0..10 {
            let shared = Arc::new((Mutex::new(0_usize), Condvar::new()));
            let theirs = Arc::clone(&shared);
            mixed(runtime, 12, 3, move |index| {
                let (arrived, changed) = &*theirs;
                let mut guard = arrived.lock().expect("nobody panics");
                *guard += 1;
                if *guard == 15 {
                    if index.is_multiple_of(2) {
                        drop(guard);
                    }
                    return changed.notify_all();
                }
                while *guard < 15 {
                    guard = changed.wait(guard).expect("nobody panics");
                }
            });
            assert_eq!(
                *shared.0.lock().expect("nobody panics"),
                15,
                "round {round}"
            );
        }
    });
}

#[test]
fn two_threads_pass_a_turn_back_and_forth() {
    const TURNS: usize = 1_000;
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0_usize), Condvar::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, 1, 1, move |index| {
            for _ in 0..TURNS {
                let guard = theirs.0.lock().expect("nobody panics");
                let mut guard = theirs
                    .1
                    .wait_while(guard, |turn| *turn % 2 != index)
                    .expect("nobody panics");
                *guard += 1;
                theirs.1.notify_one();
            }
        });
        assert_eq!(*shared.0.lock().expect("nobody panics"), 2 * TURNS);
    });
}

#[test]
fn a_wait_with_a_limit_ends_with_the_mutex_held() {
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, 6, 2, move |_| {
            let begun = Instant::now();
            let guard = theirs.0.lock().expect("nobody panics");
            let (mut guard, result) = theirs
                .1
                .wait_timeout_while(guard, SHORT, |_| true)
                .expect("nobody panics");
            assert!(result.timed_out() && begun.elapsed() >= SHORT);
            assert!(theirs.0.try_lock().is_err(), "the mutex is held");
            *guard += 1;
        });
        assert_eq!(*shared.0.lock().expect("nobody panics"), 8);
    });
}

#[test]
fn a_notification_in_time_is_no_timeout() {
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = runtime.spawn(move || {
            let guard = theirs.0.lock().expect("nobody panics");
            let (guard, result) = theirs
                .1
                .wait_timeout_while(guard, LONG, |set| !*set)
                .expect("nobody panics");
            *guard && !result.timed_out()
        });
        *shared.0.lock().expect("nobody panics") = true;
        shared.1.notify_one();
        assert!(waiter.join().expect("no panic"));
    });
}

#[test]
fn notifications_and_limits_that_race_lose_nothing() {
    const TOKENS: usize = 2_000;
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0_usize), Condvar::new(), Count::new()));
        let theirs = Arc::clone(&shared);
        // Index 0 hands out tokens, one notification each. A hasty thread that is notified takes its token, or there
        // was none left; the patient ones must never sleep beside a token for good.
        mixed(runtime, 8, 2, move |index| {
            let (tokens, changed, taken) = &*theirs;
            if index == 0 {
                for _ in 0..TOKENS {
                    *tokens.lock().expect("nobody panics") += 1;
                    changed.notify_one();
                    if taken.get().is_multiple_of(7) {
                        brigade::thread::yield_now();
                    }
                }
                return;
            }
            let mut guard = tokens.lock().expect("nobody panics");
            while taken.get() < TOKENS {
                if *guard > 0 {
                    *guard -= 1;
                    if taken.up() + 1 == TOKENS {
                        changed.notify_all();
                    }
                    continue;
                }
                guard = if index.is_multiple_of(2) {
                    let limit = Duration::from_micros(30);
                    changed.wait_timeout(guard, limit).expect("nobody panics").0
                } else {
                    changed.wait(guard).expect("nobody panics")
                };
            }
        });
        assert_eq!(shared.2.get(), TOKENS);
        assert_eq!(*shared.0.lock().expect("nobody panics"), 0);
    });
}

#[test]
fn a_notification_without_waiters_is_not_kept() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let guard = mutex.lock().expect("nobody panics");
    let (_guard, result) = condvar
        .wait_timeout_while(guard, SHORT, |()| true)
        .expect("nobody panics");
    assert!(result.timed_out());
}

#[test]
fn a_mutex_that_was_poisoned_meanwhile_is_reported_by_the_wait() {
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = runtime.spawn(move || {
            let guard = theirs.0.lock().expect("not yet");
            theirs.1.wait_while(guard, |set| !*set).is_err()
        });
        let theirs = Arc::clone(&shared);
        let panicked = runtime.spawn(move || {
            let mut guard = theirs.0.lock().unwrap_or_else(|e| e.into_inner());
            *guard = true;
            theirs.1.notify_all();
            panic!("planted: with the guard");
        });
        assert!(panicked.join().is_err());
        // The waiter finds it poisoned, whether it came before the panic or after.
        let is_told = waiter.join();
        assert!(is_told.is_err() || is_told.expect("no panic"));
        assert!(shared.0.is_poisoned());
    });
}

#[test]
fn two_mutexes_may_be_used_with_one_condition_variable() {
    everywhere(|runtime| {
        let shared = Arc::new(([Mutex::new(0), Mutex::new(0)], Condvar::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, 4, 2, move |index| {
            let guard = theirs.0[index % 2].lock().expect("nobody panics");
            if index < 4 {
                let waited = theirs.1.wait_while(guard, |value| *value == 0);
                drop(waited.expect("nobody panics"));
            } else {
                let mut guard = guard;
                *guard += 1;
                drop(guard);
                theirs.1.notify_all();
            }
        });
    });
}

#[test]
fn who_waits_says_so_and_no_longer_holds_the_mutex() {
    let _watch = Watch::new("a wait record");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&shared);
    let (record, waiter) = waiting(&runtime, move || {
        let guard = theirs.0.lock().expect("nobody panics");
        drop(theirs.1.wait_while(guard, |set| !*set).expect("no panic"));
        me().holds_any()
    });
    assert_eq!(record.wait.reason, WaitReason::Condvar);
    assert_eq!(record.wait.object, std::ptr::from_ref(&shared.1).addr());
    *shared.0.try_lock().expect("the waiter gave it back") = true;
    shared.1.notify_one();
    assert!(
        !waiter.join().expect("no panic"),
        "a lock is still remembered"
    );
}
