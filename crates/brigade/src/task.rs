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
//!
//! # Time, input and output
//!
//! [`sleep`], [`timeout`] and [`interval`] wait for time, [`Async`] for any descriptor, in the same reactor as green
//! threads do. They are futures for any executor. Features of this crate connect them with others:
//!
//! | feature | gives |
//! |---|---|
//! | `futures-io` | `futures_io::{AsyncRead, AsyncWrite}` for [`Async`] |
//! | `tokio-io` | `tokio::io::{AsyncRead, AsyncWrite}` for [`Async`] |
//! | `hyper` | hyper 1's IO for [`Async`], its executor and timer: `task::hyper` |
//! | `tokio` | a reactor of tokio beside Brigade's, for crates that insist on it: `task::tokio` |
//!
//! ```
//! use brigade::task::{self, Async};
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//!
//! let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
//! let address = listener.get_ref().local_addr()?;
//! let server = task::spawn(async move {
//!     let (stream, _) = listener.accept().await?;
//!     stream.write_with(|mut stream| stream.write(b"hello")).await
//! });
//! // A blocking client on a green thread.
//! let client = brigade::thread::spawn(move || {
//!     let mut text = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut text)?;
//!     std::io::Result::Ok(text)
//! });
//! let served = task::block_on(task::timeout(Duration::from_secs(30), server));
//! served.expect("in time").expect("no panic")?;
//! assert_eq!(client.join().unwrap()?, "hello");
//! # std::io::Result::Ok(())
//! ```

use std::future::Future;
use std::io;

#[cfg(feature = "hyper")]
#[doc(inline)]
pub use brigade_task::hyper;
#[cfg(feature = "tokio")]
#[doc(inline)]
pub use brigade_task::tokio;
#[doc(inline)]
pub use brigade_task::{
    Async, Incoming, IncomingUnix, Interval, JoinError, JoinHandle, Sleep, TimedOut, YieldNow,
    block_on, interval, interval_at, live, sleep, sleep_until, spawn_local, timeout, yield_now,
};

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
    crate::hooks::check_once();
    brigade_task::spawn(future)
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
    crate::hooks::check_once();
    brigade_task::try_spawn(future)
}
