//! What a wait says that did not come to its own end.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::PoisonError;

use brigade_runtime::WaitReason;
use brigade_runtime::cancel::Ended;

use crate::thread::JoinHandle;

/// A wait was cancelled, or its token's deadline passed.
///
/// As an [`io::Error`] it is of kind `TimedOut` if the deadline passed, and `Other` else; [`Cancelled::of`] finds it
/// there.
///
/// # Examples
///
/// ```
/// use brigade::cancel::CancelToken;
///
/// let token = CancelToken::new();
/// assert!(token.check().is_ok());
/// token.cancel();
/// let cancelled = token.check().unwrap_err();
/// assert!(!cancelled.is_timed_out());
/// assert_eq!(cancelled.to_string(), "cancelled");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    ended: Ended,
    wait: WaitReason,
}

impl Cancelled {
    pub(super) fn new(ended: Ended, wait: WaitReason) -> Cancelled {
        Cancelled { ended, wait }
    }

    /// Whether the deadline of the token or of one above it passed before it was cancelled.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.ended == Ended::Expired
    }

    /// What `error` says of a cancellation; none if it is of another kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::{CancelToken, Cancelled};
    /// use std::io;
    ///
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let error = token.io(|| Ok(())).unwrap_err();
    /// assert!(!Cancelled::of(&error).unwrap().is_timed_out());
    /// assert!(Cancelled::of(&io::Error::other("something else")).is_none());
    /// ```
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Cancelled> {
        error.get_ref()?.downcast_ref::<Cancelled>().copied()
    }

    /// Whether `error` is about a cancellation, also if it has not left [`CancelToken::io`](super::CancelToken::io) yet:
    /// inside, it is the error number `ECANCELED`.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::ECANCELED) || Cancelled::of(error).is_some()
    }

    /// How the message goes on.
    fn place(&self) -> &'static str {
        match self.wait {
            WaitReason::Sleep => " in a sleep",
            WaitReason::Park => " while it was parked",
            WaitReason::Join => " while waiting for the end of a thread",
            WaitReason::Mutex => " while waiting for a mutex",
            WaitReason::RwLockRead => " while waiting to read under a lock",
            WaitReason::RwLockWrite => " while waiting to write under a lock",
            WaitReason::Condvar => " while waiting for a condition",
            WaitReason::Semaphore => " while waiting for a permit",
            WaitReason::Barrier => " while waiting at a barrier",
            WaitReason::WaitGroup => " while waiting for a group",
            WaitReason::Event => " while waiting for an event",
            WaitReason::Send => " while waiting to send a message",
            WaitReason::Recv => " while waiting for a message",
            WaitReason::Select => " while waiting for one of several channels",
            WaitReason::Poll => " in the middle of input or output",
            _ => "",
        }
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.ended {
            Ended::Cancelled => "cancelled",
            Ended::Expired => "the deadline passed",
        })?;
        f.write_str(self.place())
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancelled({self})")
    }
}

impl Error for Cancelled {}

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> io::Error {
        let kind = match cancelled.ended {
            Ended::Cancelled => io::ErrorKind::Other,
            Ended::Expired => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, cancelled)
    }
}

/// A lock that was not taken, or is poisoned.
///
/// # Examples
///
/// ```
/// use brigade::cancel::{CancelToken, LockError};
/// use brigade::sync::Mutex;
///
/// let (token, mutex) = (CancelToken::new(), Mutex::new(0));
/// *token.lock(&mutex).unwrap() += 1;
/// token.cancel();
/// assert!(matches!(token.lock(&mutex), Err(LockError::Cancelled(_))));
/// ```
pub enum LockError<G> {
    /// The token ended first.
    Cancelled(Cancelled),
    /// The lock was taken, and a thread had panicked while it held it. The error has the guard.
    Poisoned(PoisonError<G>),
}

impl<G> LockError<G> {
    /// Whether the token ended first.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, LockError::Cancelled(_))
    }
}

impl<G> From<Cancelled> for LockError<G> {
    fn from(cancelled: Cancelled) -> LockError<G> {
        LockError::Cancelled(cancelled)
    }
}

impl<G> From<PoisonError<G>> for LockError<G> {
    fn from(poisoned: PoisonError<G>) -> LockError<G> {
        LockError::Poisoned(poisoned)
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Cancelled(cancelled) => fmt::Debug::fmt(cancelled, f),
            LockError::Poisoned(_) => f.write_str("Poisoned(..)"),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Cancelled(cancelled) => cancelled.fmt(f),
            LockError::Poisoned(poisoned) => poisoned.fmt(f),
        }
    }
}

impl<G> Error for LockError<G> {}

/// A message that was not sent.
pub enum SendError<T> {
    /// The token ended first.
    Cancelled(Cancelled, T),
    /// No receiver is left.
    Disconnected(T),
}

impl<T> SendError<T> {
    /// Whether the token ended first.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, SendError::Cancelled(..))
    }

    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Cancelled(_, message) | SendError::Disconnected(message) => message,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Cancelled(cancelled, _) => fmt::Debug::fmt(cancelled, f),
            SendError::Disconnected(_) => f.write_str("Disconnected(..)"),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Cancelled(cancelled, _) => cancelled.fmt(f),
            SendError::Disconnected(_) => f.write_str("sending on a channel without a receiver"),
        }
    }
}

impl<T> Error for SendError<T> {}

/// A message that was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// The token ended first.
    Cancelled(Cancelled),
    /// The channel is empty and no sender is left.
    Disconnected,
}

impl RecvError {
    /// Whether the token ended first.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, RecvError::Cancelled(_))
    }
}

impl From<Cancelled> for RecvError {
    fn from(cancelled: Cancelled) -> RecvError {
        RecvError::Cancelled(cancelled)
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Cancelled(cancelled) => cancelled.fmt(f),
            RecvError::Disconnected => {
                f.write_str("receiving on a channel that is empty and without a sender")
            }
        }
    }
}

impl Error for RecvError {}

/// A thread that had not ended when the token did. It goes on.
pub struct JoinError<T> {
    pub(super) handle: JoinHandle<T>,
    pub(super) cancelled: Cancelled,
}

impl<T> JoinError<T> {
    /// Why the wait ended.
    #[must_use]
    pub fn cancelled(&self) -> Cancelled {
        self.cancelled
    }

    /// The handle of the thread. With the error, the thread is detached.
    #[must_use]
    pub fn into_handle(self) -> JoinHandle<T> {
        self.handle
    }
}

impl<T> fmt::Debug for JoinError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cancelled, f)
    }
}

impl<T> fmt::Display for JoinError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cancelled.fmt(f)
    }
}

impl<T> Error for JoinError<T> {}
