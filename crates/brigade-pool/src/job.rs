//! A job: a closure, then its result, and who waits for that.
//!
//! The queue and the threads of a pool see [`Job`], which knows neither type. The handle sees the [`Slot`] of the result.
//!
//! # Who may do what
//!
//! | who | may | because |
//! |---|---|---|
//! | who took the job out of the queue, under the pool's lock | run the closure, or drop it | one place, one taker |
//! | the same, once | publish the result | it alone has one |
//! | the handle | take the result, or give it up | there is one handle |
//!
//! # Invariants
//!
//! 1. Closure and result are dropped without any lock held, by the taker, by the handle, or by whoever comes second when
//!    the handle is dropped: if the result is there the handle drops it, else the taker does.
//! 2. When a job has left its scope, neither its closure nor a result that its handle gave up exists any more. So a
//!    reference to a job that outlives the scope touches nothing that was borrowed.
//! 3. A thread that waits leaves the slot only after it has passed the slot's lock, under which it is notified.
//! 4. Foreign code (closures, drops, wakers) does not unwind out of this module.
//!
//! # Rejected
//!
//! An atomic word for the slot: two uncontended locks cost less than a tenth of waking a kernel thread, which most results
//! do, and leave nothing to prove.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use brigade_runtime::park::{NEVER, RawLock, Sleeper, Wait, now_ns, with_current};

use crate::error::{JobError, Lost};
use crate::queue::{NONE, Ticketed};
use crate::scope::ScopeState;

/// The ticket of a job whose submitter waits for room in the queue.
pub(crate) const BLOCKED: u64 = NONE - 1;
/// The ticket of a job whose submitter waited for room until the pool was closed.
pub(crate) const REFUSED: u64 = NONE - 2;

/// What a job ends with.
pub(crate) type JobResult<T> = Result<T, JobError>;

/// What all jobs have.
pub(crate) struct Header {
    ticket: AtomicU64,
    queued_ns: AtomicU64,
    scope: Option<Arc<ScopeState>>,
}

impl Header {
    pub(crate) fn ticket(&self) -> u64 {
        // ORDER: Relaxed: written and read under the lock of the queue.
        self.ticket.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ticket(&self, ticket: u64) {
        // ORDER: Relaxed: as in `ticket`.
        self.ticket.store(ticket, Ordering::Relaxed);
    }

    /// When it was put into the queue, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn queued_ns(&self) -> u64 {
        // ORDER: Relaxed: written and read under the lock of the queue.
        self.queued_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_queued_ns(&self, now_ns: u64) {
        // ORDER: Relaxed: as in `queued_ns`.
        self.queued_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The scope that waits for the job.
    pub(crate) fn scope(&self) -> Option<&Arc<ScopeState>> {
        self.scope.as_ref()
    }
}

/// A job as the queue and the threads see it.
pub(crate) trait Job: Send + Sync {
    fn header(&self) -> &Header;

    /// Runs the closure, calls `ended` with whether it panicked, and publishes the result unless `ended` says false. By
    /// who took the job.
    fn run(&self, ended: &mut dyn FnMut(bool) -> bool);

    /// Drops the closure and publishes why. By who took the job.
    fn lose(&self, why: Lost);
}

/// A job of any type.
pub(crate) type AnyJob = Arc<dyn Job>;

impl Ticketed for AnyJob {
    fn ticket(&self) -> u64 {
        self.header().ticket()
    }

    fn set_ticket(&self, ticket: u64) {
        self.header().set_ticket(ticket);
    }
}

/// A job as its handle sees it.
pub(crate) trait Outcome<T>: Send + Sync {
    fn header(&self) -> &Header;
    fn slot(&self) -> &Slot<T>;
}

/// A job with all its types.
pub(crate) struct JobCell<F, T> {
    header: Header,
    work: RawLock<Option<F>>,
    slot: Slot<T>,
}

impl<F, T> JobCell<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    /// A job; if it has no handle, whoever runs it drops its result.
    pub(crate) fn new(f: F, scope: Option<Arc<ScopeState>>, has_handle: bool) -> Arc<Self> {
        Arc::new(JobCell {
            header: Header {
                ticket: AtomicU64::new(NONE),
                queued_ns: AtomicU64::new(0),
                scope,
            },
            work: RawLock::new(Some(f)),
            slot: Slot {
                state: RawLock::new(State {
                    phase: Phase::Pending,
                    given_up: !has_handle,
                    waiter: Waiter::Nobody,
                }),
            },
        })
    }

    /// The closure of a job that no queue took.
    pub(crate) fn into_closure(self: Arc<Self>) -> Option<F> {
        self.work.lock().take()
    }

    fn finish(&self, result: JobResult<T>) {
        if let Some(untaken) = self.slot.publish(result) {
            drop_untaken(untaken, self.header.scope());
        }
        if let Some(scope) = self.header.scope() {
            scope.leave();
        }
    }
}

impl<F, T> Job for JobCell<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn header(&self) -> &Header {
        &self.header
    }

