//! Fork-join on green threads: both parts are threads, who waits parks, and a lock may be held over it.

mod common;

use std::cell::RefCell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};

use brigade::diag::{DeadlockResponse, on_deadlock};
use brigade::pool;
use brigade::runtime::Builder;
use brigade::sync::{Mutex, channel};
use brigade::thread;
use brigade_runtime::WaitReason;
use brigade_runtime::park::{Entry, me};
use common::mixed::{everywhere, mixed, until_in_futex, waiting};
use common::{Count, Watch, child, gettid, hop, migrating};

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (left, right) = pool::join(|| fib(n - 1), || fib(n - 2));
    left + right
}

fn caught<T>(f: impl FnOnce() -> T) -> Box<dyn std::any::Any + Send> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    }
}

#[test]
fn a_join_returns_both_results_on_green_and_kernel_threads() {
    everywhere(|runtime| {
        mixed(runtime, 3, 2, |index| {
            assert_eq!(fib(10), 55);
            let (mut left, mut right) = (vec![index], vec![]);
            let lengths = pool::join(
                || {
                    left.push(1);
                    left.len()
                },
                || {
                    right.push(2);
                    right.len()
                },
            );
            assert_eq!((lengths, left, right), ((2, 1), vec![index, 1], vec![2]));
        });
    });
}

#[test]
fn joins_nest_under_migration() {
    migrating(50, |index| {
        let (left, right) = pool::join(
            || {
                hop();
                fib(6) + index as u64
            },
            || {
                hop();
                fib(5)
            },
        );
        hop();
        assert_eq!((left, right), (8 + index as u64, 5));
    });
}

#[test]
fn both_parts_are_threads_that_may_wait_for_each_other() {
    everywhere(|runtime| {
        runtime.run(|| {
            for rounds in 0..50 {
                let (to_left, from_right) = channel::bounded(0);
                let (to_right, from_left) = channel::bounded(0);
                let (left, right) = pool::join(
                    move || {
                        (0..rounds)
                            .map(|n| {
                                to_right.send(n).unwrap();
                                from_right.recv().unwrap()
                            })
                            .sum::<usize>()
                    },
                    move || {
                        (0..rounds)
                            .map(|n| {
                                let theirs: usize = from_left.recv().unwrap();
                                to_left.send(2 * n).unwrap();
                                theirs
                            })
                            .sum::<usize>()
                    },
                );
                assert_eq!(left, 2 * right);
            }
        });
    });
}

thread_local! {
    static OWN: RefCell<usize> = const { RefCell::new(0) };
}

#[test]
fn the_parts_have_thread_locals_of_their_own_and_the_second_runs_on_the_caller() {
    everywhere(|runtime| {
        runtime.run(|| {
            let stays_here = Rc::new(1);
            OWN.with(|own| {
                let mut borrowed = own.borrow_mut();
                *borrowed = 7;
                let me = thread::current().id();
                let (other, here) = pool::join(
                    || {
                        OWN.with(|own| *own.borrow_mut() += 1);
                        (thread::current().id(), OWN.with(|own| *own.borrow()))
                    },
                    || (thread::current().id(), *stays_here),
                );
                assert_eq!((other.1, here), (1, (me, 1)));
                assert_ne!(other.0, me);
            });
        });
    });
}

/// Counts its drops.
struct Token(Arc<Count>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.up();
    }
}

#[test]
fn a_panic_comes_out_after_both_have_ended_and_the_other_result_is_dropped() {
    everywhere(|runtime| {
        for (left_panics, right_panics) in [(true, false), (false, true), (true, true)] {
            let (ended, dropped) = (Count::new(), Arc::new(Count::new()));
            let payload = caught(|| {
                runtime.run(|| {
                    let part = |panics: bool, name: &'static str| {
                        thread::yield_now();
                        ended.up();
                        let token = Token(Arc::clone(&dropped));
                        if panics {
                            panic_any(name);
                        }
                        token
                    };
                    pool::join(|| part(left_panics, "left"), || part(right_panics, "right"))
                })
            });
            let first = if right_panics { "right" } else { "left" };
            assert_eq!(payload.downcast_ref(), Some(&first));
            assert_eq!((ended.get(), dropped.get()), (2, 2));
        }
    });
}

/// The program of rayon#592, for any way to fork. `holder` and `intruder` start what they are given on the scheduler
/// under test; `relax` lets others run.
///
/// The holder takes the lock and joins two parts. When both parts run, an unrelated piece of work that wants the same lock
/// is started from outside. One part ends; the other one waits until the unrelated work has begun.
struct Program {
    lock: StdMutex<u32>,
    second_begun: Count,
    intruder_begun: Count,
    second_ended: Count,
    intruder_ended: Count,
    holder_tid: Count,
    intruder_tid: Count,
}

