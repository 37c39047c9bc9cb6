//! `brigade::sync::RwLock` between green and kernel threads in any mix: writers alone, readers together, nobody starved,
//! poisoning, time limits, guards, and what others are told.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::{Builder, Model, Runtime};
use brigade::sync::{RwLock, RwLockWriteGuard, TryLockError};
use brigade_event::Mode;
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
fn writers_are_alone_and_no_write_is_lost() {
    const GREEN: usize = 24;
    const KERNEL: usize = 3;
    const ROUNDS: usize = 600;
    struct Shared {
        pair: RwLock<(usize, usize)>,
        readers: Count,
        writers: Count,
        writes: Count,
    }
    everywhere(|runtime| {
        let shared = Arc::new(Shared {
            pair: RwLock::new((0, 0)),
            readers: Count::new(),
            writers: Count::new(),
            writes: Count::new(),
        });
        let theirs = Arc::clone(&shared);
        mixed(runtime, GREEN, KERNEL, move |index| {
            for round in 0..ROUNDS {
                let pauses = (round + index).is_multiple_of(61);
                if (round + index).is_multiple_of(5) {
                    let mut pair = theirs.pair.write().expect("nobody panics");
                    assert_eq!(theirs.writers.up(), 0, "two writers");
                    assert_eq!(theirs.readers.get(), 0, "a reader beside a writer");
                    pair.0 += 1;
                    if pauses {
                        brigade::thread::yield_now();
                    }
                    pair.1 += 1;
                    theirs.writes.up();
                    theirs.writers.down();
                } else {
                    let pair = theirs.pair.read().expect("nobody panics");
                    theirs.readers.up();
                    assert_eq!(theirs.writers.get(), 0, "a writer beside a reader");
                    if pauses {
                        brigade::thread::yield_now();
                    }
                    assert_eq!(pair.0, pair.1, "half of a write was seen");
                    theirs.readers.down();
                }
            }
        });
        let pair = *shared.pair.read().expect("nobody panics");
        assert_eq!(pair.0, shared.writes.get());
        assert_eq!(pair.1, shared.writes.get());
        assert!(!me().holds_any());
    });
}

