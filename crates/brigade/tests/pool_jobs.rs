//! Jobs of a pool: each runs once, ends alone, and is waited for by whatever kind of thread.

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use brigade::diag::{ThreadInfo, ThreadState};
use brigade::pool::{JobHandle, ThreadPool};
use brigade::runtime::Builder;
use brigade::sync::Event;
use brigade_runtime::WaitReason;
use brigade_runtime::park::Green;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch, gettid};

/// A job that occupies a thread of the pool until the event is set; it runs when this returns.
fn occupy(pool: &ThreadPool) -> (Arc<Event>, JobHandle<()>) {
    let (begun, open) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (theirs, gate) = (Arc::clone(&begun), Arc::clone(&open));
    let handle = pool.submit(move || {
        theirs.set();
        gate.wait();
    });
    begun.wait();
    (open, handle)
}

#[test]
fn a_joined_job_has_run_once_on_a_thread_of_the_pool() {
    everywhere(|runtime| {
        let pool = Arc::new(ThreadPool::new(2));
        let runs = Arc::new(Count::new());
        let (shared, counted) = (Arc::clone(&pool), Arc::clone(&runs));
        mixed(runtime, 8, 4, move |index| {
            for round in 0..50 {
                let runs = Arc::clone(&counted);
                let me = gettid();
                let handle = shared.submit(move || {
                    runs.up();
                    (index * 1000 + round, gettid() != me)
                });
                assert_eq!(handle.join().unwrap(), (index * 1000 + round, true));
            }
        });
        let stats = pool.stats();
        assert_eq!(runs.get(), 600);
        assert_eq!((stats.submitted, stats.completed), (600, 600));
        assert_eq!((stats.queued, stats.running, stats.panicked), (0, 0, 0));
    });
}

#[test]
fn a_panic_ends_one_job_and_no_thread() {
    let _watch = Watch::new("jobs that panic");
    let pool = ThreadPool::new(2);
    for number in 0..100_usize {
        let error = pool
            .submit(move || std::panic::panic_any(number))
            .join()
            .unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.into_panic().downcast_ref(), Some(&number));
        assert_eq!(pool.submit(move || number).join().unwrap(), number);
    }
    let stats = pool.stats();
    assert_eq!(
        (stats.threads, stats.panicked, stats.completed),
        (2, 100, 100)
    );
}

/// What panics when it is dropped, and counts that.
struct Explosive(Arc<Count>);

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.up();
        panic!("dropped");
    }
}

#[test]
fn a_result_that_panics_when_it_is_dropped_ends_no_thread() {
    let _watch = Watch::new("results that panic when dropped");
    let pool = ThreadPool::new(1);
    let dropped = Arc::new(Count::new());
    for _ in 0..10 {
        let dropped = Arc::clone(&dropped);
        pool.execute(move || {
            let _ = std::hint::black_box(&dropped);
            std::panic::panic_any(Explosive(dropped));
        });
    }
    for _ in 0..10 {
        let (open, busy) = occupy(&pool);
        let theirs = Arc::clone(&dropped);
        drop(pool.submit(move || Explosive(theirs)));
        open.set();
        busy.join().unwrap();
    }
    assert_eq!(pool.submit(|| 1).join().unwrap(), 1);
    assert_eq!((pool.stats().threads, dropped.get()), (1, 20));
}

#[test]
fn a_green_thread_that_joins_parks_and_lets_others_run() {
    let _watch = Watch::new("a green thread that joins");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let pool = Arc::new(ThreadPool::new(1));
    let (open, busy) = occupy(&pool);
    let shared = Arc::clone(&pool);
    let (record, joiner) = waiting(&runtime, move || {
        let handle = shared.submit(|| 7);
        handle.join().unwrap()
    });
    assert_eq!(record.wait.reason, WaitReason::PoolJob);
    // The one processor is free.
    let ticks = (0..10).map(|tick| runtime.run(move || tick)).sum::<i32>();
    assert_eq!(ticks, 45);
    open.set();
    busy.join().unwrap();
    joiner.join().unwrap();
}

