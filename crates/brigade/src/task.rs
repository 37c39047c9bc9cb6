//! Futures on the same processors as green threads: tasks, and waiting for futures on any thread.
//!
//! [`spawn`] starts a task, [`block_on`] waits for a future anywhere, [`spawn_local`] keeps a task on its thread. Tasks
//! are polled by a few green threads, so a poll may call what blocks, or compute: other tasks and threads go on.
//!
//! ```
//! use brigade::{task, thread};
//!
//! // A future in a thread, a thread in a future.
//! let length = thread::spawn(|| task::block_on(async { "brigade".len() })).join().unwrap();
//! let doubled = task::spawn(async move { thread::spawn(move || 2 * length).join().unwrap() });
//! assert_eq!(doubled.join().unwrap(), 14);
//! ```

use std::future::Future;
use std::io;

#[doc(inline)]
pub use brigade_task::{JoinError, JoinHandle, YieldNow, block_on, live, spawn_local, yield_now};

/// Starts a task on the current thread's runtime, or on the default one.
///
/// A task is a future that the runtime polls whenever it is woken. It starts at once, whether or not its handle is
/// awaited. It is polled by a few green threads on the same processors as all others, so a poll may block or compute:
/// the other tasks and threads go on. Between two polls it may move to another thread, so what it keeps in thread-locals
/// does not move with it.
///
/// A task costs its future or its output, whichever is larger, and at most 128 bytes. A runtime that is shut down waits
/// for its tasks as for its threads.
///
/// # Blocking
///
/// Does not block.
///
/// # Panics
///
/// If the runtime cannot be started or is shutting down, or has no thread for polling and cannot start one:
/// [`try_spawn`] says so instead.
///
/// # Examples
///
/// ```
/// use brigade::task;
///
/// let tasks: Vec<_> = (0..10).map(|n| task::spawn(async move { n * n })).collect();
/// let sum: i32 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 285);
/// ```
///
/// A panic ends the task alone:
///
/// ```
/// let error = brigade::task::spawn(async { panic!("oh") }).join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "the task panicked: oh");
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match try_spawn(future) {
        Ok(handle) => handle,
        Err(error) => panic!("brigade: cannot spawn a task: {error}"),
    }
}

/// As [`spawn`], but returns the error.
///
/// # Errors
///
/// The runtime cannot be started or is shutting down, or has no thread for polling and cannot start one. The future is
/// dropped.
///
/// # Examples
///
/// ```
/// let task = brigade::task::try_spawn(async { 1 })?;
/// assert_eq!(task.join().unwrap(), 1);
/// # std::io::Result::Ok(())
/// ```
///
/// A runtime that is shut down takes no tasks from outside:
///
/// ```
/// use brigade::runtime::Builder;
///
/// let runtime = Builder::new().workers(1).build()?;
/// let handle = runtime.handle();
/// drop(runtime);
/// assert!(handle.spawn_task(async { 1 }).is_err());
/// # std::io::Result::Ok(())
/// ```
pub fn try_spawn<F>(future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    brigade_task::spawn_on(&crate::hooks::runtime_here()?, future)
}
