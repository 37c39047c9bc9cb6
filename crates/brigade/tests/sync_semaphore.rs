//! Semaphores between green and kernel threads: counts are exact, turns are kept, permits always come back.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brigade::runtime::{Builder, Runtime};
use brigade::sync::Semaphore;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

/// A semaphore, and how many of its permits threads say they hold.
struct Counted {
    semaphore: Semaphore,
    permits: usize,
    held: Count,
    successes: Count,
    timeouts: Count,
}

impl Counted {
    fn new(permits: usize) -> Arc<Counted> {
        Arc::new(Counted {
            semaphore: Semaphore::new(permits),
            permits,
            held: Count::new(),
            successes: Count::new(),
            timeouts: Count::new(),
        })
    }

    /// Says that `count` permits are held, for the time of a yield.
    fn inside(&self, count: usize, yields: bool) {
        let held = (0..count).map(|_| self.held.up() + 1).max().unwrap_or(0);
        assert!(held <= self.permits, "{held} of {} permits", self.permits);
        if yields {
            brigade::thread::yield_now();
        }
        (0..count).for_each(|_| {
            self.held.down();
        });
        self.successes.up();
    }
}

#[test]
fn no_more_threads_are_inside_than_there_are_permits() {
    everywhere(|runtime| {
        let counted = Counted::new(3);
        let shared = Arc::clone(&counted);
        mixed(runtime, 12, 4, move |index| {
            for round in 0..500 {
                let _permit = shared.semaphore.acquire();
                shared.inside(1, (round + index) % 50 == 0);
            }
        });
        assert_eq!(counted.semaphore.available_permits(), 3);
        assert_eq!(counted.successes.get(), 16 * 500);
    });
}

#[test]
fn permits_acquired_together_add_up() {
    everywhere(|runtime| {
        let counted = Counted::new(5);
        let shared = Arc::clone(&counted);
        mixed(runtime, 12, 4, move |index| {
            for round in 0..300 {
                let count = (round + index) % 6;
                let permits = shared.semaphore.acquire_many(count);
                assert_eq!(permits.num_permits(), count);
                shared.inside(count, round % 30 == 0);
            }
        });
        assert_eq!(counted.semaphore.available_permits(), 5);
        assert_eq!(counted.successes.get(), 16 * 300);
    });
}

#[test]
fn timeouts_beside_releases_lose_and_make_no_permit() {
    let (successes, timeouts) = (Count::new(), Count::new());
    everywhere(|runtime| {
        let counted = Counted::new(2);
        let shared = Arc::clone(&counted);
        mixed(runtime, 10, 4, move |index| {
            for round in 0..500_usize {
                let count = 1 + (round + index) % 2;
                // Mostly so short that the time is up when the permit comes, or nearly.
                let ns = (round * 7919 + index * 104_729) % 20_000;
                let timeout = Duration::from_nanos(ns as u64);
                match shared.semaphore.acquire_many_timeout(count, timeout) {
                    Some(_permits) => shared.inside(count, round % 20 == 0),
                    None => {
                        shared.timeouts.up();
                    }
                }
            }
        });
        assert_eq!(counted.semaphore.available_permits(), 2);
        assert_eq!(counted.successes.get() + counted.timeouts.get(), 14 * 500);
        successes.set(successes.get() + counted.successes.get());
        timeouts.set(timeouts.get() + counted.timeouts.get());
    });
    assert!(successes.get() > 0, "nobody got a permit");
    assert!(
        timeouts.get() > 0,
        "no wait timed out: the race was not run"
    );
}

/// Starts green threads that acquire so many permits each, one after the other when the one before waits. Each tells
/// when it has got them, and keeps none.
fn queue_up(
    runtime: &Runtime,
    semaphore: &Arc<Semaphore>,
    wants: &[usize],
) -> (Arc<Mutex<Vec<usize>>>, Vec<brigade::thread::JoinHandle<()>>) {
    let served = Arc::new(Mutex::new(Vec::new()));
    let handles = wants.iter().map(|&want| {
        let (semaphore, served) = (Arc::clone(semaphore), Arc::clone(&served));
        let acquire = move || {
            let permits = semaphore.acquire_many(want);
            served.lock().expect("nobody panics").push(want);
            permits.forget();
        };
        waiting(runtime, acquire).1
    });
    let handles = handles.collect();
    (served, handles)
}

fn one_worker() -> (Watch, Runtime) {
    let watch = Watch::new("a run with one worker");
    (watch, Builder::new().workers(1).build().expect("a runtime"))
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let (_watch, runtime) = one_worker();
    let semaphore = Arc::new(Semaphore::new(0));
    let wants = [3, 1, 4, 1, 5];
    let (served, handles) = queue_up(&runtime, &semaphore, &wants);
    for _ in 0..14 {
        semaphore.add_permits(1);
    }
    handles
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(*served.lock().expect("nobody panics"), wants);
    assert_eq!(semaphore.available_permits(), 0);
}

#[test]
fn a_waiter_for_many_is_not_overtaken() {
    let (_watch, runtime) = one_worker();
    let semaphore = Arc::new(Semaphore::new(2));
    let (served, handles) = queue_up(&runtime, &semaphore, &[3, 1]);
    assert_eq!(semaphore.available_permits(), 2);
    assert!(semaphore.try_acquire().is_none(), "overtakes");
    assert!(semaphore.acquire_timeout(Duration::ZERO).is_none());
    assert!(served.lock().expect("nobody panics").is_empty());
    semaphore.add_permits(2);
    handles
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(*served.lock().expect("nobody panics"), [3, 1]);
}

