//! Cancellation: tokens that end, waits that end with them, and scopes that end their threads.
//!
//! A [`CancelToken`] is cancelled by hand ([`cancel`](CancelToken::cancel)), by its deadline, or with its parent. It has
//! a method for each kind of wait; the wait ends with [`Cancelled`] as soon as the token does:
//!
//! | wait | method |
//! |---|---|
//! | time | [`sleep`](CancelToken::sleep), [`sleep_until`](CancelToken::sleep_until) |
//! | [`thread::park`](crate::thread::park) | [`park`](CancelToken::park) |
//! | the end of a thread | [`join`](CancelToken::join) |
//! | locks | [`lock`](CancelToken::lock), [`read`](CancelToken::read), [`write`](CancelToken::write) |
//! | conditions | [`wait_notified`](CancelToken::wait_notified), [`wait_while`](CancelToken::wait_while) |
//! | messages | [`recv`](CancelToken::recv), [`send`](CancelToken::send), [`select`](CancelToken::select) |
//! | the rest of [`sync`](crate::sync) | [`acquire`](CancelToken::acquire), [`acquire_many`](CancelToken::acquire_many), [`wait`](CancelToken::wait), [`wait_barrier`](CancelToken::wait_barrier), [`wait_group`](CancelToken::wait_group) |
//! | sockets, pipes, child processes, `poll` | [`io`](CancelToken::io) around ordinary std code, on green threads |
//! | descriptors, on threads of any kind | [`wait_readable`](CancelToken::wait_readable), [`wait_writable`](CancelToken::wait_writable) |
//! | futures | [`cancelled`](CancelToken::cancelled), [`limit`](CancelToken::limit) |
//!
//! A [`scope`] has a token, which is the [current](CancelToken::current) one of its threads. If the owner of the scope
//! panics, or one of its threads does, the token is cancelled and all of them are joined.
//!
//! ```
//! use brigade::cancel;
//! use std::time::Duration;
//!
//! let woken = brigade::run(|| {
//!     cancel::scope(|s| {
//!         let sleeper = s.spawn(|| cancel::sleep(Duration::from_secs(3600)));
//!         s.token().cancel();
//!         sleeper.join().unwrap()
//!     })
//! });
//! assert_eq!(woken.unwrap_err().to_string(), "cancelled in a sleep");
//! ```
//!
//! A deadline holds for everything below it, however late the limits of what is below are:
//!
//! ```
//! use brigade::cancel::{self, CancelToken};
//! use std::time::Duration;
//!
//! let parent = CancelToken::with_timeout(Duration::from_millis(1));
//! let child = parent.child_with_timeout(Duration::from_secs(3600));
//! let error = child.sleep(Duration::from_secs(60)).unwrap_err();
//! assert!(error.is_timed_out());
//! ```
//!
//! # What is a guarantee
//!
//! * A wait whose token has ended already fails at once, and does nothing.
//! * A wait that ended otherwise before it saw the end of its token says so: a message, a lock, a permit or a byte that
//!   the thread got is returned, and never lost.
//! * A wait that fails has taken nothing, and gives back what it was to give away.
//! * What a thread did before [`cancel`](CancelToken::cancel) is seen by those who learn of it.
//! * Green and kernel threads may share a token.
//!
//! # What is not cancelled
//!
//! Cancellation ends waits, and stops no thread. A thread that computes asks [`check`](CancelToken::check) now and then.
//! Waits that are not made through a token go on: [`thread::sleep`](crate::thread::sleep), `std::thread::sleep`,
//! `Mutex::lock`, all of `std::sync`, and what the kernel does without saying when it will be done (files on disk,
//! `fsync`, host names). So does everything on a kernel thread in [`io`](CancelToken::io): there libc blocks, and the
//! hooks that would wake are not asked. That is also so for each thread of
//! [`Model::OneToOne`](crate::runtime::Model::OneToOne).
//!
//! A wait with a token has a limit, so that no circle of waits goes through it and it is no part of a deadlock.

mod error;
mod future;
mod ready;
mod scope;
mod token;
mod waits;

pub use error::{Cancelled, JoinError, LockError, RecvError, SendError};
pub use future::Cancellation;
pub use scope::{Scope, scope, scope_with_deadline, scope_with_timeout};
pub use token::{CancelOnDrop, CancelToken};

use std::io;
use std::time::Duration;

/// [`CancelToken::check`] of the current token.
///
/// # Errors
///
/// It has ended.
///
/// # Examples
///
/// ```
/// use brigade::cancel;
///
/// assert!(cancel::check().is_ok());
/// cancel::scope(|s| {
///     s.token().cancel();
///     assert!(cancel::check().is_err());
/// });
/// ```
pub fn check() -> Result<(), Cancelled> {
    CancelToken::current().check()
}

/// [`CancelToken::sleep`] with the current token.
///
/// # Blocking
///
/// Blocks the calling thread only.
///
/// # Errors
///
/// The current token ended first.
///
/// # Examples
///
/// ```
/// use brigade::cancel;
/// use std::time::Duration;
///
/// assert!(cancel::sleep(Duration::from_millis(1)).is_ok());
/// let hour = Duration::from_secs(3600);
/// let slept = cancel::scope_with_timeout(Duration::from_millis(1), |_| cancel::sleep(hour));
/// assert!(slept.unwrap_err().is_timed_out());
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Result<(), Cancelled> {
    CancelToken::current().sleep(duration)
}

/// [`CancelToken::io`] with the current token.
///
/// # Errors
///
/// As [`CancelToken::io`].
pub fn io<T>(operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    CancelToken::current().io(operation)
}
