//! The pool as a program uses it.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{JobError, Kind as Failure, StartError, StartKind};
use crate::exec::{Program, Setup};
use crate::frame::{self, Kind};
use crate::handle::{JobHandle, Slot};
use crate::job::{Job, JobList, Registered, entries, fingerprint};
use crate::shared::{Pending, Phase, Shared};
use crate::stats::{Stats, WorkerStatus};
use crate::supervisor::{Plan, Supervisor};
use crate::worker;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// So that the handshake and a message of a panic fit.
const LEAST_MESSAGE_BYTES: usize = 1024;

/// Configures a pool and starts it; see [`Jobs::pool`](crate::Jobs::pool).
#[derive(Debug)]
#[must_use = "a pool works after `start`"]
pub struct PoolBuilder<L> {
    plan: Plan,
    setup: Setup,
    timeout: Option<Duration>,
    retries: u32,
    grace: Duration,
    list: PhantomData<fn() -> L>,
}

impl<L: JobList> PoolBuilder<L> {
    pub(crate) fn new() -> PoolBuilder<L> {
        PoolBuilder {
            plan: Plan {
                workers: thread::available_parallelism().map_or(1, NonZero::get),
                start_timeout: START_TIMEOUT,
                captures_stderr: false,
                fingerprint: fingerprint(&entries::<L>()),
                limit: MAX_MESSAGE_BYTES,
                memory_limit: 0,
            },
            setup: Setup::default(),
            timeout: None,
            retries: 0,
            grace: GRACE,
            list: PhantomData,
        }
    }

    /// How many worker processes there are. Default: the available parallelism.
    ///
    /// # Panics
    ///
    /// If `workers` is zero.
    #[track_caller]
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool of processes needs a worker");
        self.plan.workers = workers;
        self
    }

    /// How long a worker may take for a job, from when it is given to the worker. Then the worker is killed. Default:
    /// for ever. [`ProcessPool::submit_timeout`] says it for one job.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a worker may take from its start to the registration of its jobs. Default: 30 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.plan.start_timeout = timeout;
        self
    }

    /// How long jobs may still take when the pool is dropped; what is left then is given up, and the workers are
    /// killed. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How often a job is done again whose worker ended under it. Default: 0. A job that panics or takes too long is not
    /// done again, and neither is one that succeeded; but one that crashed may have had effects.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The most bytes that a job or a reply may have when it is sent. Default: 64 MiB; at least 1 KiB, at most 4 GiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.plan.limit = bytes.clamp(LEAST_MESSAGE_BYTES, u32::MAX as usize);
        self
    }

    /// The most address space that a worker may have, in bytes (`RLIMIT_AS`). A worker that wants more fails to
    /// allocate, which by default aborts it. It is set when the worker has registered its jobs. Default: as this
    /// process.
    pub fn memory_limit_bytes(mut self, bytes: u64) -> Self {
        self.plan.memory_limit = bytes;
        self
    }

    /// An argument for the workers' program. Default: none, whatever arguments this process has.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.setup.arguments.push(argument.into());
        self
    }

    /// A variable for the workers' environment, beside those that this process has when the pool is started.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.setup.variables.retain(|(other, _)| *other != name);
        self.setup.variables.push((name, value.into()));
        self
    }

    /// Throws away what workers write to their standard output. Default: it goes where this process's goes.
    pub fn discard_stdout(mut self) -> Self {
        self.setup.discards_stdout = true;
        self
    }

    /// Keeps the end of what a worker writes to its standard error for [`JobError::stderr_tail`], and shows it nowhere
    /// else. Default: it goes where this process's goes.
    pub fn capture_stderr(mut self) -> Self {
        self.plan.captures_stderr = true;
        self
    }

    /// Starts the workers. In a worker process, serves the pool instead and does not return.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such, until all workers have registered.
    ///
    /// # Errors
    ///
    /// If a worker cannot be started or does not come to the registration, and inside of a worker (in a job, or in a
    /// program that a job started): pools are not nested. See [`StartError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade_process::{Job, Jobs};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Nested;
    /// # impl Job for Nested {
    /// #     type Reply = bool;
    /// #     const NAME: &'static str = "nested";
    /// #     fn run(self) -> bool {
    /// #         Jobs::new().pool().start().is_err_and(|error| error.is_nested())
    /// #     }
    /// # }
    /// let pool = Jobs::new().with::<Nested>().pool().workers(1).start().unwrap();
    /// assert!(pool.run(Nested).unwrap());
    /// ```
    #[track_caller]
    pub fn start(self) -> Result<ProcessPool<L>, StartError> {
        worker::serve_if_worker(&entries::<L>());
        if let Some(worker) = worker::ancestor() {
            return Err(StartError::new(StartKind::Nested { worker }));
        }
        let system = |what| move |error| StartError::new(StartKind::System(what, error));
        let program = Program::new(self.setup)?;
        let shared = Arc::new(Shared::new().map_err(system("eventfd"))?);
        let limit = self.plan.limit;
        let supervisor = Supervisor::new(Arc::clone(&shared), self.plan, program);
        let thread = thread::Builder::new()
            .name("brigade-process".to_owned())
            .spawn(|| supervisor.run())
            .map_err(system("start a thread"))?;
        shared.started.wait();
        let error = shared.lock().start_error.take();
        if let Some(error) = error {
            let _ = thread.join();
            return Err(error);
        }
        Ok(ProcessPool {
            shared,
            thread: Some(thread),
            timeout: self.timeout,
            retries: self.retries,
            grace: self.grace,
            limit,
            list: PhantomData,
        })
    }
}

