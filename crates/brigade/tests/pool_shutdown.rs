//! The end of a pool: nothing that was taken is lost or run twice, and everybody is told.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::pool::{JobHandle, ThreadPool};
use brigade::runtime::Builder;
use brigade::sync::Event;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch, child};

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

/// Counts its drops.
struct Token(Arc<Count>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.up();
    }
}

#[test]
fn a_shutdown_runs_all_that_is_queued_exactly_once() {
    everywhere(|runtime| {
        runtime.run(|| {
            for ends_by_drop in [false, true] {
                let pool = ThreadPool::new(3);
                let runs: Arc<Vec<Count>> = Arc::new((0..1000).map(|_| Count::new()).collect());
                let dropped = Arc::new(Count::new());
                for index in 0..1000 {
                    let (runs, token) = (Arc::clone(&runs), Token(Arc::clone(&dropped)));
                    pool.execute(move || {
                        let _token = token;
                        runs[index].up();
                    });
                }
                if ends_by_drop {
                    drop(pool);
                } else {
                    pool.shutdown();
                    assert_eq!(pool.stats().completed, 1000);
                    pool.shutdown();
                }
                assert!(runs.iter().all(|run| run.get() == 1));
                assert_eq!(dropped.get(), 1000);
            }
        });
    });
}

#[test]
fn a_shutdown_that_races_with_submitters_runs_or_refuses_each_job() {
    everywhere(|runtime| {
        let pool = Arc::new(ThreadPool::new(2));
        let (ran, refused) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let dropped = Arc::new(Count::new());
        let shared = (Arc::clone(&pool), Arc::clone(&ran), Arc::clone(&refused));
        let drops = Arc::clone(&dropped);
        mixed(runtime, 4, 3, move |index| {
            let (pool, ran, refused) = &shared;
            for round in 0..300 {
                if index == 6 && round == 100 {
                    pool.shutdown();
                }
                let (ran, token) = (Arc::clone(ran), Token(Arc::clone(&drops)));
                let handle = pool.submit(move || {
                    let _token = token;
                    ran.up();
                });
                if round % 2 == 0
                    && let Err(error) = handle.join()
                {
                    assert!(error.is_closed());
                    refused.up();
                }
            }
        });
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.queued, stats.running), (0, 0, 0));
        assert_eq!(stats.completed as usize, ran.get());
        assert_eq!(stats.completed + stats.rejected, 7 * 300);
        assert!(refused.get() >= 100 && refused.get() as u64 <= stats.rejected);
        assert_eq!(dropped.get(), 7 * 300);
    });
}

#[test]
fn a_shutdown_now_drops_what_is_queued_and_tells_the_handles() {
    let _watch = Watch::new("a shutdown that drops");
    let pool = ThreadPool::new(1);
    let (open, busy) = occupy(&pool);
    let (ran, dropped) = (Arc::new(Count::new()), Arc::new(Count::new()));
    let mut handles = Vec::new();
    for number in 0..100 {
        let (ran, token) = (Arc::clone(&ran), Token(Arc::clone(&dropped)));
        let job = move || {
            let _token = token;
            ran.up();
        };
        if number % 2 == 0 {
            handles.push(pool.submit(job));
        } else {
            pool.execute(job);
        }
    }
    assert_eq!((pool.shutdown_now(), pool.shutdown_now()), (100, 0));
    assert_eq!((dropped.get(), ran.get()), (100, 0));
    for handle in handles {
        assert!(handle.join().unwrap_err().is_dropped());
    }
    assert!(pool.submit(|| ()).join().unwrap_err().is_closed());
    open.set();
    busy.join().unwrap();
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted, stats.completed, stats.dropped),
        (101, 1, 100)
    );
}

#[test]
fn a_shutdown_refuses_submitters_that_wait_for_room() {
    let _watch = Watch::new("a shutdown beside waiting submitters");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let pool = ThreadPool::builder()
        .threads(1)
        .capacity(1)
        .build()
        .unwrap();
    let pool = Arc::new(pool);
    let (open, busy) = occupy(&pool);
    let queued = pool.submit(|| 1);
    let submitters: Vec<_> = (0..3)
        .map(|_| {
            let shared = Arc::clone(&pool);
            waiting(&runtime, move || shared.submit(|| 2).join()).1
        })
        .collect();
    assert!(!pool.shutdown_timeout(Duration::from_millis(1)));
    for submitter in submitters {
        assert!(submitter.join().unwrap().unwrap_err().is_closed());
    }
    assert_eq!(pool.stats().rejected, 3);
    let shared = Arc::clone(&pool);
    let (record, ender) = waiting(&runtime, move || shared.shutdown());
    assert_eq!(record.wait.reason, WaitReason::PoolShutdown);
    open.set();
    ender.join().unwrap();
    assert!(pool.shutdown_timeout(Duration::ZERO));
    busy.join().unwrap();
    assert_eq!(queued.join().unwrap(), 1);
    assert_eq!(pool.threads(), 0);
}

#[test]
fn the_last_owner_may_be_a_job_of_the_pool() {
    let _watch = Watch::new("a pool that is dropped by its own job");
    let (ran, pool) = (Arc::new(Count::new()), Arc::new(ThreadPool::new(1)));
    let (open, busy) = occupy(&pool);
    let (shared, mine) = (Arc::clone(&pool), Arc::clone(&ran));
    let last = pool.submit(move || drop(shared));
    pool.execute(move || {
        mine.up();
    });
    drop(pool);
    open.set();
    busy.join().unwrap();
    last.join().unwrap();
    ran.kernel_wait_for(1);
}

