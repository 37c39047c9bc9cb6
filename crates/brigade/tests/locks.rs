//! Locks of std and of parking_lot taken on one kernel thread are released on another.

mod common;

use std::cell::Cell;
use std::sync::{Mutex, RwLock, TryLockError};

use common::{Count, gettid, hop, migrating};
use parking_lot::ReentrantMutex;

const THREADS: usize = 200;
const ROUNDS: usize = 10;

/// How often a guard was dropped on another kernel thread than the one that took it.
static CROSSED: Count = Count::new();

/// Retries `attempt` with a yield between: a guard is held across yields, so blocking would hold a kernel thread.
fn until_some<T>(attempt: impl Fn() -> Option<T>) -> T {
    loop {
        match attempt() {
            Some(value) => return value,
            None => hop(),
        }
    }
}

/// Yields with a guard held and counts whether it is now on another kernel thread.
fn hop_with_guard() {
    let before = gettid();
    hop();
    if gettid() != before {
        CROSSED.up();
    }
}

#[test]
fn a_std_mutex_is_unlocked_on_another_kernel_thread() {
    static SUM: Mutex<usize> = Mutex::new(0);
    CROSSED.set(0);
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            let mut guard = until_some(|| match SUM.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Poisoned(_)) => panic!("a holder panicked"),
            });
            let seen = *guard;
            hop_with_guard();
            *guard = seen + 1;
        }
    });
    assert_eq!(*SUM.lock().expect("not poisoned"), THREADS * ROUNDS);
    assert!(
        CROSSED.get() > 0,
        "no guard crossed kernel threads: this run proves nothing"
    );
}

#[test]
fn a_std_rwlock_is_unlocked_on_another_kernel_thread() {
    static SUM: RwLock<usize> = RwLock::new(0);
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            if index % 4 == 0 {
                let mut guard = until_some(|| SUM.try_write().ok());
                let seen = *guard;
                hop();
                *guard = seen + 1;
            } else {
                let guard = until_some(|| SUM.try_read().ok());
                let seen = *guard;
                hop();
                assert_eq!(*guard, seen, "a writer came in beside a reader");
            }
        }
    });
    assert_eq!(*SUM.read().expect("not poisoned"), THREADS / 4 * ROUNDS);
}

#[test]
fn a_parking_lot_mutex_is_unlocked_on_another_kernel_thread() {
    static SUM: parking_lot::Mutex<usize> = parking_lot::Mutex::new(0);
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            let mut guard = until_some(|| SUM.try_lock());
            let seen = *guard;
            hop();
            *guard = seen + 1;
        }
    });
    assert_eq!(*SUM.lock(), THREADS * ROUNDS);
}

#[test]
fn a_reentrant_mutex_knows_its_owner_after_migration() {
    static SUM: ReentrantMutex<Cell<usize>> = ReentrantMutex::new(Cell::new(0));
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            let outer = until_some(|| SUM.try_lock());
            hop();
            let inner = SUM.try_lock().expect("the owner can lock again");
            let seen = outer.get();
            hop();
            inner.set(seen + 1);
        }
    });
    assert_eq!(SUM.lock().get(), THREADS * ROUNDS);
}

#[test]
fn short_blocking_critical_sections_are_exclusive() {
    static STD: Mutex<usize> = Mutex::new(0);
    static PARKING_LOT: parking_lot::Mutex<usize> = parking_lot::Mutex::new(0);
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            *STD.lock().expect("not poisoned") += 1;
            *PARKING_LOT.lock() += 1;
            hop();
        }
    });
    assert_eq!(
        (*STD.lock().expect("not poisoned"), *PARKING_LOT.lock()),
        (THREADS * ROUNDS, THREADS * ROUNDS)
    );
}

#[test]
fn a_std_mutex_works_between_green_threads_and_kernel_threads() {
    static SUM: Mutex<usize> = Mutex::new(0);
    let kernel_threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..THREADS {
                    *SUM.lock().expect("not poisoned") += 1;
                }
            })
        })
        .collect();
    migrating(THREADS, |_| {
        *SUM.lock().expect("not poisoned") += 1;
        hop();
    });
    for thread in kernel_threads {
        thread.join().expect("the kernel thread does not panic");
    }
    assert_eq!(*SUM.lock().expect("not poisoned"), 3 * THREADS);
}
