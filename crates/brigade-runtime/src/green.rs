//! The seam for those who block: libc hooks, locks and channels.
//!
//! [`Green`] is the running green thread, and only where it may park; [`Current`] is the running thread of any kind. A list of waiters holds [`Sleeper`]s; who
//! takes one out notifies it under the list's lock and schedules the [`Runnable`] that comes of it after the lock.
//!
//! # Invariants
//!
//! 1. [`Green::current`] is none wherever a switch would be wrong: on ordinary kernel threads, on a carrier's own
//!    stack, inside the runtime, under a lock of the runtime, and in the child of a fork. There a hook blocks the
//!    kernel thread, as libc would.
//! 2. A [`Sleeper`] counts no reference. The thread cannot end before it has seen that it was taken out of the list,
//!    and it sees that under the list's lock, or after it was scheduled.
//! 3. A [`Runnable`] is the won right to queue a parked thread (`park_word.rs`, invariant 2): the thread stays where
//!    it is until it is scheduled.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use brigade_context::prim::sys;

use crate::current::{self, park, yield_if_overdue};
use crate::queue::List;
use crate::roster::{Entry, Wait};
use crate::sched;
use crate::shared::Shared;
use crate::task::{Task, TaskRef};

/// The running green thread, where it may park.
#[derive(Clone, Copy, Debug)]
pub struct Green {
    task: NonNull<Task>,
    /// It means something only on the thread itself.
    not_send: PhantomData<*const ()>,
}

impl Green {
    /// The green thread this code runs on; none where it must not park (see the module).
    #[inline(always)]
    #[must_use]
    pub fn current() -> Option<Green> {
        // SAFETY: a non-null carrier is the one this code runs on.
        let carrier = unsafe { sched::here().as_ref() }?;
        let task = NonNull::new(carrier.current.get())?;
        if carrier.guest.get() || carrier.is_busy_below() {
            return None;
        }
        Some(Green {
            task,
            not_send: PhantomData,
        })
    }

    /// Whether this kernel thread is one of a runtime's. If there is no current green thread either, what blocks here
    /// holds a processor that cannot be handed off.
    #[inline]
    #[must_use]
    pub fn is_on_carrier() -> bool {
        !sched::here().is_null()
    }

    #[inline(always)]
    fn record(&self) -> &Task {
        // SAFETY: the running thread holds a reference to itself, and a `Green` stays on its thread.
        unsafe { self.task.as_ref() }
    }

    /// Whether this code runs on the thread's own stack. A signal handler may run on another one, and must not park.
    #[must_use]
    pub fn is_on_own_stack(self) -> bool {
        self.has_on_stack(&raw const self as usize, 1)
    }

    /// Whether the memory from `address` on, of so many bytes, lies on the thread's own stack: then it is readable.
    #[must_use]
    pub fn has_on_stack(self, address: usize, bytes: usize) -> bool {
        // SAFETY: the slot of a running thread is written by nobody.
        let slot = unsafe { &*self.record().slot.get() };
        slot.as_ref().is_some_and(|slot| {
            (slot.limit()..slot.top()).contains(&address) && bytes <= slot.top() - address
        })
    }

    /// Parks until a [`Sleeper`] of the thread is notified and scheduled, the deadline passes (nanoseconds of
    /// `CLOCK_MONOTONIC`, `u64::MAX` for none), or for no reason: the caller looks at its condition again.
    #[inline]
    pub fn park(self, wait: &Wait, deadline_ns: u64) {
        park(self.record(), wait, deadline_ns);
    }

    /// The thread, for a list of waiters.
    #[inline(always)]
    #[must_use]
    pub fn sleeper(self) -> Sleeper {
        Sleeper(self.task)
    }

    /// A place where a thread that never parks lets others run if it has had its time. Called at the end of
    /// operations that might have blocked.
    #[inline(always)]
    pub fn checkpoint(self) {
        // SAFETY: a green thread runs on a carrier.
        let carrier = unsafe { &*sched::here() };
        if carrier.count_call() {
            self.checkpoint_slow();
        }
    }

    /// A place where a thread that has had its time lets others run. Cheap, but not for what a signal handler may call:
    /// there, and in code that an allocator may call, it is [`Green::checkpoint`].
    #[inline(always)]
    pub fn yield_if_overdue(self) {
        yield_if_overdue();
    }

    /// Not in a signal handler, which may have interrupted malloc in the middle of what belongs to the carrier, or runs
    /// on the carrier's signal stack. A handler blocks its own signal, unless it was told not to.
    #[cold]
    fn checkpoint_slow(self) {
        // SAFETY: a green thread runs on a carrier.
        let carrier = unsafe { &*sched::here() };
        // Asking the kernel costs more than all the rest of an operation, so ask last.
        if carrier.is_overdue()
            && self.is_on_own_stack()
            && sys::blocked_signals() == carrier.blocked_signals.get()
        {
            yield_if_overdue();
        }
    }
}

/// As [`Green::checkpoint`], for operations that are so short that they count themselves ([`Entry::count_lock`]).
#[cold]
#[inline(never)]
pub fn checkpoint_rarely() {
    if let Some(green) = Green::current() {
        // SAFETY: a green thread runs on a carrier.
        unsafe { &*sched::here() }.count_look();
        green.checkpoint_slow();
    }
}

/// The current thread, green or kernel, for as long as it waits for something.
///
/// Where a green thread must not park (see the module) it is the kernel thread, and blocks that.
pub struct Current {
    task: NonNull<Task>,
    green: Option<Green>,
}