#[test]
fn who_gives_up_in_front_lets_those_behind_pass() {
    let (_watch, runtime) = one_worker();
    let semaphore = Arc::new(Semaphore::new(1));
    let wanted = Arc::clone(&semaphore);
    let far = Instant::now() + Duration::from_millis(50);
    let greedy = move || wanted.acquire_many_deadline(2, far).is_some();
    let (_, greedy) = waiting(&runtime, greedy);
    let (served, behind) = queue_up(&runtime, &semaphore, &[1]);
    assert!(!greedy.join().expect("no panic"));
    for thread in behind {
        thread.join().expect("no panic");
    }
    assert_eq!(*served.lock().expect("nobody panics"), [1]);
}

#[test]
fn a_waiting_thread_tells_what_it_waits_for_and_where() {
    let (_watch, runtime) = one_worker();
    let semaphore = Arc::new(Semaphore::new(0));
    let address = Arc::as_ptr(&semaphore).addr();
    let wanted = Arc::clone(&semaphore);
    let line = line!() + 1;
    let (record, thread) = waiting(&runtime, move || drop(wanted.acquire()));
    semaphore.add_permits(1);
    thread.join().expect("no panic");
    assert_eq!(record.wait.reason, WaitReason::Semaphore);
    assert_eq!(record.wait.object, address);
    assert!(!record.timed);
    let site = record.wait.site.expect("a site");
    assert_eq!((site.file(), site.line()), (file!(), line));
}

#[test]
fn no_permits_are_had_at_once_even_behind_a_waiter() {
    let (_watch, runtime) = one_worker();
    let semaphore = Arc::new(Semaphore::new(0));
    let (_, handles) = queue_up(&runtime, &semaphore, &[1]);
    assert_eq!(semaphore.acquire_many(0).num_permits(), 0);
    assert!(semaphore.try_acquire_many(0).is_some());
    semaphore.add_permits(1);
    handles
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn a_panic_gives_the_permits_back() {
    everywhere(|runtime| {
        let semaphore = Arc::new(Semaphore::new(2));
        let wanted = Arc::clone(&semaphore);
        let thread = runtime.spawn(move || {
            let _one = wanted.acquire();
            let _owned = wanted.acquire_owned();
            assert_eq!(wanted.available_permits(), 0);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(thread.join().is_err());
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn forgotten_permits_do_not_come_back() {
    let semaphore = Arc::new(Semaphore::new(5));
    semaphore.acquire_many(2).forget();
    semaphore.acquire_many_owned(1).forget();
    assert_eq!(semaphore.available_permits(), 2);
    drop(semaphore.try_acquire_owned());
    assert_eq!(semaphore.available_permits(), 2);
}

#[test]
fn permits_are_split_and_merged_without_loss() {
    let (semaphore, other) = (Semaphore::new(4), Semaphore::new(1));
    let mut permits = semaphore.acquire_many(4);
    let mut two = permits.split(2).expect("four are enough");
    assert!(permits.split(3).is_none());
    assert_eq!((permits.num_permits(), two.num_permits()), (2, 2));
    two.merge(permits.split(1).expect("two are enough"));
    drop(two);
    assert_eq!(semaphore.available_permits(), 3);
    let foreign = other.acquire();
    assert!(catch_unwind(AssertUnwindSafe(|| permits.merge(foreign))).is_err());
    assert_eq!(other.available_permits(), 1);
    drop(permits);
    assert_eq!(semaphore.available_permits(), 4);
}

#[test]
fn an_owned_permit_keeps_the_semaphore_alive() {
    let semaphore = Arc::new(Semaphore::new(1));
    let weak = Arc::downgrade(&semaphore);
    let permit = semaphore.acquire_owned();
    assert!(Arc::ptr_eq(permit.semaphore(), &semaphore));
    drop(semaphore);
    assert!(weak.upgrade().is_some());
    drop(permit);
    assert!(weak.upgrade().is_none());
}

#[test]
fn too_many_permits_are_refused_and_nothing_changes() {
    let max = Semaphore::MAX_PERMITS;
    let semaphore = Semaphore::new(max - 1);
    semaphore.add_permits(1);
    assert!(catch_unwind(|| semaphore.add_permits(1)).is_err());
    assert!(catch_unwind(|| drop(semaphore.acquire_many(max + 1))).is_err());
    assert!(catch_unwind(|| Semaphore::new(max + 1)).is_err());
    assert_eq!(semaphore.available_permits(), max);
    assert_eq!(semaphore.acquire_many(max).num_permits(), max);
}

#[test]
fn a_time_that_is_up_takes_what_is_there_and_waits_for_nothing_else() {
    everywhere(|runtime| {
        runtime.run(|| {
            let semaphore = Semaphore::new(1);
            let past = Instant::now();
            let permit = semaphore.acquire_deadline(past).expect("one is there");
            assert!(semaphore.acquire_deadline(past).is_none());
            assert!(semaphore.acquire_many_timeout(1, Duration::ZERO).is_none());
            drop(permit);
            assert!(semaphore.acquire_timeout(Duration::MAX).is_some());
        });
    });
}