#[test]
fn a_job_that_shuts_its_own_pool_down_panics_instead_of_waiting_for_itself() {
    let _watch = Watch::new("a job that shuts its pool down");
    let pool = Arc::new(ThreadPool::new(1));
    let shared = Arc::clone(&pool);
    let error = pool.submit(move || shared.shutdown()).join().unwrap_err();
    assert!(error.to_string().contains("own pool"));
    assert_eq!(pool.submit(|| 1).join().unwrap(), 1, "it is still open");
}

#[test]
fn thread_locals_of_the_threads_are_destroyed_before_a_shutdown_returns() {
    let _watch = Watch::new("thread-locals of a pool");
    static ENDED: Count = Count::new();
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(5));
            ENDED.up();
        }
    }
    thread_local! {
        static ENDS: Ends = const { Ends };
    }
    let pool = ThreadPool::new(2);
    let both = Arc::new(std::sync::Barrier::new(2));
    for _ in 0..2 {
        let both = Arc::clone(&both);
        pool.execute(move || {
            ENDS.with(|_| both.wait());
        });
    }
    pool.shutdown();
    assert_eq!(ENDED.get(), 2);
}

#[test]
fn the_child_of_a_fork_is_told_that_the_pool_is_closed() {
    child::run(
        "the_child_of_a_fork_is_told_that_the_pool_is_closed",
        &[],
        || {
            let pool = ThreadPool::builder()
                .threads(2)
                .capacity(50)
                .build()
                .unwrap();
            let (open, busy) = occupy(&pool);
            let held = pool.submit(|| 1);
            // SAFETY: the child calls only what the pool promises to do there, and `_exit`.
            match unsafe { libc::fork() } {
                0 => {
                    let is_closed = held.is_finished()
                        && !busy.cancel()
                        && held.join().unwrap_err().is_closed()
                        && pool.submit(|| 1).join().unwrap_err().is_closed()
                        && pool.try_submit(|| 1).unwrap_err().is_closed()
                        && pool.shutdown_timeout(Duration::ZERO)
                        && pool.shutdown_now() == 0
                        && pool.threads() == 0
                        && ThreadPool::new(1).submit(|| 5).join().unwrap() == 5;
                    // Its threads get the memory of those that the parent has, and are not to be taken for them.
                    let another = ThreadPool::new(1);
                    drop((pool, busy));
                    let is_closed = is_closed && another.submit(|| 6).join().unwrap() == 6;
                    another.shutdown();
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if is_closed { 7 } else { 1 }) };
                }
                pid => {
                    assert_eq!(exit_code(pid), 7);
                    open.set();
                    busy.join().unwrap();
                    assert_eq!(held.join().unwrap(), 1);
                }
            }
        },
    )
    .assert_success();
}

#[test]
fn a_job_that_forks_leaves_the_queue_to_the_parent() {
    child::run(
        "a_job_that_forks_leaves_the_queue_to_the_parent",
        &[],
        || {
            let pool = ThreadPool::new(1);
            let (open, busy) = occupy(&pool);
            // SAFETY: the child returns from the job, and its thread ends.
            let forked = pool.submit(|| unsafe { libc::fork() });
            let order = Arc::new(Mutex::new(Vec::new()));
            for number in 0..10 {
                let order = Arc::clone(&order);
                pool.execute(move || {
                    println!("job {number}");
                    order.lock().unwrap().push(number);
                });
            }
            open.set();
            busy.join().unwrap();
            let pid = forked.join().unwrap();
            assert!(pid > 0);
            // The child's only thread has returned, which ends the process well.
            assert_eq!(exit_code(pid), 0);
            pool.shutdown();
            assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
        },
    )
    .assert_success();
}

/// Waits for a child; its exit code.
fn exit_code(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a place for an int.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child was ended by a signal");
    libc::WEXITSTATUS(status)
}

/// Calls its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_result_that_blocks_when_it_is_dropped_holds_no_other_job() {
    let _watch = Watch::new("a result waits for a queued job");
    let pool = ThreadPool::new(2);
    let (open_first, first) = occupy(&pool);
    let begun = Arc::new(Event::new());
    let (start, done) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let dropping = Arc::new(Event::new());
    let (theirs, gate, awaited) = (Arc::clone(&begun), Arc::clone(&start), Arc::clone(&done));
    let is_dropping = Arc::clone(&dropping);
    drop(pool.submit(move || {
        theirs.set();
        gate.wait();
        OnDrop(move || {
            is_dropping.set();
            awaited.wait();
        })
    }));
    begun.wait();
    let queued = pool.submit(move || done.set());
    start.set();
    dropping.wait();
    // Now the other thread is free for the job.
    open_first.set();
    first.join().unwrap();
    queued.join().unwrap();
}

#[test]
fn a_result_may_join_a_queued_job_when_it_is_dropped() {
    let _watch = Watch::new("a result joins a queued job");
    let pool = ThreadPool::new(1);
    let (open, first) = occupy(&pool);
    let (sender, receiver) = std::sync::mpsc::channel::<JobHandle<u32>>();
    let joined = Arc::new(Count::new());
    let theirs = Arc::clone(&joined);
    drop(pool.submit(move || {
        OnDrop(move || {
            let value = receiver.recv().unwrap().join().unwrap();
            theirs.set(value as usize);
        })
    }));
    sender.send(pool.submit(|| 7)).unwrap();
    open.set();
    first.join().unwrap();
    drop(pool);
    assert_eq!(joined.get(), 7);
}
