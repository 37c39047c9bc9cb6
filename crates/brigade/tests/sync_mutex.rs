//! `brigade::sync::Mutex` between green and kernel threads in any mix: exclusion, service in the end, poisoning, time
//! limits, guards, and what others are told.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::{Builder, Model, Runtime};
use brigade::sync::{Mutex, MutexGuard, TryLockError};
use brigade_runtime::WaitReason;
use brigade_runtime::park::me;
use common::mixed::{everywhere, mixed, waiting, where_computing_freezes_nobody};
use common::{Count, Watch, hop, migrating, on_model};

const LONG: Duration = Duration::from_secs(250);
const SHORT: Duration = Duration::from_millis(5);

fn runtime(workers: usize) -> Runtime {
    Builder::new().workers(workers).build().expect("a runtime")
}

#[test]
fn no_addition_is_lost_and_nobody_else_is_inside() {
    const GREEN: usize = 30;
    const KERNEL: usize = 3;
    const ROUNDS: usize = 1_000;
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0_usize), Count::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, GREEN, KERNEL, move |index| {
            let (mutex, inside) = &*theirs;
            for round in 0..ROUNDS {
                let mut sum = mutex.lock().expect("nobody panics");
                assert_eq!(inside.up(), 0, "somebody else is inside");
                *sum += 1;
                if (round + index).is_multiple_of(97) {
                    brigade::thread::yield_now();
                }
                inside.down();
            }
        });
        let sum = *shared.0.lock().expect("nobody panics");
        assert_eq!(sum, (GREEN + KERNEL) * ROUNDS);
        assert!(!me().holds_any(), "a lock is still remembered");
    });
}

#[test]
fn additions_count_when_each_way_to_lock_is_mixed() {
    const ROUNDS: usize = 300;
    everywhere(|runtime| {
        let shared = Arc::new((Mutex::new(0_usize), Count::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, 12, 2, move |index| {
            let (mutex, added) = &*theirs;
            for round in 0..ROUNDS {
                let guard = match (round + index) % 4 {
                    0 => mutex.lock().ok(),
                    1 => mutex.try_lock().ok(),
                    2 => mutex.try_lock_for(Duration::from_micros(20)).ok(),
                    _ => mutex.try_lock_until(Instant::now() + LONG).ok(),
                };
                if let Some(mut sum) = guard {
                    *sum += 1;
                    added.up();
                    if round.is_multiple_of(13) {
                        brigade::thread::yield_now();
                    }
                }
            }
        });
        let sum = *shared.0.lock().expect("nobody panics");
        assert_eq!(sum, shared.1.get());
        assert!(sum >= 14 * ROUNDS / 2, "those without a short limit get it");
    });
}

#[test]
fn a_guard_is_dropped_on_another_kernel_thread_than_it_was_made_on() {
    static SUM: Mutex<usize> = Mutex::new(0);
    migrating(50, |_| {
        for _ in 0..10 {
            let mut guard = SUM.lock().expect("nobody panics");
            let seen = *guard;
            hop();
            *guard = seen + 1;
        }
    });
    assert_eq!(*SUM.lock().expect("nobody panics"), 500);
}

#[test]
fn a_thread_that_waits_gets_the_lock_from_one_that_takes_it_all_the_time() {
    where_computing_freezes_nobody(|runtime| {
        let shared = Arc::new((Mutex::new(()), Count::new()));
        let theirs = Arc::clone(&shared);
        let greedy = runtime.spawn(move || {
            while theirs.1.get() == 0 {
                let _guard = theirs.0.lock().expect("nobody panics");
                for _ in 0..100 {
                    std::hint::spin_loop();
                }
            }
        });
        let mut others = Vec::new();
        for _ in 0..4 {
            let theirs = Arc::clone(&shared);
            others.push(runtime.spawn(move || {
                for _ in 0..20 {
                    drop(theirs.0.lock().expect("nobody panics"));
                }
            }));
        }
        let theirs = Arc::clone(&shared);
        let kernel = std::thread::spawn(move || {
            for _ in 0..20 {
                drop(theirs.0.lock().expect("nobody panics"));
            }
        });
        for other in others {
            other.join().expect("no panic");
        }
        kernel.join().expect("no panic");
        shared.1.up();
        greedy.join().expect("no panic");
    });
}

#[test]
fn a_thread_that_overtakes_hands_the_lock_over_in_the_end() {
    // On the only worker, so that the waiter cannot take the lock before the other thread tries to.
    on_model(Model::ManyToOne, |runtime| {
        let mutex = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&mutex);
        let overtakes = runtime.spawn(move || {
            let mut guard = theirs.lock().expect("nobody panics");
            let waiter = Arc::clone(&theirs);
            let waiter = brigade::thread::spawn(move || drop(waiter.lock().expect("no panic")));
            loop {
                // The waiter comes, and finds the lock taken.
                brigade::thread::yield_now();
                drop(guard);
                match theirs.try_lock() {
                    Ok(taken) => guard = taken,
                    Err(_) => break,
                }
            }
            waiter.join().expect("no panic");
        });
        overtakes.join().expect("no panic");
    });
}

