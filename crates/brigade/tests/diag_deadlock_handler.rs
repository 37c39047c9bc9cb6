//! Who is told of a deadlock, and what the answers do. Each test closes a circle in a child process.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use brigade::diag::{DeadlockKind, DeadlockReport, DeadlockResponse, ToJson, on_deadlock};
use brigade::sync::Mutex;

use common::{alone_with_migrating_runtime, child};

/// Two locks, and a thread for each that takes it and then the other one.
struct Circle {
    locks: Arc<[Mutex<u32>; 2]>,
    handles: Vec<brigade::thread::JoinHandle<()>>,
}

impl Circle {
    /// Returns once both threads hold their first lock and are going to take the other one.
    fn close() -> Circle {
        let locks = Arc::new([
            Mutex::new(0).with_name("till"),
            Mutex::new(0).with_name("safe"),
        ]);
        let holds = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let spawn = |me: usize| {
            let (locks, holds) = (Arc::clone(&locks), Arc::clone(&holds));
            let body = move || {
                let mut first = locks[me].lock().unwrap();
                // ORDER: Release, with the Acquire below.
                holds[me].store(true, Ordering::Release);
                // ORDER: Acquire, with the Release above.
                while !holds[1 - me].load(Ordering::Acquire) {
                    common::hop();
                }
                // Poisoned if the other one panicked.
                let mut second = locks[1 - me]
                    .lock()
                    .unwrap_or_else(|error| error.into_inner());
                *first += 1;
                *second += 1;
            };
            let builder = brigade::thread::Builder::new();
            builder.name(["clerk", "boss"][me].to_owned()).spawn(body)
        };
        let handles = vec![spawn(0).unwrap(), spawn(1).unwrap()];
        Circle { locks, handles }
    }

    /// How many of the two threads panicked, when one had to.
    fn panicked(self) -> (usize, [u32; 2]) {
        let results: Vec<_> = self
            .handles
            .into_iter()
            .map(|handle| handle.join())
            .collect();
        let panicked = results.iter().filter(|result| result.is_err()).count();
        let value = |lock: &Mutex<u32>| *lock.lock().unwrap_or_else(|error| error.into_inner());
        (panicked, [value(&self.locks[0]), value(&self.locks[1])])
    }
}

/// Runs `body` on a thread of a runtime that migrates at every yield.
fn on_green(body: impl FnOnce() + Send) {
    alone_with_migrating_runtime(|runtime| runtime.run(body));
}

#[test]
fn the_thread_that_closes_the_circle_panics_with_the_report_and_the_other_goes_on() {
    let test = "the_thread_that_closes_the_circle_panics_with_the_report_and_the_other_goes_on";
    let ended = child::run(test, &[], || {
        let (tell, told) = mpsc::channel();
        on_deadlock(move |report| {
            tell.send(report.clone()).unwrap();
            DeadlockResponse::PanicClosing
        });
        on_green(move || {
            let circle = Circle::close();
            assert_eq!(circle.panicked(), (1, [1, 1]));
            let report: DeadlockReport = told.try_recv().unwrap();
            assert!(told.try_recv().is_err(), "it is told once");
            assert_eq!(report.kind, DeadlockKind::Cycle);
            let names: Vec<_> = report
                .threads
                .iter()
                .map(|thread| thread.thread.name.get())
                .collect();
            assert!(
                names == [Some("clerk"), Some("boss")] || names == [Some("boss"), Some("clerk")]
            );
            let json = report.to_json();
            for word in [
                "\"name\":\"till\"",
                "\"name\":\"safe\"",
                "\"name\":\"clerk\"",
            ] {
                assert!(json.contains(word), "{json}");
            }
        });
    });
    ended.assert_success();
    assert_eq!(
        ended.stderr.matches("deadlock: thread").count(),
        1,
        "the panic's own message"
    );
}

