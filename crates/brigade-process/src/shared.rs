//! What the threads that submit and the supervisor share.
//!
//! # Invariants
//!
//! 1. A job is in exactly one place: in the queue, with the supervisor, or done. Whoever takes it out of the queue
//!    completes its slot.
//! 2. After the phase is `Ended` the queue is empty and nothing is put in.
//! 3. No lock of a slot is taken under the lock of the state, and no foreign code runs under either.
//! 4. The supervisor sleeps only after it has set `is_asleep` under the lock and found nothing to do; whoever gives it
//!    something to do afterwards sees that and wakes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use brigade_runtime::raw::sys;
use brigade_sync::{Event, Mutex, MutexGuard};

use crate::error::{JobError, Kind, StartError};
use crate::handle::Slot;
use crate::stats::{Stats, WorkerStatus};

/// A job on its way to a worker.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: u64,
    pub(crate) slot: Arc<Slot>,
    /// The whole frame. Empty while the link to a worker has it.
    pub(crate) request: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    /// How often it may be done again after a crash.
    pub(crate) retries: u32,
    /// How often a worker ended before it had read the request.
    pub(crate) unread: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Open,
    /// No jobs are taken any more; what is not done at the deadline is given up.
    Closing(Option<Instant>),
    /// Nothing will be done any more; why, if that was not asked for.
    Ended(Option<Arc<str>>),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: VecDeque<Pending>,
    pub(crate) phase: Phase,
    /// Jobs to be given up that were not in the queue.
    pub(crate) aborts: Vec<u64>,
    pub(crate) stats: Stats,
    pub(crate) workers: Vec<WorkerStatus>,
    /// Why the pool did not start.
    pub(crate) start_error: Option<StartError>,
    next_id: u64,
    is_asleep: bool,
    /// Whether a worker waits for a job.
    wants_jobs: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// An eventfd that the supervisor polls.
    wake: OwnedFd,
    /// Set when the pool works or has failed.
    pub(crate) started: Event,
    /// Set when nothing of the pool is left but its thread.
    pub(crate) ended: Event,
    /// The process that started the pool.
    owner: u32,
}

/// What there is to do.
pub(crate) struct Orders {
    pub(crate) phase: Phase,
    /// Jobs to be given up where they are.
    pub(crate) aborts: Vec<u64>,
    /// Jobs that were given up in the queue.
    pub(crate) given_up: Vec<Pending>,
    /// Jobs for workers that wait, at most as many.
    pub(crate) jobs: Vec<Pending>,
    pub(crate) has_queue: bool,
}