#[test]
fn a_job_that_is_cancelled_before_it_begins_never_runs_and_drops_its_closure_once() {
    let _watch = Watch::new("jobs that are cancelled");
    let pool = ThreadPool::new(1);
    let (open, busy) = occupy(&pool);
    let token = Arc::new(());
    let handles: Vec<_> = (0..10)
        .map(|number| {
            let token = Arc::clone(&token);
            pool.submit(move || (token, number).1)
        })
        .collect();
    assert_eq!(Arc::strong_count(&token), 11);
    for handle in handles.iter().step_by(2) {
        assert!(handle.cancel() && !handle.cancel() && handle.is_finished());
    }
    assert_eq!(Arc::strong_count(&token), 6);
    assert!(!busy.cancel(), "it runs");
    open.set();
    for (number, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(result) => assert_eq!((number % 2, result), (1, number)),
            Err(error) => assert!(number % 2 == 0 && error.is_cancelled()),
        }
    }
    busy.join().unwrap();
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted, stats.completed, stats.cancelled),
        (11, 6, 5)
    );
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_join_whose_time_is_up_hands_the_handle_back() {
    let _watch = Watch::new("joins with a timeout");
    everywhere(|runtime| {
        runtime.run(|| {
            let pool = ThreadPool::new(1);
            let (open, busy) = occupy(&pool);
            let handle = pool.submit(|| 3);
            let handle = handle.try_join().unwrap_err();
            let handle = handle.join_timeout(Duration::ZERO).unwrap_err();
            let handle = handle.join_timeout(Duration::from_millis(2)).unwrap_err();
            assert!(!handle.is_finished());
            open.set();
            busy.join().unwrap();
            let result = handle.join_timeout(Duration::from_secs(1000));
            assert_eq!(result.unwrap().unwrap(), 3);
        });
    });
}

#[test]
fn a_handle_that_is_dropped_detaches_its_job() {
    let _watch = Watch::new("handles that are dropped");
    let pool = ThreadPool::new(2);
    let (runs, token) = (Arc::new(Count::new()), Arc::new(()));
    for _ in 0..500 {
        let (runs, token) = (Arc::clone(&runs), Arc::clone(&token));
        drop(pool.submit(move || {
            runs.up();
            token
        }));
    }
    pool.shutdown();
    assert_eq!((runs.get(), Arc::strong_count(&token)), (500, 1));
}

#[test]
fn a_thread_of_the_pool_that_joins_runs_what_it_waits_for() {
    let _watch = Watch::new("jobs that join jobs of their pool");
    fn depth(pool: &Arc<ThreadPool>, levels: usize) -> usize {
        if levels == 0 {
            return 0;
        }
        let shared = Arc::clone(pool);
        let left = pool.submit(move || depth(&shared, levels - 1));
        let shared = Arc::clone(pool);
        let right = pool.submit(move || depth(&shared, levels - 1));
        1 + left.join().unwrap() + right.join().unwrap()
    }
    for threads in [1, 2, 3] {
        let pool = Arc::new(ThreadPool::new(threads));
        let shared = Arc::clone(&pool);
        let nodes = pool.submit(move || depth(&shared, 9)).join().unwrap();
        assert_eq!(nodes, 511);
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed), (1023, 1023));
        assert_eq!((stats.running, stats.queued), (0, 0));
    }
}

#[test]
fn a_thread_of_the_pool_that_waits_runs_nothing_else() {
    let _watch = Watch::new("a job that joins with a lock held");
    let pool = Arc::new(ThreadPool::new(1));
    let (shared, lock) = (Arc::clone(&pool), Arc::new(std::sync::Mutex::new(0)));
    let handle = pool.submit(move || {
        let mut held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        // First in the queue, and it wants the lock: to run it while waiting would hang.
        let unrelated = shared.submit(move || *theirs.lock().unwrap() += 1);
        *held += shared.submit(|| 10).join().unwrap();
        assert!(!unrelated.is_finished());
        drop(held);
        unrelated.join().unwrap();
        *lock.lock().unwrap()
    });
    assert_eq!(handle.join().unwrap(), 11);
}

/// Wakes the kernel thread that polls.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_handle_is_a_future_of_the_result() {
    let _watch = Watch::new("handles that are awaited");
    let pool = ThreadPool::new(2);
    for number in 0..200 {
        assert_eq!(block_on(pool.submit(move || number)).unwrap(), number);
    }
    assert!(
        block_on(pool.submit(|| panic!("no")))
            .unwrap_err()
            .is_panic()
    );
    let (first, first_busy) = occupy(&pool);
    let (second, second_busy) = occupy(&pool);
    let cancelled = pool.submit(|| ());
    assert!(cancelled.cancel());
    assert!(block_on(cancelled).unwrap_err().is_cancelled());
    first.set();
    second.set();
    block_on(async { (first_busy.await.unwrap(), second_busy.await.unwrap()) });
}

#[test]
fn tasks_await_handles_and_jobs_wait_for_tasks() {
    let _watch = Watch::new("tasks and jobs");
    let pool = Arc::new(ThreadPool::new(2));
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let shared = Arc::clone(&pool);
            brigade::task::spawn(async move {
                let job = shared.submit(move || {
                    brigade::task::block_on(async move {
                        brigade::task::spawn(async move { number }).await
                    })
                });
                job.await.unwrap().unwrap()
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), number);
    }
}