    fn run(&self, ended: &mut dyn FnMut(bool) -> bool) {
        let Some(f) = self.work.lock().take() else {
            return;
        };
        let result = catch_unwind(AssertUnwindSafe(f)).map_err(JobError::panicked);
        if ended(result.is_err()) {
            self.finish(result);
        } else {
            mem::forget(result);
        }
    }

    fn lose(&self, why: Lost) {
        let f = self.work.lock().take();
        quietly(|| drop(f));
        self.finish(Err(JobError::lost(why)));
    }
}

impl<F, T> Outcome<T> for JobCell<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn header(&self) -> &Header {
        &self.header
    }

    fn slot(&self) -> &Slot<T> {
        &self.slot
    }
}

/// Drops a result that nobody has taken; a scope hears of it if it was an error.
pub(crate) fn drop_untaken<T>(result: JobResult<T>, scope: Option<&Arc<ScopeState>>) {
    if let (Some(scope), Err(error)) = (scope, &result) {
        scope.mark_failed(error);
    }
    quietly(|| drop(result));
}

/// Calls `f`, and forgets its panic: the panic hook has told of it, and there is nobody to hand it to.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Dropping it might panic in turn.
        mem::forget(payload);
    }
}

enum Phase<T> {
    /// The result is not there yet.
    Pending,
    /// Here it is.
    Published(JobResult<T>),
    /// The handle has it, or has given it up.
    Taken,
}

enum Waiter {
    Nobody,
    Thread(Sleeper),
    Task(Waker),
}

struct State<T> {
    phase: Phase<T>,
    /// There is no handle, so nobody will take the result.
    given_up: bool,
    waiter: Waiter,
}

impl<T> State<T> {
    fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Pending)
    }

    fn take(&mut self) -> Option<JobResult<T>> {
        if self.is_pending() {
            return None;
        }
        match mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Published(result) => Some(result),
            Phase::Pending | Phase::Taken => None,
        }
    }
}

/// The place of a result, and who waits for it.
pub(crate) struct Slot<T> {
    state: RawLock<State<T>>,
}

impl<T> Slot<T> {
    /// Puts the result in and wakes who waits for it. Hands it back if there is no handle.
    fn publish(&self, result: JobResult<T>) -> Option<JobResult<T>> {
        let mut state = self.state.lock();
        if state.given_up {
            return Some(result);
        }
        state.phase = Phase::Published(result);
        match mem::replace(&mut state.waiter, Waiter::Nobody) {
            Waiter::Nobody => {}
            Waiter::Thread(sleeper) => {
                // SAFETY: the thread passes the lock that is held here before it leaves (invariant 3).
                let runnable = unsafe { sleeper.notify() };
                drop(state);
                if let Some(runnable) = runnable {
                    runnable.schedule();
                }
            }
            Waiter::Task(waker) => {
                drop(state);
                quietly(|| waker.wake());
            }
        }
        None
    }

    /// By the handle: takes the result if it is there.
    pub(crate) fn take(&self) -> Option<JobResult<T>> {
        self.state.lock().take()
    }

    /// Whether the result is there or was taken.
    pub(crate) fn is_finished(&self) -> bool {
        !self.state.lock().is_pending()
    }

    /// By the handle, when it is dropped: the result, if it is there and was not taken.
    pub(crate) fn give_up(&self) -> Option<JobResult<T>> {
        let (result, waiter) = {
            let mut state = self.state.lock();
            state.given_up = true;
            (
                state.take(),
                mem::replace(&mut state.waiter, Waiter::Nobody),
            )
        };
        quietly(|| drop(waiter));
        result
    }

    /// By the handle: blocks the current thread until the result is there, or the deadline has passed (nanoseconds of
    /// `CLOCK_MONOTONIC`). True: it is there.
    pub(crate) fn wait(&self, wait: &Wait, deadline_ns: u64) -> bool {
        with_current(|me| {
            loop {
                let is_late = deadline_ns != NEVER && now_ns() >= deadline_ns;
                let previous = {
                    let mut state = self.state.lock();
                    let is_pending = state.is_pending();
                    let next = if is_pending && !is_late {
                        Waiter::Thread(me.sleeper())
                    } else {
                        Waiter::Nobody
                    };
                    let previous = mem::replace(&mut state.waiter, next);
                    if !is_pending || is_late {
                        return !is_pending;
                    }
                    previous
                };
                // A waker from an earlier poll of the handle.
                quietly(|| drop(previous));
                me.park(wait, deadline_ns);
            }
        })
    }

    /// By the handle: the result, or a note whom to wake.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<JobResult<T>> {
        let waker = context.waker().clone();
        let (ready, _previous) = {
            let mut state = self.state.lock();
            match state.take() {
                Some(result) => (Some(result), Waiter::Task(waker)),
                None => (None, mem::replace(&mut state.waiter, Waiter::Task(waker))),
            }
        };
        ready.map_or(Poll::Pending, Poll::Ready)
    }
}
