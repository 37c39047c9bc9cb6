//! Why a job has no result, and why a pool does not take one.

use std::any::Any;
use std::fmt;

/// The payload of a panic.
///
/// A shared reference gives access to texts only, so it may be shared although the payload may not.
struct Payload(Box<dyn Any + Send>);

// SAFETY: a shared payload is looked at only as `&str` or `String`, which may be shared.
unsafe impl Sync for Payload {}

/// Why a job was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// By its handle.
    Cancelled,
    /// Taken out of the queue by the pool.
    Dropped,
    /// The queue was full.
    Full,
    /// The pool was shut down, or left behind by a fork.
    Closed,
}

enum Kind {
    Panicked(Payload),
    Lost(Lost),
}

/// Why a job of a pool has no result.
///
/// # Examples
///
/// ```
/// let pool = brigade_pool::ThreadPool::new(1);
/// let error = pool.submit(|| panic!("too bad")).join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "the job panicked: too bad");
///
/// assert_eq!(pool.submit(|| 1).join().unwrap(), 1);
/// ```
pub struct JobError(Kind);

impl JobError {
    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> JobError {
        JobError(Kind::Panicked(Payload(payload)))
    }

    pub(crate) fn lost(why: Lost) -> JobError {
        JobError(Kind::Lost(why))
    }

    fn is_lost(&self, why: Lost) -> bool {
        matches!(self.0, Kind::Lost(this) if this == why)
    }

    /// The job panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panicked(_))
    }

    /// The job was cancelled through its handle before it began.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_lost(Lost::Cancelled)
    }

    /// The pool took the job out of its queue: [`ThreadPool::shutdown_now`](crate::ThreadPool::shutdown_now), or a newer
    /// job under [`WhenFull::DropOldest`](crate::WhenFull::DropOldest).
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.is_lost(Lost::Dropped)
    }

    /// The queue was full when the job was submitted, and the pool is one that rejects then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_lost(Lost::Full)
    }

    /// The pool was shut down when the job was submitted; or this is the child of a fork, and the pool's threads are in
    /// the parent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_lost(Lost::Closed)
    }

    /// The payload of the job's panic, or the error back if the job did not panic.
    ///
    /// # Errors
    ///
    /// The error itself, if it is not a panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JobError> {
        match self.0 {
            Kind::Panicked(payload) => Ok(payload.0),
            kind => Err(JobError(kind)),
        }
    }

    /// The payload of the job's panic, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    ///
    /// If the job did not panic.
    #[must_use]
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("`JobError::into_panic` on a job that did not panic: {error}"),
        }
    }

    /// The text of the panic, if it has one.
    fn text(&self) -> Option<&str> {
        let Kind::Panicked(Payload(payload)) = &self.0 else {
            return None;
        };
        match payload.downcast_ref::<&str>() {
            Some(text) => Some(text),
            None => payload.downcast_ref::<String>().map(String::as_str),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0, self.text()) {
            (Kind::Panicked(_), Some(text)) => write!(f, "the job panicked: {text}"),
            (Kind::Panicked(_), None) => f.write_str("the job panicked"),
            (Kind::Lost(why), _) => f.write_str(describe(*why)),
        }
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobError({self})")
    }
}

impl std::error::Error for JobError {}

fn describe(why: Lost) -> &'static str {
    match why {
        Lost::Cancelled => "the job was cancelled before it began",
        Lost::Dropped => "the job was dropped from the pool's queue before it began",
        Lost::Full => "the pool's queue is full",
        Lost::Closed => {
            "the pool takes no more jobs: it was shut down, or its threads are in the parent of a fork"
        }
    }
}

/// A closure that a pool did not take, and why.
///
/// # Examples
///
/// ```
/// let pool = brigade_pool::ThreadPool::new(1);
/// pool.shutdown();
/// let rejected = pool.try_submit(|| "later").unwrap_err();
/// assert!(rejected.is_closed());
/// assert_eq!(rejected.into_inner()(), "later");
/// ```
pub struct Rejected<F> {
    f: F,
    why: Lost,
}

impl<F> Rejected<F> {
    pub(crate) fn new(f: F, why: Lost) -> Rejected<F> {
        Rejected { f, why }
    }

    /// The queue was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.why == Lost::Full
    }

    /// The pool was shut down, or this is the child of a fork.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.why == Lost::Closed
    }

    /// The closure.
    #[must_use]
    pub fn into_inner(self) -> F {
        self.f
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(describe(self.why))
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejected({self})")
    }
}

impl<F> std::error::Error for Rejected<F> {}
