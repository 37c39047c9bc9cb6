//! The one thread of a pool that talks to its workers: it starts and reaps them, gives them jobs, moves bytes, and
//! watches deadlines.
//!
//! It is a kernel thread, for three reasons. The kernel kills a worker when the *thread* that started it ends, so that
//! thread must live as long as the pool, which no carrier of green threads promises. It sleeps with the memory of the
//! process lent to a child while a worker is started, which would hold a carrier. And timeouts and crashes are seen to
//! whatever the green threads do. Whoever waits for a job does not wait for this thread's kernel resources: green
//! threads park in the slot of the job.
//!
//! Each round: take orders, obey, replace who is missing, publish, sleep until something happens, attend to it.
//!
//! # Invariants
//!
//! 1. The loop waits at one place only, [`Supervisor::sleep`].
//! 2. A job is completed after its worker has been reaped or has answered, and counted before it is completed.
//! 3. When the thread ends, by whatever way, no child is left and every job that the pool took is completed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{JobError, Kind, StartError, StartKind};
use crate::exec::Program;
use crate::frame::{Hello, NONCE};
use crate::handle::Outcome;
use crate::member::{At, Burial, Doom, Member};
use crate::shared::{Orders, Pending, Phase, Shared};
use crate::stats::WorkerStatus;

/// Starts that fail one after the other, without any worker left, until the pool gives up.
const MAX_FAILURES: u32 = 8;
/// The pause after the first start that fails; it doubles with each.
const PAUSE: Duration = Duration::from_millis(10);

