//! Tasks where programs seldom go: a runtime that is closing, one processor, handles asked at the wrong time, destructors
//! and wakers that misbehave.

mod common;

use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use brigade::runtime::Builder;
use brigade::task::{self, Async, block_on, sleep, spawn, yield_now};
use brigade::thread;
use common::{Count, MODELS, Watch, child, on_each_model};

/// A task that blocks its poller until another task has run.
fn a_task_waits_for_another() {
    let outer = spawn(async { spawn(async { 7 }).join().unwrap() });
    assert_eq!(outer.join().unwrap(), 7);
}

/// Every poller of the process sleeps, and there is one.
fn pollers_sleep() -> bool {
    let all = brigade::diag::threads();
    let pollers = all
        .iter()
        .filter(|info| info.thread.to_string().contains("task poller"));
    let states: Vec<_> = pollers.map(|info| info.state.to_string()).collect();
    !states.is_empty() && states.iter().all(|state| state.contains("tasks"))
}

#[test]
fn tasks_of_a_closing_runtime_are_polled_though_its_pollers_had_gone_to_sleep() {
    const NAME: &str = "tasks_of_a_closing_runtime_are_polled_though_its_pollers_had_gone_to_sleep";
    // In a child, because the pollers of other tests do not sleep when they are asked to.
    child::run(NAME, &[], || {
        for model in MODELS {
            let _watch = Watch::new("tasks of a closing runtime");
            let runtime = Builder::new().workers(2).model(model).build().unwrap();
            let (closed, is_closed) = mpsc::channel::<()>();
            let late = runtime.spawn(move || {
                a_task_waits_for_another();
                is_closed.recv().unwrap();
                for _ in 0..10 {
                    a_task_waits_for_another();
                }
            });
            while !pollers_sleep() {
                std::thread::yield_now();
            }
            drop(runtime);
            closed.send(()).unwrap();
            late.join().unwrap();
        }
    })
    .assert_success();
}

#[test]
fn a_task_of_a_closing_runtime_is_woken_from_outside_while_all_pollers_are_held_up() {
    /// More than the pollers that are kept asleep.
    const HELD: usize = 12;
    for model in MODELS {
        let _watch = Watch::new("a wake from outside while closing");
        let runtime = Builder::new().workers(2).model(model).build().unwrap();
        let handle = runtime.handle();
        let (wake, is_woken) = mpsc::channel::<Waker>();
        let (done, is_done) = mpsc::channel();
        let go = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&go);
        let woken = poll_fn(move |context| {
            if theirs.load(Ordering::Acquire) {
                done.send(()).unwrap();
                return Poll::Ready(());
            }
            wake.send(context.waker().clone()).unwrap();
            Poll::Pending
        });
        let woken = handle.spawn_task(woken).unwrap();
        let waker = is_woken.recv().unwrap();
        // The first waits for the task in its poll, the others for the first.
        let held = Arc::new(Count::new());
        let first_is_done = Arc::new(std::sync::Mutex::new(is_done));
        let tasks: Vec<_> = (0..HELD)
            .map(|_| {
                let (held, is_done) = (Arc::clone(&held), Arc::clone(&first_is_done));
                let task = async move {
                    held.up();
                    let _ = is_done.lock().unwrap().recv();
                };
                handle.spawn_task(task).unwrap()
            })
            .collect();
        held.kernel_wait_for(HELD);
        drop(runtime);
        go.store(true, Ordering::Release);
        waker.wake();
        woken.join().unwrap();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn a_task_that_always_gives_way_keeps_no_thread_from_running() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let theirs = Arc::clone(&flag);
            let task = spawn(async move {
                while !theirs.load(Ordering::Acquire) {
                    yield_now().await;
                }
            });
            thread::yield_now();
            let setter = thread::spawn(move || flag.store(true, Ordering::Release));
            task.join().unwrap();
            setter.join().unwrap();
        });
    });
}

