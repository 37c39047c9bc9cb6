//! Who is told of a deadlock.
//!
//! The runtime finds it, on the thread whose wait closes the circle, and asks what is to be done. That thread stands in
//! a list of waiters at that moment, so nothing may unwind through it: a panic of the program's handler is caught here
//! and becomes an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brigade_event::{DeadlockReport, DeadlockResponse};
use brigade_runtime::park::{RawLock, on_fork_once};
use brigade_runtime::waits;

type Handler = Arc<dyn Fn(&DeadlockReport) -> DeadlockResponse + Send + Sync>;

static HANDLER: RawLock<Option<Handler>> = RawLock::new(None);

/// Calls `handler` with each report of a deadlock, instead of printing it to stderr, and does what it answers.
///
/// The handler runs on the thread whose wait closed the circle, before it waits; if all threads wait, on any thread. It
/// may lock, but what it waits for must not be held by the threads of the report. A panic of the handler is
/// [`DeadlockResponse::PanicClosing`]. The last handler given counts.
///
/// # Blocking
///
/// Does not block. A handler that does holds up the thread that it runs on.
///
/// # Examples
///
/// ```
/// use brigade_diag::{DeadlockResponse, on_deadlock};
///
/// on_deadlock(|report| {
///     eprintln!("{report}");
///     DeadlockResponse::PanicClosing
/// });
/// ```
pub fn on_deadlock(handler: impl Fn(&DeadlockReport) -> DeadlockResponse + Send + Sync + 'static) {
    register_fork_handlers();
    let handler: Handler = Arc::new(handler);
    let before = HANDLER.lock().replace(handler);
    waits::set_deadlock_handler(call);
    drop(before);
}

/// How many searches for a deadlock were given up because more than a thousand threads waited, directly or not, for one.
///
/// # Examples
///
/// ```
/// assert_eq!(brigade_diag::abandoned_searches(), 0);
/// ```
#[must_use]
pub fn abandoned_searches() -> u64 {
    waits::abandoned()
}

fn call(report: &DeadlockReport) -> DeadlockResponse {
    let handler = HANDLER.lock().clone();
    let Some(handler) = handler else {
        return DeadlockResponse::Continue;
    };
    // What the handler had in its hands is its own affair: it is called again with the next report.
    catch_unwind(AssertUnwindSafe(|| handler(report))).unwrap_or(DeadlockResponse::PanicClosing)
}

/// Keeps the handler whole across forks. Called before anybody takes its lock.
fn register_fork_handlers() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if !DONE.load(Ordering::Relaxed) {
        // SAFETY: the lock was taken by the handler that runs before the fork.
        let after = || unsafe { HANDLER.release() };
        on_fork_once(&DONE, || HANDLER.acquire(), after, after);
    }
}
