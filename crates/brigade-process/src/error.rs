//! What can go wrong with a job, and with the start of a pool.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::process::Ended;

/// Why a job has no reply.
///
/// The predicates say what happened; exactly one of `is_crash`, `is_timeout`, `is_panic`, `is_cancelled`, `is_lost` and
/// `is_codec` is true. The text names the job, the worker and the cause.
pub struct JobError {
    /// Behind one pointer, so that results stay small.
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    /// [`crate::Job::NAME`]; empty until the handle has put it in.
    job: &'static str,
    /// 0: no worker was involved.
    pid: u32,
    stderr: String,
}

pub(crate) enum Kind {
    /// The worker ended by itself, or somebody else killed it.
    Crash(Ended),
    /// The pool killed the worker.
    Timeout(Duration),
    Panic(String),
    /// Given up on request.
    Aborted,
    /// The pool was closed first.
    Closed,
    /// The pool or the worker does not work as it should.
    Lost(String),
    /// A value could not be written or read.
    Codec(String),
    /// The bytes of a request, and the limit.
    TooLarge(usize, usize),
}

impl JobError {
    pub(crate) fn new(kind: Kind) -> JobError {
        JobError {
            inner: Box::new(Inner {
                kind,
                job: "",
                pid: 0,
                stderr: String::new(),
            }),
        }
    }

    pub(crate) fn of_worker(mut self, pid: u32, stderr: String) -> JobError {
        self.inner.pid = pid;
        self.inner.stderr = stderr;
        self
    }

    pub(crate) fn of_job(mut self, job: &'static str) -> JobError {
        self.inner.job = job;
        self
    }

    /// The worker ended while it did the job: killed by a signal, aborted, or exited. See [`signal`](JobError::signal)
    /// and [`exit_code`](JobError::exit_code).
    #[must_use]
    pub fn is_crash(&self) -> bool {
        matches!(self.inner.kind, Kind::Crash(_))
    }

    /// The job took longer than its timeout, and its worker was killed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, Kind::Timeout(_))
    }

    /// The job panicked; its worker lives on. See [`panic_message`](JobError::panic_message).
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, Kind::Panic(_))
    }

    /// The job was given up: by [`JobHandle::abort`](crate::JobHandle::abort), or because the pool was closed and its
    /// grace was over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, Kind::Aborted | Kind::Closed)
    }

    /// The pool can start no workers any more, or the worker broke the protocol (something else wrote to its
    /// connection, or closed it).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.inner.kind, Kind::Lost(_))
    }

    /// The job or its reply could not be written or read, or is larger than
    /// [`max_message_bytes`](crate::PoolBuilder::max_message_bytes).
    #[must_use]
    pub fn is_codec(&self) -> bool {
        matches!(self.inner.kind, Kind::Codec(_) | Kind::TooLarge(..))
    }

    /// The number of the signal that ended the worker, if the job [crashed](JobError::is_crash) by one.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.inner.kind {
            Kind::Crash(Ended::Signal(number)) => Some(number),
            _ => None,
        }
    }

    /// The code with which the worker exited, if the job [crashed](JobError::is_crash) so.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self.inner.kind {
            Kind::Crash(Ended::Code(code)) => Some(code),
            _ => None,
        }
    }

    /// The message of the panic, if the job [panicked](JobError::is_panic).
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match &self.inner.kind {
            Kind::Panic(message) => Some(message),
            _ => None,
        }
    }

    /// The process that did the job, if the job had been given to one.
    #[must_use]
    pub fn worker(&self) -> Option<u32> {
        (self.inner.pid != 0).then_some(self.inner.pid)
    }

    /// The end of what the worker wrote to its standard error during the job, if the pool
    /// [captures](crate::PoolBuilder::capture_stderr) that; else empty.
    #[must_use]
    pub fn stderr_tail(&self) -> &str {
        &self.inner.stderr
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            job,
            pid,
            stderr,
        } = &*self.inner;
        write!(f, "job {job:?}")?;
        match kind {
            Kind::Crash(ended) => write!(f, ": its worker {pid} {ended}")?,
            Kind::Timeout(limit) => write!(
                f,
                " took longer than its timeout of {limit:?}, so its worker {pid} was killed"
            )?,
            Kind::Panic(message) => write!(f, " panicked in worker {pid}: {message}")?,
            Kind::Aborted => f.write_str(" was aborted")?,
            Kind::Closed => f.write_str(" was given up because its pool was closed")?,
            Kind::Lost(why) => write!(f, " was lost: {why}")?,
            Kind::Codec(why) => write!(f, ": {why}")?,
            Kind::TooLarge(bytes, limit) => write!(
                f,
                ": the request has {bytes} bytes, and the pool takes at most {limit}; raise `max_message_bytes`"
            )?,
        }
        if !stderr.is_empty() {
            write!(f, "; its standard error ended with: {}", stderr.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobError({self})")
    }
}

impl Error for JobError {}

/// Why a pool could not be started.
#[derive(Debug)]
pub struct StartError {
    kind: StartKind,
}

#[derive(Debug)]
pub(crate) enum StartKind {
    /// The process is a worker, or descends from one.
    Nested { worker: u32 },
    /// A worker did not come to the registration in time.
    Silent(Duration),
    /// A worker ended before it came to the registration.
    Ended(Ended, String),
    /// A worker came to another registration, or is another program.
    Refused(String),
    /// The system refused something.
    System(&'static str, io::Error),
}

impl StartError {
    pub(crate) fn new(kind: StartKind) -> StartError {
        StartError { kind }
    }

    /// This process is a worker, or was started by one.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self.kind, StartKind::Nested { .. })
    }

    /// A worker process ran, but did not come to the registration of the jobs in time, ended before, or came to another
    /// one.
    #[must_use]
    pub fn is_unregistered(&self) -> bool {
        matches!(
            self.kind,
            StartKind::Silent(_) | StartKind::Ended(..) | StartKind::Refused(_)
        )
    }

    /// What the system refused, if that is the cause.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.kind {
            StartKind::System(_, error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ADVICE: &str =
            "call `Jobs::serve_if_worker`, or start the pool, first thing in `main`";
        match &self.kind {
            StartKind::Nested { worker } => write!(
                f,
                "no process pool inside of a worker process: this process is worker {worker} of a pool, or was started \
                 by it (to allow that for a command, remove {} from its environment)",
                crate::marker::VARIABLE
            ),
            StartKind::Silent(limit) => write!(
                f,
                "a worker process did not register its jobs within {limit:?}: {ADVICE}"
            ),
            StartKind::Ended(ended, stderr) => {
                write!(
                    f,
                    "a worker process {ended} before it registered its jobs: {ADVICE}"
                )?;
                if !stderr.is_empty() {
                    write!(f, "; its standard error ended with: {}", stderr.trim_end())?;
                }
                Ok(())
            }
            StartKind::Refused(why) => write!(f, "a worker process refused to serve: {why}"),
            StartKind::System(what, error) => {
                write!(f, "cannot start a worker process: {what}: {error}")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            StartKind::System(_, error) => Some(error),
            _ => None,
        }
    }
}
