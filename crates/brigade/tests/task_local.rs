//! Tasks that stay on their thread.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};

use brigade::task::{block_on, spawn, spawn_local, yield_now};
use brigade::thread;
use common::{Count, Watch, hop, migrating};

#[test]
fn local_tasks_share_what_must_not_leave_the_thread_and_take_turns() {
    let _watch = Watch::new("local tasks");
    let body = || {
        let log = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let log = Rc::clone(&log);
                spawn_local(async move {
                    for round in 0..3 {
                        log.borrow_mut().push((round, n));
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            block_on(task).unwrap();
        }
        let in_turn: Vec<_> = (0..3)
            .flat_map(|round| (0..3).map(move |n| (round, n)))
            .collect();
        assert_eq!(*log.borrow(), in_turn);
    };
    body();
    thread::spawn(body).join().unwrap();
}

#[test]
fn a_local_task_stays_on_its_thread_while_that_moves_between_kernel_threads() {
    migrating(4, |_| {
        let me = std::thread::current().id();
        let here = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&here);
        let task = spawn_local(async move {
            for _ in 0..50 {
                hop();
                yield_now().await;
                assert_eq!(std::thread::current().id(), me);
                theirs.set(theirs.get() + 1);
            }
        });
        block_on(task).unwrap();
        assert_eq!(here.get(), 50);
    });
}

#[test]
fn a_local_task_is_woken_by_others() {
    let _watch = Watch::new("a local task woken from elsewhere");
    thread::spawn(|| {
        let (sender, receiver) = mpsc::channel::<Waker>();
        let is_set = Arc::new(Mutex::new(false));
        let theirs = Arc::clone(&is_set);
        let other = std::thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            *theirs.lock().unwrap() = true;
            waker.wake();
        });
        let task = spawn_local(poll_fn(move |context| {
            if *is_set.lock().unwrap() {
                return Poll::Ready(1);
            }
            let _ = sender.send(context.waker().clone());
            Poll::Pending
        }));
        assert_eq!(block_on(task).unwrap(), 1);
        other.join().unwrap();
    })
    .join()
    .unwrap();
}

/// Counts its drops, which must happen on the thread where it was made.
struct Guard {
    drops: Arc<Count>,
    home: std::thread::ThreadId,
}

impl Guard {
    fn new(drops: &Arc<Count>) -> Guard {
        Guard {
            drops: Arc::clone(drops),
            home: std::thread::current().id(),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        assert_eq!(std::thread::current().id(), self.home);
        self.drops.up();
    }
}

#[test]
fn what_has_not_ended_when_the_thread_ends_is_dropped_there_and_later_wakes_do_nothing() {
    let _watch = Watch::new("the end of a thread with local tasks");
    for green in [false, true] {
        let drops = Arc::new(Count::new());
        let (sender, receiver) = mpsc::channel::<Waker>();
        let theirs = Arc::clone(&drops);
        let body = move || {
            let guard = Guard::new(&theirs);
            let parked = spawn_local(poll_fn(move |context| {
                let _ = (&guard, sender.send(context.waker().clone()));
                Poll::<()>::Pending
            }));
            let guard = Guard::new(&theirs);
            let never_polled = spawn_local(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            // One poll of the first.
            block_on(yield_now());
            (parked, never_polled)
        };
        let (parked, never_polled) = if green {
            thread::spawn(body).join().unwrap()
        } else {
            std::thread::spawn(body).join().unwrap()
        };
        assert_eq!(drops.get(), 2);
        receiver.iter().for_each(Waker::wake);
        assert!(parked.join().unwrap_err().is_cancelled());
        assert!(never_polled.join().unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 2);
    }
}

#[test]
fn a_local_task_that_panics_or_is_aborted_ends_alone() {
    let _watch = Watch::new("local tasks that end early");
    let drops = Arc::new(Count::new());
    let guard = Guard::new(&drops);
    let aborted = spawn_local(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let panics = spawn_local(async { panic!("oh") });
    let goes_on = spawn_local(async { 5 });
    block_on(async {
        yield_now().await;
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(goes_on.await.unwrap(), 5);
    });
    assert_eq!(drops.get(), 1);
}

#[test]
fn local_tasks_spawned_in_a_task_of_the_runtime_stay_with_their_poller_in_block_on() {
    let _watch = Watch::new("local tasks inside a task");
    let task = spawn(async {
        let value = {
            let cell = Rc::new(Cell::new(1));
            let theirs = Rc::clone(&cell);
            block_on(spawn_local(async move { theirs.set(2) })).unwrap();
            cell.get()
        };
        yield_now().await;
        value
    });
    assert_eq!(task.join().unwrap(), 2);
}