/// Worker processes of this program, for work that must not take this process with it.
///
/// A worker does one job at a time. When it ends under a job, by a signal, an abort or an exit, that is an error of this
/// job alone, and another worker takes its place; a panic does not even end the worker. See the [crate](crate) for what
/// a worker has of its parent.
///
/// A pool is used through `&self`, from any number of threads.
///
/// # Blocking
///
/// Submitting does not block; it serialises the job, however large, on the calling thread. Waiting blocks the calling
/// green thread, or an ordinary kernel thread as such. Dropping a pool blocks like
/// [`shutdown_timeout`](ProcessPool::shutdown_timeout) with the [grace](PoolBuilder::grace).
///
/// # Guarantees
///
/// * Each job that was submitted comes to exactly one result.
/// * A job runs at most once, unless [retries](PoolBuilder::retries) are allowed. One whose worker ended before it had
///   read the job goes to another.
/// * When an error says that a worker was killed or ended, that process is gone, and so is what it left in its process
///   group.
/// * No worker outlives this process, however that ends, and none is left unreaped.
///
/// # Today's behaviour
///
/// Jobs start in the order in which they were submitted. One kernel thread per pool talks to the workers.
///
/// # Examples
///
/// ```
/// # use brigade_process::{Job, Jobs};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Divide(i32, i32);
///
/// impl Job for Divide {
///     type Reply = i32;
///     const NAME: &'static str = "divide";
///
///     fn run(self) -> i32 {
///         if self.1 == 0 {
///             std::process::abort();
///         }
///         self.0 / self.1
///     }
/// }
///
/// let pool = Jobs::new().with::<Divide>().pool().workers(1).start().unwrap();
/// assert_eq!(pool.run(Divide(6, 2)).unwrap(), 3);
///
/// let error = pool.run(Divide(6, 0)).unwrap_err();
/// assert!(error.is_crash());
/// assert_eq!(error.signal(), Some(libc::SIGABRT));
///
/// assert_eq!(pool.run(Divide(8, 2)).unwrap(), 4);
/// ```
pub struct ProcessPool<L> {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
    timeout: Option<Duration>,
    retries: u32,
    grace: Duration,
    limit: usize,
    list: PhantomData<fn() -> L>,
}

impl<L: JobList> ProcessPool<L> {
    /// Gives a job to the pool. Does not block.
    pub fn submit<J: Job, I>(&self, job: J) -> JobHandle<J::Reply>
    where
        L: Registered<J, I>,
    {
        self.queue(&job, L::INDEX, self.timeout)
    }

