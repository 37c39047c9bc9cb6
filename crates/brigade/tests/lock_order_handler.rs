//! What a handler of reports about lock orders may do: panic, lock, be replaced.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use brigade::diag::{lock_order, lock_order_stats, on_lock_order};
use brigade::sync::Mutex;

use common::{Count, alone_with_migrating_runtime, child};

/// Locks with names of their own.
fn pair(names: [&'static str; 2]) -> [Mutex<()>; 2] {
    names.map(|name| Mutex::new(()).with_name(name))
}

fn nest(first: &Mutex<()>, second: &Mutex<()>) {
    let _first = first.lock().unwrap();
    let _second = second.lock().unwrap();
}

#[test]
fn a_panic_of_the_handler_comes_out_of_the_lock_and_the_locks_are_free_again() {
    let test = "a_panic_of_the_handler_comes_out_of_the_lock_and_the_locks_are_free_again";
    let ended = child::run(test, &[], || {
        on_lock_order(|report| panic!("handed over: {report}"));
        lock_order(true);
        alone_with_migrating_runtime(|runtime| {
            let work = runtime.spawn(|| {
                let [a, b] = pair(["a", "b"]);
                nest(&a, &b);
                let panic = catch_unwind(AssertUnwindSafe(|| nest(&b, &a))).unwrap_err();
                let text = panic.downcast_ref::<String>().unwrap();
                assert!(text.starts_with("handed over: lock order: Mutex \"b\""));
                assert!(b.is_poisoned(), "its guard was dropped by the panic");
                assert!(a.try_lock().is_ok(), "it was not taken");
                b.clear_poison();
                // The watch goes on.
                nest(&b, &a);
                let [c, d] = pair(["c", "d"]);
                nest(&c, &d);
                catch_unwind(AssertUnwindSafe(|| nest(&d, &c))).unwrap_err();
            });
            work.join().unwrap();
        });
        assert_eq!(lock_order_stats().reports, 2);
    });
    ended.assert_success();
}

#[test]
fn a_handler_may_lock_and_what_it_locks_is_not_learned() {
    let test = "a_handler_may_lock_and_what_it_locks_is_not_learned";
    let ended = child::run(test, &[], || {
        let log = Arc::new(Mutex::new(Vec::new()).with_name("log"));
        let inner = Arc::new(pair(["inner a", "inner b"]));
        let theirs = Arc::clone(&log);
        on_lock_order(move |report| {
            nest(&inner[0], &inner[1]);
            nest(&inner[1], &inner[0]);
            theirs.lock().unwrap().push(report.to_string());
        });
        lock_order(true);
        alone_with_migrating_runtime(|runtime| {
            let work = runtime.spawn(|| {
                let [a, b] = pair(["a", "b"]);
                nest(&a, &b);
                nest(&b, &a);
            });
            work.join().unwrap();
        });
        let texts = log.lock().unwrap();
        assert_eq!(texts.len(), 1);
        assert_eq!(lock_order_stats().edges, 2);
    });
    ended.assert_success();
}

#[test]
fn the_last_handler_counts_and_the_one_before_is_dropped() {
    let test = "the_last_handler_counts_and_the_one_before_is_dropped";
    let ended = child::run(test, &[], || {
        let first = Arc::new(Count::new());
        let second = Arc::new(Count::new());
        let count = Arc::clone(&first);
        on_lock_order(move |_| {
            count.up();
        });
        let count = Arc::clone(&second);
        on_lock_order(move |_| {
            count.up();
        });
        lock_order(true);
        let [a, b] = pair(["a", "b"]);
        nest(&a, &b);
        nest(&b, &a);
        assert_eq!((first.get(), second.get()), (0, 1));
        assert_eq!(Arc::strong_count(&first), 1);
    });
    ended.assert_success();
}
