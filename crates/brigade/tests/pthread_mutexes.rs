//! pthread mutexes that know their owner: recursive, error-checking, robust; and the one kind that is refused.

mod common;

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use common::{Count, child, hop, migrating};

const THREADS: usize = 200;
const ROUNDS: usize = 10;

/// A pthread mutex of a chosen kind; it is never moved after it was initialised and never destroyed.
struct RawMutex(Box<UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: a pthread mutex is made to be used by several threads, and all access goes through the pthread calls.
unsafe impl Sync for RawMutex {}
// SAFETY: the mutex is on the heap and stays where it is when its owner moves.
unsafe impl Send for RawMutex {}

impl RawMutex {
    fn new(kind: i32, robust: i32, protocol: i32) -> RawMutex {
        let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised by the first call before the others read them, and the mutex is
        // ours alone until `pthread_mutex_init` is done with it.
        let results = unsafe {
            [
                libc::pthread_mutexattr_init(attributes.as_mut_ptr()),
                libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), kind),
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), robust),
                libc::pthread_mutexattr_setprotocol(attributes.as_mut_ptr(), protocol),
                libc::pthread_mutex_init(mutex.get(), attributes.as_ptr()),
            ]
        };
        assert_eq!(results, [0; 5]);
        RawMutex(mutex)
    }

    fn plain(kind: i32) -> RawMutex {
        RawMutex::new(kind, libc::PTHREAD_MUTEX_STALLED, libc::PTHREAD_PRIO_NONE)
    }

    fn lock(&self) -> i32 {
        // SAFETY: the mutex was initialised and lives as long as `self`.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    fn unlock(&self) -> i32 {
        // SAFETY: as in `lock`; an unlock by another than the owner is an error result of these kinds.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }

    fn lock_by_yielding(&self) {
        while self.try_lock() != 0 {
            hop();
        }
    }
}

/// The owner locks again after a migration; nobody else can unlock.
fn check_recursive(mutex: &RawMutex) {
    for _ in 0..ROUNDS {
        mutex.lock_by_yielding();
        hop();
        assert_eq!(
            mutex.lock(),
            0,
            "the owner was not recognised after it migrated"
        );
        hop();
        assert_eq!(mutex.unlock(), 0);
        hop();
        assert_eq!(mutex.unlock(), 0);
        assert_eq!(
            mutex.unlock(),
            libc::EPERM,
            "a thread unlocked what it does not own"
        );
    }
}

#[test]
fn a_recursive_mutex_knows_its_owner_after_migration() {
    let mutex = RawMutex::plain(libc::PTHREAD_MUTEX_RECURSIVE);
    migrating(THREADS, move |_| check_recursive(&mutex));
}

#[test]
fn a_robust_recursive_mutex_knows_its_owner_after_migration() {
    let mutex = RawMutex::new(
        libc::PTHREAD_MUTEX_RECURSIVE,
        libc::PTHREAD_MUTEX_ROBUST,
        libc::PTHREAD_PRIO_NONE,
    );
    migrating(THREADS, move |_| check_recursive(&mutex));
}

#[test]
fn an_error_checking_mutex_reports_its_owner_after_migration() {
    let mutex = RawMutex::plain(libc::PTHREAD_MUTEX_ERRORCHECK);
    migrating(THREADS, move |_| {
        for _ in 0..ROUNDS {
            mutex.lock_by_yielding();
            hop();
            assert_eq!(
                mutex.lock(),
                libc::EDEADLK,
                "the owner was not recognised after it migrated"
            );
            hop();
            assert_eq!(mutex.unlock(), 0);
        }
    });
}

#[test]
fn a_normal_mutex_is_unlocked_on_another_kernel_thread() {
    let mutex = RawMutex::plain(libc::PTHREAD_MUTEX_NORMAL);
    migrating(THREADS, move |_| {
        for _ in 0..ROUNDS {
            mutex.lock_by_yielding();
            hop();
            assert_eq!(mutex.try_lock(), libc::EBUSY);
            assert_eq!(mutex.unlock(), 0);
        }
    });
}

#[test]
fn no_two_green_threads_and_no_kernel_thread_share_an_owner() {
    let mutex = RawMutex::plain(libc::PTHREAD_MUTEX_RECURSIVE);
    assert_eq!(mutex.lock(), 0);
    let mutex = std::sync::Arc::new(mutex);
    let shared = std::sync::Arc::clone(&mutex);
    migrating(THREADS, move |_| {
        assert_eq!(
            shared.try_lock(),
            libc::EBUSY,
            "a green thread passed for the kernel thread that owns the mutex"
        );
        hop();
        assert_eq!(shared.unlock(), libc::EPERM);
    });
    assert_eq!(mutex.unlock(), 0);
}

#[test]
fn a_priority_inheriting_mutex_is_refused_on_a_green_thread() {
    let ended = child::run(
        "a_priority_inheriting_mutex_is_refused_on_a_green_thread",
        &[],
        || {
            migrating(2, |_| {
                let mutex = RawMutex::new(
                    libc::PTHREAD_MUTEX_NORMAL,
                    libc::PTHREAD_MUTEX_STALLED,
                    libc::PTHREAD_PRIO_INHERIT,
                );
                hop();
                mutex.lock();
            });
        },
    );
    ended.assert_aborted_saying(&["priority-inheritance mutex", "green thread"]);
}

#[test]
fn a_priority_inheriting_mutex_works_on_kernel_threads_beside_green_threads() {
    static LOCKED: Count = Count::new();
    let mutex = RawMutex::new(
        libc::PTHREAD_MUTEX_NORMAL,
        libc::PTHREAD_MUTEX_STALLED,
        libc::PTHREAD_PRIO_INHERIT,
    );
    let kernel_thread = std::thread::spawn(move || {
        for _ in 0..1000 {
            assert_eq!(mutex.lock(), 0);
            LOCKED.up();
            assert_eq!(mutex.unlock(), 0);
        }
    });
    migrating(10, |_| {
        hop();
        LOCKED.wait_for(1000);
    });
    kernel_thread
        .join()
        .expect("the kernel thread does not panic");
}
