//! std's locks, channels and parkers between green and kernel threads: every count is exact, and nobody is forgotten.

mod common;

use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use common::mixed::{mixed, on_workers};
use common::{Count, Watch};

#[test]
fn a_mutex_counts_exactly() {
    on_workers(|runtime| {
        let total = Arc::new(Mutex::new(0_u64));
        let shared = Arc::clone(&total);
        mixed(runtime, 20, 4, move |index| {
            for round in 0..2000 {
                let mut total = shared.lock().expect("nobody panics");
                *total += 1;
                if (round + index) % 500 == 0 {
                    brigade::thread::yield_now();
                }
            }
        });
        assert_eq!(*total.lock().expect("nobody panics"), 24 * 2000);
    });
}

#[test]
fn a_read_write_lock_excludes_writers() {
    on_workers(|runtime| {
        let pair = Arc::new(RwLock::new((0_u64, 0_u64)));
        let shared = Arc::clone(&pair);
        mixed(runtime, 12, 4, move |index| {
            for round in 0..1000 {
                if (round + index) % 4 == 0 {
                    let mut pair = shared.write().expect("nobody panics");
                    pair.0 += 1;
                    if round % 100 == 0 {
                        brigade::thread::yield_now();
                    }
                    pair.1 += 1;
                } else {
                    let pair = shared.read().expect("nobody panics");
                    assert_eq!(pair.0, pair.1);
                }
            }
        });
        assert_eq!(*pair.read().expect("nobody panics"), (4000, 4000));
    });
}

/// Passes a number up to `rounds` between `players` that wait for their turn at one condition variable.
fn relay(runtime: &Runtime, green: usize, kernel: usize, rounds: usize) {
    let players = green + kernel;
    let state = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let shared = Arc::clone(&state);
    mixed(runtime, green, kernel, move |index| {
        let (number, changed) = &*shared;
        let mut number = number.lock().expect("nobody panics");
        while *number < rounds {
            if *number % players == index {
                *number += 1;
                changed.notify_all();
            } else {
                number = changed.wait(number).expect("nobody panics");
            }
        }
    });
    assert_eq!(*state.0.lock().expect("nobody panics"), rounds);
}

#[test]
fn a_condition_variable_passes_the_turn_around() {
    on_workers(|runtime| {
        relay(runtime, 2, 0, 4000);
        relay(runtime, 1, 1, 2000);
        relay(runtime, 5, 2, 1000);
    });
}

#[test]
fn a_barrier_lets_all_through_each_time_and_has_one_leader() {
    on_workers(|runtime| {
        let (green, kernel, rounds) = (10, 3, 50);
        let barrier = Barrier::new(green + kernel);
        let (arrived, leaders) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let (seen, led) = (Arc::clone(&arrived), Arc::clone(&leaders));
        mixed(runtime, green, kernel, move |_| {
            for round in 1..=rounds {
                seen.up();
                if barrier.wait().is_leader() {
                    led.up();
                }
                assert!(seen.get() >= round * (green + kernel));
            }
        });
        assert_eq!(leaders.get(), rounds);
    });
}

#[test]
fn a_once_runs_once_while_others_wait() {
    on_workers(|runtime| {
        for _ in 0..50 {
            let (once, runs) = (Once::new(), Arc::new(Count::new()));
            let counted = Arc::clone(&runs);
            mixed(runtime, 8, 2, move |_| {
                once.call_once(|| {
                    brigade::thread::yield_now();
                    thread::yield_now();
                    counted.up();
                });
                assert_eq!(counted.get(), 1);
            });
        }
    });
}

#[test]
fn channels_deliver_every_message_once() {
    on_workers(|runtime| {
        for bound in [0, 3] {
            let (sender, receiver) = mpsc::sync_channel::<usize>(bound);
            let receiver = Arc::new(Mutex::new(receiver));
            let sum = Arc::new(Count::new());
            let (total, messages) = (Arc::clone(&sum), 500);
            let senders: Vec<_> = (0..8).map(|_| Mutex::new(Some(sender.clone()))).collect();
            drop(sender);
            mixed(runtime, 12, 4, move |index| {
                if index % 2 == 0 {
                    let sender = senders[index / 2].lock().expect("nobody panics").take();
                    let sender = sender.expect("each is taken once");
                    (0..messages).for_each(|_| sender.send(1).expect("the receivers stay"));
                    return;
                }
                loop {
                    let message = receiver.lock().expect("nobody panics").recv();
                    match message {
                        Ok(_) => total.up(),
                        Err(_) => return,
                    };
                }
            });
            assert_eq!(sum.get(), 8 * messages);
        }
    });
}

#[test]
fn a_parked_thread_is_unparked_by_threads_of_either_kind() {
    on_workers(|runtime| {
        let rounds = 2000;
        let (green, kernel) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let (mine, others) = (Arc::clone(&green), Arc::clone(&kernel));
        let (tell, told) = mpsc::channel();
        let parker = runtime.spawn(move || {
            tell.send(thread::current()).expect("the peer waits");
            for round in 1..=rounds {
                while others.get() < round {
                    thread::park();
                }
                mine.up();
            }
        });
        let parked = told.recv().expect("the peer sends");
        for round in 1..=rounds {
            kernel.up();
            parked.unpark();
            green.kernel_wait_for(round);
        }
        parker.join().expect("no panic");
    });
}

#[test]
fn a_wait_ends_by_its_timeout_or_by_a_wake_and_says_which() {
    on_workers(|runtime| {
        let state = Arc::new((Mutex::new(0_usize), Condvar::new()));
        let shared = Arc::clone(&state);
        let rounds = 300;
        mixed(runtime, 8, 2, move |index| {
            let (tokens, arrived) = &*shared;
            for _ in 0..rounds {
                if index % 2 == 0 {
                    *tokens.lock().expect("nobody panics") += 1;
                    arrived.notify_one();
                    continue;
                }
                let mut tokens = tokens.lock().expect("nobody panics");
                loop {
                    if *tokens > 0 {
                        *tokens -= 1;
                        break;
                    }
                    let pause = Duration::from_micros(50);
                    tokens = arrived.wait_timeout(tokens, pause).expect("no panic").0;
                }
            }
        });
        assert_eq!(*state.0.lock().expect("nobody panics"), 0);
    });
}

/// Kernel threads of this process.
fn kernel_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn a_thousand_waiting_threads_need_no_kernel_threads() {
    let _watch = Watch::new("a thousand threads at a barrier");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let before = kernel_threads();
    let barrier = Arc::new(Barrier::new(1001));
    let threads: Vec<_> = (0..1000)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            runtime.spawn(move || barrier.wait())
        })
        .collect();
    while runtime.metrics().parks < 1000 {
        thread::yield_now();
    }
    // Other tests of this program start some at the same time.
    let started = kernel_threads().saturating_sub(before);
    barrier.wait();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(started < 300, "{started} kernel threads were started");
}
