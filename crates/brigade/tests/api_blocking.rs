//! `blocking`: a call that is run with the processor given away, and otherwise is a plain call.

mod common;

use std::cell::Cell;

use brigade::runtime::Builder;
use brigade::thread;
use common::{Count, hop, migrating, on_each_model};

#[test]
fn blocking_returns_the_value_and_borrows() {
    on_each_model(|runtime| {
        let text = String::from("borrowed");
        assert_eq!(runtime.run(|| brigade::blocking(|| text.len())), 8);
    });
}

#[test]
fn blocking_on_a_kernel_thread_is_a_plain_call() {
    let before = common::gettid();
    assert_eq!(brigade::blocking(common::gettid), before);
}

#[test]
fn a_panic_goes_through_blocking() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let result = std::panic::catch_unwind(|| {
                brigade::blocking(|| std::panic::resume_unwind(Box::new(4)))
            });
            let payload: Box<dyn std::any::Any + Send> = match result {
                Ok(()) => panic!("the panic was swallowed"),
                Err(payload) => payload,
            };
            assert_eq!(payload.downcast_ref(), Some(&4));
            thread::yield_now();
        });
    });
}

#[test]
fn blocking_nests_and_may_use_the_runtime_inside() {
    on_each_model(|runtime| {
        let result = runtime.run(|| {
            brigade::blocking(|| {
                thread::yield_now();
                let inner = thread::spawn(|| 3);
                brigade::blocking(|| {
                    thread::sleep(std::time::Duration::from_micros(100));
                    inner.join().expect("no panic")
                })
            })
        });
        assert_eq!(result, 3);
    });
}

#[test]
fn thread_locals_stay_with_the_thread_around_blocking_calls() {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    static CALLS: Count = Count::new();
    migrating(100, |index| {
        NUMBER.set(index);
        for _ in 0..5 {
            hop();
            let seen = brigade::blocking(|| {
                CALLS.up();
                NUMBER.get()
            });
            assert_eq!((seen, NUMBER.get()), (index, index));
        }
    });
    assert_eq!(CALLS.get(), 500);
}

/// Kernel threads that wait for the next hand-off are few, however many were stuck at once.
#[test]
fn carriers_that_are_not_needed_any_more_end() {
    const THREADS: usize = 150;
    /// Two workers, the monitor, the main thread and that of the test, and 16 spares.
    const FEW: usize = 2 + 1 + 2 + 16;
    let test = "carriers_that_are_not_needed_any_more_end";
    common::child::run(test, &[], || {
        let runtime = Builder::new().workers(2).build().expect("a runtime");
        let most = runtime.run(|| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    brigade::thread::spawn(move || {
                        for turn in 0..5 {
                            brigade::blocking(|| {
                                let ms = 1 + (number + turn) as i64 % 3;
                                let time = libc::timespec {
                                    tv_sec: 0,
                                    tv_nsec: ms * 1_000_000,
                                };
                                // SAFETY: a valid time; nobody asks for what is left of it.
                                unsafe {
                                    libc::syscall(libc::SYS_nanosleep, &time, 0_usize);
                                }
                            });
                        }
                        kernel_threads()
                    })
                })
                .collect();
            let counts = threads.into_iter().map(|thread| thread.join());
            counts.map(|count| count.expect("no panic")).max()
        });
        assert!(most > Some(FEW), "only {most:?} kernel threads were stuck");
        let begin = std::time::Instant::now();
        while kernel_threads() > FEW {
            let late = begin.elapsed() > std::time::Duration::from_secs(10);
            assert!(!late, "{} kernel threads are left", kernel_threads());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    })
    .assert_success();
}

fn kernel_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("a list")
        .count()
}
