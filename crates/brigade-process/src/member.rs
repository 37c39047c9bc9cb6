//! One worker of a pool, as the supervisor sees it.
//!
//! | state | what the worker does | its deadline | when it ends |
//! |---|---|---|---|
//! | Starting | runs to the registration of its jobs | the start timeout | the start has failed |
//! | Idle | waits for a request | none | another takes its place |
//! | Busy | has a request | the job's timeout | the job crashed, or goes to another worker |
//! | Leaving | was told to end | the linger | nothing |
//!
//! A worker that the pool kills keeps its state until it has been reaped, and `doom` says why; what it still sends is
//! ignored.

use std::time::{Duration, Instant};

use crate::error::{JobError, Kind as Failure, StartError, StartKind};
use crate::exec::Program;
use crate::frame::{Frame, Hello, Kind, ReadError};
use crate::handle::Outcome;
use crate::link::{self, Link};
use crate::process::{Ended, Process};
use crate::shared::Pending;
use crate::tail::Tail;

/// How long a worker may live after its connection has ended.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How often a job is given to another worker because the one before had not read it. A job that no worker lives long
/// enough to read is not tried for ever.
const UNREAD: u32 = 3;

#[derive(Debug)]
pub(crate) enum At {
    Starting,
    Idle,
    Busy(Pending),
    Leaving,
}

/// Why the pool killed a worker.
#[derive(Debug)]
pub(crate) enum Doom {
    /// It did not register in time.
    Silent(Duration),
    /// It refused to serve.
    Refused(String),
    /// Its job took too long.
    Timeout(Duration),
    /// Its job was given up.
    Aborted,
    /// The pool was closed.
    Closed,
    /// It broke the protocol.
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct Member {
    process: Process,
    link: Link,
    hello: Hello,
    pub(crate) at: At,
    pub(crate) deadline: Option<Instant>,
    doom: Option<Doom>,
    stderr: Option<Tail>,
    pub(crate) jobs: u64,
    /// The connection has ended.
    is_closed: bool,
}

/// What became of a worker's last work when it ended.
pub(crate) enum Burial {
    /// It had none.
    Nothing,
    StartFailed(StartError),
    /// Its job has failed.
    Done(Pending, Outcome),
    /// The job is to be given to another.
    Again(Pending),
}

impl Member {
    pub(crate) fn start(
        program: &Program,
        hello: Hello,
        timeout: Duration,
        captures_stderr: bool,
    ) -> Result<Member, StartError> {
        let system = |what| move |error| StartError::new(StartKind::System(what, error));
        let (ours, theirs) = link::pair().map_err(system("socketpair"))?;
        let captured = captures_stderr.then(Tail::new).transpose();
        let (stderr, writer) = captured.map_err(system("pipe"))?.unzip();
        let process = {
            use std::os::fd::AsFd;
            program.start(
                &hello.nonce,
                theirs.as_fd(),
                writer.as_ref().map(AsFd::as_fd),
            )?
        };
        let limit = usize::try_from(hello.limit).unwrap_or(usize::MAX);
        let mut link = Link::new(ours, limit);
        link.send(hello.to_frame());
        Ok(Member {
            process,
            link,
            hello,
            at: At::Starting,
            deadline: Instant::now().checked_add(timeout),
            doom: None,
            stderr,
            jobs: 0,
            is_closed: false,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.at, At::Idle) && self.is_usable()
    }

    /// Whether it may be given work, now or later.
    pub(crate) fn is_usable(&self) -> bool {
        self.doom.is_none() && !self.is_closed && !matches!(self.at, At::Leaving)
    }

    /// Whether it has the job of this number.
    pub(crate) fn has(&self, id: u64) -> bool {
        matches!(&self.at, At::Busy(pending) if pending.id == id)
    }

    /// What to poll: connection, end, standard error.
    pub(crate) fn poll_fds(&self) -> [libc::pollfd; 3] {
        let fd = |fd: Option<i32>, events| libc::pollfd {
            fd: fd.unwrap_or(-1),
            events,
            revents: 0,
        };
        let writes = if self.link.is_flushed() {
            0
        } else {
            libc::POLLOUT
        };
        let connection = (!self.is_closed).then(|| self.link.fd());
        let stderr = self.stderr.as_ref().and_then(Tail::fd);
        [
            fd(connection, libc::POLLIN | writes),
            fd(Some(self.process.pidfd()), libc::POLLIN),
            fd(stderr, libc::POLLIN),
        ]
    }

    /// Gives it a job.
    pub(crate) fn give(&mut self, mut pending: Pending) {
        debug_assert!(self.is_idle());
        if let Some(stderr) = &mut self.stderr {
            stderr.clear();
        }
        self.deadline = pending
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.link.send(std::mem::take(&mut pending.request));
        self.at = At::Busy(pending);
    }

    /// Tells it to end.
    pub(crate) fn leave(&mut self) {
        self.link.finish();
        self.at = At::Leaving;
        self.deadline = Instant::now().checked_add(LINGER);
    }

    pub(crate) fn kill(&mut self, doom: Doom) {
        if self.doom.is_none() {
            self.doom = Some(doom);
        }
        self.deadline = None;
        self.process.kill();
    }

    /// Kills it if its deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant, start_timeout: Duration) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let doom = match &self.at {
            _ if self.is_closed => Doom::Broken("it closed its connection".to_owned()),
            At::Starting => Doom::Silent(start_timeout),
            At::Busy(pending) => Doom::Timeout(pending.timeout.unwrap_or_default()),
            At::Idle | At::Leaving => Doom::Closed,
        };
        self.kill(doom);
    }