#[test]
fn time_and_descriptors_are_waited_for_beside_tasks_that_always_give_way() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let is_over = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..4)
                .map(|_| {
                    let is_over = Arc::clone(&is_over);
                    spawn(async move {
                        while !is_over.load(Ordering::Acquire) {
                            yield_now().await;
                        }
                    })
                })
                .collect();
            let (here, there) = UnixStream::pair().unwrap();
            let waits = spawn(async move {
                sleep(Duration::from_millis(2)).await;
                let here = Async::new(here).unwrap();
                here.read_with(|mut here| here.read(&mut [0; 8])).await
            });
            block_on(sleep(Duration::from_millis(4)));
            (&there).write_all(b"seven b").unwrap();
            assert_eq!(waits.join().unwrap().unwrap(), 7);
            is_over.store(true, Ordering::Release);
            busy.into_iter().for_each(|task| task.join().unwrap());
        });
    });
}

#[test]
fn a_future_that_always_gives_way_in_block_on_keeps_no_thread_from_running() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let theirs = Arc::clone(&flag);
            let setter = thread::spawn(move || theirs.store(true, Ordering::Release));
            block_on(async {
                while !flag.load(Ordering::Acquire) {
                    yield_now().await;
                }
            });
            setter.join().unwrap();
        });
    });
}

#[test]
fn a_large_future_is_spawned_from_a_small_stack() {
    async fn large() -> usize {
        let ballast = [1_u8; 20_000];
        yield_now().await;
        std::hint::black_box(&ballast).len()
    }
    // In a child, because a stack that overflows ends the process.
    child::run("a_large_future_is_spawned_from_a_small_stack", &[], || {
        let spawner = thread::spawn(|| spawn(large()).join().unwrap());
        assert_eq!(spawner.join().unwrap(), 20_000);
    })
    .assert_success();
}

#[test]
fn an_aborted_task_is_seen_to_have_finished_without_awaiting_it() {
    let _watch = Watch::new("an aborted task that nobody awaits");
    let dropped = Arc::new(Count::new());
    struct Guard(Arc<Count>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.up();
        }
    }
    let guard = Guard(Arc::clone(&dropped));
    let task = spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    task.abort();
    while !task.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(dropped.get(), 1, "finished before its future was gone");
    assert!(task.join().unwrap_err().is_cancelled());
}

/// An output, or a payload, that nobody takes.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn an_output_whose_destructor_panics_harms_nobody() {
    child::run(
        "an_output_whose_destructor_panics_harms_nobody",
        &[],
        || {
            drop(spawn(async { Bomb }));
            drop(spawn(async { std::panic::panic_any(Bomb) }));
            while task::live() > 0 {
                std::thread::yield_now();
            }
            let ended = spawn(async { Bomb });
            while !ended.is_finished() {
                std::thread::yield_now();
            }
            drop(ended);
            assert_eq!(spawn(async { 1 }).join().unwrap(), 1);
        },
    )
    .assert_success();
}

#[test]
fn futures_are_waited_for_and_tasks_spawned_while_thread_locals_go() {
    struct Late(&'static Count);
    impl Drop for Late {
        fn drop(&mut self) {
            block_on(sleep(Duration::from_millis(1)));
            let inner = spawn(async { yield_now().await });
            block_on(inner).unwrap();
            self.0.up();
        }
    }
    static DONE: Count = Count::new();
    thread_local!(static LATE: Late = const { Late(&DONE) });
    on_each_model(|runtime| {
        let before = DONE.get();
        runtime.run(|| {
            for first in [true, false] {
                thread::spawn(move || {
                    if first {
                        LATE.with(|_| ());
                    }
                    block_on(async { yield_now().await });
                    LATE.with(|_| ());
                })
                .join()
                .unwrap();
            }
            let task = spawn(async { LATE.with(|_| ()) });
            task.join().unwrap();
        });
        assert!(DONE.get() >= before + 2);
    });
}
