//! When the order of locks is watched: the kind of build, the environment, the program; and what is said by default.

mod common;

use brigade::diag::{lock_order, lock_order_stats};
use brigade::sync::Mutex;

use common::child::{self, Ended};

const VARIABLE: &str = "BRIGADE_LOCK_ORDER";

/// Takes two locks in both orders, on one thread.
fn invert(names: [&'static str; 2]) {
    let [a, b] = names.map(|name| Mutex::new(()).with_name(name));
    for (first, second) in [(&a, &b), (&b, &a)] {
        let _first = first.lock().unwrap();
        let _second = second.lock().unwrap();
    }
}

fn inverted(ended: &Ended) -> usize {
    ended.assert_success();
    ended.stderr.matches("lock order: Mutex \"a\"").count()
        + ended.stderr.matches("lock order: Mutex \"b\"").count()
}

#[test]
fn by_default_the_order_is_watched_in_debug_builds_alone() {
    let test = "by_default_the_order_is_watched_in_debug_builds_alone";
    let ended = child::run(test, &[(VARIABLE, "")], || invert(["a", "b"]));
    assert_eq!(inverted(&ended), usize::from(cfg!(debug_assertions)));
}

#[test]
fn the_environment_switches_the_watch_on() {
    let test = "the_environment_switches_the_watch_on";
    let ended = child::run(test, &[(VARIABLE, "1")], || invert(["a", "b"]));
    assert_eq!(inverted(&ended), 1);
}

#[test]
fn the_environment_switches_the_watch_off() {
    let test = "the_environment_switches_the_watch_off";
    let ended = child::run(test, &[(VARIABLE, "0")], || {
        invert(["a", "b"]);
        assert_eq!(lock_order_stats().classes, 0);
    });
    assert_eq!(inverted(&ended), 0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_value_that_means_nothing_is_said_to() {
    let test = "a_value_that_means_nothing_is_said_to";
    let ended = child::run(test, &[(VARIABLE, "yes")], || invert(["a", "b"]));
    assert!(
        ended
            .stderr
            .contains("BRIGADE_LOCK_ORDER is neither 0 nor 1")
    );
}

#[test]
fn the_program_switches_the_watch_whatever_the_environment_says() {
    let test = "the_program_switches_the_watch_whatever_the_environment_says";
    let ended = child::run(test, &[(VARIABLE, "0")], || {
        lock_order(true);
        invert(["a", "b"]);
        lock_order(false);
        invert(["c", "d"]);
        lock_order(true);
        invert(["e", "f"]);
        assert_eq!(lock_order_stats().reports, 2);
        assert_eq!(lock_order_stats().edges, 4);
    });
    assert_eq!(inverted(&ended), 1);
    assert!(!ended.stderr.contains("Mutex \"c\""));
    assert!(ended.stderr.contains("Mutex \"e\""));
}

#[test]
fn without_a_handler_a_report_is_printed_once_and_whole() {
    let test = "without_a_handler_a_report_is_printed_once_and_whole";
    let ended = child::run(test, &[(VARIABLE, "1")], || {
        let [a, b] = ["a", "b"].map(|name| Mutex::new(()).with_name(name));
        for _ in 0..100 {
            for (first, second) in [(&a, &b), (&b, &a)] {
                let _first = first.lock().unwrap();
                let _second = second.lock().unwrap();
            }
        }
    });
    assert_eq!(inverted(&ended), 1);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 11, "{}", ended.stderr);
    assert_eq!(
        lines.iter().filter(|line| line.contains(file!())).count(),
        9
    );
}

#[test]
fn classes_beyond_the_limit_are_counted_and_said_once() {
    let test = "classes_beyond_the_limit_are_counted_and_said_once";
    let ended = child::run(test, &[(VARIABLE, "1")], || {
        for number in 0..5000 {
            let name = Box::leak(number.to_string().into_boxed_str());
            drop(Mutex::new(()).with_name(name).lock().unwrap());
        }
        let stats = lock_order_stats();
        assert_eq!((stats.classes, stats.unchecked), (4095, 905));
    });
    ended.assert_success();
    assert_eq!(ended.stderr.matches("more than 4095 classes").count(), 1);
}
