//! What the threads of a pool, its handles and its submitters share: one queue under one lock.
//!
//! # Who waits where
//!
//! | list | who waits | taken out by |
//! |---|---|---|
//! | `idle` | threads of the pool without a job, the last one to fall asleep woken first | who pushes a job; itself, when it finds one |
//! | `blocked` | submitters for room in the queue, oldest first, each with its job | who makes room, and moves the job into the queue; who closes the pool |
//! | `ending` | threads that wait for the end of all threads of the pool | the last thread that ends; themselves, when their time is up |
//!
//! # Invariants
//!
//! 1. *One taker.* Who takes a job out of the queue, under the lock, runs it or drops it, and counts it.
//! 2. *No job beside a sleeping thread.* A thread puts itself into `idle` in the critical section in which it found the
//!    queue empty. Each push takes one thread out of `idle`, if there is one. A woken thread looks at the queue again.
//! 3. *Bounded.* A job is pushed only if the queue has room, and while submitters are blocked only theirs are. Room is
//!    given to them in the critical section in which it is made.
//! 4. *Nothing is lost.* A thread of the pool ends only when the pool is closed and the queue is empty. When it is closed
//!    nothing is pushed any more.
//! 5. A thread in a list passes the lock before it leaves: so it can be notified under it. Threads are scheduled, and
//!    foreign code is called, after the lock was given back.
//! 6. In the child of a fork nobody takes the lock: its holder may be a thread of the parent.
//!
//! # Helping
//!
//! A thread of the pool that waits for a job of its own pool would hold up that very job, if all others do the same. So it
//! takes the job out of the queue and runs it itself; if another thread runs it already, it waits. It never runs a job
//! that it does not wait for: that could want a lock which the waiting thread holds, and would be stuck for ever, where
//! elsewhere it would only have waited for the lock.
//!
//! # Rejected
//!
//! A queue per thread with stealing: faster for jobs of less than a microsecond, which are what green threads are for; and
//! first in, first out would be gone. Spinning before a thread sleeps: on two cores it took time from those who submit, and made
//! round trips longer. Running any job while waiting: see above. More threads while some wait: the number
//! would not be fixed. Taking the next job with the lock that counts the end of the last one: that one's result is still
//! to be handed over, which may run foreign code for long, while other threads are idle.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;

use brigade_event::WaitReason;
use brigade_runtime::park::{
    NEVER, RawLock, Runnable, Runnables, Sleeper, Wait, now_ns, with_current,
};
use brigade_runtime::raw::fork_generation;

use crate::builder::WhenFull;
use crate::error::Lost;
use crate::job::{AnyJob, BLOCKED, Header, REFUSED};
use crate::queue::Queue;
use crate::scope::ScopeState;
use crate::stats::{Counts, Stats};

thread_local! {
    /// The pool that this kernel thread is one of; null elsewhere. Green threads have their own.
    static POOL: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

/// What a pool is; see the module.
pub(crate) struct Shared {
    core: RawLock<Core>,
    capacity: usize,
    when_full: WhenFull,
    generation: u32,
}

struct Core {
    queue: Queue<AnyJob>,
    blocked: VecDeque<(AnyJob, Sleeper)>,
    idle: Vec<Sleeper>,
    ending: Vec<Sleeper>,
    threads: usize,
    is_closed: bool,
    counts: Counts,
}

/// What to do about a job that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// What the pool was built for.
    AsBuilt,
    /// A job that must neither be refused nor replace others: wait, unless the pool runs such jobs at once.
    Keep,
    /// Refuse it.
    Refuse,
}

/// What became of a job that was to be pushed.
enum Pushed {
    Queued(Option<Runnable>),
    /// It took the place of this one.
    Replaced(AnyJob, Option<Runnable>),
    /// The caller is to run it.
    Here,
    /// It is in `blocked`, and the caller is to wait.
    Blocked,
    Refused(Lost),
}

impl Core {
    fn has_room(&self, capacity: usize) -> bool {
        self.queue.len() < capacity && self.blocked.is_empty()
    }

