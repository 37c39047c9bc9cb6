//! Threads that wait for one object, first in, first out: the protocol.
//!
//! A [`WaitQueue`] is a lock, two words, and what the object wants to change together with its list. The nodes lie on
//! the stacks of the waiting threads, so a wait allocates nothing.
//!
//! # States of a waiter
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `WAITING` | it is in the list | a waker, or the waiter itself (which leaves the list); both under the lock |
//! | `TAKEN` | a waker took it out while it was not parked yet, or while a timer had just won it | the waiter, once it has passed the lock |
//! | `RELEASED` | a waker took it out and holds the right to queue it | the waiter, which runs only after the waker has done so |
//!
//! # Invariants
//!
//! 1. *One remover.* Who takes a waiter out of the list, under the lock, decides what its wait returns: a waker, that
//!    it was woken, even if its time was up; the waiter itself, that its time was up. So what a waker gives to a waiter
//!    (a permit, a turn) always arrives.
//! 2. *No lost wake.* Whether to wait is decided by `enter` under the lock, in the same critical section that puts the
//!    waiter into the list. A waker that comes later finds it there.
//! 3. *Lifetime.* A node and its thread are touched by others only under the lock, while the node is in the list or
//!    between its removal and the end of that critical section. A waiter returns only after it has left the list
//!    itself, or has seen `RELEASED` (stored last, and it ran only after that), or has seen `TAKEN` and passed the
//!    lock.
//! 4. Nothing is allocated, and no thread is queued, under the lock: who is woken is collected, and scheduled after it.
//!
//! # Rejected
//!
//! The table of the runtime that finds waiters by address: it serves locks that have an owner and must stay small;
//! here a waker must look at the waiter in front (how many permits it wants) before it takes it, and change a count in
//! the same critical section.

use core::cell::Cell;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr;

use crate::prim::{AtomicU32, Lock, Ordering};

const WAITING: u32 = 0;
const TAKEN: u32 = 1;
const RELEASED: u32 = 2;

/// A thread that may be parked.
pub(crate) trait Sleep: Copy {
    /// Threads that were parked and must be scheduled.
    type Woken: Default;

    /// Wakes the thread, or lets its next park return at once. True: the thread was parked and is now in `woken`.
    ///
    /// # Safety
    /// The thread cannot end before this returns.
    unsafe fn notify(self, woken: &mut Self::Woken) -> bool;

    /// Makes the threads run.
    fn schedule(woken: Self::Woken);
}

/// A waiting thread; see the module.
struct Waiter<S> {
    sleeper: S,
    /// What it asks for, for wakers that look before they take.
    want: usize,
    state: AtomicU32,
    /// Neighbours in the list; only under the lock.
    previous: Cell<*const Waiter<S>>,
    next: Cell<*const Waiter<S>>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It did not begin: there was nothing to wait for.
    NotDue,
    /// By a waker.
    Woken,
    /// By itself.
    TimedOut,
}

/// What the lock protects: the waiters, oldest first, and the object's own `data`.
pub(crate) struct Inner<S, D> {
    head: *const Waiter<S>,
    tail: *const Waiter<S>,
    data: D,
}

// SAFETY: the nodes are used only under the lock that the list is behind; invariant 3 keeps them alive.
unsafe impl<S: Send, D: Send> Send for Inner<S, D> {}

impl<S, D> Inner<S, D> {
    /// Nobody waits.
    pub(crate) const fn new(data: D) -> Inner<S, D> {
        Inner {
            head: ptr::null(),
            tail: ptr::null(),
            data,
        }
    }

    fn push(&mut self, waiter: &Waiter<S>) {
        waiter.previous.set(self.tail);
        // SAFETY: a node in the list is alive (invariant 3).
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(waiter),
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    fn unlink(&mut self, waiter: &Waiter<S>) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: a node in the list is alive (invariant 3), here and below.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above: the neighbour is in the list.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.tail = previous,
        }
    }
}

/// The list under its lock, and whom to schedule after it.
pub(crate) struct Locked<'a, S: Sleep, D> {
    inner: &'a mut Inner<S, D>,
    woken: &'a mut S::Woken,
}