impl Program {
    fn new() -> Arc<Program> {
        Arc::new(Program {
            lock: StdMutex::new(0),
            second_begun: Count::new(),
            intruder_begun: Count::new(),
            second_ended: Count::new(),
            intruder_ended: Count::new(),
            holder_tid: Count::new(),
            intruder_tid: Count::new(),
        })
    }

    /// The parts, which `join` runs.
    fn hold(&self, relax: fn(), join: impl FnOnce(&(dyn Fn() + Sync), &(dyn Fn() + Sync))) {
        let mut held = self.lock.lock().unwrap();
        self.holder_tid.set(gettid() as usize);
        let until = |count: &Count| {
            while count.get() == 0 {
                relax();
            }
        };
        join(&|| until(&self.second_begun), &|| {
            self.second_begun.up();
            until(&self.intruder_begun);
            self.second_ended.up();
        });
        *held += 1;
    }

    fn intrude(&self) {
        self.intruder_tid.set(gettid() as usize);
        self.intruder_begun.up();
        *self.lock.lock().unwrap() += 1;
        self.intruder_ended.up();
    }
}

/// The control: a pool whose waiting threads run other work hangs. In a child, which says so and ends.
#[test]
fn rayon_runs_unrelated_work_on_the_thread_that_holds_the_lock_and_hangs() {
    let name = "rayon_runs_unrelated_work_on_the_thread_that_holds_the_lock_and_hangs";
    let ended = child::run(name, &[], || {
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        let program = Program::new();
        let holder = Arc::clone(&program);
        rayon.spawn(move || {
            holder.hold(std::thread::yield_now, |first, second| {
                rayon::join(first, second);
            });
        });
        program.second_begun.kernel_wait_for(1);
        let intruder = Arc::clone(&program);
        rayon.spawn(move || intruder.intrude());
        program.second_ended.kernel_wait_for(1);
        // Both parts have ended. The intruder waits in the kernel, on the thread that holds what it waits for.
        until_in_futex(program.intruder_tid.get() as i64);
        assert_eq!(program.intruder_tid.get(), program.holder_tid.get());
        assert!(program.lock.try_lock().is_err());
        assert_eq!(program.intruder_ended.get(), 0);
        println!("stuck");
        let _ = std::io::stdout().flush();
    });
    ended.assert_success();
    assert!(ended.stdout.contains("stuck"), "{ended:#?}");
}

#[test]
fn a_lock_held_over_a_join_makes_unrelated_work_wait_and_no_more() {
    everywhere(|runtime| {
        for _ in 0..20 {
            let program = Program::new();
            let holder = Arc::clone(&program);
            let holder = runtime.spawn(move || {
                holder.hold(thread::yield_now, |first, second| {
                    pool::join(first, second);
                });
            });
            program.second_begun.kernel_wait_for(1);
            let intruder = Arc::clone(&program);
            let intruder = runtime.spawn(move || intruder.intrude());
            holder.join().unwrap();
            intruder.join().unwrap();
            assert_eq!(*program.lock.lock().unwrap(), 2);
        }
    });
}

#[test]
fn a_lock_held_over_a_scope_and_a_parallel_map_makes_others_wait_and_no_more() {
    everywhere(|runtime| {
        let lock = Arc::new(Mutex::new(0));
        let shared = Arc::clone(&lock);
        mixed(runtime, 20, 2, move |_| {
            for _ in 0..5 {
                let mut held = shared.lock().unwrap();
                let parts = StdMutex::new(0);
                pool::fork_scope(|scope| {
                    for _ in 0..5 {
                        scope.spawn(|_| {
                            thread::yield_now();
                            *parts.lock().unwrap() += 1;
                        });
                    }
                });
                *held += parts.into_inner().unwrap();
                *held += pool::par_map(&[1, 2, 3], |n| *n).iter().sum::<usize>();
            }
        });
        assert_eq!(*lock.lock().unwrap(), 22 * 5 * 11);
    });
}

#[test]
fn a_part_that_wants_a_lock_of_the_one_who_joins_is_a_reported_deadlock_and_panics_out() {
    let name =
        "a_part_that_wants_a_lock_of_the_one_who_joins_is_a_reported_deadlock_and_panics_out";
    child::run(name, &[], || {
        on_deadlock(|_| DeadlockResponse::PanicClosing);
        let runtime = Builder::new().workers(2).build().expect("a runtime");
        runtime.run(|| {
            let lock = Mutex::new(());
            let _held = lock.lock().unwrap();
            let joiner: &Entry = me();
            let payload = caught(|| {
                pool::join(
                    || {
                        // The joiner waits first, so this part closes the circle.
                        while joiner.wait_record().is_none() {
                            thread::yield_now();
                        }
                        drop(lock.lock());
                    },
                    || (),
                )
            });
            let text = payload.downcast_ref::<String>().expect("a text");
            assert!(text.starts_with("deadlock: "), "{text}");
        });
    })
    .assert_success();
}