#[test]
fn writes_count_when_each_way_to_lock_is_mixed() {
    const ROUNDS: usize = 300;
    everywhere(|runtime| {
        let shared = Arc::new((RwLock::new(0_usize), Count::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, 12, 2, move |index| {
            let (lock, added) = &*theirs;
            let instant = Duration::from_micros(20);
            for round in 0..ROUNDS {
                let guard = match (round + index) % 7 {
                    0 => lock.write().ok(),
                    1 => lock.try_write().ok(),
                    2 => lock.try_write_for(instant).ok(),
                    3 => lock.try_write_until(Instant::now() + LONG).ok(),
                    4 => {
                        drop(lock.try_read_for(instant));
                        None
                    }
                    5 => {
                        drop(lock.try_read_until(Instant::now() + LONG));
                        None
                    }
                    _ => {
                        drop(lock.read());
                        None
                    }
                };
                if let Some(mut sum) = guard {
                    *sum += 1;
                    added.up();
                    if round.is_multiple_of(13) {
                        brigade::thread::yield_now();
                    }
                    if round.is_multiple_of(3) {
                        let sum = RwLockWriteGuard::downgrade(sum);
                        assert!(*sum > 0);
                    }
                }
            }
        });
        let sum = *shared.0.read().expect("nobody panics");
        assert_eq!(sum, shared.1.get());
        assert!(sum > 0);
    });
}

#[test]
fn readers_are_inside_together() {
    const READERS: usize = 10;
    everywhere(|runtime| {
        let shared = Arc::new((RwLock::new(()), Count::new()));
        let theirs = Arc::clone(&shared);
        mixed(runtime, READERS - 2, 2, move |_| {
            let _guard = theirs.0.read().expect("nobody panics");
            theirs.1.up();
            // Nobody leaves before all are inside.
            while theirs.1.get() < READERS {
                brigade::thread::yield_now();
            }
        });
    });
}

#[test]
fn a_guard_is_dropped_on_another_kernel_thread_than_it_was_made_on() {
    static SUM: RwLock<usize> = RwLock::new(0);
    migrating(50, |index| {
        for _ in 0..10 {
            if index.is_multiple_of(5) {
                let mut guard = SUM.write().expect("nobody panics");
                let seen = *guard;
                hop();
                *guard = seen + 1;
            } else {
                let guard = SUM.read().expect("nobody panics");
                let seen = *guard;
                hop();
                assert_eq!(*guard, seen);
            }
        }
    });
    assert_eq!(*SUM.read().expect("nobody panics"), 100);
}

/// One side takes the lock all the time, in two threads that overlap; the other gets it all the same.
fn is_served(greedy_writes: bool) {
    where_computing_freezes_nobody(|runtime| {
        let shared = Arc::new((RwLock::new(()), Count::new()));
        let greedy: Vec<_> = (0..2)
            .map(|_| {
                let theirs = Arc::clone(&shared);
                runtime.spawn(move || {
                    while theirs.1.get() == 0 {
                        if greedy_writes {
                            let _guard = theirs.0.write().expect("nobody panics");
                            (0..50).for_each(|_| std::hint::spin_loop());
                        } else {
                            let _guard = theirs.0.read().expect("nobody panics");
                            brigade::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let theirs = Arc::clone(&shared);
        mixed(runtime, 3, 1, move |_| {
            for _ in 0..10 {
                if greedy_writes {
                    drop(theirs.0.read().expect("nobody panics"));
                } else {
                    drop(theirs.0.write().expect("nobody panics"));
                }
            }
        });
        shared.1.up();
        for thread in greedy {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn writers_are_served_beside_readers_that_overlap() {
    is_served(false);
}

#[test]
fn readers_are_served_beside_writers() {
    is_served(true);
}

/// A thread that holds the lock in one mode gives it back and tries to take it again at once, until it fails because
/// the lock was handed to a thread that waits for it in another.
fn is_handed_over<'a, G>(
    try_lock: impl Fn(&'a RwLock<()>) -> Option<G>,
    lock: &'a Arc<RwLock<()>>,
    wait: fn(&RwLock<()>),
) {
    let mut guard = try_lock(lock).expect("free");
    let theirs = Arc::clone(lock);
    let waiter = brigade::thread::spawn(move || wait(&theirs));
    loop {
        // The waiter comes, and finds the lock taken.
        brigade::thread::yield_now();
        drop(guard);
        match try_lock(lock) {
            Some(taken) => guard = taken,
            None => break,
        }
    }
    waiter.join().expect("no panic");
}

#[test]
fn a_thread_that_overtakes_hands_the_lock_over_in_the_end() {
    fn read(lock: &RwLock<()>) {
        drop(lock.read().expect("nobody panics"));
    }
    fn write(lock: &RwLock<()>) {
        drop(lock.write().expect("nobody panics"));
    }
    // On the only worker, so that the waiter cannot take the lock before the other thread tries to.
    on_model(Model::ManyToOne, |runtime| {
        let overtakes = runtime.spawn(|| {
            let lock = Arc::new(RwLock::new(()));
            is_handed_over(|lock| lock.try_write().ok(), &lock, read);
            is_handed_over(|lock| lock.try_write().ok(), &lock, write);
            is_handed_over(|lock| lock.try_read().ok(), &lock, write);
            drop(lock.try_write().expect("free"));
        });
        overtakes.join().expect("no panic");
    });
}

#[test]
fn a_reader_that_comes_later_does_not_overtake_a_writer_that_waits() {
    let _watch = Watch::new("a waiting writer");
    let runtime = runtime(2);
    let lock = Arc::new(RwLock::new(0));
    let reader = lock.read().expect("nobody panics");
    let theirs = Arc::clone(&lock);
    let (record, writer) = waiting(&runtime, move || *theirs.write().expect("no panic") = 1);
    assert_eq!(record.wait.reason, WaitReason::RwLockWrite);
    assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
    let theirs = Arc::clone(&lock);
    let (record, later) = waiting(&runtime, move || *theirs.read().expect("no panic"));
    assert_eq!(record.wait.reason, WaitReason::RwLockRead);
    drop(reader);
    writer.join().expect("no panic");
    assert_eq!(
        later.join().expect("no panic"),
        1,
        "it read before the writer"
    );
}

#[test]
fn readers_behind_a_writer_that_gave_up_read_beside_the_first_one() {
    everywhere(|runtime| {
        let lock = Arc::new(RwLock::new(0));
        let reader = lock.read().expect("nobody panics");
        let theirs = Arc::clone(&lock);
        mixed(runtime, 5, 2, move |index| {
            if index.is_multiple_of(5) {
                assert!(theirs.try_write_for(SHORT).is_err());
            } else {
                // It ends, though the first reader stays.
                drop(theirs.read().expect("nobody panics"));
            }
        });
        drop(lock.try_read().expect("no writer waits"));
        drop(reader);
        drop(lock.try_write().expect("free"));
    });
}

#[test]
fn try_write_fails_while_somebody_reads_and_try_read_while_somebody_writes() {
    let lock = RwLock::new(1);
    let reader = lock.try_read().expect("free");
    drop(lock.try_read().expect("others only read"));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(reader);
    let writer = lock.try_write().expect("free");
    assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(writer);
    assert!(lock.try_read().is_ok());
}

#[test]
fn a_wait_with_a_limit_ends_without_the_lock_and_spoils_nothing() {
    everywhere(|runtime| {
        let lock = Arc::new(RwLock::new(0));
        let writer = lock.write().expect("nobody panics");
        let theirs = Arc::clone(&lock);
        mixed(runtime, 6, 2, move |index| {
            let begun = Instant::now();
            let got = match index % 3 {
                0 => theirs.try_read_for(SHORT).is_ok(),
                1 => theirs.try_write_for(SHORT).is_ok(),
                _ => theirs.try_write_until(Instant::now() + SHORT).is_ok(),
            };
            assert!(!got && begun.elapsed() >= SHORT);
        });
        drop(writer);
        drop(lock.try_read().expect("free"));
        drop(lock.try_write().expect("free"));
    });
}

#[test]
fn a_writer_that_panics_poisons_and_a_reader_does_not() {
    everywhere(|runtime| {
        let lock = Arc::new(RwLock::new(1));
        let theirs = Arc::clone(&lock);
        let reader = runtime.spawn(move || {
            let _guard = theirs.read().expect("not poisoned");
            panic!("planted: a reader");
        });
        assert!(reader.join().is_err());
        assert!(!lock.is_poisoned());
        let theirs = Arc::clone(&lock);
        let writer = runtime.spawn(move || {
            *theirs.write().expect("not poisoned") = 2;
            let _guard = theirs.write().expect("not poisoned");
            panic!("planted: a writer");
        });
        assert!(writer.join().is_err());
        assert!(lock.is_poisoned());
        assert_eq!(*lock.read().expect_err("poisoned").into_inner(), 2);
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
        lock.clear_poison();
        drop(lock.write().expect("cleared"));
    });
}

#[test]
fn a_writer_that_became_a_reader_lets_readers_in_and_keeps_writers_out() {
    let _watch = Watch::new("a downgrade");
    let runtime = runtime(2);
    let lock = Arc::new(RwLock::new(0));
    let mut writer = lock.write().expect("nobody panics");
    let theirs = Arc::clone(&lock);
    let (_, reads) = waiting(&runtime, move || *theirs.read().expect("no panic"));
    *writer = 1;
    let reader = RwLockWriteGuard::downgrade(writer);
    assert_eq!(
        reads.join().expect("no panic"),
        1,
        "it waits though nobody writes"
    );
    assert!(lock.try_write().is_err());
    let mut held = Vec::new();
    me().for_each_held(|lock| held.push(lock.mode));
    assert_eq!(held, [Mode::Shared]);
    drop(reader);
    drop(lock.try_write().expect("free"));
}

#[test]
fn a_value_can_be_taken_out_and_changed_without_the_lock() {
    let mut lock = RwLock::new(String::from("a"));
    lock.get_mut().expect("not poisoned").push('b');
    assert!(format!("{lock:?}").contains("\"ab\""));
    assert_eq!(lock.into_inner().expect("not poisoned"), "ab");
    assert_eq!(*RwLock::<u8>::default().read().expect("not poisoned"), 0);
    assert_eq!(*RwLock::from(3).read().expect("not poisoned"), 3);
}

#[test]
fn a_lock_of_something_unsized_works() {
    let lock: &RwLock<[i32]> = &RwLock::new([1, 2, 3]);
    lock.write().expect("not poisoned")[0] = 4;
    assert_eq!(*lock.read().expect("not poisoned"), [4, 2, 3]);
}

#[test]
fn debug_says_that_a_writer_holds_it() {
    let lock = RwLock::new(5);
    let writer = lock.write().expect("not poisoned");
    assert!(format!("{lock:?}").contains("<locked>"));
    assert_eq!(format!("{writer:?} {writer}"), "5 5");
}

#[test]
fn who_reads_is_known_by_its_own_list() {
    let lock = RwLock::new(());
    let reader = lock.read().expect("not poisoned");
    let mut held = Vec::new();
    me().for_each_held(|lock| held.push(lock));
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].mode, Mode::Shared);
    assert!(held[0].site.file().ends_with("sync_rwlock.rs"));
    drop(reader);
    assert!(!me().holds_any());
}