impl<S: Sleep, D> Locked<'_, S, D> {
    /// The object's own data.
    pub(crate) fn data(&mut self) -> &mut D {
        &mut self.inner.data
    }

    /// What the oldest waiter asks for.
    pub(crate) fn first_want(&self) -> Option<usize> {
        // SAFETY: a node in the list is alive (invariant 3).
        unsafe { self.inner.head.as_ref() }.map(|waiter| waiter.want)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.head.is_null()
    }

    /// Takes the oldest waiter out and wakes it; false if there is none.
    pub(crate) fn wake_first(&mut self) -> bool {
        // SAFETY: a node in the list is alive (invariant 3).
        let Some(waiter) = (unsafe { self.inner.head.as_ref() }) else {
            return false;
        };
        self.inner.unlink(waiter);
        // ORDER: Release: pairs with the Acquire in `WaitQueue::wait`, here and below: what the waker did with the node
        // and what it did for the waiter come before.
        waiter.state.store(TAKEN, Ordering::Release);
        // SAFETY: the thread passes this lock before it ends, unless it reads the RELEASED that is stored below while
        // it cannot run (invariant 3).
        if unsafe { waiter.sleeper.notify(self.woken) } {
            // ORDER: Release: as above.
            waiter.state.store(RELEASED, Ordering::Release);
        }
        true
    }

    /// Takes all waiters out and wakes them.
    pub(crate) fn wake_all(&mut self) {
        while self.wake_first() {}
    }
}

/// The waiters of an object; see the module.
pub(crate) struct WaitQueue<S, D = ()> {
    pub(crate) inner: Lock<Inner<S, D>>,
}

// A panic under the lock aborts nothing and leaves nothing half done: what runs there does not unwind.
impl<S, D> UnwindSafe for WaitQueue<S, D> {}
impl<S, D> RefUnwindSafe for WaitQueue<S, D> {}

impl<S: Sleep, D> WaitQueue<S, D> {
    /// Calls `change` under the lock, then schedules whom it has woken. `change` does not unwind.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Locked<'_, S, D>) -> R) -> R {
        let mut woken = S::Woken::default();
        let result = change(&mut Locked {
            inner: &mut self.inner.lock(),
            woken: &mut woken,
        });
        S::schedule(woken);
        result
    }

    /// Waits for a waker if `enter`, called under the lock, says so.
    ///
    /// `sleeper` is the running thread and asks for `want`. `park` parks it until it is notified, or its time is up, or
    /// for no reason; `is_in_time` says whether it may park on. `leave` is called under the lock when the waiter has
    /// left the list because its time was up.
    pub(crate) fn wait(
        &self,
        (sleeper, want): (S, usize),
        enter: impl FnOnce(&mut Locked<'_, S, D>) -> bool,
        mut park: impl FnMut(),
        mut is_in_time: impl FnMut() -> bool,
        leave: impl FnOnce(&mut Locked<'_, S, D>),
    ) -> Waited {
        let waiter = Waiter {
            sleeper,
            want,
            state: AtomicU32::new(WAITING),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        };
        // The node stays here until one of the returns below, which are those of invariant 3.
        let waits = self.with(|locked| {
            let waits = enter(locked);
            if waits {
                locked.inner.push(&waiter);
            }
            waits
        });
        if !waits {
            return Waited::NotDue;
        }
        loop {
            park();
            // ORDER: Acquire: pairs with the Release stores in `wake_first`.
            match waiter.state.load(Ordering::Acquire) {
                RELEASED => return Waited::Woken,
                WAITING if is_in_time() => {}
                _ => return self.leave(&waiter, leave),
            }
        }
    }

    /// By a waiter that does not park again: passes the lock, and leaves the list if it is still in it.
    fn leave(&self, waiter: &Waiter<S>, leave: impl FnOnce(&mut Locked<'_, S, D>)) -> Waited {
        self.with(|locked| {
            // ORDER: Relaxed: the state of a node changes under the lock that this thread holds.
            if waiter.state.load(Ordering::Relaxed) != WAITING {
                return Waited::Woken;
            }
            locked.inner.unlink(waiter);
            leave(locked);
            Waited::TimedOut
        })
    }
}