#[test]
fn try_lock_fails_while_the_lock_is_held_and_only_then() {
    let mutex = Mutex::new(1);
    {
        let guard = mutex.try_lock().expect("free");
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        assert_eq!(*guard, 1);
    }
    drop(mutex.try_lock().expect("free again"));
}

#[test]
fn a_wait_with_a_limit_ends_without_the_lock_and_spoils_nothing() {
    everywhere(|runtime| {
        let mutex = Arc::new(Mutex::new(0));
        for _ in 0..5 {
            let guard = mutex.lock().expect("nobody panics");
            let (theirs, late) = (Arc::clone(&mutex), Arc::new(Count::new()));
            let counted = Arc::clone(&late);
            mixed(runtime, 6, 2, move |index| {
                let begun = Instant::now();
                let got = if index.is_multiple_of(2) {
                    theirs.try_lock_for(SHORT).is_ok()
                } else {
                    theirs.try_lock_until(Instant::now() + SHORT).is_ok()
                };
                assert!(!got && begun.elapsed() >= SHORT);
                counted.up();
            });
            assert_eq!(late.get(), 8);
            drop(guard);
            *mutex.try_lock().expect("free, though some gave up") += 1;
        }
        assert_eq!(*mutex.lock().expect("nobody panics"), 5);
    });
}

#[test]
fn a_limit_in_the_past_takes_a_free_lock() {
    let mutex = Mutex::new(());
    drop(mutex.try_lock_for(Duration::ZERO).expect("it is free"));
    drop(mutex.try_lock_until(Instant::now()).expect("it is free"));
    drop(mutex.try_lock_for(Duration::MAX).expect("it is free"));
}

#[test]
fn a_panic_with_the_guard_poisons_and_the_value_is_still_there() {
    everywhere(|runtime| {
        let mutex = Arc::new(Mutex::new(7));
        let theirs = Arc::clone(&mutex);
        let panicked = runtime.spawn(move || {
            let mut guard = theirs.lock().expect("not yet");
            *guard = 8;
            panic!("planted: with the guard");
        });
        assert!(panicked.join().is_err());
        assert!(mutex.is_poisoned());
        let poisoned = mutex.lock().expect_err("poisoned");
        assert_eq!(*poisoned.into_inner(), 8);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        mutex.clear_poison();
        assert_eq!(*mutex.lock().expect("cleared"), 8);
        assert!(!me().holds_any());
    });
}

#[test]
fn a_guard_taken_while_the_thread_unwinds_does_not_poison() {
    struct LocksInDrop(Arc<Mutex<i32>>);
    impl Drop for LocksInDrop {
        fn drop(&mut self) {
            *self.0.lock().expect("not poisoned") += 1;
        }
    }
    everywhere(|runtime| {
        let mutex = Arc::new(Mutex::new(0));
        let theirs = LocksInDrop(Arc::clone(&mutex));
        let panicked = runtime.spawn(move || {
            let _theirs = theirs;
            panic!("planted: the destructor takes the lock");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*mutex.lock().expect("not poisoned"), 1);
    });
}

#[test]
fn a_poisoned_mutex_gives_its_value_up_as_an_error() {
    let mut mutex = Mutex::new(String::from("a"));
    mutex.get_mut().expect("not poisoned").push('b');
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = mutex.lock();
        panic!("planted: with the guard");
    }));
    assert!(panicked.is_err());
    assert_eq!(mutex.get_mut().expect_err("poisoned").into_inner(), "ab");
    assert_eq!(mutex.into_inner().expect_err("poisoned").into_inner(), "ab");
}