    /// Puts a job into the queue. Returns a thread to schedule.
    fn push(&mut self, job: AnyJob, now: u64) -> Option<Runnable> {
        job.header().set_queued_ns(now);
        self.counts.submitted += 1;
        self.queue.push(job);
        let sleeper = self.idle.pop()?;
        // SAFETY: it was in a list whose lock is held, and passes it before it leaves (invariant 5).
        unsafe { sleeper.notify() }
    }

    /// After jobs have left the queue: lets blocked submitters have the room.
    fn admit(&mut self, capacity: usize, now: u64, woken: &mut Runnables) {
        while self.queue.len() < capacity {
            let Some((job, submitter)) = self.blocked.pop_front() else {
                return;
            };
            // SAFETY: as in `push`.
            let notified = unsafe { submitter.notify() };
            notified.into_iter().for_each(|thread| woken.push(thread));
            let idle = self.push(job, now);
            idle.into_iter().for_each(|thread| woken.push(thread));
        }
    }

    /// Counts a job that has just been taken out to be run.
    fn begin(&mut self, job: &AnyJob, now: u64) {
        let waited_ns = now.saturating_sub(job.header().queued_ns());
        self.counts.begin(waited_ns);
    }

    fn stop_idling(&mut self, me: Sleeper) {
        self.idle.retain(|&sleeper| sleeper != me);
    }
}

impl Shared {
    pub(crate) fn new(capacity: usize, when_full: WhenFull) -> Arc<Shared> {
        // From here on a fork is noticed.
        let _ = brigade_runtime::park::me();
        Arc::new(Shared {
            core: RawLock::new(Core {
                queue: Queue::new(),
                blocked: VecDeque::new(),
                idle: Vec::new(),
                ending: Vec::new(),
                threads: 0,
                is_closed: false,
                counts: Counts::default(),
            }),
            capacity,
            when_full,
            generation: fork_generation(),
        })
    }

    /// Whether the pool's threads are in the parent of this process.
    pub(crate) fn is_stale(&self) -> bool {
        self.generation != fork_generation()
    }

    /// Whether the current thread is one of the pool.
    pub(crate) fn is_mine(&self) -> bool {
        ptr::eq(POOL.get(), self)
    }

    /// Puts a job into the queue, or does what is to be done if it is full. The caller gets it back if it is refused.
    #[track_caller]
    pub(crate) fn submit(&self, job: AnyJob, full: Full) -> Result<(), (AnyJob, Lost)> {
        if self.is_stale() {
            return Err((job, Lost::Closed));
        }
        let pushed = if self.capacity == usize::MAX || self.is_mine() {
            self.push(&job, full, None)
        } else {
            self.push_or_wait(&job, full, Location::caller())
        };
        match pushed {
            Pushed::Queued(thread) => thread.into_iter().for_each(Runnable::schedule),
            Pushed::Replaced(victim, thread) => {
                thread.into_iter().for_each(Runnable::schedule);
                victim.lose(Lost::Dropped);
            }
            Pushed::Here => self.run(&job, now_ns()),
            Pushed::Refused(why) => return Err((job, why)),
            Pushed::Blocked => {}
        }
        Ok(())
    }

    fn push_or_wait(&self, job: &AnyJob, full: Full, site: &'static Location<'static>) -> Pushed {
        with_current(|me| {
            let pushed = self.push(job, full, Some(me.sleeper()));
            if !matches!(pushed, Pushed::Blocked) {
                return pushed;
            }
            let wait = Wait::new(WaitReason::PoolRoom, ptr::from_ref(self).addr(), site);
            loop {
                me.park(&wait, NEVER);
                let _core = self.core.lock();
                match job.header().ticket() {
                    BLOCKED => {}
                    REFUSED => return Pushed::Refused(Lost::Closed),
                    _ => return pushed,
                }
            }
        })
    }

