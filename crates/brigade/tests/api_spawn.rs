//! `spawn`, `join` and what happens to results, payloads and handles, under each model.

mod common;

use std::sync::Arc;
use std::sync::mpsc;

use brigade::thread;
use common::{Count, child, on_each_model};

/// Counts how often values of it were dropped.
struct Counted(Arc<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.up();
    }
}

fn counted() -> (Counted, Arc<Count>) {
    let count = Arc::new(Count::new());
    (Counted(Arc::clone(&count)), count)
}

#[test]
fn join_returns_what_the_thread_returned() {
    on_each_model(|runtime| {
        let handles: Vec<_> = (0..100)
            .map(|number| runtime.spawn(move || number * 2))
            .collect();
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().expect("no panic"), number * 2);
        }
    });
}

#[test]
fn join_returns_the_payload_of_a_panic() {
    on_each_model(|runtime| {
        let handle =
            runtime.spawn(|| -> usize { std::panic::resume_unwind(Box::new("the payload")) });
        let payload = handle.join().expect_err("the thread panics");
        assert_eq!(payload.downcast_ref(), Some(&"the payload"));
    });
}

#[test]
fn a_panic_disturbs_no_other_thread_and_the_runtime_goes_on() {
    on_each_model(|runtime| {
        let handles: Vec<_> = (0..50)
            .map(|number| {
                runtime.spawn(move || {
                    thread::yield_now();
                    if number % 2 == 0 {
                        std::panic::resume_unwind(Box::new(number));
                    }
                    thread::yield_now();
                    number
                })
            })
            .collect();
        let survivors = handles
            .into_iter()
            .filter_map(|handle| handle.join().ok())
            .count();
        assert_eq!(survivors, 25);
        assert_eq!(runtime.spawn(|| 1).join().expect("no panic"), 1);
    });
}

#[test]
fn the_result_is_dropped_exactly_once_whoever_drops_it() {
    on_each_model(|runtime| {
        let (value, drops) = counted();
        let result = runtime.spawn(move || value).join().expect("no panic");
        assert_eq!(drops.get(), 0);
        drop(result);
        assert_eq!(drops.get(), 1);

        let (value, drops) = counted();
        drop(runtime.spawn(move || value));
        drops.kernel_wait_for(1);

        let (value, drops) = counted();
        let handle = runtime.spawn(move || value);
        while !handle.is_finished() {
            std::thread::yield_now();
        }
        drop(handle);
        drops.kernel_wait_for(1);
        runtime.spawn(thread::yield_now).join().expect("no panic");
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn what_the_closure_owns_is_dropped_exactly_once() {
    on_each_model(|runtime| {
        let (value, drops) = counted();
        runtime
            .spawn(move || assert_eq!(value.0.get(), 0))
            .join()
            .expect("no panic");
        assert_eq!(drops.get(), 1);

        let (value, drops) = counted();
        let handle = runtime.spawn(move || {
            let _owned = value;
            std::panic::resume_unwind(Box::new(()));
        });
        handle.join().expect_err("the thread panics");
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn dropping_a_handle_detaches_the_thread() {
    on_each_model(|runtime| {
        let (sender, receiver) = mpsc::channel();
        drop(runtime.spawn(move || {
            for _ in 0..10 {
                thread::yield_now();
            }
            sender.send(7).expect("the receiver waits");
        }));
        assert_eq!(receiver.recv(), Ok(7));
    });
}

#[test]
fn is_finished_turns_true_only_after_the_closure_returned() {
    on_each_model(|runtime| {
        let released = Arc::new(Count::new());
        let gate = Arc::clone(&released);
        let handle = runtime.spawn(move || {
            while gate.get() == 0 {
                thread::park();
            }
        });
        assert!(!handle.is_finished());
        released.set(1);
        handle.thread().unpark();
        while !handle.is_finished() {
            std::thread::yield_now();
        }
        handle.join().expect("no panic");
    });
}

#[test]
fn a_thread_handle_outlives_its_thread() {
    on_each_model(|runtime| {
        let handle = runtime.spawn(thread::current);
        let outside = handle.thread().clone();
        let inside = handle.join().expect("no panic");
        for _ in 0..100 {
            runtime.spawn(|| ()).join().expect("no panic");
        }
        outside.unpark();
        inside.unpark();
        assert_eq!(outside.id(), inside.id());
        assert_ne!(
            outside.id(),
            runtime
                .spawn(thread::current)
                .join()
                .expect("no panic")
                .id()
        );
    });
}

#[test]
fn threads_spawn_threads_to_any_depth() {
    fn descend(depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        thread::spawn(move || descend(depth - 1))
            .join()
            .expect("no panic")
            + 1
    }
    on_each_model(|runtime| assert_eq!(runtime.run(|| descend(100)), 100));
}

#[test]
fn threads_are_joined_by_threads_that_did_not_spawn_them() {
    on_each_model(|runtime| {
        let first = runtime.spawn(|| {
            thread::yield_now();
            3
        });
        let second = runtime.spawn(move || first.join().expect("no panic") + 1);
        assert_eq!(
            std::thread::spawn(move || second.join().expect("no panic"))
                .join()
                .expect("no panic"),
            4
        );
    });
}

#[test]
fn large_closures_and_results_arrive_whole() {
    on_each_model(|runtime| {
        let bytes: [u8; 10_000] = std::array::from_fn(|index| (index % 251) as u8);
        let result = runtime
            .spawn(move || bytes.map(|byte| byte ^ 0xFF))
            .join()
            .expect("no panic");
        assert!(
            result
                .iter()
                .zip(bytes)
                .all(|(&after, before)| after == before ^ 0xFF)
        );
    });
}

#[test]
fn ten_thousand_threads_are_alive_together() {
    on_each_model(|runtime| {
        // Under one kernel thread per thread, the machine's own limits apply.
        let threads = if runtime.model() == brigade::runtime::Model::OneToOne {
            500
        } else {
            10_000
        };
        let started = Arc::new(Count::new());
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let started = Arc::clone(&started);
                runtime.spawn(move || {
                    started.up();
                    thread::park();
                })
            })
            .collect();
        started.kernel_wait_for(threads);
        handles.iter().for_each(|handle| handle.thread().unpark());
        handles
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
    });
}

#[test]
fn spawning_without_a_runtime_starts_the_default_one() {
    let ended = child::run(
        "spawning_without_a_runtime_starts_the_default_one",
        &[],
        || {
            let outer = thread::spawn(|| thread::spawn(|| 5).join().expect("no panic") + 1);
            assert_eq!(outer.join().expect("no panic"), 6);
            let from_kernel_thread =
                std::thread::spawn(|| thread::spawn(|| 7).join().expect("no panic"));
            assert_eq!(from_kernel_thread.join().expect("no panic"), 7);
        },
    );
    ended.assert_success();
}

#[test]
fn the_process_ends_while_green_threads_still_run() {
    let ended = child::run(
        "the_process_ends_while_green_threads_still_run",
        &[],
        || {
            static SPINNING: Count = Count::new();
            for _ in 0..4 {
                thread::spawn(|| {
                    SPINNING.up();
                    loop {
                        thread::yield_now();
                    }
                });
            }
            drop(thread::spawn(thread::park));
            SPINNING.kernel_wait_for(4);
        },
    );
    ended.assert_success();
}