#[test]
fn a_join_that_closes_a_circle_is_reported_and_not_left() {
    let name = "a_join_that_closes_a_circle_is_reported_and_not_left";
    let ended = child::run(name, &[], || {
        on_deadlock(|report| {
            println!("{report}");
            DeadlockResponse::PanicClosing
        });
        let runtime = Builder::new().workers(2).build().expect("a runtime");
        let joiner = Arc::new(StdMutex::new(None));
        let told = Arc::clone(&joiner);
        let (record, _thread) = waiting(&runtime, move || {
            let lock = Mutex::new(()).with_name("held over the join");
            let _held = lock.lock().unwrap();
            let part = StdMutex::new(None::<&'static Entry>);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool::join(
                    || {
                        *part.lock().unwrap() = Some(me());
                        drop(lock.lock());
                    },
                    || {
                        let waits = || part.lock().unwrap().and_then(Entry::wait_record);
                        while waits().is_none_or(|record| record.wait.reason != WaitReason::Mutex) {
                            thread::yield_now();
                        }
                    },
                )
            }));
            *told.lock().unwrap() = Some(caught.is_err());
        });
        assert_eq!(record.wait.reason, WaitReason::Join);
        // What the part borrows is still there.
        assert_eq!(*joiner.lock().unwrap(), None);
        let _ = std::io::stdout().flush();
        // SAFETY: ends the process; its threads wait for ever.
        unsafe { libc::_exit(0) };
    });
    ended.assert_success();
    assert!(ended.stdout.contains("held over the join"), "{ended:#?}");
}

#[test]
fn threads_of_a_scope_spawn_into_it_and_all_have_ended_after_it() {
    fn tree<'scope>(scope: &pool::ForkScope<'scope>, count: &'scope Count, depth: usize) {
        if depth > 0 {
            for _ in 0..2 {
                scope.spawn(move |scope| {
                    thread::yield_now();
                    tree(scope, count, depth - 1);
                    count.up();
                });
            }
        }
    }
    everywhere(|runtime| {
        mixed(runtime, 2, 2, |_| {
            let count = Count::new();
            let value = pool::fork_scope(|scope| {
                tree(scope, &count, 6);
                "value"
            });
            assert_eq!((value, count.get()), ("value", 126));
        });
    });
}

#[test]
fn a_panic_of_a_scope_comes_out_as_it_was_after_all_have_ended() {
    everywhere(|runtime| {
        let ended = Count::new();
        let run = |closure_panics: bool, threads_panic: bool| {
            caught(|| {
                runtime.run(|| {
                    pool::fork_scope(|scope| {
                        for _ in 0..10 {
                            scope.spawn(|_| {
                                thread::yield_now();
                                ended.up();
                                if threads_panic {
                                    panic_any(5_u8);
                                }
                            });
                        }
                        if closure_panics {
                            panic_any("closure");
                        }
                    });
                });
            })
        };
        assert_eq!(run(false, true).downcast_ref(), Some(&5_u8));
        assert_eq!(run(true, true).downcast_ref(), Some(&"closure"));
        assert_eq!(run(true, false).downcast_ref(), Some(&"closure"));
        assert_eq!(ended.get(), 30);
    });
}

#[test]
fn a_parallel_map_keeps_the_order_and_calls_each_once() {
    everywhere(|runtime| {
        runtime.run(|| {
            for length in [0, 1, 3, 8, 63, 1000] {
                let items: Vec<usize> = (0..length).collect();
                let calls = Count::new();
                let results = pool::par_map(&items, |item| {
                    calls.up();
                    item * 2
                });
                assert_eq!(results, (0..length).map(|n| n * 2).collect::<Vec<_>>());
                assert_eq!(calls.get(), length);
            }
            let payload = caught(|| {
                pool::par_map(&[1, 2, 3], |n| {
                    if *n == 2 {
                        panic_any(2)
                    }
                })
            });
            assert_eq!(payload.downcast_ref(), Some(&2));
        });
    });
}

#[test]
fn a_join_parks_only_its_thread() {
    let _watch = Watch::new("a join that waits");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (open, gate) = channel::bounded::<()>(0);
    let (record, thread) = waiting(&runtime, move || pool::join(|| gate.recv().is_err(), || 1));
    assert_eq!(record.wait.reason, WaitReason::Join);
    assert_eq!(runtime.run(|| 2), 2);
    drop(open);
    assert_eq!(thread.join().unwrap(), (true, 1));
}