#[test]
fn a_panic_of_the_handler_is_a_panic_of_the_thread_that_closes_the_circle() {
    let test = "a_panic_of_the_handler_is_a_panic_of_the_thread_that_closes_the_circle";
    let ended = child::run(test, &[], || {
        on_deadlock(|_| panic!("the handler's own"));
        on_green(|| assert_eq!(Circle::close().panicked(), (1, [1, 1])));
    });
    ended.assert_success();
    assert!(ended.stderr.contains("the handler's own"));
}

#[test]
fn a_handler_may_lock_and_wait() {
    let test = "a_handler_may_lock_and_wait";
    let ended = child::run(test, &[], || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&log);
        on_deadlock(move |report| {
            brigade::thread::sleep(Duration::from_millis(1));
            theirs.lock().unwrap().push(report.threads.len());
            DeadlockResponse::PanicClosing
        });
        on_green(move || {
            let held = log.lock().unwrap();
            let circle = Circle::close();
            // The handler waits for this lock, if it has come so far; both orders must do.
            brigade::thread::sleep(Duration::from_millis(20));
            drop(held);
            assert_eq!(circle.panicked(), (1, [1, 1]));
            assert_eq!(*log.lock().unwrap(), [2]);
        });
    });
    ended.assert_success();
}

#[test]
fn without_a_handler_the_report_is_printed_once_and_the_rest_of_the_program_goes_on() {
    let test = "without_a_handler_the_report_is_printed_once_and_the_rest_of_the_program_goes_on";
    let ended = child::run(test, &[("BRIGADE_LOCK_ORDER", "0")], || {
        let circle = Circle::close();
        let waits = |name: &str| {
            brigade::diag::threads()
                .iter()
                .any(|thread| thread.thread.name.get() == Some(name) && thread.waits_for.is_some())
        };
        while !(waits("clerk") && waits("boss")) {
            std::thread::yield_now();
        }
        let rest: u32 = (0..100)
            .map(|n| brigade::thread::spawn(move || n).join().unwrap())
            .sum();
        assert_eq!(rest, 4950);
        std::mem::forget(circle);
        std::process::exit(0);
    });
    ended.assert_success();
    assert_eq!(
        ended.stderr.matches("deadlock: thread").count(),
        1,
        "{}",
        ended.stderr
    );
    for word in [
        "\"clerk\"",
        "\"boss\"",
        "\"till\"",
        "\"safe\"",
        "holds Mutex",
        "waits for Mutex",
    ] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let sites = ended.stderr.matches(file!()).count();
    assert!(
        sites >= 6,
        "spawn, taken, waited for, of both: {}",
        ended.stderr
    );
}

#[test]
fn a_program_may_abort_at_a_deadlock() {
    let test = "a_program_may_abort_at_a_deadlock";
    let ended = child::run(test, &[], || {
        on_deadlock(|report| {
            eprintln!("{report}");
            DeadlockResponse::Abort
        });
        on_green(|| {
            Circle::close().panicked();
        });
    });
    ended.assert_aborted_saying(&["deadlock: thread", "\"clerk\"", "\"boss\""]);
}

#[test]
fn threads_that_take_both_locks_in_one_order_are_not_reported() {
    let test = "threads_that_take_both_locks_in_one_order_are_not_reported";
    let ended = child::run(test, &[], || {
        on_deadlock(|_| DeadlockResponse::Abort);
        on_green(|| {
            let locks = Arc::new([Mutex::new(0), Mutex::new(0)]);
            let handles: Vec<_> = (0..20)
                .map(|_| {
                    let locks = Arc::clone(&locks);
                    brigade::thread::spawn(move || {
                        for _ in 0..200 {
                            let mut first = locks[0].lock().unwrap();
                            common::hop();
                            *first += 1;
                            *locks[1].lock().unwrap() += 1;
                        }
                    })
                })
                .collect();
            handles
                .into_iter()
                .for_each(|handle| handle.join().unwrap());
            assert_eq!(*locks[1].lock().unwrap(), 4000);
        });
    });
    ended.assert_success();
}
