//! What is known of threads and locks: reports and snapshots, in the program that runs.
//!
//! Nothing needs to be rebuilt or configured. What is found is printed to stderr unless the program takes it
//! ([`on_deadlock`], [`on_lock_order`]); every report has a text (its `Display`) and JSON ([`ToJson`]).
//!
//! How to read a report, and what can and cannot be found, is told in `docs/src/deadlocks.md` of the repository.
//!
//! # Threads
//!
//! [`threads`] tells of each thread what it does, since when, what it holds and what it waits for.
//!
//! # Deadlocks
//!
//! Threads that wait for each other's locks and ends in a circle are reported when the circle closes, while the rest of
//! the program goes on. The one that closes it can be made to panic instead of waiting for ever ([`on_deadlock`]).
//!
//! # Lock order
//!
//! Threads that take the same locks in different orders deadlock if they meet in between. That may happen once a year;
//! the two orders can be seen every day. While [`lock_order`] is on, which it is in debug builds, the second order is
//! reported when it is first taken, with both places of each. A *class*, of which the order is learned, is all locks
//! made at one place in the source, or given one name.
//!
//! ```
//! use brigade::diag::{OrderReport, lock_order, on_lock_order};
//! use brigade::sync::Mutex;
//! use std::sync::mpsc;
//!
//! let (reports, seen) = mpsc::channel();
//! on_lock_order(move |report: &OrderReport| reports.send(report.clone()).unwrap());
//! lock_order(true);
//!
//! let (a, b) = (Mutex::new(0).with_name("a"), Mutex::new(0).with_name("b"));
//! {
//!     let _a = a.lock().unwrap();
//!     let _b = b.lock().unwrap();
//! }
//! {
//!     let _b = b.lock().unwrap();
//!     let _a = a.lock().unwrap(); // nothing waits here, and yet:
//! }
//! let report = seen.try_recv().unwrap();
//! assert_eq!(report.edges().len(), 2);
//! assert!(report.to_string().starts_with("lock order: Mutex \"b\""));
//! ```

pub use brigade_diag::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, DeadlockedThread,
    HeldLockReport, LockClass, LockDescription, LockFacts, LockKind, Mode, OrderEdge, OrderKind,
    OrderReport, SCHEMA_VERSION, SiteSummary, Taking, ThreadInfo, ThreadLabel, ThreadName,
    ThreadState, Threads, ToJson, WaitReason, WaitReport,
};
pub use brigade_sync::order::OrderStats;

/// All threads that there are: green ones that have not ended, and kernel threads that have waited through Brigade.
///
/// Nobody is stopped. Each thread is looked at by itself, so two of them may be seen at moments that do not fit
/// together, and threads that begin or end meanwhile may be missing. One that has ended may be seen for a moment. A lock
/// that is held or waited for is told by its address, because it may be gone when the snapshot is read; the text names
/// the thread that holds it.
///
/// # Blocking
///
/// Blocks the kernel thread for about a microsecond for each thread there is.
///
/// # Examples
///
/// ```
/// use brigade::diag::{ThreadState, threads};
/// use std::time::Duration;
///
/// let sleeper = brigade::thread::Builder::new()
///     .name("sleeper".to_owned())
///     .spawn(|| brigade::thread::park())
///     .unwrap();
/// loop {
///     let sleeping = threads().filter(|thread| {
///         thread.thread.name.get() == Some("sleeper")
///             && matches!(thread.state, ThreadState::Waiting(_))
///     });
///     if sleeping.len() == 1 {
///         println!("{sleeping}");
///         break;
///     }
/// }
/// sleeper.thread().unpark();
/// sleeper.join().unwrap();
/// assert!(threads().iter().all(|thread| {
///     thread.thread.name.get() != Some("sleeper") || thread.state == ThreadState::Terminated
/// }));
/// ```
#[must_use]
pub fn threads() -> Threads {
    Threads::now()
}

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
/// The thread that closes the circle panics with the report, and what it held is free again:
///
/// ```
/// use brigade::diag::{DeadlockResponse, on_deadlock};
/// use brigade::sync::Mutex;
/// use std::panic::{AssertUnwindSafe, catch_unwind};
///
/// on_deadlock(|report| {
///     eprintln!("{report}");
///     DeadlockResponse::PanicClosing
/// });
/// let till = Mutex::new(3).with_name("till");
/// let guard = till.lock().unwrap();
/// let message = catch_unwind(AssertUnwindSafe(|| *till.lock().unwrap() = 4)).unwrap_err();
/// assert!(message.downcast_ref::<String>().unwrap().starts_with("deadlock: thread"));
/// assert_eq!(*guard, 3);
/// ```
pub fn on_deadlock(handler: impl Fn(&DeadlockReport) -> DeadlockResponse + Send + Sync + 'static) {
    brigade_diag::on_deadlock(handler);
}

