//! `blocking`: a call that is run with the processor given away, and otherwise is a plain call.

mod common;

use std::cell::Cell;

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
