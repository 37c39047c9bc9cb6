//! Jobs of a pool that borrow, and mapping over items: all have ended when the call returns, whatever panics.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use brigade::pool::ThreadPool;
use brigade::runtime::Builder;
use brigade::sync::Event;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

fn caught<T>(f: impl FnOnce() -> T) -> Box<dyn std::any::Any + Send> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    }
}

/// Counts its drops.
struct Token<'a>(&'a Count);

impl Drop for Token<'_> {
    fn drop(&mut self) {
        self.0.up();
    }
}

#[test]
fn jobs_of_a_scope_write_to_what_they_borrow() {
    everywhere(|runtime| {
        let pool = Arc::new(ThreadPool::new(2));
        mixed(runtime, 4, 2, move |index| {
            for _ in 0..20 {
                let mut cells = [0; 50];
                let sum: usize = pool.scope(|scope| {
                    let mut handles = Vec::new();
                    for (number, cell) in cells.iter_mut().enumerate() {
                        if number % 2 == 0 {
                            scope.execute(move || *cell = number + index);
                        } else {
                            handles.push(scope.submit(move || {
                                *cell = number + index;
                                number
                            }));
                        }
                    }
                    handles
                        .into_iter()
                        .map(|handle| handle.join().unwrap())
                        .sum()
                });
                assert_eq!(sum, 625);
                assert!(cells.iter().enumerate().all(|(n, &cell)| cell == n + index));
            }
        });
    });
}

#[test]
fn a_scope_ends_after_its_jobs_also_when_its_closure_panics() {
    let _watch = Watch::new("scopes whose closures panic");
    let pool = ThreadPool::new(2);
    for _ in 0..50 {
        let (begun, ended, dropped) = (Count::new(), Count::new(), Count::new());
        let open = Event::new();
        let payload = caught(|| {
            pool.scope(|scope| {
                for _ in 0..10 {
                    let token = Token(&dropped);
                    drop(scope.submit(|| {
                        begun.up();
                        open.wait();
                        ended.up();
                        token
                    }));
                }
                begun.kernel_wait_for(2);
                open.set();
                std::panic::panic_any("closure");
            });
        });
        assert_eq!(payload.downcast_ref(), Some(&"closure"));
        assert_eq!((ended.get(), dropped.get()), (10, 10));
    }
}

#[test]
fn a_scope_panics_with_the_jobs_that_nobody_joined_and_with_no_others() {
    let _watch = Watch::new("scopes whose jobs panic");
    let pool = ThreadPool::new(2);
    let ended = Count::new();
    let text = |payload: Box<dyn std::any::Any + Send>| -> String {
        (*payload.downcast::<&str>().map_or_else(
            |other| *other.downcast::<String>().expect("a text"),
            |text| (*text).to_owned(),
        ))
        .to_owned()
    };
    let payload = caught(|| {
        pool.scope(|scope| {
            scope.execute(|| panic!("not joined"));
            (0..10).for_each(|_| scope.execute(|| drop(ended.up().to_string())));
        });
    });
    assert_eq!(
        (text(payload).as_str(), ended.get()),
        ("a job of the scope panicked", 10)
    );
    let payload = caught(|| pool.scope(|scope| drop(scope.submit(|| panic!("dropped handle")))));
    assert_eq!(text(payload), "a job of the scope panicked");
    let error = pool.scope(|scope| scope.submit(|| panic!("joined")).join().unwrap_err());
    assert!(error.is_panic());
    assert!(pool.scope(|scope| {
        let (one, two) = (scope.submit(|| ()), scope.submit(|| ()));
        one.cancel() | two.cancel() | true
    }));
    pool.shutdown();
    let error = pool.scope(|scope| scope.submit(|| ()).join().unwrap_err());
    assert!(error.is_closed());
    assert!(text(caught(|| pool.scope(|scope| scope.execute(|| ())))).contains("no more jobs"));
    let dropped = caught(|| pool.scope(|scope| drop(scope.submit(|| ()))));
    assert!(text(dropped).contains("shut down"));
}

#[test]
fn a_green_thread_at_the_end_of_a_scope_parks() {
    let _watch = Watch::new("a green thread at the end of a scope");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (pool, open) = (ThreadPool::new(1), Arc::new(Event::new()));
    let gate = Arc::clone(&open);
    let (record, thread) = waiting(&runtime, move || {
        let mut done = false;
        pool.scope(|scope| {
            scope.execute(|| {
                gate.wait();
                done = true;
            });
        });
        done
    });
    assert_eq!(record.wait.reason, WaitReason::PoolScope);
    assert_eq!(runtime.run(|| 1), 1);
    open.set();
    assert!(thread.join().unwrap());
}