    /// Gives a job to the pool that may take at most `timeout` once a worker has it. Does not block.
    pub fn submit_timeout<J: Job, I>(&self, job: J, timeout: Duration) -> JobHandle<J::Reply>
    where
        L: Registered<J, I>,
    {
        self.queue(&job, L::INDEX, Some(timeout))
    }

    /// Has a job done and waits for its reply.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such.
    ///
    /// # Errors
    ///
    /// If the job has no reply; see [`JobError`].
    #[track_caller]
    pub fn run<J: Job, I>(&self, job: J) -> Result<J::Reply, JobError>
    where
        L: Registered<J, I>,
    {
        self.submit(job).join()
    }

    /// Has all `jobs` done and waits for them. The results are in the order of the jobs.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such.
    #[track_caller]
    pub fn map<J: Job, I>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> Vec<Result<J::Reply, JobError>>
    where
        L: Registered<J, I>,
    {
        let handles: Vec<_> = jobs.into_iter().map(|job| self.submit(job)).collect();
        let mut results = Vec::with_capacity(handles.len());
        for handle in handles {
            results.push(handle.join());
        }
        results
    }

    fn queue<J: Job>(&self, job: &J, index: u32, timeout: Option<Duration>) -> JobHandle<J::Reply> {
        let id = self.shared.next_id();
        let slot = Arc::new(Slot::default());
        match request(job, index, id, self.limit) {
            Ok(request) => self.shared.submit(Pending {
                id,
                slot: Arc::clone(&slot),
                request,
                timeout,
                retries: self.retries,
                unread: 0,
            }),
            Err(error) => self.shared.refuse(&slot, error),
        }
        JobHandle::new(slot, Arc::clone(&self.shared), id, J::NAME)
    }

    /// What the pool has done and has to do. Does not block.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        Stats {
            workers: state.workers.len(),
            queued: state.queue.len(),
            running: state.workers.iter().filter(|w| w.is_busy).count(),
            ..state.stats
        }
    }

    /// The worker processes that live and are not about to end. Does not block.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.lock().workers.clone()
    }

    /// Takes no more jobs, and waits until all are done and the workers have ended.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such; for ever if a job never ends.
    #[track_caller]
    pub fn shutdown(mut self) {
        self.end(None);
    }

    /// As [`shutdown`](ProcessPool::shutdown), but what is not done after `timeout` is given up, and its workers are
    /// killed. With a timeout of zero, at once.
    #[track_caller]
    pub fn shutdown_timeout(mut self, timeout: Duration) {
        self.end(Instant::now().checked_add(timeout));
    }
}

impl<L> ProcessPool<L> {
    #[track_caller]
    fn end(&mut self, deadline: Option<Instant>) {
        if !self.shared.is_own_process() {
            // The thread is another process's.
            std::mem::forget(self.thread.take());
            return;
        }
        if let Some(thread) = self.thread.take() {
            self.shared.close(deadline);
            if thread.thread().id() == thread::current().id() {
                // A waker that the supervisor called has dropped the pool; it will end after that.
                return;
            }
            self.shared.ended.wait();
            // A few instructions away from its end.
            let _ = thread.join();
        }
    }
}

impl<L> Drop for ProcessPool<L> {
    fn drop(&mut self) {
        self.end(Instant::now().checked_add(self.grace));
    }
}

impl<L> fmt::Debug for ProcessPool<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("ProcessPool")
            .field("workers", &state.workers)
            .field("queued", &state.queue.len())
            .field("is_open", &matches!(state.phase, Phase::Open))
            .finish_non_exhaustive()
    }
}

/// The frame of a request.
fn request<J: Job>(job: &J, index: u32, id: u64, limit: usize) -> Result<Vec<u8>, JobError> {
    let mut bytes = frame::begin(Kind::Request, id);
    bytes.extend_from_slice(&index.to_le_bytes());
    let mut bytes = postcard::to_extend(job, bytes)
        .map_err(|error| JobError::new(Failure::Codec(format!("it cannot be written: {error}"))))?;
    match frame::finish(&mut bytes, limit) {
        Ok(()) => Ok(bytes),
        Err(too_large) => Err(JobError::new(Failure::TooLarge(too_large.bytes, limit))),
    }
}
