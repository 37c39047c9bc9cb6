//! A queue with a limit: what becomes of the job that finds it full, under each policy.

mod common;

use std::sync::{Arc, Mutex};

use brigade::pool::{JobHandle, ThreadPool, WhenFull};
use brigade::runtime::Builder;
use brigade::sync::Event;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch, gettid};

const CAPACITY: usize = 3;

/// A pool of one thread that is occupied until the event is set, with an empty queue.
fn occupied(when_full: WhenFull) -> (Arc<ThreadPool>, Arc<Event>, JobHandle<()>) {
    let pool = ThreadPool::builder()
        .threads(1)
        .capacity(CAPACITY)
        .when_full(when_full)
        .build()
        .expect("a pool");
    let (begun, open) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (theirs, gate) = (Arc::clone(&begun), Arc::clone(&open));
    let busy = pool.submit(move || {
        theirs.set();
        gate.wait();
    });
    begun.wait();
    (Arc::new(pool), open, busy)
}

fn fill(pool: &ThreadPool) -> Vec<JobHandle<usize>> {
    let handles: Vec<_> = (0..CAPACITY)
        .map(|number| pool.submit(move || number))
        .collect();
    assert_eq!(pool.stats().queued, CAPACITY);
    handles
}

#[test]
fn a_submitter_waits_for_room_and_a_green_one_parks() {
    let _watch = Watch::new("submitters that wait for room");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (pool, open, busy) = occupied(WhenFull::Block);
    let queued = fill(&pool);
    let submitters: Vec<_> = (0..4)
        .map(|number| {
            let shared = Arc::clone(&pool);
            let (record, thread) = waiting(&runtime, move || {
                shared.submit(move || 100 + number).join().unwrap()
            });
            assert_eq!(record.wait.reason, WaitReason::PoolRoom);
            thread
        })
        .collect();
    let stats = pool.stats();
    assert_eq!(
        (stats.blocked, stats.queued, stats.submitted),
        (4, CAPACITY, 4)
    );
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    // The one processor is free.
    assert_eq!(runtime.run(|| 1), 1);
    open.set();
    busy.join().unwrap();
    for (number, thread) in submitters.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), 100 + number);
    }
    for (number, handle) in queued.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), number);
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.rejected, stats.blocked), (8, 1, 0));
}

#[test]
fn waiting_submitters_get_room_in_the_order_they_came() {
    let _watch = Watch::new("the order of waiting submitters");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let (pool, open, busy) = occupied(WhenFull::Block);
    let order = Arc::new(Mutex::new(Vec::new()));
    let queued = fill(&pool);
    let submitters: Vec<_> = (0..10)
        .map(|number| {
            let (shared, order) = (Arc::clone(&pool), Arc::clone(&order));
            waiting(&runtime, move || {
                shared.execute(move || order.lock().unwrap().push(number));
            })
            .1
        })
        .collect();
    open.set();
    busy.join().unwrap();
    queued.into_iter().for_each(|handle| {
        handle.join().unwrap();
    });
    submitters
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    pool.shutdown();
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_job_makes_room_for_a_waiting_submitter() {
    let _watch = Watch::new("room by cancelling");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (pool, open, busy) = occupied(WhenFull::Block);
    let queued = fill(&pool);
    let shared = Arc::clone(&pool);
    let (_, submitter) = waiting(&runtime, move || shared.submit(|| 9));
    assert!(queued[1].cancel());
    let late = submitter.join().unwrap();
    assert_eq!((pool.stats().queued, pool.stats().blocked), (CAPACITY, 0));
    open.set();
    busy.join().unwrap();
    assert_eq!(late.join().unwrap(), 9);
}

#[test]
fn a_rejecting_pool_refuses_exactly_what_finds_no_room() {
    let _watch = Watch::new("a pool that rejects");
    let (pool, open, busy) = occupied(WhenFull::Reject);
    let queued = fill(&pool);
    let token = Arc::new(());
    let theirs = Arc::clone(&token);
    let refused = pool.submit(move || drop(theirs));
    assert!(refused.is_finished() && !refused.cancel());
    assert!(refused.join().unwrap_err().is_full());
    let theirs = Arc::clone(&token);
    let rejected = pool.try_submit(move || drop(theirs)).unwrap_err();
    assert!(rejected.is_full() && !rejected.is_closed());
    assert_eq!(Arc::strong_count(&token), 2, "the closure came back");
    drop(rejected);
    assert_eq!(Arc::strong_count(&token), 1);
    let panic = std::panic::catch_unwind(|| pool.execute(|| ())).unwrap_err();
    assert!(
        panic
            .downcast_ref::<String>()
            .unwrap()
            .contains("queue is full")
    );
    assert_eq!(pool.stats().rejected, 3);
    open.set();
    busy.join().unwrap();
    for (number, handle) in queued.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), number);
    }
    assert_eq!(pool.submit(|| 1).join().unwrap(), 1, "there is room again");
}

