//! Which orders of locks are reported, and which are not: each planted inversion beside a clean twin.
//!
//! The tests of this file share one process and one handler. The locks of each test have names that begin like no other
//! test's, and only reports about those count for it.

mod common;

use std::panic::Location;
use std::sync::{Arc, Mutex as StdMutex, Once};

use brigade::diag::{Mode, OrderKind, OrderReport, lock_order, on_lock_order};
use brigade::sync::{Mutex, MutexGuard};

use common::mixed::{mixed, on_workers};

static REPORTS: StdMutex<Vec<OrderReport>> = StdMutex::new(Vec::new());

/// Switches the watch on, and collects the reports.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        on_lock_order(|report| REPORTS.lock().unwrap().push(report.clone()));
        lock_order(true);
    });
}

/// The reports about locks whose names begin with `prefix`.
fn reports(prefix: &str) -> Vec<OrderReport> {
    let is_mine = |report: &&OrderReport| {
        let name = report.edges()[0].held.class.name;
        name.is_some_and(|name| name.starts_with(prefix))
    };
    REPORTS
        .lock()
        .unwrap()
        .iter()
        .filter(is_mine)
        .cloned()
        .collect()
}

/// Takes the locks in this order, each while the earlier ones are held.
fn nest(locks: &[&Mutex<()>]) {
    let _guards: Vec<MutexGuard<'_, ()>> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
}

fn named(name: &'static str) -> Mutex<()> {
    Mutex::new(()).with_name(name)
}

#[test]
fn an_inversion_on_one_thread_is_reported_with_both_sites_of_both_orders() {
    watch();
    let (a, b) = (named("pair.a"), named("pair.b"));
    let mut sites = Vec::new();
    {
        let _a = a.lock().unwrap();
        sites.push(line_above());
        let _b = b.lock().unwrap();
        sites.push(line_above());
    }
    assert_eq!(reports("pair").len(), 0);
    {
        let _b = b.lock().unwrap();
        sites.push(line_above());
        let _a = a.lock().unwrap();
        sites.push(line_above());
    }
    let reports = reports("pair");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].kind(), OrderKind::Inversion);
    let [late, early] = reports[0].edges() else {
        panic!("two edges: {}", reports[0]);
    };
    let lines = [&early.held, &early.taken, &late.held, &late.taken].map(|at| at.site.line());
    assert_eq!(lines[..], sites);
    assert!(
        [early, late]
            .iter()
            .all(|edge| edge.held.site.file() == file!())
    );
    let text = reports[0].to_string();
    for line in sites {
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
    }
}

/// The line before that of the call.
#[track_caller]
fn line_above() -> u32 {
    Location::caller().line() - 1
}

#[test]
fn one_order_taken_everywhere_is_not_reported() {
    watch();
    let locks = Arc::new([named("clean.a"), named("clean.b"), named("clean.c")]);
    on_workers(|runtime| {
        let locks = Arc::clone(&locks);
        mixed(runtime, 20, 3, move |index| {
            for round in 0..50 {
                let [a, b, c] = &*locks;
                match (index + round) % 3 {
                    0 => nest(&[a, b, c]),
                    1 => nest(&[a, c]),
                    _ => nest(&[b, c]),
                }
            }
        });
    });
    assert_eq!(reports("clean").len(), 0);
}

#[test]
fn an_inversion_seen_by_many_threads_at_once_is_reported_once() {
    watch();
    let first = named("crowd.a");
    let second = named("crowd.b");
    let locks = Arc::new((Mutex::new(()), first, second));
    on_workers(|runtime| {
        let locks = Arc::clone(&locks);
        mixed(runtime, 20, 3, move |index| {
            // The gate keeps them from a deadlock, as it would in a program that never hangs.
            let (gate, a, b) = &*locks;
            for round in 0..50 {
                let _gate = gate.lock().unwrap();
                if (index + round) % 2 == 0 {
                    nest(&[a, b]);
                } else {
                    nest(&[b, a]);
                }
            }
        });
    });
    assert_eq!(reports("crowd").len(), 1);
}

#[test]
fn a_green_thread_and_a_kernel_thread_complete_one_inversion_and_are_both_named() {
    watch();
    let locks = Arc::new((named("both.a"), named("both.b")));
    let theirs = Arc::clone(&locks);
    let spawned = brigade::thread::Builder::new()
        .name("green clerk".to_owned())
        .spawn(move || {
            nest(&[&theirs.0, &theirs.1]);
            brigade::thread::current().id()
        });
    let id = spawned.unwrap().join().unwrap();
    nest(&[&locks.1, &locks.0]);
    let reports = reports("both");
    assert_eq!(reports.len(), 1);
    let green = &reports[0].edges()[1].thread;
    assert_eq!(green.name.get(), Some("green clerk"));
    assert!(format!("{id:?}").contains(&green.id.to_string()));
    assert_ne!(reports[0].edges()[0].thread, *green);
}

