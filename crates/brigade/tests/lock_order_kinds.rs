//! The order of locks of all kinds: readers and writers, the mutex of a condition variable, initialisations.
//!
//! As in `lock_order_reports.rs`, the tests share one handler, and each has names of its own.

mod common;

use std::sync::{Arc, Mutex as StdMutex, Once};
use std::time::Duration;

use brigade::diag::{LockKind, Mode, OrderKind, OrderReport, lock_order, on_lock_order};
use brigade::sync::{Condvar, Mutex, RwLock};

static REPORTS: StdMutex<Vec<OrderReport>> = StdMutex::new(Vec::new());

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

#[test]
fn readers_count_like_writers() {
    watch();
    let a = RwLock::new(()).with_name("reader.a");
    let b = RwLock::new(()).with_name("reader.b");
    {
        let _a = a.read().unwrap();
        let _b = b.read().unwrap();
    }
    {
        let _a = a.write().unwrap();
        let _b = b.read().unwrap();
    }
    assert_eq!(reports("reader").len(), 0);
    {
        let _b = b.read().unwrap();
        let _a = a.read().unwrap();
    }
    let found = reports("reader");
    assert_eq!(found.len(), 1);
    assert!(found[0].edges().iter().all(|edge| {
        edge.held.class.kind == LockKind::RwLock
            && (edge.held.mode, edge.taken.mode) == (Mode::Shared, Mode::Shared)
    }));
    assert!(found[0].to_string().contains("taken for reading at"));
}

#[test]
fn a_mutex_and_a_rwlock_can_close_a_circle() {
    watch();
    let a = Mutex::new(()).with_name("mixed.a");
    let b = RwLock::new(()).with_name("mixed.b");
    {
        let _a = a.lock().unwrap();
        let _b = b.write().unwrap();
    }
    assert_eq!(reports("mixed").len(), 0);
    {
        let _b = b.write().unwrap();
        let _a = a.lock().unwrap();
    }
    assert_eq!(reports("mixed").len(), 1);
}

#[test]
fn a_lock_read_twice_by_one_thread_is_reported_and_one_read_by_two_is_not() {
    watch();
    let shared = Arc::new(RwLock::new(()).with_name("twice.shared"));
    let theirs = Arc::clone(&shared);
    let mine = shared.read().unwrap();
    let reader = brigade::thread::spawn(move || drop(theirs.read().unwrap()));
    reader.join().unwrap();
    assert_eq!(reports("twice").len(), 0);
    drop(shared.read().unwrap());
    drop(mine);
    let found = reports("twice");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind(), OrderKind::ReadTwice);
}

#[test]
fn tried_readers_and_writers_make_no_order_but_hold_up_others() {
    watch();
    let a = RwLock::new(()).with_name("try.a");
    let b = RwLock::new(()).with_name("try.b");
    {
        let _a = a.read().unwrap();
        let _b = b.write().unwrap();
    }
    {
        let _b = b.write().unwrap();
        let _a = a.try_read().unwrap();
    }
    {
        let _b = b.read().unwrap();
        let _a = a.try_write_for(Duration::from_secs(60)).unwrap();
    }
    assert_eq!(reports("try").len(), 0);
    // One that was never taken otherwise.
    let b = RwLock::new(()).with_name("try.b");
    {
        let _b = b.try_write().unwrap();
        let _a = a.read().unwrap();
    }
    assert_eq!(reports("try").len(), 1);
}

/// Waits for a condition that does not come, while the mutex `other` is held or not.
fn wait_with(names: [&'static str; 2], holds_other: bool) {
    let [mutex, other] = names.map(|name| Mutex::new(()).with_name(name));
    let changed = Condvar::new();
    let guard = mutex.lock().unwrap();
    let held = other.lock().unwrap();
    let held = holds_other.then_some(held);
    let waited = changed.wait_timeout(guard, Duration::from_millis(1));
    drop(waited.unwrap());
    drop(held);
}

#[test]
fn a_mutex_taken_again_after_a_wait_comes_after_what_was_held_meanwhile() {
    watch();
    wait_with(["condition.clean.a", "condition.clean.b"], false);
    assert_eq!(reports("condition.clean").len(), 0);
    wait_with(["condition.held.a", "condition.held.b"], true);
    let found = reports("condition.held");
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].edges()[0].taken.class.name,
        Some("condition.held.a")
    );
}
