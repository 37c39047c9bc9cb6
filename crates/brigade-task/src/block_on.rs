//! Waiting for a future on any thread.

use std::cell::Cell;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use brigade_runtime::park::{is_turn_over, yield_now};

use crate::local;
use crate::parker::Parker;

thread_local! {
    static MINE: Mine = Mine { parker: Arc::new(Parker::new()), depth: Cell::new(0) };
}

/// The parker of a thread, and how many calls of [`block_on`] it is in.
struct Mine {
    parker: Arc<Parker>,
    depth: Cell<usize>,
}

/// Runs a future to its end on the current thread, and returns its output.
///
/// Between the polls the thread also runs what it has given to [`spawn_local`](crate::spawn_local).
///
/// # Blocking
///
/// On a green thread it parks that thread only; on an ordinary kernel thread it blocks that. It may be called anywhere,
/// also inside of a future that a task or another `block_on` polls: then that poll takes as long, and only the thread
/// that polls is held up.
///
/// # Panics
///
/// With the panic of the future.
///
/// # Examples
///
/// ```
/// use brigade_task::{block_on, spawn};
///
/// let six = spawn(async { 6 });
/// let product = block_on(async {
///     let seven = block_on(async { 7 });
///     six.await.unwrap() * seven
/// });
/// assert_eq!(product, 42);
/// ```
///
/// A panic comes out where it was called:
///
/// ```should_panic
/// brigade_task::block_on(async { panic!("out") })
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let site = Location::caller();
    let mine = MINE.try_with(|mine| {
        let depth = mine.depth.get();
        mine.depth.set(depth + 1);
        (Arc::clone(&mine.parker), depth)
    });
    // After the thread-locals are gone: a parker for this call alone.
    let (parker, depth) = mine.unwrap_or_else(|_| (Arc::new(Parker::new()), 0));
    let leave = Leave {
        parker: &parker,
        is_nested: depth > 0,
    };
    let output = run(future, &parker, site);
    drop(leave);
    output
}

/// The end of a call, also by a panic.
struct Leave<'a> {
    parker: &'a Parker,
    is_nested: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let _ = MINE.try_with(|mine| mine.depth.set(mine.depth.get().saturating_sub(1)));
        if self.is_nested {
            self.parker.wake();
        }
    }
}

fn run<F: Future>(future: F, parker: &Arc<Parker>, site: &'static Location<'static>) -> F::Output {
    let waker = Waker::from(Arc::clone(parker));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A wake may be for the future or for a local task; both are asked after each.
        loop {
            let ran = local::run_some(parker);
            if parker.take() || ran && local::has_work() {
                break;
            }
            if !ran {
                parker.wait(site);
                break;
            }
        }
        // A future that wakes itself is polled again at once, and may wait for other threads.
        if is_turn_over() {
            yield_now();
        }
    }
}