#[test]
fn a_handle_that_was_polled_can_be_joined_and_forgets_the_waker() {
    let _watch = Watch::new("handles that are polled, then joined");
    let pool = ThreadPool::new(1);
    let (open, busy) = occupy(&pool);
    let waker = Arc::new(Unpark(std::thread::current()));
    let mut handle = Box::pin(pool.submit(|| 5));
    for _ in 0..2 {
        let raw = Waker::from(Arc::clone(&waker));
        let polled = handle.as_mut().poll(&mut Context::from_waker(&raw));
        assert!(polled.is_pending());
    }
    assert_eq!(Arc::strong_count(&waker), 2);
    let handle = *Pin::into_inner(handle);
    let handle = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(Arc::strong_count(&waker), 1);
    open.set();
    busy.join().unwrap();
    assert_eq!(handle.join().unwrap(), 5);
}

#[test]
fn eight_submitters_of_both_kinds_lose_nothing_and_the_counts_add_up() {
    const ROUNDS: usize = 2000;
    everywhere(|runtime| {
        let pool = Arc::new(ThreadPool::new(3));
        let sum = Arc::new(Count::new());
        let (shared, counted) = (Arc::clone(&pool), Arc::clone(&sum));
        mixed(runtime, 5, 3, move |index| {
            let mut handles = Vec::new();
            for round in 0..ROUNDS {
                let sum = Arc::clone(&counted);
                match (index + round) % 4 {
                    0 => shared.execute(move || {
                        sum.up();
                    }),
                    1 => drop(shared.submit(move || sum.up())),
                    2 => handles.push(shared.submit(move || sum.up())),
                    _ => {
                        let cancelled = shared.submit(move || sum.up());
                        if cancelled.cancel() {
                            counted.up();
                        }
                    }
                }
                let stats = shared.stats();
                let placed = stats.completed + stats.panicked + stats.cancelled + stats.dropped;
                let here = (stats.queued + stats.running) as u64;
                assert_eq!(stats.submitted, placed + here);
            }
            for handle in handles {
                handle.join().unwrap();
            }
        });
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!(sum.get(), 8 * ROUNDS);
        assert_eq!(stats.submitted, 8 * ROUNDS as u64);
        assert_eq!(stats.completed + stats.cancelled, stats.submitted);
        assert_eq!((stats.queued, stats.running, stats.threads), (0, 0, 0));
        assert!(stats.wait_max <= stats.wait_total && stats.run_max <= stats.run_total);
    });
}

#[test]
fn jobs_begin_in_the_order_of_their_submission() {
    let _watch = Watch::new("the order of jobs");
    let pool = ThreadPool::new(1);
    let (open, busy) = occupy(&pool);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    for number in 0..1000 {
        let order = Arc::clone(&order);
        pool.execute(move || order.lock().unwrap().push(number));
    }
    assert_eq!((pool.stats().queued, pool.stats().running), (1000, 1));
    open.set();
    busy.join().unwrap();
    pool.shutdown();
    assert_eq!(*order.lock().unwrap(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn threads_have_the_name_of_their_pool_and_are_ordinary_kernel_threads() {
    let _watch = Watch::new("the names of threads");
    let pool = ThreadPool::builder()
        .threads(3)
        .name("crunch")
        .stack_size(128 * 1024)
        .build()
        .unwrap();
    let name = || std::thread::current().name().map(str::to_owned);
    for _ in 0..20 {
        let name = pool.submit(name).join().unwrap().expect("a name");
        assert!(["crunch-0", "crunch-1", "crunch-2"].contains(&name.as_str()));
    }
    assert!(
        pool.submit(|| Green::current().is_none() && !Green::is_on_carrier())
            .join()
            .unwrap()
    );
    assert_eq!(pool.threads(), 3);
}

#[test]
fn an_idle_pool_says_so() {
    let _watch = Watch::new("an idle pool");
    let pool = ThreadPool::builder()
        .threads(2)
        .name("restful")
        .build()
        .unwrap();
    let resting = || {
        let is_resting = |thread: &&ThreadInfo| {
            let name = thread.thread.name.get().unwrap_or_default();
            name.starts_with("restful-")
                && thread.state == ThreadState::Waiting(WaitReason::PoolIdle)
        };
        brigade::diag::threads().iter().filter(is_resting).count()
    };
    while (pool.stats().idle, resting()) != (2, 2) {
        std::thread::yield_now();
    }
    let (open, busy) = occupy(&pool);
    assert_eq!((pool.stats().idle, resting()), (1, 1));
    open.set();
    busy.join().unwrap();
}