#[test]
fn a_pool_that_runs_here_uses_the_submitter_exactly_when_there_is_no_room() {
    let _watch = Watch::new("a pool that runs jobs at the submitter");
    let (pool, open, busy) = occupied(WhenFull::RunHere);
    let queued: Vec<_> = (0..CAPACITY).map(|_| pool.submit(gettid)).collect();
    let here = pool.submit(gettid);
    assert!(here.is_finished());
    assert_eq!(here.join().unwrap(), gettid());
    let panicked = pool.submit(|| panic!("here"));
    assert!(panicked.join().unwrap_err().is_panic());
    assert_eq!(
        pool.scope(|scope| scope.submit(gettid).join().unwrap()),
        gettid()
    );
    open.set();
    busy.join().unwrap();
    for handle in queued {
        assert_ne!(handle.join().unwrap(), gettid());
    }
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted, stats.completed, stats.panicked),
        (7, 6, 1)
    );
}

#[test]
fn a_new_job_takes_the_place_of_the_oldest_that_no_scope_waits_for() {
    let _watch = Watch::new("a pool that drops the oldest");
    let (pool, open, busy) = occupied(WhenFull::DropOldest);
    let ran = Count::new();
    pool.scope(|scope| {
        scope.execute(|| drop(ran.up().to_string()));
        let first = pool.submit(|| 1);
        let second = pool.submit(|| 2);
        let third = pool.submit(|| 3);
        assert!(first.is_finished() && !second.is_finished());
        assert!(first.join().unwrap_err().is_dropped());
        let fourth = pool.submit(|| 4);
        assert!(second.join().unwrap_err().is_dropped());
        open.set();
        assert_eq!(third.join().unwrap() + fourth.join().unwrap(), 7);
    });
    busy.join().unwrap();
    let stats = pool.stats();
    assert_eq!((ran.get(), stats.dropped, stats.completed), (1, 2, 4));
}

#[test]
fn a_thread_of_the_pool_never_waits_for_room_in_its_own_queue() {
    let _watch = Watch::new("a job that fills its own queue");
    for when_full in [WhenFull::Block, WhenFull::RunHere, WhenFull::DropOldest] {
        let pool = ThreadPool::builder()
            .threads(1)
            .capacity(2)
            .when_full(when_full)
            .build()
            .unwrap();
        let (pool, ran) = (Arc::new(pool), Arc::new(Count::new()));
        let (shared, counted) = (Arc::clone(&pool), Arc::clone(&ran));
        let outer = pool.submit(move || {
            for _ in 0..10 {
                let ran = Arc::clone(&counted);
                shared.execute(move || {
                    ran.up();
                });
            }
            shared.scope(|scope| {
                for _ in 0..10 {
                    scope.execute(|| drop(counted.up().to_string()));
                }
            });
        });
        outer.join().unwrap();
        pool.shutdown();
        let dropped = pool.stats().dropped as usize;
        assert_eq!(ran.get() + dropped, 20);
        assert_eq!(dropped > 0, when_full == WhenFull::DropOldest);
    }
}

#[test]
fn many_submitters_and_few_places_lose_nothing_under_any_policy() {
    const ROUNDS: usize = 500;
    for when_full in [
        WhenFull::Block,
        WhenFull::Reject,
        WhenFull::RunHere,
        WhenFull::DropOldest,
    ] {
        everywhere(|runtime| {
            let pool = ThreadPool::builder()
                .threads(2)
                .capacity(2)
                .when_full(when_full)
                .build()
                .unwrap();
            let pool = Arc::new(pool);
            let (ran, lost) = (Arc::new(Count::new()), Arc::new(Count::new()));
            let shared = (Arc::clone(&pool), Arc::clone(&ran), Arc::clone(&lost));
            mixed(runtime, 5, 3, move |_| {
                let (pool, ran, lost) = &shared;
                let mut handles = Vec::new();
                for _ in 0..ROUNDS {
                    let ran = Arc::clone(ran);
                    handles.push(pool.submit(move || ran.up()));
                    assert!(pool.stats().queued <= 2);
                }
                for handle in handles {
                    if let Err(error) = handle.join() {
                        assert!(error.is_full() || error.is_dropped());
                        lost.up();
                    }
                }
            });
            let stats = pool.stats();
            assert_eq!(ran.get() + lost.get(), 8 * ROUNDS);
            assert_eq!(stats.completed as usize, ran.get());
            assert_eq!((stats.dropped + stats.rejected) as usize, lost.get());
            let loses = matches!(when_full, WhenFull::Reject | WhenFull::DropOldest);
            assert!(loses || lost.get() == 0);
        });
    }
}
