//! Scopes with a token: who ends with whom, who is waited for, and what a panic does.

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::cancel::{self, CancelToken};
use brigade::sync::Event;
use common::mixed::{everywhere, waiting};
use common::{Count, Watch, on_each_model};

const HOUR: Duration = Duration::from_secs(3600);

/// Counts the threads that are in the middle of something.
struct Inside<'a>(&'a Count);

impl<'a> Inside<'a> {
    fn new(count: &'a Count) -> Inside<'a> {
        count.up();
        Inside(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// The word with which something panicked.
fn word(result: std::thread::Result<()>) -> &'static str {
    let payload = result.expect_err("it panics");
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("another payload")
}

#[test]
fn the_token_of_a_scope_is_the_current_one_inside_and_nowhere_else() {
    everywhere(|runtime| {
        runtime.run(|| {
            assert_eq!(CancelToken::current(), CancelToken::never());
            cancel::scope(|s| {
                assert_eq!(&CancelToken::current(), s.token());
                let theirs = s.spawn(CancelToken::current).join().expect("no panic");
                assert_eq!(&theirs, s.token());
                let isolated = s.spawn_isolated(CancelToken::current).join();
                assert_eq!(&isolated.expect("no panic"), s.token());
                let detached = brigade::thread::spawn(CancelToken::current).join();
                assert_eq!(detached.expect("no panic"), CancelToken::never());
                cancel::scope(|inner| {
                    assert_eq!(&CancelToken::current(), inner.token());
                    assert_ne!(inner.token(), s.token());
                });
                assert_eq!(&CancelToken::current(), s.token());
                let panicked = catch_unwind(|| cancel::scope(|_| panic_any("inside")));
                assert_eq!(word(panicked), "inside");
                assert_eq!(&CancelToken::current(), s.token());
            });
            assert_eq!(CancelToken::current(), CancelToken::never());
        });
    });
}

#[test]
fn a_scope_ends_with_the_one_around_it_and_not_the_other_way_round() {
    on_each_model(|runtime| {
        runtime.run(|| {
            cancel::scope(|outer| {
                cancel::scope(|inner| {
                    inner.token().cancel();
                    assert!(cancel::check().is_err());
                });
                assert!(cancel::check().is_ok());
                let deep = outer.spawn(|| {
                    cancel::scope(|s| {
                        let waits = s.spawn(|| cancel::scope(|_| cancel::sleep(HOUR)));
                        waits.join().expect("no panic")
                    })
                });
                outer.token().cancel();
                let slept = deep.join().expect("no panic");
                assert!(!slept.expect_err("cancelled").is_timed_out());
            });
        });
    });
}

#[test]
fn threads_of_a_scope_borrow_and_return() {
    on_each_model(|runtime| {
        let sum = runtime.run(|| {
            let numbers: Vec<u64> = (0..1000).collect();
            cancel::scope(|s| {
                let halves = numbers.split_at(500);
                let low = s.spawn(|| halves.0.iter().sum::<u64>());
                let high = s.spawn(|| halves.1.iter().sum::<u64>());
                low.join().expect("no panic") + high.join().expect("no panic")
            })
        });
        assert_eq!(sum, 499_500);
    });
}

#[test]
fn a_panic_of_the_owner_cancels_and_joins_all_and_goes_on() {
    everywhere(|runtime| {
        runtime.run(|| {
            let (inside, cancelled) = (Count::new(), Count::new());
            let result = catch_unwind(AssertUnwindSafe(|| {
                cancel::scope(|s| {
                    for _ in 0..20 {
                        s.spawn(|| {
                            let _inside = Inside::new(&inside);
                            if cancel::sleep(HOUR).is_err() {
                                cancelled.up();
                            }
                        });
                    }
                    while inside.get() < 20 {
                        brigade::thread::yield_now();
                    }
                    panic_any("owner");
                });
            }));
            assert_eq!(word(result), "owner");
            assert_eq!((inside.get(), cancelled.get()), (0, 20));
        });
    });
}

#[test]
fn a_panic_of_a_thread_that_nobody_joins_cancels_the_others_and_the_owner_and_panics() {
    everywhere(|runtime| {
        runtime.run(|| {
            let ended = Count::new();
            let result = catch_unwind(AssertUnwindSafe(|| {
                cancel::scope(|s| {
                    for _ in 0..5 {
                        s.spawn(|| {
                            assert!(cancel::sleep(HOUR).is_err());
                            ended.up();
                        });
                    }
                    s.spawn(|| panic_any("thread"));
                    assert!(cancel::sleep(HOUR).is_err(), "the owner waits on");
                    ended.up();
                });
            }));
            assert!(result.is_err());
            assert_eq!(ended.get(), 6);
        });
    });
}

#[test]
fn a_panic_that_is_joined_cancels_the_others_and_does_not_go_on() {
    on_each_model(|runtime| {
        runtime.run(|| {
            cancel::scope(|s| {
                let waits = s.spawn(|| cancel::sleep(HOUR));
                let panics = s.spawn(|| panic_any("thread"));
                assert_eq!(word(panics.join()), "thread");
                assert!(waits.join().expect("no panic").is_err());
            });
        });
    });
}

#[test]
fn a_panic_of_an_isolated_thread_cancels_nobody_and_comes_out_in_the_end() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let gate = Event::new();
            let result = catch_unwind(AssertUnwindSafe(|| {
                cancel::scope(|s| {
                    drop(s.spawn_isolated(|| panic_any("alone")));
                    let waits = s.spawn(|| CancelToken::current().wait(&gate));
                    let isolated = s.spawn_isolated(|| panic_any("alone"));
                    assert_eq!(word(isolated.join()), "alone");
                    assert!(!s.token().is_cancelled());
                    gate.set();
                    assert_eq!(waits.join().expect("no panic"), Ok(()));
                });
            }));
            assert!(result.is_err(), "one was not joined");
        });
    });
}