/// Calls `f` with the current thread.
#[inline(always)]
pub fn with_current<R>(f: impl FnOnce(&Current) -> R) -> R {
    if let Some(green) = Green::current() {
        return f(&Current {
            task: green.task,
            green: Some(green),
        });
    }
    let task = current::kernel();
    // SAFETY: a record is never at null; `task` outlives the call.
    let place = unsafe { NonNull::new_unchecked(task.as_ptr()) };
    f(&Current {
        task: place,
        green: None,
    })
}

impl Current {
    #[inline(always)]
    fn record(&self) -> &Task {
        // SAFETY: `with_current` keeps the record alive.
        unsafe { self.task.as_ref() }
    }

    /// Parks until a [`Sleeper`] of the thread is notified and scheduled, the deadline passes (nanoseconds of
    /// `CLOCK_MONOTONIC`, `u64::MAX` for none), or for no reason: the caller looks at its condition again.
    #[inline]
    pub fn park(&self, wait: &Wait, deadline_ns: u64) {
        park(self.record(), wait, deadline_ns);
    }

    /// Says what the thread is going to wait for, before it parks for it.
    pub(crate) fn begin_wait(&self, wait: &Wait) {
        self.record().begin_wait(wait, false);
    }

    /// The record of the thread.
    pub(crate) fn task(&self) -> &Task {
        self.record()
    }

    /// The thread, for a list of waiters.
    #[inline(always)]
    #[must_use]
    pub fn sleeper(&self) -> Sleeper {
        Sleeper(self.task)
    }

    /// The thread's entry in the roster.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self) -> &'static Entry {
        self.record().entry()
    }

    /// Whether it is a green thread that parks, so that waiting costs a switch and no kernel thread.
    #[inline(always)]
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.green.is_some()
    }

    /// A place where a thread that never parks lets others run if it has had its time. Called at the end of
    /// operations that might have blocked.
    #[inline(always)]
    pub fn checkpoint(&self) {
        if let Some(green) = self.green {
            green.checkpoint();
        }
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Current").field(&self.entry()).finish()
    }
}

/// A thread in a list of waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleeper(NonNull<Task>);

// SAFETY: the record is shared and its park word atomic; `notify` states what keeps it alive.
unsafe impl Send for Sleeper {}
// SAFETY: as for `Send`.
unsafe impl Sync for Sleeper {}

impl Sleeper {
    /// Wakes the thread, or lets its next park return at once. Something returned: the thread is parked, and the
    /// caller must schedule it.
    ///
    /// # Safety
    ///
    /// The thread must not be able to end before this returns: it is in a list whose lock the caller holds, and
    /// takes that lock before it leaves.
    #[inline(always)]
    pub unsafe fn notify(self) -> Option<Runnable> {
        // SAFETY: the caller's contract.
        let task = unsafe { self.0.as_ref() };
        task.park.notify().then_some(Runnable(self.0))
    }

    /// The thread of a record, for a list of waiters.
    pub(crate) fn of(task: &TaskRef) -> Sleeper {
        Sleeper(NonNull::from(&**task))
    }

    /// The record of the thread, alive as long as [`Sleeper::notify`] demands.
    pub(crate) fn task(self) -> NonNull<Task> {
        self.0
    }
}

/// A parked thread that the holder must schedule; it does not run before.
#[derive(Debug)]
#[must_use = "the thread stays parked for ever unless it is scheduled"]
pub struct Runnable(NonNull<Task>);

impl Runnable {
    /// The right, won by somebody else, to queue `task`.
    pub(crate) fn of(task: NonNull<Task>) -> Runnable {
        Runnable(task)
    }

    /// Makes the thread runnable. Does not block.
    #[inline]
    pub fn schedule(self) {
        // SAFETY: the right to queue the thread is ours, so it is parked and alive.
        let (is_green, home) = unsafe { (self.0.as_ref().is_green(), self.0.as_ref().home) };
        if !is_green {
            return current::resume_kernel(self.0.as_ptr());
        }
        // SAFETY: a non-null carrier is the one this code runs on.
        match unsafe { sched::here().as_ref() } {
            Some(carrier) if carrier.is_busy_below() => ready_below(home, self.0),
            carrier => sched::ready(
                carrier.map_or(std::ptr::null(), std::ptr::from_ref),
                home,
                self.0.as_ptr(),
            ),
        }
    }
}

/// Makes a thread runnable from where the runtime cannot be entered (`Carrier::is_busy_below`): takes no lock but the
/// global queue's, under which nothing foreign runs, and leaves the rest to the monitor.
#[cold]
#[inline(never)]
fn ready_below(home: *const (), task: NonNull<Task>) {
    // SAFETY: the caller has the thread in its hands, so it is alive and its runtime is. After the push it may end at
    // once, and the runtime with it; hence the reference.
    let shared = unsafe {
        Arc::increment_strong_count(home.cast::<Shared>());
        Arc::from_raw(home.cast::<Shared>())
    };
    // In the child of a fork the thread exists only in the parent.
    if shared.generation == brigade_context::fork_generation() {
        shared.push_global(task.as_ptr());
        shared.rouse_monitor();
    }
}

/// Threads to schedule, collected without allocating while a lock is held.
#[derive(Default)]
pub struct Runnables(List<Task>);

impl Runnables {
    /// No threads.
    #[must_use]
    pub const fn new() -> Runnables {
        Runnables(List::new())
    }

    /// Adds a thread.
    #[inline]
    pub fn push(&mut self, runnable: Runnable) {
        self.0.push(runnable.0.as_ptr());
    }

    /// Schedules all of them, first in, first out. Does not block.
    #[inline]
    pub fn schedule(mut self) {
        while let Some(task) = NonNull::new(self.0.pop()) {
            Runnable(task).schedule();
        }
    }
}
