//! Threads that wait for addresses, and how they are woken: the protocol of one bucket.
//!
//! A [`Bucket`] holds the waiters of all addresses that fall into it, in one list. The nodes lie on the waiters' stacks.
//! What it means to wait is the caller's: it decides under the bucket's lock whether a thread waits (`is_due`), and
//! under the same lock who is woken and what a wake says (`answer`). So a lock keeps its word in step with the list.
//!
//! # States of a waiter
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `WAITING` | it is in the list | a waker, or the waiter itself (which leaves the list); both under the lock |
//! | `TAKEN` | a waker took it out while it was not parked yet, or while a timer had just won it | the waiter, when the waker has let go of the lock |
//! | `RELEASED` | a waker took it out and holds the right to queue it | the waiter, which runs only after the waker has done so |
//!
//! # Invariants
//!
//! 1. *One remover.* Who takes a waiter out of the list, under the lock, decides what its wait returns: a waker,
//!    that it was woken, even if its time was up; the waiter itself, that its time was up or that it was refused. So
//!    no wake is spent on a thread that does not know of it.
//! 2. *Lifetime.* A node and its thread are touched by others only under the lock, while the node is in the list or
//!    between its removal and the end of that critical section. A waiter returns only after it has left the list
//!    itself, or has seen `RELEASED` (stored last, and it ran only after that), or has seen `TAKEN` and passed the
//!    lock.
//! 3. *Order.* Waiters of an address are taken oldest first; one that was woken for nothing may go back to the front.
//! 4. Nothing is allocated, and no thread is queued, under the lock.
//!
//! # Rejected
//!
//! A list for each address: a bucket has few addresses at a time, and the node would need four pointers. A count of
//! waiters beside the lock (as the hooks' buckets have): the callers' words say whether somebody waits.

use core::cell::Cell;
use core::ptr;

use brigade_event::Mode;

use crate::prim::{AtomicU32, Lock, Ordering, now_ns};

const WAITING: u32 = 0;
const TAKEN: u32 = 1;
const RELEASED: u32 = 2;

/// How long the waiters of a bucket may be overtaken before somebody is to be served in turn, in nanoseconds.
const TURN_NS: u64 = 500_000;

/// A thread that may be parked.
pub(crate) trait Sleep: Copy {
    /// The right and the duty to queue a parked thread.
    type Runnable;

    /// Wakes the thread, or lets its next park return at once.
    ///
    /// # Safety
    /// The thread cannot end before this returns.
    unsafe fn notify(self) -> Option<Self::Runnable>;
}

/// A waiting thread, as others may see it.
#[derive(Clone, Copy)]
pub(crate) struct Ticket<S> {
    pub(crate) sleeper: S,
    pub(crate) address: usize,
    pub(crate) mode: Mode,
    /// Whether the wait has a deadline.
    pub(crate) timed: bool,
    /// Whether it goes to the front of the list.
    pub(crate) front: bool,
}

/// A waiting thread; see the module.
struct Waiter<S> {
    ticket: Ticket<S>,
    state: AtomicU32,
    /// What the waker says. Written before the state leaves `WAITING`.
    token: Cell<usize>,
    /// Which wait in this bucket it is; set under the lock.
    number: Cell<u64>,
    /// Neighbours in the list; only under the lock.
    previous: Cell<*const Waiter<S>>,
    next: Cell<*const Waiter<S>>,
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Parked<R> {
    /// It did not begin: there is no reason to wait.
    NotDue,
    /// By a wake, which said this.
    Woken(usize),
    /// By itself, because its time was up.
    TimedOut,
    /// By itself, because it must not wait.
    Refused(R),
}

/// What a waker does with a waiter of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Wakes it.
    Take,
    /// Leaves it, and looks at the next one.
    Skip,
    /// Leaves it and all that wait behind it.
    Stop,
}

/// When somebody is to be served in turn.
#[derive(Debug)]
pub struct Turn<'a> {
    at_ns: &'a mut u64,
}

impl Turn<'_> {
    /// Whether somebody is to be served in turn, because that has not happened for half a millisecond. The answer is
    /// yes once, so ask only if somebody is served.
    pub fn take(&mut self) -> bool {
        let now = now_ns();
        let is_due = now >= *self.at_ns;
        if is_due {
            *self.at_ns = now + TURN_NS;
        }
        is_due
    }
}