    /// `me` is the current thread, if it may wait.
    fn push(&self, job: &AnyJob, full: Full, me: Option<Sleeper>) -> Pushed {
        let now = now_ns();
        let mut guard = self.core.lock();
        let core = &mut *guard;
        if core.is_closed {
            core.counts.rejected += 1;
            return Pushed::Refused(Lost::Closed);
        }
        if core.has_room(self.capacity) {
            return Pushed::Queued(core.push(Arc::clone(job), now));
        }
        let runs_here = self.when_full == WhenFull::RunHere || me.is_none();
        match (full, self.when_full, me) {
            (Full::Refuse, ..) | (Full::AsBuilt, WhenFull::Reject, _) => {
                core.counts.rejected += 1;
                return Pushed::Refused(Lost::Full);
            }
            (Full::AsBuilt, WhenFull::DropOldest, _) => {
                let is_free = |job: &AnyJob| job.header().scope().is_none();
                if let Some(victim) = core.queue.remove_oldest(is_free) {
                    core.counts.dropped += 1;
                    return Pushed::Replaced(victim, core.push(Arc::clone(job), now));
                }
            }
            _ => {}
        }
        match me {
            Some(me) if !runs_here => {
                job.header().set_ticket(BLOCKED);
                core.blocked.push_back((Arc::clone(job), me));
                Pushed::Blocked
            }
            _ => {
                core.counts.submitted += 1;
                core.counts.begin(0);
                Pushed::Here
            }
        }
    }

    /// Runs a job that the caller has taken, which began at `begun_ns`.
    pub(crate) fn run(&self, job: &AnyJob, begun_ns: u64) {
        job.run(&mut |panicked| {
            if self.is_stale() {
                return false;
            }
            let now = now_ns();
            let ran_ns = now.saturating_sub(begun_ns);
            self.core.lock().counts.end(ran_ns, panicked);
            true
        });
    }

    /// Takes a job out of the queue, wherever it is, for the caller to run.
    fn claim(
        &self,
        find: impl FnOnce(&mut Queue<AnyJob>) -> Option<AnyJob>,
    ) -> Option<(AnyJob, u64)> {
        let now = now_ns();
        let mut woken = Runnables::new();
        let job = {
            let mut guard = self.core.lock();
            let core = &mut *guard;
            let job = find(&mut core.queue);
            if let Some(job) = &job {
                core.begin(job, now);
                core.admit(self.capacity, now, &mut woken);
            }
            job
        };
        woken.schedule();
        Some((job?, now))
    }

    /// By a thread that is going to wait for the job: runs it, if it is still in the queue and the thread is of this pool.
    pub(crate) fn help(&self, header: &Header) {
        if self.is_mine()
            && let Some((job, now)) = self.claim(|queue| queue.remove(header.ticket()))
        {
            self.run(&job, now);
        }
    }

    /// By a thread that is going to wait for the scope: runs one of its jobs that are in the queue, if the thread is of
    /// this pool. False if there was none.
    pub(crate) fn help_scope(&self, scope: &Arc<ScopeState>) -> bool {
        let is_of_scope = |job: &AnyJob| {
            let its = job.header().scope();
            its.is_some_and(|its| Arc::ptr_eq(its, scope))
        };
        if self.is_mine()
            && let Some((job, now)) = self.claim(|queue| queue.remove_newest(is_of_scope))
        {
            self.run(&job, now);
            return true;
        }
        false
    }

    /// Takes the job out of the queue and drops it. False if it was not in the queue.
    pub(crate) fn cancel(&self, header: &Header) -> bool {
        let mut woken = Runnables::new();
        let job = {
            let mut guard = self.core.lock();
            let core = &mut *guard;
            let job = core.queue.remove(header.ticket());
            if job.is_some() {
                core.counts.cancelled += 1;
                core.admit(self.capacity, now_ns(), &mut woken);
            }
            job
        };
        woken.schedule();
        let is_cancelled = job.is_some();
        job.into_iter().for_each(|job| job.lose(Lost::Cancelled));
        is_cancelled
    }

    /// Takes no more jobs from now on. With `drops`, what is in the queue is dropped too. Returns how many jobs were.
    pub(crate) fn close(&self, drops: bool) -> usize {
        let (mut woken, mut dropped) = (Runnables::new(), Vec::new());
        {
            let mut guard = self.core.lock();
            let core = &mut *guard;
            core.is_closed = true;
            while let Some((job, submitter)) = core.blocked.pop_front() {
                job.header().set_ticket(REFUSED);
                core.counts.rejected += 1;
                // SAFETY: it was in a list whose lock is held, and passes it before it leaves (invariant 5).
                let notified = unsafe { submitter.notify() };
                notified.into_iter().for_each(|thread| woken.push(thread));
            }
            while drops && let Some(job) = core.queue.pop() {
                core.counts.dropped += 1;
                dropped.push(job);
            }
            while let Some(thread) = core.idle.pop() {
                // SAFETY: it was in `idle`, and passes the lock held here before it leaves (invariant 5).
                let notified = unsafe { thread.notify() };
                notified.into_iter().for_each(|thread| woken.push(thread));
            }
        }
        woken.schedule();
        dropped.iter().for_each(|job| job.lose(Lost::Dropped));
        dropped.len()
    }

