//! Tasks: they run, end in every way there is, and never keep each other from running.

mod common;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use brigade::runtime::{Builder, Model};
use brigade::task::{self, block_on, spawn, yield_now};
use brigade::thread;
use common::{Count, MODELS, Watch, on_each_model};

/// A future that is ready when somebody says so.
#[derive(Default)]
struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Counts its drops.
struct Dropped(Arc<Count>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.up();
    }
}

#[test]
fn every_task_runs_once_and_gives_its_output_under_each_model() {
    on_each_model(|runtime| {
        let ran = Arc::new(Count::new());
        let sum: usize = runtime.run(|| {
            let tasks: Vec<_> = (0..10_000)
                .map(|n| {
                    let ran = Arc::clone(&ran);
                    spawn(async move {
                        yield_now().await;
                        ran.up();
                        n
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum()
        });
        assert_eq!((ran.get(), sum), (10_000, 10_000 * 9_999 / 2));
    });
}

#[test]
fn tasks_wake_each_other_across_threads_without_losing_a_wake() {
    for workers in [1, 2, 8] {
        let _watch = Watch::new("tasks that wake each other");
        let runtime = Builder::new().workers(workers).build().unwrap();
        runtime.run(|| {
            let ring: Vec<Arc<Gate>> = (0..2_000).map(|_| Arc::default()).collect();
            let tasks: Vec<_> = (1..ring.len())
                .map(|n| {
                    let (mine, next) = (Arc::clone(&ring[n - 1]), Arc::clone(&ring[n]));
                    spawn(async move {
                        mine.wait().await;
                        next.open();
                    })
                })
                .collect();
            ring[0].open();
            block_on(ring[ring.len() - 1].wait());
            tasks.into_iter().for_each(|task| task.join().unwrap());
        });
    }
}

#[test]
fn a_task_is_woken_from_a_kernel_thread() {
    let _watch = Watch::new("a wake from a kernel thread");
    let gate = Arc::new(Gate::default());
    let theirs = Arc::clone(&gate);
    let task = spawn(async move { theirs.wait().await });
    std::thread::spawn(move || gate.open()).join().unwrap();
    task.join().unwrap();
}

#[test]
fn a_panic_ends_its_task_alone_and_reaches_the_handle() {
    let _watch = Watch::new("panics");
    let panics = spawn(async {
        yield_now().await;
        panic!("the reason")
    });
    let goes_on = spawn(async { 1 });
    let error = panics.join().unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task panicked: the reason");
    assert_eq!(
        error.into_panic().downcast_ref::<&str>(),
        Some(&"the reason")
    );
    assert_eq!(goes_on.join().unwrap(), 1);
}

#[test]
fn a_future_whose_destructor_panics_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let _watch = Watch::new("a destructor that panics");
    let task = spawn(async {
        let _bomb = Bomb;
        pending::<()>().await;
    });
    let other = spawn(async { 2 });
    task.abort();
    assert!(task.join().unwrap_err().is_cancelled());
    assert_eq!(other.join().unwrap(), 2);
}

#[test]
fn an_abort_drops_the_future_wherever_it_finds_the_task() {
    let _watch = Watch::new("aborts");
    let dropped = Arc::new(Count::new());
    let runtime = Builder::new().workers(2).build().unwrap();
    runtime.run(|| {
        // Not polled yet, perhaps; waiting; woken; ended.
        let guard = Dropped(Arc::clone(&dropped));
        let fresh = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        fresh.abort();
        assert!(fresh.join().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 1);

        let started = Arc::new(Gate::default());
        let (guard, says) = (Dropped(Arc::clone(&dropped)), Arc::clone(&started));
        let waits = spawn(async move {
            let _guard = guard;
            says.open();
            pending::<()>().await;
        });
        block_on(started.wait());
        waits.abort();
        waits.abort();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(dropped.get(), 2);

        let guard = Dropped(Arc::clone(&dropped));
        let ended = spawn(async move { drop(guard) });
        while !ended.is_finished() {
            thread::yield_now();
        }
        ended.abort();
        ended.join().expect("it was faster");
        assert_eq!(dropped.get(), 3);
    });
}

#[test]
fn an_abort_of_a_task_that_is_being_polled_lets_the_poll_end() {
    let _watch = Watch::new("an abort during a poll");
    let (in_poll, go_on) = (mpsc::channel(), mpsc::channel());
    let dropped = Arc::new(Count::new());
    let guard = Dropped(Arc::clone(&dropped));
    let (polled, ended) = (Arc::new(AtomicBool::new(false)), in_poll.0);
    let theirs = Arc::clone(&polled);
    let task = spawn(async move {
        let _guard = guard;
        ended.send(()).unwrap();
        // Blocks in the poll.
        go_on.1.recv().unwrap();
        theirs.store(true, Ordering::SeqCst);
        pending::<()>().await;
    });
    in_poll.1.recv().unwrap();
    task.abort();
    assert_eq!(
        dropped.get(),
        0,
        "nobody drops a future that is being polled"
    );
    go_on.0.send(()).unwrap();
    assert!(task.join().unwrap_err().is_cancelled());
    assert!(polled.load(Ordering::SeqCst));
    assert_eq!(dropped.get(), 1);
}

#[test]
fn a_dropped_handle_lets_the_task_run_on() {
    let _watch = Watch::new("a dropped handle");
    let dropped = Arc::new(Count::new());
    let gate = Arc::new(Gate::default());
    let (guard, theirs) = (Dropped(Arc::clone(&dropped)), Arc::clone(&gate));
    drop(spawn(async move {
        theirs.wait().await;
        guard
    }));
    gate.open();
    dropped.kernel_wait_for(1);
}

#[test]
fn handles_are_futures_and_outputs_are_dropped_once() {
    let _watch = Watch::new("outputs");
    let dropped = Arc::new(Count::new());
    let theirs = Arc::clone(&dropped);
    let outer = spawn(async move {
        let inner: Vec<_> = (0..100)
            .map(|_| {
                let guard = Dropped(Arc::clone(&theirs));
                spawn(async move { guard })
            })
            .collect();
        for (n, task) in inner.into_iter().enumerate() {
            if n % 2 == 0 {
                drop(task.await.unwrap());
            }
        }
    });
    outer.join().unwrap();
    dropped.kernel_wait_for(100);
}

#[test]
fn a_task_that_blocks_keeps_no_other_from_running() {
    for workers in [1, 2] {
        let _watch = Watch::new("tasks that block");
        let runtime = Builder::new().workers(workers).build().unwrap();
        runtime.run(|| {
            // More than there are processors, each until the very last task says so.
            let (sender, receiver) = mpsc::channel::<()>();
            let receiver = Arc::new(Mutex::new(receiver));
            let blocked: Vec<_> = (0..20)
                .map(|_| {
                    let receiver = Arc::clone(&receiver);
                    spawn(async move { receiver.lock().unwrap().recv().is_ok() })
                })
                .collect();
            let last = spawn(async move {
                yield_now().await;
                drop(sender);
            });
            last.join().unwrap();
            blocked
                .into_iter()
                .for_each(|task| assert!(!task.join().unwrap()));
        });
    }
}

#[test]
fn a_task_that_computes_keeps_no_other_from_running() {
    for workers in [1, 2] {
        let _watch = Watch::new("tasks that compute");
        let runtime = Builder::new().workers(workers).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ticks = Arc::new(AtomicUsize::new(0));
        runtime.run(|| {
            let hogs: Vec<_> = (0..4)
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    spawn(async move {
                        while !stop.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            // If it does not run until the hogs stop, they never do.
            let ticks = Arc::clone(&ticks);
            let ticker = spawn(async move {
                for _ in 0..10 {
                    ticks.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
            ticker.join().unwrap();
            stop.store(true, Ordering::Relaxed);
            hogs.into_iter().for_each(|task| task.join().unwrap());
        });
        assert_eq!(ticks.load(Ordering::Relaxed), 10);
    }
}

#[test]
fn tasks_and_threads_share_a_processor() {
    let _watch = Watch::new("tasks that never end beside a thread");
    let runtime = Builder::new().workers(1).build().unwrap();
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        // Always woken: it would keep the processor if its poller did not let others run.
        let task = spawn(async move {
            while !theirs.load(Ordering::Relaxed) {
                yield_now().await;
            }
        });
        for _ in 0..20 {
            thread::spawn(|| ()).join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        task.join().unwrap();
    });
}

#[test]
fn block_on_parks_its_green_thread_only() {
    let _watch = Watch::new("block_on on a green thread");
    let runtime = Builder::new().workers(1).build().unwrap();
    runtime.run(|| {
        let gate = Arc::new(Gate::default());
        let theirs = Arc::clone(&gate);
        let waits = thread::spawn(move || block_on(theirs.wait()));
        // With one processor this runs only if the other is parked.
        thread::spawn(move || gate.open()).join().unwrap();
        waits.join().unwrap();
    });
}

#[test]
fn block_on_nests_to_any_depth_on_any_thread() {
    fn nested(depth: usize) -> usize {
        block_on(async move {
            yield_now().await;
            if depth == 0 { 0 } else { nested(depth - 1) + 1 }
        })
    }
    let _watch = Watch::new("nested block_on");
    assert_eq!(nested(20), 20);
    on_each_model(|runtime| {
        assert_eq!(runtime.run(|| nested(20)), 20);
        assert_eq!(
            runtime.run(|| spawn(async { nested(20) }).join().unwrap()),
            20
        );
    });
}

#[test]
fn a_wake_during_a_nested_block_on_reaches_the_outer_future() {
    /// Its first poll is woken, and then waits inside for something else.
    struct Outer(bool);
    impl Future for Outer {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.0 {
                return Poll::Ready(());
            }
            self.0 = true;
            context.waker().wake_by_ref();
            let gate = Arc::new(Gate::default());
            let theirs = Arc::clone(&gate);
            let other = std::thread::spawn(move || theirs.open());
            block_on(gate.wait());
            other.join().unwrap();
            Poll::Pending
        }
    }
    let _watch = Watch::new("a wake used up by a nested call");
    block_on(Outer(false));
    thread::spawn(|| block_on(Outer(false))).join().unwrap();
}

#[test]
fn a_runtime_that_shuts_down_waits_for_its_tasks_and_takes_no_more() {
    for model in MODELS {
        let _watch = Watch::new("shutdown");
        let runtime = Builder::new().model(model).build().unwrap();
        let gate = Arc::new(Gate::default());
        let ended = Arc::new(Count::new());
        let (theirs, counts) = (Arc::clone(&gate), Arc::clone(&ended));
        let handle = runtime.handle();
        let task = handle
            .spawn_task(async move {
                theirs.wait().await;
                counts.up();
            })
            .unwrap();
        let opener = std::thread::spawn(move || {
            // Until the runtime refuses, which it does as soon as it is closing.
            while handle.spawn_task(async {}).is_ok() {
                std::thread::yield_now();
            }
            gate.open();
        });
        runtime.shutdown_timeout(Duration::from_secs(200)).unwrap();
        assert_eq!(ended.get(), 1, "{model:?}");
        task.join().unwrap();
        opener.join().unwrap();
    }
}

#[test]
fn a_runtime_whose_tasks_never_end_cannot_be_shut_down() {
    let _watch = Watch::new("shutdown in vain");
    let runtime = Builder::new().workers(1).build().unwrap();
    let task = runtime.handle().spawn_task(pending::<()>()).unwrap();
    assert!(runtime.shutdown_timeout(Duration::from_millis(20)).is_err());
    task.abort();
    assert!(task.join().unwrap_err().is_cancelled());
}

#[test]
fn a_task_in_the_child_of_a_fork_runs_and_the_parents_do_not() {
    let _watch = Watch::new("tasks and a fork");
    let gate = Arc::new(Gate::default());
    let theirs = Arc::clone(&gate);
    let parents = spawn(async move { theirs.wait().await });
    // The lock of the gate must be free in the child.
    while gate.0.lock().unwrap().1.is_empty() {
        std::thread::yield_now();
    }
    // SAFETY: the child only runs Brigade's own code, which is made for that, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        gate.open();
        let ended = spawn(async { 3 }).join().is_ok_and(|value| value == 3);
        // SAFETY: ends the child.
        unsafe { libc::_exit(if ended { 7 } else { 8 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 7);
    gate.open();
    parents.join().unwrap();
}

#[test]
fn live_tasks_are_counted() {
    let _watch = Watch::new("live tasks");
    let runtime = Builder::new()
        .model(Model::ManyToMany)
        .workers(1)
        .build()
        .unwrap();
    runtime.run(|| {
        let gate = Arc::new(Gate::default());
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let gate = Arc::clone(&gate);
                spawn(async move { gate.wait().await })
            })
            .collect();
        assert_eq!(task::live(), 5);
        gate.open();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(task::live(), 0);
    });
}
