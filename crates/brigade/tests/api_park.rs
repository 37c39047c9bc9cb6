//! Parking, sleeping and waking, under each model. Sleeps are checked from below only: "at least this long" is what
//! std promises.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Runtime;
use brigade::thread::{self, Thread};
use common::{Count, on_each_model};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn an_unpark_before_the_park_is_kept() {
    on_each_model(|runtime| {
        runtime.run(|| {
            thread::current().unpark();
            thread::park();
        });
    });
}

#[test]
fn several_unparks_leave_one_token() {
    on_each_model(|runtime| {
        runtime.run(|| {
            for _ in 0..5 {
                thread::current().unpark();
            }
            thread::park();
            let start = Instant::now();
            // Spurious wake-ups are allowed by std's contract, a kept second token is not: it would wake every time.
            let woken_early = (0..20)
                .filter(|_| {
                    thread::park_timeout(Duration::from_millis(1));
                    start.elapsed() < Duration::from_millis(1)
                })
                .count();
            assert!(woken_early < 20);
        });
    });
}

/// Parks a thread until `wake` has been called, which sets the flag it is given and unparks the thread it is given.
fn check_wake(runtime: &Runtime, wake: impl FnOnce(Arc<Count>, Thread)) {
    let released = Arc::new(Count::new());
    let gate = Arc::clone(&released);
    let handle = runtime.spawn(move || {
        while gate.get() == 0 {
            thread::park();
        }
    });
    wake(released, handle.thread().clone());
    handle.join().expect("no panic");
}

#[test]
fn an_unpark_wakes_a_parked_thread_from_everywhere() {
    let wake = |released: Arc<Count>, target: Thread| {
        released.set(1);
        target.unpark();
    };
    on_each_model(|runtime| {
        for _ in 0..20 {
            check_wake(runtime, wake);
            check_wake(runtime, |released, target| {
                std::thread::spawn(move || wake(released, target))
                    .join()
                    .expect("no panic");
            });
            check_wake(runtime, |released, target| {
                runtime
                    .spawn(move || wake(released, target))
                    .join()
                    .expect("no panic");
            });
        }
    });
}

#[test]
fn two_threads_hand_a_token_back_and_forth() {
    const TURNS: usize = 2000;
    on_each_model(|runtime| {
        let turn = Arc::new(Count::new());
        let wait_for_turn = |turn: &Count, parity: usize| {
            while turn.get() % 2 != parity {
                thread::park();
            }
        };
        let other_turn = Arc::clone(&turn);
        runtime.run(move || {
            let first = thread::current();
            let second = thread::spawn(move || {
                for _ in 0..TURNS {
                    wait_for_turn(&other_turn, 1);
                    other_turn.up();
                    first.unpark();
                }
            });
            for _ in 0..TURNS {
                wait_for_turn(&turn, 0);
                turn.up();
                second.thread().unpark();
            }
            second.join().expect("no panic");
        });
    });
}

#[test]
fn park_timeout_returns_without_an_unpark() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let start = Instant::now();
            while start.elapsed() < SHORT {
                thread::park_timeout(SHORT);
            }
            thread::park_timeout(Duration::ZERO);
        });
    });
}

#[test]
fn park_timeout_returns_on_an_unpark_long_before_its_time() {
    on_each_model(|runtime| {
        let released = Arc::new(Count::new());
        let gate = Arc::clone(&released);
        let handle = runtime.spawn(move || {
            while gate.get() == 0 {
                thread::park_timeout(Duration::from_secs(1_000_000));
            }
        });
        released.set(1);
        handle.thread().unpark();
        handle.join().expect("no panic");
    });
}

#[test]
fn sleeps_last_at_least_as_long_as_asked_for() {
    on_each_model(|runtime| {
        let handles: Vec<_> = (0..100)
            .map(|number| {
                runtime.spawn(move || {
                    let wanted = Duration::from_micros(number * 100);
                    let start = Instant::now();
                    thread::sleep(wanted);
                    assert!(start.elapsed() >= wanted);
                    let deadline = Instant::now() + wanted;
                    thread::sleep_until(deadline);
                    assert!(Instant::now() >= deadline);
                })
            })
            .collect();
        handles
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
    });
}

#[test]
fn sleeping_until_a_moment_in_the_past_returns() {
    on_each_model(|runtime| {
        runtime.run(|| {
            thread::sleep_until(Instant::now());
            thread::sleep(Duration::ZERO);
        });
    });
}

#[test]
fn an_unpark_during_a_sleep_is_kept_for_the_next_park() {
    on_each_model(|runtime| {
        let handle = runtime.spawn(|| {
            thread::current().unpark();
            thread::sleep(SHORT);
            thread::park();
        });
        handle.join().expect("no panic");
    });
}

#[test]
fn unparks_race_with_timeouts_and_are_never_lost() {
    on_each_model(|runtime| {
        let rounds = Arc::new(Count::new());
        let seen = Arc::clone(&rounds);
        let sleeper = runtime.spawn(move || {
            for round in 1..=500 {
                while seen.get() < round {
                    // A timeout close to the moment of the unpark, now before it, now after it.
                    thread::park_timeout(Duration::from_micros(round as u64 % 50));
                    if seen.get() < round {
                        thread::park();
                    }
                }
            }
        });
        for _ in 0..500 {
            rounds.up();
            sleeper.thread().unpark();
            std::thread::yield_now();
        }
        sleeper.join().expect("no panic");
    });
}

#[test]
fn park_and_sleep_work_on_kernel_threads_too() {
    let handle = std::thread::spawn(|| {
        thread::current().unpark();
        thread::park();
        let start = Instant::now();
        thread::sleep(SHORT);
        assert!(start.elapsed() >= SHORT);
        thread::park_timeout(SHORT);
        thread::yield_now();
    });
    handle.join().expect("no panic");
}

#[test]
fn a_green_thread_unparks_a_kernel_thread() {
    on_each_model(|runtime| {
        let released = Arc::new(Count::new());
        let gate = Arc::clone(&released);
        let kernel_thread = thread::current();
        let handle = runtime.spawn(move || {
            gate.set(1);
            kernel_thread.unpark();
        });
        while released.get() == 0 {
            thread::park();
        }
        handle.join().expect("no panic");
    });
}