/// How many searches for a deadlock were given up, because more than a thousand threads that hold something waited,
/// directly or not, for one thread.
///
/// # Blocking
///
/// Does not block.
///
/// # Examples
///
/// ```
/// assert_eq!(brigade::diag::abandoned_searches(), 0);
/// ```
#[must_use]
pub fn abandoned_searches() -> u64 {
    brigade_diag::abandoned_searches()
}

/// Watches the order in which locks are taken, or does so no longer.
///
/// What is on at the start of a program: the environment variable `BRIGADE_LOCK_ORDER` if it is `1` or `0`, else
/// whether this is a debug build. Switched off, it costs a load and a branch for each lock taken. What was learned stays
/// learned. A lock that is held while the watch is switched on takes no part until it is taken again.
///
/// # Blocking
///
/// Does not block.
///
/// # Examples
///
/// ```
/// use brigade::diag::{lock_order, lock_order_stats};
/// use brigade::sync::Mutex;
///
/// lock_order(false);
/// drop(Mutex::new(1).lock());
/// assert_eq!(lock_order_stats().classes, 0);
///
/// lock_order(true);
/// drop(Mutex::new(1).lock());
/// assert_eq!(lock_order_stats().classes, 1);
/// ```
pub fn lock_order(on: bool) {
    brigade_sync::order::watch(on);
}

/// Calls `handler` with each report about the order of locks, instead of printing it to stderr.
///
/// The handler runs on the thread that was going to take a lock, before it takes it. It may use locks of Brigade, whose
/// order is then not watched. It holds up that thread alone; but the thread holds other locks meanwhile, so a handler
/// that takes one of those waits for itself. The last handler given counts.
///
/// # Panics
///
/// A panic of the handler comes out of the `lock` that closed the circle (or out of the wait for a condition variable,
/// which takes its mutex again), so that a test can fail there.
///
/// # Blocking
///
/// Does not block. The handler may; if the global allocator uses locks of Brigade, a handler must not allocate.
///
/// # Examples
///
/// ```
/// use brigade::diag::{OrderKind, lock_order, on_lock_order};
/// use brigade::sync::Mutex;
///
/// on_lock_order(|report| panic!("{report}"));
/// lock_order(true);
///
/// // Locks of one class need ranks.
/// let accounts: Vec<_> = (1..=2).map(|rank| Mutex::new(0).with_rank(rank)).collect();
/// let nested = |first: usize, second: usize| {
///     let _first = accounts[first].lock().unwrap();
///     let _second = accounts[second].lock().unwrap();
/// };
/// nested(0, 1);
/// let message = std::panic::catch_unwind(|| nested(1, 0)).unwrap_err();
/// assert!(message.downcast_ref::<String>().unwrap().contains("without rising ranks"));
/// ```
pub fn on_lock_order(handler: impl Fn(&OrderReport) + Send + Sync + 'static) {
    brigade_sync::order::on_report(handler);
}

/// What the watch over the order of locks has seen, and whether anything was beyond its limits.
///
/// There is room for 4095 classes and 16,384 pairs of classes; what is not checked for want of room is counted here, and
/// said on stderr the first time.
///
/// # Blocking
///
/// Blocks the kernel thread while another one learns an order: microseconds.
///
/// # Examples
///
/// ```
/// assert_eq!(brigade::diag::lock_order_stats().unchecked, 0);
/// ```
#[must_use]
pub fn lock_order_stats() -> OrderStats {
    brigade_sync::order::stats()
}
