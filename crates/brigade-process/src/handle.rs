//! The result of a job on its way from the supervisor to whoever waits for it.
//!
//! The supervisor moves bytes only: values are written by the thread that submits and read by the thread that joins,
//! so that no code of the program runs on the supervisor's thread but `Waker::wake`.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use brigade_sync::{Event, Mutex, MutexGuard};
use serde::de::DeserializeOwned;

use crate::error::{JobError, Kind};
use crate::shared::Shared;

/// The bytes of a reply, or why there is none.
pub(crate) type Outcome = Result<Vec<u8>, JobError>;

/// Where the result of one job is put, once.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    result: Mutex<Waiting>,
    /// Set when the result is there.
    done: Event,
}

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the result in and wakes who waits for it.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let mut waiting = self.lock();
        waiting.outcome = Some(outcome);
        let waker = waiting.waker.take();
        drop(waiting);
        self.done.set();
        if let Some(waker) = waker {
            // Foreign code: its panic is not the supervisor's.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// The result of a submitted job, to be waited for: by [`join`](JobHandle::join), or as a `Future`.
///
/// Dropping the handle does not stop the job.
///
/// # Examples
///
/// ```
/// # use brigade_process::{Job, Jobs};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Square(u64);
/// # impl Job for Square {
/// #     type Reply = u64;
/// #     const NAME: &'static str = "square";
/// #     fn run(self) -> u64 {
/// #         assert!(self.0 < 1 << 32, "too large to square");
/// #         self.0 * self.0
/// #     }
/// # }
/// let pool = Jobs::new().with::<Square>().pool().workers(1).start().unwrap();
/// let handle = pool.submit(Square(3));
/// assert_eq!(handle.join().unwrap(), 9);
/// ```
///
/// A job that panics says so, and its worker goes on:
///
/// ```
/// # use brigade_process::{Job, Jobs};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Square(u64);
/// # impl Job for Square {
/// #     type Reply = u64;
/// #     const NAME: &'static str = "square";
/// #     fn run(self) -> u64 {
/// #         assert!(self.0 < 1 << 32, "too large to square");
/// #         self.0 * self.0
/// #     }
/// # }
/// # let pool = Jobs::new().with::<Square>().pool().workers(1).start().unwrap();
/// let error = pool.submit(Square(u64::MAX)).join().unwrap_err();
/// assert_eq!(error.panic_message(), Some("too large to square"));
/// ```
#[must_use = "a job goes on without its handle, but its result is lost"]
pub struct JobHandle<R> {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    id: u64,
    name: &'static str,
    reply: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> JobHandle<R> {
    pub(crate) fn new(slot: Arc<Slot>, shared: Arc<Shared>, id: u64, name: &'static str) -> Self {
        JobHandle {
            slot,
            shared,
            id,
            name,
            reply: PhantomData,
        }
    }

    /// Waits for the reply.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such, until the job is done or given up.
    ///
    /// # Errors
    ///
    /// If the job has no reply; see [`JobError`].
    #[track_caller]
    pub fn join(self) -> Result<R, JobError> {
        self.slot.done.wait();
        self.take()
    }

    /// As [`join`](JobHandle::join), but gives the handle back when the job is not done within `timeout`. The job goes
    /// on then.
    ///
    /// # Errors
    ///
    /// The outer error is the handle; the inner one is that of `join`.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<R, JobError>, JobHandle<R>> {
        if self.slot.done.wait_timeout(timeout) {
            Ok(self.take())
        } else {
            Err(self)
        }
    }

    /// The result is there: no wait will block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.slot.done.is_set()
    }

    /// Gives the job up: it is taken out of the queue, or its worker is killed and replaced. Does nothing to a job that
    /// is done. Does not block; a [join](JobHandle::join) afterwards does, until the worker has ended.
    pub fn abort(&self) {
        self.shared.abort(self.id);
    }

    fn take(&self) -> Result<R, JobError> {
        let outcome = self.slot.lock().outcome.take();
        let outcome = outcome.expect("a result is taken once, and a future not polled after it");
        let bytes = outcome.map_err(|error| error.of_job(self.name))?;
        postcard::from_bytes(&bytes).map_err(|error| {
            JobError::new(Kind::Codec(format!("its reply cannot be read: {error}")))
                .of_job(self.name)
        })
    }
}

impl<R: DeserializeOwned> Future for JobHandle<R> {
    type Output = Result<R, JobError>;

    /// # Panics
    ///
    /// If it was ready before.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.slot.lock();
        if waiting.outcome.is_none() && !self.slot.done.is_set() {
            let waker = context.waker();
            let old = match &waiting.waker {
                Some(old) if old.will_wake(waker) => None,
                _ => waiting.waker.replace(waker.clone()),
            };
            drop(waiting);
            drop(old);
            return Poll::Pending;
        }
        drop(waiting);
        Poll::Ready(self.take())
    }
}

impl<R> fmt::Debug for JobHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("job", &self.name)
            .field("is_finished", &self.slot.done.is_set())
            .finish_non_exhaustive()
    }
}