/// What a pool is told when it is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) start_timeout: Duration,
    pub(crate) captures_stderr: bool,
    pub(crate) fingerprint: u64,
    pub(crate) limit: usize,
    pub(crate) memory_limit: u64,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    plan: Plan,
    program: Program,
    members: Vec<Member>,
    is_started: bool,
    start_error: Option<StartError>,
    /// Starts that failed since one succeeded.
    failures: u32,
    next_start: Option<Instant>,
    /// What is to be published.
    done: Vec<(Pending, Outcome)>,
    again: Vec<Pending>,
    restarts: u64,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, plan: Plan, program: Program) -> Supervisor {
        Supervisor {
            shared,
            plan,
            program,
            members: Vec::new(),
            is_started: false,
            start_error: None,
            failures: 0,
            next_start: None,
            done: Vec::new(),
            again: Vec::new(),
            restarts: 0,
        }
    }

    /// The whole life of the thread.
    pub(crate) fn run(mut self) {
        block_signals();
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        let why = match result {
            Ok(why) => why,
            Err(_) => Some("the supervisor of its pool panicked".to_owned()),
        };
        self.end(why.map(Arc::from));
    }

    /// Until the pool is to end. Says why, if it was not closed.
    fn work(&mut self) -> Option<String> {
        loop {
            let idle = self.members.iter().filter(|m| m.is_idle()).count();
            let Orders {
                phase,
                aborts,
                given_up,
                jobs,
                has_queue,
            } = self.shared.orders(idle);
            let given_up = given_up.into_iter();
            self.done
                .extend(given_up.map(|job| (job, Err(JobError::new(Kind::Aborted)))));
            for id in aborts {
                if let Some(member) = self.members.iter_mut().find(|m| m.has(id)) {
                    member.kill(Doom::Aborted);
                }
            }
            self.give(jobs);
            let deadline = match phase {
                Phase::Open => None,
                Phase::Closing(deadline) => {
                    self.close(deadline, has_queue);
                    deadline
                }
                Phase::Ended(_) => return None,
            };
            let is_needed = matches!(phase, Phase::Open) || has_queue || !self.again.is_empty();
            if is_needed {
                self.replace();
            } else {
                self.next_start = None;
            }
            if let Some(error) = self.failed() {
                let why = error.to_string();
                self.start_error = Some(error);
                return Some(why);
            }
            if self.publish() {
                continue;
            }
            if !is_needed && self.members.is_empty() {
                return None;
            }
            self.sleep(deadline);
            self.attend();
        }
    }

    fn give(&mut self, jobs: Vec<Pending>) {
        let mut jobs = jobs.into_iter();
        for member in self.members.iter_mut().filter(|m| m.is_idle()) {
            match jobs.next() {
                Some(job) => member.give(job),
                None => return,
            }
        }
        self.again.extend(jobs);
    }

    /// The pool takes no more jobs: workers without one may go. After the deadline everything is given up.
    fn close(&mut self, deadline: Option<Instant>, has_queue: bool) {
        let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if is_late {
            let queue = std::mem::take(&mut self.shared.lock().queue);
            let again = std::mem::take(&mut self.again);
            for job in queue.into_iter().chain(again) {
                self.done.push((job, Err(JobError::new(Kind::Closed))));
            }
        }
        for member in &mut self.members {
            match member.at {
                _ if is_late => member.kill(Doom::Closed),
                At::Idle if !has_queue && member.is_idle() => member.leave(),
                At::Starting if !has_queue => member.kill(Doom::Closed),
                _ => {}
            }
        }
    }

    /// Starts workers where some are missing.
    fn replace(&mut self) {
        if self.next_start.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.next_start = None;
        let there = self.members.iter().filter(|m| m.is_usable()).count();
        for _ in there..self.plan.workers {
            match self.start() {
                Ok(member) => {
                    self.members.push(member);
                    self.restarts += u64::from(self.is_started);
                }
                Err(error) => {
                    self.start_failed(error);
                    return;
                }
            }
        }
    }

    fn start(&self) -> Result<Member, StartError> {
        let hello = Hello {
            nonce: nonce()
                .map_err(|error| StartError::new(StartKind::System("getrandom", error)))?,
            fingerprint: self.plan.fingerprint,
            limit: self.plan.limit as u64,
            memory_limit: self.plan.memory_limit,
        };
        Member::start(
            &self.program,
            hello,
            self.plan.start_timeout,
            self.plan.captures_stderr,
        )
    }

    fn start_failed(&mut self, error: StartError) {
        let pause = PAUSE * 2_u32.pow(self.failures.min(MAX_FAILURES));
        self.failures += 1;
        self.next_start = Instant::now().checked_add(pause);
        self.start_error = Some(error);
    }

    /// Why the pool is to give up, if it is.
    fn failed(&mut self) -> Option<StartError> {
        let is_alone = !self.members.iter().any(Member::is_usable);
        if !self.is_started || (self.failures >= MAX_FAILURES && is_alone) {
            self.start_error.take()
        } else {
            None
        }
    }

    /// Tells the others what has happened. True if there is something to do at once.
    fn publish(&mut self) -> bool {
        if !self.is_started && self.members.iter().all(|m| matches!(m.at, At::Idle)) {
            self.is_started = true;
        }
        let status = |member: &Member| WorkerStatus {
            pid: member.pid(),
            is_busy: matches!(member.at, At::Busy(_)),
            jobs: member.jobs,
        };
        let mut state = self.shared.lock();
        state.workers.clear();
        let usable = self.members.iter().filter(|m| m.is_usable());
        state.workers.extend(usable.map(status));
        state.stats.restarts += std::mem::take(&mut self.restarts);
        state.stats.requeued += self.again.len() as u64;
        let is_again = !self.again.is_empty();
        for job in self.again.drain(..).rev() {
            state.queue.push_front(job);
        }
        for (_, outcome) in &self.done {
            match outcome {
                Ok(_) => state.stats.completed += 1,
                Err(error) => state.stats.count_failure(error),
            }
        }
        drop(state);
        for (job, outcome) in self.done.drain(..) {
            job.slot.complete(outcome);
        }
        if self.is_started {
            self.shared.started.set();
        }
        is_again
    }

    /// Waits until a worker or the pool has something to say, or a deadline passes.
    fn sleep(&self, deadline: Option<Instant>) {
        let mut fds = vec![libc::pollfd {
            fd: self.shared.wake_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        fds.extend(self.members.iter().flat_map(Member::poll_fds));
        let deadlines = self.members.iter().filter_map(|member| member.deadline);
        let next = deadlines.chain(deadline).chain(self.next_start).min();
        let timeout = next.map_or(-1, |next| {
            let left = next.saturating_duration_since(Instant::now());
            // Rounded up: a sleep that ends too early would be followed by many short ones.
            i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX)
        });
        // SAFETY: the descriptors are readable and writable memory, as many as it is told. An interruption or an error
        // makes a round in which nothing is found.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
        self.shared.clear_wake();
    }

    /// Hears all workers, and buries those that have ended.
    fn attend(&mut self) {
        let now = Instant::now();
        let mut n = 0;
        while n < self.members.len() {
            let member = &mut self.members[n];
            let ended = member.reap();
            while let Some(answered) = member.attend() {
                self.failures = 0;
                self.done.push(answered);
            }
            if member.is_idle() {
                self.failures = 0;
            }
            member.expire(now, self.plan.start_timeout);
            let Some(ended) = ended else {
                n += 1;
                continue;
            };
            match self.members.swap_remove(n).bury(ended) {
                Burial::Nothing => {}
                Burial::StartFailed(error) => self.start_failed(error),
                Burial::Done(job, outcome) => self.done.push((job, outcome)),
                Burial::Again(job) => self.again.push(job),
            }
        }
    }

    /// Leaves nothing behind.
    fn end(mut self, why: Option<Arc<str>>) {
        let error = || match &why {
            None => JobError::new(Kind::Closed),
            Some(why) => JobError::new(Kind::Lost(why.to_string())),
        };
        let mut left: Vec<_> = std::mem::take(&mut self.again);
        for mut member in self.members.drain(..) {
            if let At::Busy(job) = std::mem::replace(&mut member.at, At::Leaving) {
                left.push(job);
            }
        }
        let mut state = self.shared.lock();
        state.phase = Phase::Ended(why.clone());
        state.workers.clear();
        state.start_error = self.start_error.take();
        left.extend(state.queue.drain(..));
        for _ in &left {
            state.stats.count_failure(&error());
        }
        drop(state);
        for (job, outcome) in self.done.drain(..) {
            job.slot.complete(outcome);
        }
        for job in left {
            job.slot.complete(Err(error()));
        }
        self.shared.ended.set();
        self.shared.started.set();
    }
}

/// No handler of the program runs on this thread.
fn block_signals() {
    // SAFETY: the set is filled in before it is read; the calls write nothing else.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

fn nonce() -> io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    // SAFETY: there is room for so many bytes. So few come at once.
    let got = unsafe { libc::getrandom(nonce.as_mut_ptr().cast(), NONCE, 0) };
    if got == NONCE as isize {
        Ok(nonce)
    } else {
        Err(io::Error::last_os_error())
    }
}