    /// Moves bytes; gives the job that was answered by them, if one was. `None`: nothing more is there.
    pub(crate) fn attend(&mut self) -> Option<(Pending, Outcome)> {
        self.link.flush();
        self.read_stderr();
        while !self.is_closed {
            let frame = match self.link.receive() {
                Ok(frame) => frame,
                Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return None;
                }
                Err(ReadError::Malformed(why)) => {
                    self.close();
                    self.kill(Doom::Broken(format!("it sent {why}")));
                    return None;
                }
                Err(ReadError::Closed | ReadError::Torn | ReadError::Io(_)) => {
                    self.close();
                    return None;
                }
            };
            if self.doom.is_none()
                && let Some(answered) = self.accept(frame)
            {
                return Some(answered);
            }
        }
        None
    }

    fn close(&mut self) {
        self.is_closed = true;
        let linger = Instant::now().checked_add(LINGER);
        self.deadline = match (self.deadline, linger) {
            (Some(deadline), Some(linger)) => Some(deadline.min(linger)),
            (deadline, linger) => deadline.or(linger),
        };
    }

    fn accept(&mut self, frame: Frame) -> Option<(Pending, Outcome)> {
        match (std::mem::replace(&mut self.at, At::Idle), frame.kind) {
            (At::Starting, Kind::Ready) if frame.body == self.hello.nonce => {
                self.deadline = None;
                None
            }
            (At::Starting, Kind::Refused) => {
                self.at = At::Starting;
                let why = String::from_utf8_lossy(&frame.body).into_owned();
                self.kill(Doom::Refused(why));
                None
            }
            (At::Busy(pending), kind) if pending.id == frame.id && self.link.is_flushed() => {
                match self.outcome(kind, frame.body) {
                    Some(outcome) => {
                        self.deadline = None;
                        self.jobs += 1;
                        Some((pending, outcome))
                    }
                    None => {
                        self.at = At::Busy(pending);
                        self.kill(Doom::Broken("it answered with a wrong frame".to_owned()));
                        None
                    }
                }
            }
            (at, _) => {
                self.at = at;
                self.kill(Doom::Broken("it sent a frame out of turn".to_owned()));
                None
            }
        }
    }

    fn outcome(&mut self, kind: Kind, body: Vec<u8>) -> Option<Outcome> {
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        let failure = match kind {
            Kind::Reply => return Some(Ok(body)),
            Kind::Panicked => Failure::Panic(text(&body)),
            Kind::Failed => Failure::Codec(text(&body)),
            _ => return None,
        };
        // What it said about it was written before the answer.
        self.read_stderr();
        Some(Err(self.error(failure)))
    }

    fn error(&self, failure: Failure) -> JobError {
        let stderr = self.stderr.as_ref().map(Tail::text).unwrap_or_default();
        JobError::new(failure).of_worker(self.process.pid(), stderr)
    }

    fn read_stderr(&mut self) {
        if let Some(stderr) = &mut self.stderr {
            stderr.read();
        }
    }

    /// Reaps it if it has ended. Then it is to be attended to until nothing more is there, and to be buried.
    pub(crate) fn reap(&mut self) -> Option<Ended> {
        self.process.reap()
    }

    pub(crate) fn bury(mut self, ended: Ended) -> Burial {
        self.read_stderr();
        let mut pending = match std::mem::replace(&mut self.at, At::Leaving) {
            At::Idle | At::Leaving => return Burial::Nothing,
            At::Starting => {
                let stderr = self.stderr.as_ref().map(Tail::text).unwrap_or_default();
                return match self.doom {
                    Some(Doom::Closed) => Burial::Nothing,
                    Some(Doom::Silent(timeout)) => {
                        Burial::StartFailed(StartError::new(StartKind::Silent(timeout)))
                    }
                    Some(Doom::Refused(why) | Doom::Broken(why)) => {
                        Burial::StartFailed(StartError::new(StartKind::Refused(why)))
                    }
                    _ => Burial::StartFailed(StartError::new(StartKind::Ended(ended, stderr))),
                };
            }
            At::Busy(pending) => pending,
        };
        if self.doom.is_none() {
            let is_unread = self.link.is_unread();
            pending.request = self.link.take_frame();
            if is_unread && pending.unread < UNREAD {
                pending.unread += 1;
                return Burial::Again(pending);
            }
            if pending.retries > 0 {
                pending.retries -= 1;
                return Burial::Again(pending);
            }
        }
        let failure = match self.doom.take() {
            Some(Doom::Timeout(limit)) => Failure::Timeout(limit),
            Some(Doom::Aborted) => Failure::Aborted,
            Some(Doom::Closed) => Failure::Closed,
            Some(Doom::Broken(why) | Doom::Refused(why)) => {
                Failure::Lost(format!("worker {}: {why}", self.process.pid()))
            }
            Some(Doom::Silent(_)) | None => Failure::Crash(ended),
        };
        let error = self.error(failure);
        Burial::Done(pending, Err(error))
    }
}
