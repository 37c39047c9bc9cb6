//! Futures that end with a token: every task that waits is woken once, and nothing is left of those that do not.

mod common;

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use brigade::cancel::{self, CancelToken};
use brigade::task;
use common::{Count, Watch, on_each_model};

const HOUR: Duration = Duration::from_secs(3600);

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        // ORDER: Relaxed: read by the thread that woke.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn get(&self) -> usize {
        // ORDER: Relaxed: as above.
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_task_is_woken_once_by_the_waker_of_its_last_poll() {
    let token = CancelToken::new();
    let wakes: [Arc<Wakes>; 2] = Default::default();
    let mut cancelled = pin!(token.cancelled());
    for wakes in &wakes {
        let waker = Waker::from(Arc::clone(wakes));
        let poll = cancelled.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    assert_eq!(Arc::strong_count(&wakes[0]), 1, "the old waker is kept");
    token.cancel();
    token.cancel();
    assert_eq!((wakes[0].get(), wakes[1].get()), (0, 1));
    assert_eq!(Arc::strong_count(&wakes[1]), 1, "the waker is kept");
    let poll = cancelled
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready());
}

#[test]
fn a_future_that_is_dropped_takes_its_waker_with_it() {
    let (root, wakes) = (CancelToken::new(), Arc::new(Wakes::default()));
    let token = root.child();
    for _ in 0..3 {
        let waker = Waker::from(Arc::clone(&wakes));
        let mut all: Vec<_> = (0..5).map(|_| Box::pin(token.cancelled())).collect();
        for cancelled in &mut all {
            let poll = cancelled.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll.is_pending());
        }
        // Out of the middle, and from both ends.
        for index in [2, 0, 2, 1, 0] {
            drop(all.remove(index));
        }
    }
    assert_eq!(Arc::strong_count(&wakes), 1);
    root.cancel();
    assert_eq!(wakes.get(), 0, "nobody waits");
}

#[test]
fn a_token_that_never_ends_keeps_no_waker() {
    let mut cancelled = pin!(CancelToken::never().cancelled());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let poll = cancelled.as_mut().poll(&mut Context::from_waker(&waker));
    assert_eq!(poll, Poll::Pending);
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1);
}

#[test]
fn a_thousand_tasks_and_threads_end_with_one_token() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let token = CancelToken::new();
            let tasks: Vec<_> = (0..1000)
                .map(|_| {
                    let token = token.child();
                    task::spawn(async move { token.limit(pending::<()>()).await })
                })
                .collect();
            let thread = brigade::thread::spawn({
                let token = token.clone();
                move || task::block_on(token.cancelled())
            });
            brigade::thread::yield_now();
            token.cancel();
            for task in tasks {
                assert!(task.join().expect("no panic").is_err());
            }
            assert!(!thread.join().expect("no panic").is_timed_out());
        });
    });
}

/// A wait of a thread's kind may be made in a poll: it blocks one poller, and ends with its token.
#[test]
fn a_poll_that_blocks_ends_with_its_token() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let (token, begun) = (CancelToken::new(), Arc::new(Count::new()));
            let (theirs, begins) = (token.clone(), Arc::clone(&begun));
            let task = task::spawn(async move {
                begins.up();
                theirs.sleep(HOUR)
            });
            while begun.get() == 0 {
                brigade::thread::yield_now();
            }
            token.cancel();
            assert!(task.join().expect("no panic").is_err());
        });
    });
}

#[test]
fn a_deadline_wakes_a_task_and_a_thread_that_waits_for_the_future() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let token = CancelToken::with_timeout(Duration::from_millis(2));
            let (child, late) = (token.child(), token.child_with_timeout(HOUR));
            let task = task::spawn(async move { child.limit(pending::<()>()).await });
            assert!(task::block_on(late.cancelled()).is_timed_out());
            let error = task.join().expect("no panic").expect_err("ended");
            assert!(error.is_timed_out());
        });
    });
}

#[test]
fn a_token_with_a_deadline_wakes_when_it_is_cancelled_before() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let token = CancelToken::with_timeout(HOUR);
            let theirs = token.clone();
            let waits = brigade::thread::spawn(move || task::block_on(theirs.cancelled()));
            brigade::thread::yield_now();
            token.cancel();
            assert!(!waits.join().expect("no panic").is_timed_out());
        });
    });
}

#[test]
fn an_output_that_is_ready_counts_and_a_future_after_the_end_is_not_polled() {
    let token = CancelToken::new();
    let theirs = token.clone();
    let ready = task::block_on(token.limit(async move {
        theirs.cancel();
        7
    }));
    assert_eq!(ready, Ok(7));
    let polled = Count::new();
    let result = task::block_on(token.limit(async { polled.up() }));
    assert!(result.is_err());
    assert_eq!(polled.get(), 0);
}

#[test]
fn a_cancellation_and_tasks_that_begin_to_wait_meet_in_any_order() {
    const ROUNDS: usize = 2000;
    let _watch = Watch::new("tasks that begin to wait while they are cancelled");
    brigade::run(|| {
        for round in 0..ROUNDS {
            cancel::scope(|s| {
                let token = s.token().clone();
                let waits = s.spawn(move || task::block_on(token.limit(pending::<()>())));
                for _ in 0..round % 3 {
                    brigade::thread::yield_now();
                }
                s.token().cancel();
                assert!(waits.join().expect("no panic").is_err());
            });
        }
    });
}