impl Shared {
    pub(crate) fn new() -> io::Result<Shared> {
        // SAFETY: takes two numbers and returns one.
        let wake = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if wake < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                phase: Phase::Open,
                aborts: Vec::new(),
                stats: Stats::default(),
                workers: Vec::new(),
                start_error: None,
                next_id: 1,
                is_asleep: false,
                wants_jobs: false,
            }),
            // SAFETY: the call made the descriptor, and nobody else knows of it.
            wake: unsafe { OwnedFd::from_raw_fd(wake) },
            started: Event::new(),
            ended: Event::new(),
            owner: std::process::id(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process is the one that started the pool; in a fork of it the supervisor is missing.
    pub(crate) fn is_own_process(&self) -> bool {
        std::process::id() == self.owner
    }

    pub(crate) fn next_id(&self) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        state.next_id - 1
    }

    /// Queues a job, or completes it with an error if the pool takes none.
    pub(crate) fn submit(&self, pending: Pending) {
        if !self.is_own_process() {
            let why = "its pool belongs to the process that this one was forked from";
            let error = JobError::new(Kind::Lost(why.to_owned()));
            pending.slot.complete(Err(error));
            return;
        }
        let mut state = self.lock();
        state.stats.submitted += 1;
        let refused = match &state.phase {
            Phase::Open => None,
            Phase::Closing(_) | Phase::Ended(None) => Some(JobError::new(Kind::Closed)),
            Phase::Ended(Some(why)) => Some(JobError::new(Kind::Lost(why.to_string()))),
        };
        if let Some(error) = refused {
            state.stats.count_failure(&error);
            drop(state);
            pending.slot.complete(Err(error));
            return;
        }
        state.queue.push_back(pending);
        let wakes = state.wants_jobs;
        self.unlock(state, wakes);
    }

    /// Completes a job that never gets into the queue.
    pub(crate) fn refuse(&self, slot: &Slot, error: JobError) {
        let mut state = self.lock();
        state.stats.submitted += 1;
        state.stats.count_failure(&error);
        drop(state);
        slot.complete(Err(error));
    }

    /// Gives the job up if it is not done.
    pub(crate) fn abort(&self, id: u64) {
        if !self.is_own_process() {
            return;
        }
        let mut state = self.lock();
        let place = state.queue.iter().position(|pending| pending.id == id);
        let Some(pending) = place.and_then(|place| state.queue.remove(place)) else {
            if !matches!(state.phase, Phase::Ended(_)) {
                state.aborts.push(id);
            }
            return self.unlock(state, true);
        };
        let error = JobError::new(Kind::Aborted);
        state.stats.count_failure(&error);
        drop(state);
        pending.slot.complete(Err(error));
    }

    /// Takes no more jobs. Of several deadlines the earliest holds.
    pub(crate) fn close(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        let deadline = match state.phase {
            Phase::Open => deadline,
            Phase::Closing(None) => deadline,
            Phase::Closing(Some(old)) => Some(deadline.map_or(old, |new| new.min(old))),
            Phase::Ended(_) => return,
        };
        state.phase = Phase::Closing(deadline);
        self.unlock(state, true);
    }

    /// Lets go of the lock, and wakes the supervisor if it sleeps and `wakes`.
    fn unlock(&self, mut state: MutexGuard<'_, State>, wakes: bool) {
        let wakes = wakes && std::mem::take(&mut state.is_asleep);
        drop(state);
        if wakes {
            let one = 1_u64;
            let fd = self.wake.as_raw_fd() as usize;
            // SAFETY: the number is readable. The call cannot block, and fails only if it is not needed.
            unsafe {
                sys::call(
                    libc::SYS_write,
                    [fd, (&raw const one).addr(), size_of::<u64>(), 0, 0, 0],
                )
            };
        }
    }

    /// For the supervisor: what is to be done by `idle` workers that wait. After an answer without anything new, a
    /// sleep on [`wake_fd`](Shared::wake_fd) ends when there is something.
    pub(crate) fn orders(&self, idle: usize) -> Orders {
        let mut state = self.lock();
        let aborts = std::mem::take(&mut state.aborts);
        let mut given_up = Vec::new();
        if !aborts.is_empty() {
            // One that came back from a dead worker.
            let (hit, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.queue)
                .into_iter()
                .partition(|pending| aborts.contains(&pending.id));
            state.queue = kept;
            given_up.extend(hit);
        }
        let n = idle.min(state.queue.len());
        let jobs: Vec<_> = state.queue.drain(..n).collect();
        state.is_asleep = true;
        state.wants_jobs = idle > n;
        Orders {
            phase: state.phase.clone(),
            aborts,
            given_up,
            jobs,
            has_queue: !state.queue.is_empty(),
        }
    }

    /// Readable when there are orders.
    pub(crate) fn wake_fd(&self) -> i32 {
        self.wake.as_raw_fd()
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn clear_wake(&self) {
        let mut count = 0_u64;
        let fd = self.wake.as_raw_fd() as usize;
        // SAFETY: there is room for the number; the call cannot block.
        unsafe {
            sys::call(
                libc::SYS_read,
                [fd, (&raw mut count).addr(), size_of::<u64>(), 0, 0, 0],
            )
        };
    }
}
