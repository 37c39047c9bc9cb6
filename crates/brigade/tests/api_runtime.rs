//! Runtimes: building, running inside and outside, nesting, metrics, shutting down.

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use brigade::runtime::{Builder, Handle, Model};
use brigade::thread;
use common::{Count, MODELS, child, gettid, on_each_model};

/// Far longer than anything here takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(100);

#[test]
fn run_returns_the_value_and_borrows_from_its_caller() {
    let text = String::from("borrowed");
    assert_eq!(brigade::run(|| text.len()), 8);
    on_each_model(|runtime| assert_eq!(runtime.run(|| text.len()), 8));
}

#[test]
fn run_passes_a_panic_on_with_its_payload() {
    on_each_model(|runtime| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.run(|| std::panic::resume_unwind(Box::new("from inside")))
        }));
        let payload: Box<dyn std::any::Any + Send> = match result {
            Ok(()) => panic!("the panic was swallowed"),
            Err(payload) => payload,
        };
        assert_eq!(payload.downcast_ref(), Some(&"from inside"));
        assert_eq!(runtime.run(|| 1), 1);
    });
}

#[test]
fn run_leaves_the_calling_kernel_thread() {
    let outside = gettid();
    let inside = brigade::run(gettid);
    assert_ne!(
        outside, inside,
        "the closure ran on the caller's kernel thread"
    );
}

#[test]
fn run_inside_a_green_thread_runs_the_closure() {
    assert_eq!(
        brigade::run(|| brigade::run(|| brigade::run(|| 3) + 1) + 1),
        5
    );
    on_each_model(|runtime| assert_eq!(runtime.run(|| brigade::run(|| 3) + 1), 4));
}

#[test]
fn a_runtime_built_inside_a_green_thread_works_or_says_why_not() {
    on_each_model(|runtime| {
        runtime.run(|| match Builder::new().workers(1).build() {
            Ok(inner) => assert_eq!(
                inner.run(|| thread::spawn(|| 5).join().expect("no panic")),
                5
            ),
            Err(error) => assert!(error.to_string().contains("green thread"), "{error}"),
        });
    });
}

#[test]
fn two_runtimes_work_side_by_side_and_wake_each_others_threads() {
    let first = Builder::new().workers(1).build().expect("a runtime");
    let second = Builder::new().workers(1).build().expect("a runtime");
    let released = Arc::new(Count::new());
    let gate = Arc::clone(&released);
    let waits = first.spawn(move || {
        while gate.get() == 0 {
            thread::park();
        }
    });
    let target = waits.thread().clone();
    let wakes = second.spawn(move || {
        released.set(1);
        target.unpark();
    });
    let joins = second.spawn(move || waits.join().is_ok());
    assert!(joins.join().expect("no panic"));
    wakes.join().expect("no panic");
}

#[test]
fn zero_workers_are_an_invalid_input() {
    let error = Builder::new()
        .workers(0)
        .build()
        .expect_err("nothing could run");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("worker"), "{error}");
}

#[test]
fn zero_carriers_are_an_invalid_input() {
    let error = Builder::new()
        .max_carriers(0)
        .build()
        .expect_err("nothing could run");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("carrier"), "{error}");
}

#[test]
fn the_model_asked_for_is_the_one_that_is_active() {
    for model in MODELS {
        let runtime = Builder::new().model(model).build().expect("a runtime");
        assert_eq!(runtime.model(), model);
        assert_eq!(
            runtime.run(|| thread::spawn(|| 2).join().expect("no panic")),
            2
        );
    }
}

#[test]
fn under_many_to_one_all_green_threads_share_one_kernel_thread() {
    common::on_model(Model::ManyToOne, |runtime| {
        let ids: std::collections::HashSet<_> = (0..50)
            .map(|_| {
                runtime.spawn(|| {
                    thread::yield_now();
                    gettid()
                })
            })
            .map(|handle| handle.join().expect("no panic"))
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    });
}

#[test]
fn under_one_to_one_each_thread_has_a_kernel_thread() {
    common::on_model(Model::OneToOne, |runtime| {
        let started = Arc::new(Count::new());
        let handles: Vec<_> = (0..20)
            .map(|_| {
                let started = Arc::clone(&started);
                runtime.spawn(move || {
                    started.up();
                    while started.get() < 20 {
                        thread::yield_now();
                    }
                    gettid()
                })
            })
            .collect();
        let ids: std::collections::HashSet<_> = handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .collect();
        assert_eq!(ids.len(), 20);
    });
}

#[test]
fn a_handle_spawns_from_anywhere() {
    on_each_model(|runtime| {
        let handle = runtime.handle();
        let cloned = handle.clone();
        let kernel_thread = std::thread::spawn(move || {
            cloned
                .spawn(|| thread::spawn(|| 4).join().expect("no panic"))
                .join()
        });
        assert_eq!(
            kernel_thread.join().expect("no panic").expect("no panic"),
            4
        );
        assert_eq!(
            handle
                .spawn(|| Handle::current().spawn(|| 6).join().expect("no panic"))
                .join()
                .expect("no panic"),
            6
        );
    });
}

#[test]
fn metrics_count_what_happened() {
    on_each_model(|runtime| {
        let before = runtime.metrics();
        let handles: Vec<_> = (0..100).map(|_| runtime.spawn(thread::yield_now)).collect();
        handles
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
        let after = runtime.metrics();
        assert_eq!(after.spawned - before.spawned, 100);
        // A thread counts as finished a moment after its joiner was woken.
        while runtime.metrics().finished - before.finished < 100 {
            std::thread::yield_now();
        }
        assert_eq!(runtime.metrics().finished - before.finished, 100);
    });
}