/// What a waker has found, when it decides what to say.
#[derive(Debug)]
pub struct Found<'a> {
    /// How many waiters it takes.
    pub taken: usize,
    /// Whether others wait for the address.
    pub left: bool,
    /// Whose turn it is.
    pub turn: Turn<'a>,
}

/// What a waiter finds when it looks.
enum Seen {
    /// Nobody has woken it.
    Waiting,
    /// It was woken and may return.
    Woken,
    /// It was woken and may return after [`Bucket::leave`].
    WokenUnderLock,
}

impl<S> Waiter<S> {
    fn new(ticket: Ticket<S>) -> Waiter<S> {
        Waiter {
            ticket,
            state: AtomicU32::new(WAITING),
            token: Cell::new(0),
            number: Cell::new(0),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }

    /// By the waiter: what has happened to it.
    #[inline]
    fn look(&self) -> Seen {
        // ORDER: Acquire: pairs with the Release stores in `take`; what the waker did with the node comes before.
        match self.state.load(Ordering::Acquire) {
            WAITING => Seen::Waiting,
            RELEASED => Seen::Woken,
            _ => Seen::WokenUnderLock,
        }
    }
}

/// The waiters of a bucket, oldest first.
pub(crate) struct Queue<S> {
    head: *const Waiter<S>,
    tail: *const Waiter<S>,
    /// When somebody is to be served in turn.
    turn_at_ns: u64,
    /// Waits so far.
    waits: u64,
}

// SAFETY: the nodes are used only under the lock that the queue is behind; invariant 2 keeps them alive.
unsafe impl<S: Send> Send for Queue<S> {}

impl<S> Queue<S> {
    pub(crate) const fn new() -> Queue<S> {
        Queue {
            head: ptr::null(),
            tail: ptr::null(),
            turn_at_ns: 0,
            waits: 0,
        }
    }

    fn push_back(&mut self, waiter: &Waiter<S>) {
        waiter.previous.set(self.tail);
        // SAFETY: a node in the list is alive (invariant 2).
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(waiter),
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    fn push_front(&mut self, waiter: &Waiter<S>) {
        waiter.next.set(self.head);
        // SAFETY: a node in the list is alive (invariant 2).
        match unsafe { self.head.as_ref() } {
            Some(head) => head.previous.set(waiter),
            None => self.tail = waiter,
        }
        self.head = waiter;
    }

    fn unlink(&mut self, waiter: &Waiter<S>) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: a node in the list is alive (invariant 2), here and below.
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

    /// Moves the waiters that `choose` takes to a list of its own, linked by `next`, oldest first. Says how many, and
    /// whether others wait for the address.
    fn pick(
        &mut self,
        address: usize,
        mut choose: impl FnMut(Mode, &mut Turn<'_>) -> Choice,
    ) -> (*const Waiter<S>, usize, bool) {
        let (mut first, mut last): (*const Waiter<S>, *const Waiter<S>) =
            (ptr::null(), ptr::null());
        let (mut taken, mut left) = (0, false);
        let mut at = self.head;
        // SAFETY: a node in the list is alive (invariant 2).
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            if waiter.ticket.address != address {
                continue;
            }
            let mut turn = Turn {
                at_ns: &mut self.turn_at_ns,
            };
            match choose(waiter.ticket.mode, &mut turn) {
                Choice::Take => {}
                Choice::Skip => {
                    left = true;
                    continue;
                }
                Choice::Stop => {
                    left = true;
                    break;
                }
            }
            self.unlink(waiter);
            waiter.next.set(ptr::null());
            // SAFETY: a node that was taken out in this critical section is alive (invariant 2).
            match unsafe { last.as_ref() } {
                Some(last) => last.next.set(waiter),
                None => first = waiter,
            }
            last = waiter;
            taken += 1;
        }
        (first, taken, left)
    }
}

/// The waiters of the addresses that share this bucket.
pub(crate) struct Bucket<S> {
    pub(crate) queue: Lock<Queue<S>>,
}

impl<S: Sleep> Bucket<S> {
    /// Waits until a wake, if `is_due` says, under the lock, that there is reason to.
    ///
    /// `queued` runs when the thread is in the list, outside the lock; it may say that the thread must not wait. `park`
    /// parks the thread, which is the running one, until it is notified, or its time is up, or for no reason;
    /// `is_in_time` says whether it may park on.
    #[inline]
    pub(crate) fn wait<R>(
        &self,
        ticket: Ticket<S>,
        is_due: impl FnOnce() -> bool,
        queued: impl FnOnce() -> Option<R>,
        mut park: impl FnMut(),
        mut is_in_time: impl FnMut() -> bool,
    ) -> Parked<R> {
        let waiter = Waiter::new(ticket);
        // SAFETY: the node stays here until one of the returns below, which are those of invariant 2.
        if !unsafe { self.enqueue(&waiter, is_due) } {
            return Parked::NotDue;
        }
        // Whatever happens, the node leaves the list before the frame goes away.
        let leaver = Leaver(self, &waiter);
        if let Some(refusal) = queued()
            && self.leave(&waiter)
        {
            core::mem::forget(leaver);
            return Parked::Refused(refusal);
        }
        // It looks before it parks: a wait inside of `queued` may have used the notification up.
        let mut is_first = true;
        loop {
            match waiter.look() {
                Seen::Woken => break,
                Seen::WokenUnderLock => {
                    self.leave(&waiter);
                    break;
                }
                Seen::Waiting if is_first || is_in_time() => {}
                Seen::Waiting => {
                    if self.leave(&waiter) {
                        core::mem::forget(leaver);
                        return Parked::TimedOut;
                    }
                    break;
                }
            }
            is_first = false;
            park();
        }
        core::mem::forget(leaver);
        Parked::Woken(waiter.token.get())
    }