#[test]
fn the_value_is_dropped_once() {
    struct Counted(Arc<Count>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.up();
        }
    }
    let drops = Arc::new(Count::new());
    let taken = Mutex::new(Counted(Arc::clone(&drops))).into_inner();
    assert_eq!(drops.get(), 0);
    drop(taken);
    assert_eq!(drops.get(), 1);
    drop(Mutex::new(Counted(Arc::clone(&drops))));
    assert_eq!(drops.get(), 2);
}

#[test]
fn a_mutex_of_something_unsized_works() {
    let mutex: &Mutex<[i32]> = &Mutex::new([1, 2, 3]);
    mutex.lock().expect("not poisoned")[0] = 4;
    assert_eq!(*mutex.lock().expect("not poisoned"), [4, 2, 3]);
}

#[test]
fn a_mapped_guard_holds_the_lock_until_it_is_dropped() {
    let mutex = Mutex::new((1, vec![2]));
    let part = MutexGuard::map(mutex.lock().expect("not poisoned"), |pair| &mut pair.1);
    let mut first = brigade::sync::MappedMutexGuard::map(part, |list| &mut list[0]);
    *first = 3;
    assert!(mutex.try_lock().is_err());
    drop(first);
    assert_eq!(mutex.try_lock().expect("given back").1, [3]);
}

#[test]
fn debug_shows_the_value_or_that_it_is_locked() {
    let mutex = Mutex::new(5);
    assert!(format!("{mutex:?}").contains("data: 5"));
    let guard = mutex.lock().expect("not poisoned");
    assert!(format!("{mutex:?}").contains("<locked>"));
    assert_eq!(format!("{guard:?} {guard}"), "5 5");
}

#[test]
fn who_waits_says_so_and_who_holds_is_known() {
    let _watch = Watch::new("a wait record");
    let runtime = runtime(2);
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock().expect("nobody panics");
    let mut held = Vec::new();
    me().for_each_held(|lock| held.push(lock));
    assert_eq!(held.len(), 1);
    assert!(held[0].site.file().ends_with("sync_mutex.rs"));
    let theirs = Arc::clone(&mutex);
    let (record, waiter) = waiting(&runtime, move || drop(theirs.lock().expect("no panic")));
    assert_eq!(record.wait.reason, WaitReason::Mutex);
    assert_eq!(record.wait.object, held[0].address);
    assert!(!record.timed);
    let theirs = Arc::clone(&mutex);
    let (record, timed) = waiting(&runtime, move || theirs.try_lock_for(LONG).is_ok());
    assert_eq!(record.wait.reason, WaitReason::Mutex);
    assert!(record.timed);
    drop(guard);
    waiter.join().expect("no panic");
    assert!(
        timed.join().expect("no panic"),
        "the lock was given back in time"
    );
    assert!(!me().holds_any());
}

#[test]
fn many_locks_are_given_back_in_any_order() {
    let locks: Vec<_> = (1..=30)
        .map(|rank| Mutex::new(rank).with_rank(rank))
        .collect();
    let mut guards: Vec<_> = locks.iter().map(|lock| lock.lock().ok()).collect();
    for index in (0..30)
        .step_by(3)
        .chain((1..30).step_by(3))
        .chain((2..30).step_by(3))
    {
        guards[index] = None;
        assert!(locks[index].try_lock().is_ok());
    }
    assert!(!me().holds_any());
}

#[test]
fn thousands_wait_for_one_lock_and_all_get_it() {
    const THREADS: usize = 5_000;
    let _watch = Watch::new("thousands of waiters");
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().expect("nobody panics");
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                runtime.spawn(move || *mutex.lock().expect("nobody panics") += 1)
            })
            .collect();
        drop(guard);
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(*mutex.lock().expect("nobody panics"), THREADS);
    }
}
