//! The pool of kernel threads, and fork-join on green threads.
//!
//! | for | use | because |
//! |---|---|---|
//! | work that waits (sockets, sleeps, locks) | [`thread::spawn`](crate::thread::spawn) | a thread that waits costs a page |
//! | one computation in parts | [`join`], [`fork_scope`], [`par_map`] | the parts are green threads: they may wait for each other and hold locks over a join |
//! | jobs that compute, in a queue with a limit | [`ThreadPool`] | a fixed number of kernel threads, first in, first out, beside the processors |
//! | code that must be on kernel threads of its own | [`ThreadPool`] | its jobs are ordinary code on ordinary threads; waiting for them parks |
//!
//! # A lock over a join
//!
//! In a pool whose waiting threads steal other work, this can hang: the work that is stolen while `lock` is held may want
//! `lock` too, on the same thread. Here the thread that waits parks, and the others wait their turn.
//!
//! ```
//! use brigade::pool;
//! use brigade::sync::Mutex;
//!
//! let lock = Mutex::new(0);
//! let with_lock = || {
//!     let mut total = lock.lock().unwrap();
//!     let (left, right) = pool::join(|| 1, || 2);
//!     *total += left + right;
//! };
//! pool::fork_scope(|scope| {
//!     for _ in 0..100 {
//!         scope.spawn(|_| with_lock());
//!     }
//! });
//! assert_eq!(*lock.lock().unwrap(), 300);
//! ```

#[doc(inline)]
pub use brigade_pool::{
    Builder, ForkScope, JobError, JobHandle, PoolScope, Rejected, ScopedJobHandle, Stats,
    ThreadPool, WhenFull,
};

use crate::hooks::check_once;

/// Calls both closures, possibly at the same time, and returns both results.
///
/// `a` runs as a green thread of its own, on the runtime of the calling green thread, or on the default runtime. `b` runs
/// on the calling thread, which then waits for `a`. That is: two threads, with thread-locals of their own. So they may wait
/// for each other, and a lock that is held over the call is never met by unrelated work on the same thread.
///
/// # Blocking
///
/// Blocks the calling thread only, until both have returned.
///
/// # Panics
///
/// With the panic of `b`, or else that of `a`, after both have ended. Also if no thread can be spawned, before either has
/// begun.
///
/// # Examples
///
/// ```
/// fn sum(numbers: &[u64]) -> u64 {
///     if numbers.len() < 1000 {
///         return numbers.iter().sum();
///     }
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     let (left, right) = brigade::pool::join(|| sum(left), || sum(right));
///     left + right
/// }
/// let numbers: Vec<u64> = (0..10_000).collect();
/// assert_eq!(sum(&numbers), 49_995_000);
/// ```
///
/// ```should_panic
/// brigade::pool::join(|| panic!("one of them"), || "the other");
/// ```
#[inline]
#[track_caller]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB,
    RA: Send,
{
    check_once();
    brigade_pool::join(a, b)
}

/// Calls `f` with a scope in which it may spawn green threads that borrow, and waits for all of them.
///
/// As [`std::thread::scope`], but threads of the scope may spawn into it, nobody joins them one by one, and a panic comes
/// out as it was.
///
/// # Blocking
///
/// Blocks the calling thread only, until `f` and all threads of the scope have ended.
///
/// # Panics
///
/// With the panic of `f`, or else with the first one of a thread, after all threads have ended. Also if the default runtime
/// has to be started and cannot be.
///
/// # Examples
///
/// ```
/// let mut counts = [0; 4];
/// brigade::pool::fork_scope(|scope| {
///     for (index, count) in counts.iter_mut().enumerate() {
///         scope.spawn(move |_| *count = index * index);
///     }
/// });
/// assert_eq!(counts, [0, 1, 4, 9]);
/// ```
///
/// ```should_panic
/// brigade::pool::fork_scope(|scope| scope.spawn(|_| panic!("out of the scope")));
/// ```
#[track_caller]
pub fn fork_scope<'scope, F, T>(f: F) -> T
where
    F: FnOnce(&ForkScope<'scope>) -> T,
{
    check_once();
    brigade_pool::fork_scope(f)
}

/// Calls `f` with each item, on green threads, and returns the results in the order of the items.
///
/// The items are cut into chunks, four for each processor of the runtime, so that threads that are done early find more.
///
/// # Blocking
///
/// Blocks the calling thread only, until all results are there.
///
/// # Panics
///
/// With a panic of `f`, after all threads have ended.
///
/// # Examples
///
/// ```
/// let squares = brigade::pool::par_map(&[1, 2, 3], |n| n * n);
/// assert_eq!(squares, [1, 4, 9]);
/// ```
#[track_caller]
pub fn par_map<T, F, R>(items: &[T], f: F) -> Vec<R>
where
    T: Sync,
    F: Fn(&T) -> R + Sync,
    R: Send,
{
    check_once();
    brigade_pool::par_map(items, f)
}