#[test]
fn a_scope_waits_for_threads_that_ignore_its_token() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let (gate, done) = (Arc::new(Event::new()), Count::new());
            let opens = Arc::clone(&gate);
            let opener = cancel::scope(|s| {
                s.spawn(|| {
                    gate.wait();
                    done.up();
                });
                s.token().cancel();
                assert_eq!(done.get(), 0);
                brigade::thread::spawn(move || opens.set())
            });
            assert_eq!(done.get(), 1);
            opener.join().expect("no panic");
        });
    });
}

#[test]
fn the_earliest_deadline_of_all_scopes_around_counts() {
    let soon = Instant::now() + Duration::from_millis(5);
    on_each_model(|runtime| {
        runtime.run(|| {
            let slept = cancel::scope_with_deadline(soon, |_| {
                cancel::scope_with_timeout(HOUR, |s| {
                    let remaining = s.token().remaining().expect("there is one");
                    assert!(remaining <= Duration::from_millis(5));
                    s.spawn(|| cancel::scope(|_| cancel::sleep(HOUR)))
                        .join()
                        .expect("no panic")
                })
            });
            assert!(slept.expect_err("the time is up").is_timed_out());
            assert!(Instant::now() >= soon, "before its time");
        });
    });
}

#[test]
fn a_deadline_that_has_passed_is_what_counts_when_it_is_cancelled_later() {
    let token = CancelToken::with_timeout(Duration::ZERO);
    let child = token.child_with_timeout(HOUR);
    token.cancel();
    assert!(token.check().expect_err("ended").is_timed_out());
    assert!(child.check().expect_err("ended").is_timed_out());
    let token = CancelToken::with_timeout(HOUR);
    token.cancel();
    assert!(!token.check().expect_err("ended").is_timed_out());
}

#[test]
fn the_threads_of_a_scope_on_a_kernel_thread_are_green() {
    let _watch = Watch::new("a scope on a kernel thread");
    let is_green = || brigade_runtime::park::with_current(|current| current.is_green());
    assert!(!is_green());
    let theirs = cancel::scope(|s| s.spawn(is_green).join().expect("no panic"));
    // Where the machine cannot have green threads, the default runtime has none either.
    let has_green = brigade::run(is_green);
    assert_eq!(theirs, has_green);
}

#[test]
fn a_join_in_a_scope_can_be_cancelled_from_outside() {
    everywhere(|runtime| {
        let token = CancelToken::new();
        let theirs = token.clone();
        let gate = Arc::new(Event::new());
        let waits = Arc::clone(&gate);
        let (_, owner) = waiting(runtime, move || {
            theirs.enter(|| {
                cancel::scope(|_| {
                    let thread = brigade::thread::spawn(move || waits.wait());
                    let joined = CancelToken::current().join(thread);
                    joined.expect_err("it waits").into_handle()
                })
            })
        });
        token.cancel();
        let handle = owner.join().expect("no panic");
        assert!(!handle.is_finished());
        gate.set();
        handle.join().expect("no panic");
    });
}

#[test]
fn a_chain_of_a_hundred_thousand_tokens_ends_and_is_dropped_on_a_small_stack() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let root = CancelToken::new();
            let mut last = root.child();
            for _ in 0..100_000 {
                last = last.child();
            }
            root.cancel();
            assert!(last.is_cancelled());
            drop(root);
            drop(last);
        });
    });
}

#[test]
fn tokens_below_one_that_was_dropped_end_with_those_above_it() {
    let root = CancelToken::new();
    let middle = root.child();
    let (leaf, other) = (middle.child(), middle.child());
    drop(middle);
    drop(other);
    assert!(!leaf.is_cancelled());
    root.cancel();
    assert!(leaf.is_cancelled());
    assert!(leaf.child().is_cancelled());
}

/// A thread-local of the thread is what it was, wherever it ran on.
#[test]
fn the_current_token_belongs_to_the_thread_and_not_to_its_carrier() {
    thread_local!(static MINE: Cell<usize> = const { Cell::new(0) });
    common::migrating(50, |index| {
        let token = CancelToken::new();
        MINE.set(index);
        token.enter(|| {
            for _ in 0..20 {
                common::hop();
                assert_eq!(CancelToken::current(), token);
                assert_eq!(MINE.get(), index);
            }
        });
        assert_eq!(CancelToken::current(), CancelToken::never());
    });
}