#[test]
fn circles_of_three_and_of_ten_locks_are_reported_when_they_close() {
    const NAMES: [&str; 10] = [
        "ten.0", "ten.1", "ten.2", "ten.3", "ten.4", "ten.5", "ten.6", "ten.7", "ten.8", "ten.9",
    ];
    watch();
    let three = ["three.0", "three.1", "three.2"].map(named);
    let ten = NAMES.map(named);
    for (prefix, locks) in [("three", &three[..]), ("ten", &ten[..])] {
        for pair in locks.windows(2) {
            nest(&[&pair[0], &pair[1]]);
        }
        assert_eq!(reports(prefix).len(), 0);
        nest(&[&locks[locks.len() - 1], &locks[0]]);
        let found = reports(prefix);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].edges().len(), locks.len());
    }
}

#[test]
fn an_inversion_of_classes_is_found_on_other_locks_than_the_order() {
    watch();
    let make = || (named("class.a"), named("class.b"));
    let (one, other) = (make(), make());
    nest(&[&one.0, &one.1]);
    nest(&[&other.1, &other.0]);
    assert_eq!(reports("class").len(), 1);
}

#[test]
fn a_place_in_the_source_makes_a_class_where_there_is_no_name() {
    watch();
    let all = || REPORTS.lock().unwrap().clone();
    let is_mine = |report: &OrderReport| {
        let class = report.edges()[0].held.class;
        class.name.is_none() && report.edges().len() == 2
    };
    let made: Vec<_> = (0..2).map(|_| (Mutex::new(()), Mutex::new(()))).collect();
    nest(&[&made[0].0, &made[0].1]);
    nest(&[&made[1].1, &made[1].0]);
    let mine: Vec<_> = all().into_iter().filter(is_mine).collect();
    assert_eq!(mine.len(), 1);
    let class = mine[0].edges()[0].held.class;
    assert_eq!(class.created.file(), file!());
}

#[test]
fn a_lock_that_is_only_tried_makes_no_order_but_holds_up_others() {
    watch();
    let (a, b) = (named("try.a"), named("try.b"));
    nest(&[&a, &b]);
    {
        let _b = b.lock().unwrap();
        let _a = a.try_lock().unwrap();
    }
    assert_eq!(reports("try").len(), 0);
    // One that was never taken otherwise.
    let b = named("try.b");
    {
        let _b = b.try_lock().unwrap();
        let _a = a.lock().unwrap();
    }
    assert_eq!(reports("try").len(), 1);
}

#[test]
fn a_wait_with_a_deadline_makes_no_order() {
    watch();
    let (a, b) = (named("timed.a"), named("timed.b"));
    nest(&[&a, &b]);
    let _b = b.lock().unwrap();
    let _a = a.try_lock_for(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(reports("timed").len(), 0);
}

#[test]
fn locks_of_one_class_need_rising_ranks() {
    watch();
    let make = |name, rank| Mutex::new(()).with_name(name).with_rank(rank);
    let rising = [1, 2, 3].map(|rank| make("ranked.fine", rank));
    nest(&[&rising[0], &rising[1], &rising[2]]);
    assert_eq!(reports("ranked.fine").len(), 0);

    let falling = [1, 2].map(|rank| make("ranked.falling", rank));
    nest(&[&falling[1], &falling[0]]);
    nest(&[&falling[1], &falling[0]]);
    let unranked = [named("ranked.none"), named("ranked.none")];
    nest(&[&unranked[0], &unranked[1]]);
    for prefix in ["ranked.falling", "ranked.none"] {
        let found = reports(prefix);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind(), OrderKind::SameClass);
        assert_eq!(found[0].edges()[0].taken.mode, Mode::Exclusive);
    }
    let ranks = reports("ranked.falling")[0].edges()[0];
    assert_eq!((ranks.held.rank, ranks.taken.rank), (2, 1));
}

#[test]
fn a_lock_whose_guard_was_forgotten_may_be_gone_when_the_next_one_is_taken() {
    watch();
    let lost = Box::new(named("lost.a"));
    std::mem::forget(lost.lock());
    drop(lost);
    // What the memory holds next is not looked at.
    let _other = vec![usize::MAX; 64];
    let (b, c) = (named("lost.b"), named("lost.c"));
    nest(&[&b, &c]);
    assert_eq!(reports("lost").len(), 0);
    nest(&[&c, &b]);
    assert_eq!(reports("lost").len(), 1);
}
