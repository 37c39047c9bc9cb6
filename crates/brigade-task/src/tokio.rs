//! tokio beside Brigade, for crates that insist on its reactor: reqwest, sqlx, tonic and the like.
//!
//! Such a crate looks for a tokio runtime in a thread-local and panics if there is none. Here one is started when it is
//! first asked for. It has one worker thread of its own, which waits for descriptors and timers and runs what is given to
//! `tokio::spawn`; the futures of the program are polled by Brigade's threads, with that runtime *entered*.
//!
//! * [`block_on`] waits for such a future on any thread, green or kernel;
//! * [`spawn`] starts it as a task of Brigade;
//! * [`Entered`] is the future that enters tokio at each poll, for every other executor;
//! * [`enter`] is for synchronous code that only looks for a runtime. A green thread has thread-locals of its own, so it
//!   may block and move while it holds the guard.
//!
//! Who has a runtime of tokio enters that: [`Entered::with`].
//!
//! # Behaviour today
//!
//! The runtime of tokio lives as long as the process. In the child of a fork it does not work, as no runtime of tokio
//! does.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! // A timer of tokio, waited for by this thread.
//! let seven = brigade_task::tokio::block_on(async {
//!     tokio::time::sleep(Duration::from_millis(1)).await;
//!     7
//! });
//! assert_eq!(seven, 7);
//! ```
//!
//! Without it, tokio says that there is no reactor:
//!
//! ```should_panic
//! brigade_task::block_on(async {
//!     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
//! });
//! ```

use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use ::tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

use crate::JoinHandle;

/// Threads of tokio that wait for descriptors and run what is given to `tokio::spawn`.
const WORKERS: usize = 1;

/// The runtime of tokio that [`enter`] enters. It is started if need be.
///
/// # Errors
///
/// tokio's, when it cannot be started: no thread, or no descriptor.
pub fn handle() -> io::Result<&'static Handle> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let made = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("brigade-tokio")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| made).handle())
}

#[track_caller]
fn handle_or_panic() -> &'static Handle {
    match handle() {
        Ok(handle) => handle,
        Err(error) => panic!("brigade: cannot start a runtime of tokio: {error}"),
    }
}

/// Makes a runtime of tokio the current one of this thread, until the guard is dropped.
///
/// # Blocking
///
/// Blocks nothing, and the thread may block with the guard in its hands.
///
/// # Panics
///
/// If the runtime cannot be started ([`handle`] says so instead), and if guards are dropped in another order than the
/// reverse of that in which they were made.
///
/// # Examples
///
/// ```
/// let _tokio = brigade_task::tokio::enter();
/// let timer = tokio::time::sleep(std::time::Duration::from_millis(1));
/// brigade_task::tokio::block_on(timer);
/// ```
#[track_caller]
pub fn enter() -> EnterGuard<'static> {
    handle_or_panic().enter()
}

/// Waits on this thread for a future that needs tokio.
///
/// # Blocking
///
/// As [`block_on`](crate::block_on()): parks a green thread, blocks a kernel thread, and may be nested.
///
/// # Panics
///
/// With the panic of the future, and as [`enter`].
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    crate::block_on(Entered::new(future))
}

/// Starts a future that needs tokio as a task of Brigade.
///
/// # Panics
///
/// As [`spawn`](crate::spawn), and as [`enter`].
///
/// # Examples
///
/// ```
/// let task = brigade_task::tokio::spawn(async {
///     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
///     1
/// });
/// assert_eq!(task.join().unwrap(), 1);
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    crate::spawn(Entered::new(future))
}

/// A future that is polled, and dropped, with a runtime of tokio entered.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Entered<F> {
    /// Pinned if this is, and not moved before it is dropped.
    future: ManuallyDrop<F>,
    handle: Handle,
}

impl<F: Future> Entered<F> {
    /// `future` in the runtime of [`handle`].
    ///
    /// # Panics
    ///
    /// As [`enter`].
    #[track_caller]
    pub fn new(future: F) -> Entered<F> {
        Entered::with(handle_or_panic().clone(), future)
    }

    /// `future` in a runtime of the caller's.
    pub fn with(handle: Handle, future: F) -> Entered<F> {
        Entered {
            future: ManuallyDrop::new(future),
            handle,
        }
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is not moved out, here or in `drop`.
        let me = unsafe { self.get_unchecked_mut() };
        let _tokio = me.handle.enter();
        // SAFETY: it is pinned with the whole, which cannot be unpinned unless the future can.
        unsafe { Pin::new_unchecked(&mut *me.future) }.poll(cx)
    }
}

impl<F> Drop for Entered<F> {
    fn drop(&mut self) {
        // What the future owns may give itself back to the runtime.
        let _tokio = self.handle.enter();
        // SAFETY: it is dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}