    /// Blocks the current thread until all threads of the pool have ended, or until the deadline. True: they have.
    pub(crate) fn wait_ended(&self, deadline_ns: u64, site: &'static Location<'static>) -> bool {
        let object = ptr::from_ref(self).addr();
        let wait = Wait::new(WaitReason::PoolShutdown, object, site);
        with_current(|me| {
            loop {
                let is_late = deadline_ns != NEVER && now_ns() >= deadline_ns;
                {
                    let mut core = self.core.lock();
                    core.ending.retain(|&sleeper| sleeper != me.sleeper());
                    if core.threads == 0 || is_late {
                        return core.threads == 0;
                    }
                    core.ending.push(me.sleeper());
                }
                me.park(&wait, deadline_ns);
            }
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        let core = self.core.lock();
        Stats {
            threads: core.threads,
            idle: core.idle.len(),
            queued: core.queue.len(),
            blocked: core.blocked.len(),
            ..core.counts.stats()
        }
    }

    /// Threads that the pool has.
    pub(crate) fn threads(&self) -> usize {
        self.core.lock().threads
    }

    /// Before a thread of the pool is started.
    pub(crate) fn thread_starts(&self) {
        self.core.lock().threads += 1;
    }

    /// A thread of the pool ends, or could not be started.
    pub(crate) fn thread_ends(&self) {
        let mut woken = Runnables::new();
        {
            let mut core = self.core.lock();
            core.threads -= 1;
            while core.threads == 0
                && let Some(waiter) = core.ending.pop()
            {
                // SAFETY: it was in a list whose lock is held, and passes it before it leaves (invariant 5).
                let notified = unsafe { waiter.notify() };
                notified.into_iter().for_each(|thread| woken.push(thread));
            }
        }
        woken.schedule();
    }

    /// What a thread of the pool does, from its first to its last job.
    pub(crate) fn work(&self) {
        POOL.set(self);
        let mut next = self.wait_for_job();
        while let Some((job, begun_ns)) = next.take() {
            self.run(&job, begun_ns);
            drop(job);
            if self.is_stale() {
                // In the child of a fork that the job has made. The thread ends, as any that returns.
                return;
            }
            // Not before: what dropped a result, or was woken by it, may have taken long, or waited for this very job.
            next = self.claim(Queue::pop).or_else(|| self.wait_for_job());
        }
        self.thread_ends();
    }

    fn take_first(&self, core: &mut Core, now: u64, woken: &mut Runnables) -> Option<AnyJob> {
        let job = core.queue.pop()?;
        core.begin(&job, now);
        core.admit(self.capacity, now, woken);
        Some(job)
    }

    /// By a thread of the pool: a job to run, none when there will be no more.
    #[track_caller]
    fn wait_for_job(&self) -> Option<(AnyJob, u64)> {
        let object = ptr::from_ref(self).addr();
        let wait = Wait::new(WaitReason::PoolIdle, object, Location::caller());
        with_current(|me| {
            loop {
                let mut woken = Runnables::new();
                let now = now_ns();
                let (job, is_over) = {
                    let mut guard = self.core.lock();
                    let core = &mut *guard;
                    core.stop_idling(me.sleeper());
                    let job = self.take_first(core, now, &mut woken);
                    let is_over = job.is_none() && core.is_closed;
                    if job.is_none() && !is_over {
                        core.idle.push(me.sleeper());
                    }
                    (job, is_over)
                };
                woken.schedule();
                if let Some(job) = job {
                    return Some((job, now));
                }
                if is_over {
                    return None;
                }
                me.park(&wait, NEVER);
            }
        })
    }
}
