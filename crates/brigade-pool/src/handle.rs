//! The handle of a job: [`JobHandle`].

use std::fmt;
use std::future::Future;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, Wait, deadline_after};

use crate::error::{JobError, Lost};
use crate::job::{JobResult, Outcome, drop_untaken};
use crate::shared::Shared;

/// What handles of both kinds are: the one right to the result of a job.
pub(crate) struct RawHandle<'a, T> {
    job: Arc<dyn Outcome<T> + 'a>,
    pool: Arc<Shared>,
}

impl<'a, T> RawHandle<'a, T> {
    pub(crate) fn new(job: Arc<dyn Outcome<T> + 'a>, pool: Arc<Shared>) -> RawHandle<'a, T> {
        RawHandle { job, pool }
    }

    fn wait(&self, deadline_ns: u64, site: &'static Location<'static>) {
        let object = ptr::from_ref(self.job.header()).addr();
        let wait = Wait::new(WaitReason::PoolJob, object, site);
        self.job.slot().wait(&wait, deadline_ns);
    }

    pub(crate) fn join(self, site: &'static Location<'static>) -> JobResult<T> {
        if self.pool.is_stale() {
            return Err(JobError::lost(Lost::Closed));
        }
        if let Some(result) = self.job.slot().take() {
            return result;
        }
        self.pool.help(self.job.header());
        self.wait(NEVER, site);
        // The result is there now, and this is the one handle.
        let result = self.job.slot().take();
        result.unwrap_or_else(|| Err(JobError::lost(Lost::Closed)))
    }

    /// The result if it is there.
    pub(crate) fn try_take(&self) -> Option<JobResult<T>> {
        if self.pool.is_stale() {
            return Some(Err(JobError::lost(Lost::Closed)));
        }
        self.job.slot().take()
    }

    pub(crate) fn wait_timeout(&self, timeout: Duration, site: &'static Location<'static>) {
        if !self.pool.is_stale() {
            self.wait(deadline_after(timeout), site);
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.pool.is_stale() || self.job.slot().is_finished()
    }

    pub(crate) fn cancel(&self) -> bool {
        !self.pool.is_stale() && self.pool.cancel(self.job.header())
    }

    fn poll(&self, context: &Context<'_>) -> Poll<JobResult<T>> {
        if self.pool.is_stale() {
            return Poll::Ready(Err(JobError::lost(Lost::Closed)));
        }
        self.job.slot().poll(context)
    }
}

impl<T> Drop for RawHandle<'_, T> {
    fn drop(&mut self) {
        // In the child of a fork the slot's lock may be held by a thread of the parent, so the result is leaked there.
        if !self.pool.is_stale()
            && let Some(untaken) = self.job.slot().give_up()
        {
            drop_untaken(untaken, self.job.header().scope());
        }
    }
}

/// The right to the result of a job; see [`ThreadPool::submit`](crate::ThreadPool::submit).
///
/// Dropping it detaches the job: it runs, and its result is dropped. The handle is also a future with the same output as
/// [`join`](JobHandle::join); a task that awaits it blocks nobody.
///
/// # Examples
///
/// ```
/// let pool = brigade_pool::ThreadPool::new(2);
/// let handle = pool.submit(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
///
/// let handle = pool.submit(|| -> u32 { panic!("no answer") });
/// assert!(handle.join().unwrap_err().is_panic());
/// ```
#[must_use = "dropping the handle detaches the job; `execute` does so too"]
pub struct JobHandle<T> {
    raw: RawHandle<'static, T>,
}

impl<T> JobHandle<T> {
    pub(crate) fn new(raw: RawHandle<'static, T>) -> JobHandle<T> {
        JobHandle { raw }
    }

    /// Waits until the job has ended, and returns its result.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such. A thread of the same pool runs the job
    /// itself if it has not begun, so that a pool does not wait for itself.
    ///
    /// # Errors
    ///
    /// The job panicked ([`JobError::is_panic`]), or was not run: cancelled, dropped, or refused.
    #[track_caller]
    pub fn join(self) -> Result<T, JobError> {
        self.raw.join(Location::caller())
    }

    /// The result if the job has ended, else the handle. Does not block.
    ///
    /// # Errors
    ///
    /// The handle, if the job has not ended.
    pub fn try_join(self) -> Result<Result<T, JobError>, JobHandle<T>> {
        match self.raw.try_take() {
            Some(result) => Ok(result),
            None => Err(self),
        }
    }

    /// Waits until the job has ended, but for at most `timeout`.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such. Here a thread of the same pool does not run
    /// the job itself, which could take longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The handle, if the time was up.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = brigade_pool::ThreadPool::new(1);
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let handle = pool.submit(move || receiver.recv());
    /// let handle = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// sender.send(5).unwrap();
    /// assert_eq!(handle.join().unwrap(), Ok(5));
    /// ```
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JobError>, JobHandle<T>> {
        self.raw.wait_timeout(timeout, Location::caller());
        self.try_join()
    }

    /// Whether the job has ended. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// Takes the job out of the queue, if it has not begun. True: it will never run, its closure was dropped here, and
    /// [`join`](JobHandle::join) says that it was cancelled. False: it has begun, or ended. Does not block.
    pub fn cancel(&self) -> bool {
        self.raw.cancel()
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, JobError>;

    /// Must not be polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.raw.poll(context)
    }
}

// Nothing unwinds under a lock, so a panic leaves nothing half done.
impl<T> UnwindSafe for JobHandle<T> {}
impl<T> RefUnwindSafe for JobHandle<T> {}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