#[test]
fn shutdown_succeeds_when_all_threads_have_finished() {
    for model in MODELS {
        let runtime = Builder::new().model(model).build().expect("a runtime");
        let handle = runtime.spawn(|| 3);
        runtime
            .shutdown_timeout(LONG)
            .unwrap_or_else(|error| panic!("{model:?}: {error:?}"));
        assert_eq!(handle.join().expect("no panic"), 3);
    }
}

#[test]
fn shutdown_waits_for_threads_that_still_run() {
    for model in MODELS {
        let runtime = Builder::new().model(model).build().expect("a runtime");
        let done = Arc::new(Count::new());
        for _ in 0..50 {
            let done = Arc::clone(&done);
            runtime.spawn(move || {
                for _ in 0..20 {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(1));
                done.up();
            });
        }
        runtime
            .shutdown_timeout(LONG)
            .unwrap_or_else(|error| panic!("{model:?}: {error:?}"));
        assert_eq!(done.get(), 50, "{model:?}");
    }
}

#[test]
fn shutdown_gives_up_on_a_thread_that_never_ends() {
    let ended = child::run("shutdown_gives_up_on_a_thread_that_never_ends", &[], || {
        for model in MODELS {
            let runtime = Builder::new().model(model).build().expect("a runtime");
            drop(runtime.spawn(|| {
                loop {
                    thread::park();
                }
            }));
            let error = runtime.shutdown_timeout(Duration::from_millis(50)).err();
            assert!(
                error.is_some(),
                "{model:?}: a thread that never ends was said to have ended"
            );
        }
    });
    ended.assert_success();
}

#[test]
fn shutdown_ends_the_kernel_threads_of_the_runtime() {
    let ended = child::run(
        "shutdown_ends_the_kernel_threads_of_the_runtime",
        &[],
        || {
            brigade::run(|| ());
            let run_and_shut_down = || {
                let runtime = Builder::new().workers(4).build().expect("a runtime");
                let handles: Vec<_> = (0..20).map(|_| runtime.spawn(thread::yield_now)).collect();
                handles
                    .into_iter()
                    .for_each(|handle| handle.join().expect("no panic"));
                runtime
                    .shutdown_timeout(LONG)
                    .unwrap_or_else(|error| panic!("{error:?}"));
            };
            run_and_shut_down();
            let before = common::memory::kernel_threads();
            for _ in 0..20 {
                run_and_shut_down();
            }
            let after = common::memory::kernel_threads();
            // A kernel thread leaves /proc a moment after it was joined.
            assert!(
                after < before + 4,
                "kernel threads went from {before} to {after}"
            );
        },
    );
    ended.assert_success();
}

#[test]
fn dropping_a_runtime_whose_threads_have_ended_returns() {
    for model in MODELS {
        for _ in 0..10 {
            let runtime = Builder::new().model(model).build().expect("a runtime");
            runtime.spawn(thread::yield_now).join().expect("no panic");
            drop(runtime);
        }
    }
}

#[test]
fn handles_outlive_their_runtime() {
    let runtime = Builder::new().build().expect("a runtime");
    let handle = runtime.spawn(|| 5);
    let of_thread = handle.thread().clone();
    let of_runtime = runtime.handle();
    runtime
        .shutdown_timeout(LONG)
        .unwrap_or_else(|error| panic!("{error:?}"));
    of_thread.unpark();
    assert!(handle.is_finished());
    assert_eq!(handle.join().expect("no panic"), 5);
    drop(of_runtime);
}

#[test]
fn many_workers_on_few_processors_work() {
    let runtime = Builder::new().workers(32).build().expect("a runtime");
    let handles: Vec<_> = (0..1000)
        .map(|number| runtime.spawn(move || number))
        .collect();
    let sum: usize = handles
        .into_iter()
        .map(|handle| handle.join().expect("no panic"))
        .sum();
    assert_eq!(sum, 999 * 1000 / 2);
}

#[test]
fn available_parallelism_agrees_with_std() {
    let of_std = std::thread::available_parallelism().expect("the kernel answers");
    assert_eq!(
        thread::available_parallelism().expect("the kernel answers"),
        of_std
    );
    assert_eq!(
        brigade::run(thread::available_parallelism).expect("the kernel answers"),
        of_std
    );
}

#[test]
fn the_machine_says_what_it_supports() {
    let support = brigade::doctor::support();
    assert!(
        support.model == Model::ManyToMany || support.reason.is_some(),
        "{support:?}"
    );
    assert!(support.facts.iter().all(|fact| !fact.name.is_empty()));
}

mod program {
    //! A program whose `main` is a green thread.

    #[brigade::main]
    pub(super) fn main() {
        let seen = brigade::thread::spawn(|| 3).join().expect("no panic");
        assert_eq!(seen, 3);
        super::MAIN_RAN_ON.set(usize::try_from(super::gettid()).expect("positive"));
    }
}

static MAIN_RAN_ON: Count = Count::new();

#[test]
fn the_main_attribute_runs_the_body_as_a_green_thread() {
    program::main();
    let ran_on = i64::try_from(MAIN_RAN_ON.get()).expect("a small number");
    assert!(ran_on != 0 && ran_on != gettid());
}