#[test]
fn scopes_nest_inside_the_jobs_of_their_pool() {
    let _watch = Watch::new("nested scopes");
    fn leaves(pool: &ThreadPool, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let (mut left, mut right) = (0, 0);
        pool.scope(|scope| {
            scope.execute(|| left = leaves(pool, depth - 1));
            scope.execute(|| right = leaves(pool, depth - 1));
        });
        left + right
    }
    for threads in [1, 2, 4] {
        let pool = ThreadPool::new(threads);
        assert_eq!(
            pool.scope(|scope| scope.submit(|| leaves(&pool, 8)).join().unwrap()),
            256
        );
        assert_eq!(
            pool.scope(|scope| scope.submit(|| nested_map(&pool)).join().unwrap()),
            36
        );
        assert_eq!(pool.stats().submitted, pool.stats().completed);
    }
}

/// By a job: a map over jobs that map.
fn nested_map(pool: &ThreadPool) -> usize {
    let rows = pool.map(1..=3, |row| pool.map(1..=3, |column| row * column));
    rows.iter().flatten().sum()
}

#[test]
fn a_map_keeps_the_order_and_calls_each_once() {
    everywhere(|runtime| {
        runtime.run(|| {
            let pool = ThreadPool::new(3);
            for items in [0, 1, 2, 23, 24, 25, 1000] {
                let calls: Vec<Count> = (0..items).map(|_| Count::new()).collect();
                let results = pool.map(0..items, |number| {
                    calls[number].up();
                    if number % 7 == 0 {
                        std::thread::yield_now();
                    }
                    number * 3
                });
                assert_eq!(results, (0..items).map(|n| n * 3).collect::<Vec<_>>());
                assert!(calls.iter().all(|calls| calls.get() == 1));
            }
        });
    });
}

#[test]
fn a_map_works_in_a_queue_that_is_shorter_than_the_items() {
    use brigade::pool::WhenFull::{Block, DropOldest, Reject, RunHere};
    let _watch = Watch::new("maps in short queues");
    for when_full in [Block, Reject, RunHere, DropOldest] {
        let pool = ThreadPool::builder()
            .threads(2)
            .capacity(1)
            .when_full(when_full)
            .build()
            .unwrap();
        let results = pool.map(0..500, |number| number + 1);
        assert_eq!(results, (1..=500).collect::<Vec<_>>());
    }
}

#[test]
fn a_map_panics_with_the_first_item_that_panicked_after_all_have_ended() {
    let _watch = Watch::new("maps that panic");
    let pool = ThreadPool::new(2);
    for _ in 0..50 {
        let (begun, ended) = (Count::new(), Count::new());
        let payload = caught(|| {
            pool.map(0..40_usize, |number| {
                begun.up();
                if number == 5 {
                    // Item 6 has panicked by then, or will, on the other thread.
                    begun.kernel_wait_for(7);
                }
                ended.up();
                if number == 5 || number == 6 {
                    std::panic::panic_any(number);
                }
            })
        });
        assert_eq!(payload.downcast_ref(), Some(&5_usize));
        assert_eq!(begun.get(), ended.get());
        assert_eq!((pool.stats().running, pool.stats().queued), (0, 0));
    }
}

#[test]
fn a_map_that_fails_returns_the_first_error_and_takes_no_more_items() {
    let _watch = Watch::new("maps that fail");
    let pool = ThreadPool::new(2);
    let (taken, dropped) = (Count::new(), Count::new());
    let items = (0..10_000).map(|number| {
        taken.up();
        (number, Token(&dropped))
    });
    let result = pool.try_map(items, |(number, _token)| match number {
        100.. => Err(number.to_string()),
        _ => Ok(number),
    });
    assert_eq!(result, Err("100".to_owned()));
    assert!(taken.get() < 1000, "it went on for {} items", taken.get());
    assert_eq!(taken.get(), dropped.get());
    let fine = pool.try_map(
        0..100,
        |number| if number < 100 { Ok(number) } else { Err(()) },
    );
    assert_eq!(fine, Ok((0..100).collect()));
}

#[test]
fn an_error_of_an_early_item_wins_over_a_panic_of_a_late_one() {
    let _watch = Watch::new("a map with an error and a panic");
    let pool = ThreadPool::new(2);
    let panicked = Event::new();
    let result = pool.try_map(0..2, |number| {
        if number == 1 {
            panicked.set();
            panic!("late");
        }
        panicked.wait();
        Err::<(), _>(number)
    });
    assert_eq!(result, Err(0));
}

#[test]
fn an_iterator_that_panics_ends_the_map_after_its_jobs() {
    let _watch = Watch::new("a map over an iterator that panics");
    let pool = ThreadPool::new(2);
    let seen = Mutex::new(Vec::new());
    let items = (0..10).inspect(|&number| assert_ne!(number, 7, "no seventh"));
    caught(|| pool.map(items, |number| seen.lock().unwrap().push(number)));
    assert!(seen.lock().unwrap().iter().all(|&number| number < 7));
    assert_eq!((pool.stats().running, pool.stats().queued), (0, 0));
}
