//! `scope`: threads that borrow, are all joined, and whose panics reach the one who opened the scope.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use brigade::thread;
use common::{Count, on_each_model};

#[test]
fn scoped_threads_borrow_and_change_what_outlives_the_scope() {
    on_each_model(|runtime| {
        let sum = runtime.run(|| {
            let mut numbers = [1, 2, 3, 4];
            let factor = 10;
            thread::scope(|scope| {
                for number in &mut numbers {
                    scope.spawn(|| {
                        thread::yield_now();
                        *number *= factor;
                    });
                }
            });
            numbers.iter().sum::<usize>()
        });
        assert_eq!(sum, 100);
    });
}

#[test]
fn a_scope_returns_its_value_and_its_handles_return_theirs() {
    on_each_model(|runtime| {
        let text = String::from("borrowed");
        let length = runtime.run(|| {
            thread::scope(|scope| {
                let length = scope.spawn(|| text.len());
                let capital = scope.spawn(|| text.to_uppercase());
                assert_eq!(capital.join().expect("no panic"), "BORROWED");
                length.join().expect("no panic")
            })
        });
        assert_eq!(length, 8);
    });
}

#[test]
fn a_scope_waits_for_threads_that_nobody_joined() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let done = Count::new();
            thread::scope(|scope| {
                for _ in 0..50 {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            thread::yield_now();
                        }
                        done.up();
                    });
                }
            });
            assert_eq!(done.get(), 50);
        });
    });
}

#[test]
fn a_scope_panics_when_a_thread_that_nobody_joined_panicked() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let done = Count::new();
            let result = catch_unwind(AssertUnwindSafe(|| {
                thread::scope(|scope| {
                    scope.spawn(|| std::panic::resume_unwind(Box::new(1)));
                    scope.spawn(|| {
                        thread::yield_now();
                        done.up();
                    });
                });
            }));
            assert!(result.is_err());
            assert_eq!(
                done.get(),
                1,
                "the scope did not wait for the thread that went well"
            );
        });
    });
}

#[test]
fn a_panic_that_was_joined_does_not_make_the_scope_panic() {
    on_each_model(|runtime| {
        runtime.run(|| {
            thread::scope(|scope| {
                let payload = scope
                    .spawn(|| std::panic::resume_unwind(Box::new(9)))
                    .join();
                assert_eq!(
                    payload.expect_err("the thread panics").downcast_ref(),
                    Some(&9)
                );
            });
        });
    });
}

#[test]
fn a_panic_of_the_scopes_own_closure_waits_for_its_threads() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let done = Count::new();
            let result = catch_unwind(AssertUnwindSafe(|| {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            thread::yield_now();
                        }
                        done.up();
                    });
                    std::panic::resume_unwind(Box::new("own"));
                });
            }));
            assert_eq!(
                result.expect_err("the closure panics").downcast_ref(),
                Some(&"own")
            );
            assert_eq!(done.get(), 1);
        });
    });
}

#[test]
fn scopes_nest_and_threads_spawn_into_the_scope_they_run_in() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let done = Count::new();
            thread::scope(|outer| {
                outer.spawn(|| {
                    outer.spawn(|| done.up());
                    thread::scope(|inner| {
                        for _ in 0..10 {
                            inner.spawn(|| {
                                thread::yield_now();
                                done.up();
                            });
                        }
                    });
                    assert!(done.get() >= 10);
                });
            });
            assert_eq!(done.get(), 11);
        });
    });
}

#[test]
fn a_scope_opened_on_a_kernel_thread_works() {
    let numbers = [1, 2, 3];
    let sum: usize = thread::scope(|scope| {
        let handles = numbers.each_ref().map(|number| {
            scope.spawn(move || {
                thread::yield_now();
                *number
            })
        });
        handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .sum()
    });
    assert_eq!(sum, 6);
}

#[test]
fn an_empty_scope_returns_at_once() {
    on_each_model(|runtime| assert_eq!(runtime.run(|| thread::scope(|_| 3)), 3));
}

#[test]
fn a_builder_spawns_named_threads_into_a_scope() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let name = String::from("borrowed name");
            thread::scope(|scope| {
                let builder = thread::Builder::new().name(name.clone());
                let handle = builder
                    .spawn_scoped(scope, || thread::current().name() == Some(name.as_str()))
                    .expect("a thread can be spawned");
                assert_eq!(handle.thread().name(), Some("borrowed name"));
                assert!(handle.join().expect("no panic"));
            });
        });
    });
}