    /// By a waiter: enters the list if `is_due` says so.
    ///
    /// # Safety
    /// The node stays where it is until its thread may return (invariant 2).
    #[inline]
    unsafe fn enqueue(&self, waiter: &Waiter<S>, is_due: impl FnOnce() -> bool) -> bool {
        let mut queue = self.queue.lock();
        let enters = is_due();
        queue.waits += 1;
        waiter.number.set(queue.waits);
        if enters && waiter.ticket.front {
            queue.push_front(waiter);
        } else if enters {
            queue.push_back(waiter);
        }
        enters
    }

    /// By a waiter that was not woken, or was [`Seen::WokenUnderLock`]: leaves the list. True if it was still in it.
    fn leave(&self, waiter: &Waiter<S>) -> bool {
        let mut queue = self.queue.lock();
        // ORDER: Relaxed: the state of a node changes under the lock that this thread holds.
        let waits = waiter.state.load(Ordering::Relaxed) == WAITING;
        if waits {
            queue.unlink(waiter);
        }
        waits
    }

    /// By a waker: takes the waiters for `address` that `choose` picks out of the list, tells them what `answer` says,
    /// and passes those that were parked to `wake`, which must not do more than note them.
    ///
    /// `answer` runs under the lock, before any of the waiters can know that it was taken.
    #[inline]
    pub(crate) fn take(
        &self,
        address: usize,
        choose: impl FnMut(Mode, &mut Turn<'_>) -> Choice,
        answer: impl FnOnce(&mut Found<'_>) -> usize,
        mut wake: impl FnMut(S::Runnable),
    ) -> usize {
        let mut queue = self.queue.lock();
        let (mut at, taken, left) = queue.pick(address, choose);
        let token = answer(&mut Found {
            taken,
            left,
            turn: Turn {
                at_ns: &mut queue.turn_at_ns,
            },
        });
        // SAFETY: a node that was taken out in this critical section is alive (invariant 2).
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            waiter.token.set(token);
            // ORDER: Release: pairs with the Acquire in `look`, here and below.
            waiter.state.store(TAKEN, Ordering::Release);
            // SAFETY: the thread passes this lock before it ends, unless it reads the RELEASED that is stored below
            // while it cannot run (invariant 2).
            if let Some(runnable) = unsafe { waiter.ticket.sleeper.notify() } {
                // ORDER: Release: as above.
                waiter.state.store(RELEASED, Ordering::Release);
                wake(runnable);
            }
        }
        taken
    }

    /// Calls `f` with each waiter for `address`, oldest first, under the lock: `f` must not do more than note it.
    pub(crate) fn for_each(&self, address: usize, mut f: impl FnMut(&Ticket<S>, u64)) {
        let queue = self.queue.lock();
        let mut at = queue.head;
        // SAFETY: a node in the list is alive (invariant 2).
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            if waiter.ticket.address == address {
                f(&waiter.ticket, waiter.number.get());
            }
        }
    }
}

/// Takes the node out of the list if the wait unwinds.
struct Leaver<'a, S: Sleep>(&'a Bucket<S>, &'a Waiter<S>);

impl<S: Sleep> Drop for Leaver<'_, S> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}
