//! Green threads that wait for futex words, and how they are woken: the protocol.
//!
//! A [`Bucket`] holds the waiters of all words that fall into it. The nodes lie on the waiters' stacks. A waker that
//! finds no green waiter pays a fence and a load.
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
//! 1. *No lost wake.* The word is compared under the lock, after the count of waiters was raised. A waker changes the
//!    word first. Either it sees the count and takes the lock, hence finds the waiter; or it does not, and then the
//!    waiter sees the new value: count and word are a store and a load on each side, in the one total order of
//!    sequentially consistent operations ([`Bucket::is_empty`] has the fence, [`Bucket::enqueue`] the accesses).
//! 2. *One remover.* Who takes a waiter out of the list, under the lock, decides what its wait returns: a waker,
//!    that it was woken, even if its time was up; the waiter itself, that its time was up. So a wake is never spent on
//!    a thread that reports a timeout, and no wake counts a thread twice.
//! 3. *Lifetime.* A node and its thread are touched by others only under the lock, while the node is in the list or
//!    between its removal and the end of that critical section. A waiter returns only after it has left the list
//!    itself, or has seen `RELEASED` (stored last, and it ran only after that), or has seen `TAKEN` and passed the
//!    lock.
//! 4. A wake takes at most as many waiters as it was asked for, oldest first.
//! 5. Nothing is allocated, and no thread is queued, under the lock.
//!
//! # Rejected
//!
//! A node that is shared and counted: an allocation for each wait. A waker that queues the thread under the lock:
//! the scheduler's locks would nest in this one.

use core::cell::Cell;
use core::ptr;

use crate::prim::{AtomicU32, Lock, Ordering, fence, total_order};

const WAITING: u32 = 0;
const TAKEN: u32 = 1;
const RELEASED: u32 = 2;

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

/// A waiting thread; see the module.
struct Waiter<S> {
    address: usize,
    bits: u32,
    sleeper: S,
    state: AtomicU32,
    /// Neighbours in the list; only under the lock.
    previous: Cell<*const Waiter<S>>,
    next: Cell<*const Waiter<S>>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It did not begin: the word had another value.
    NotDue,
    /// By a wake.
    Woken,
    /// By itself.
    TimedOut,
}

/// What a waiter finds when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody has woken it.
    Waiting,
    /// It was woken and may return.
    Woken,
    /// It was woken and may return after [`Bucket::leave`].
    WokenUnderLock,
}

impl<S> Waiter<S> {
    /// A waiter for a wake of `address` with one of `bits`.
    fn new(address: usize, bits: u32, sleeper: S) -> Waiter<S> {
        Waiter {
            address,
            bits,
            sleeper,
            state: AtomicU32::new(WAITING),
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
    len: u32,
}

// SAFETY: the nodes are used only under the lock that the queue is behind; invariant 3 keeps them alive.
unsafe impl<S: Send> Send for Queue<S> {}

impl<S> Queue<S> {
    pub(crate) const fn new() -> Queue<S> {
        Queue {
            head: ptr::null(),
            tail: ptr::null(),
            len: 0,
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
        self.len += 1;
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
        self.len -= 1;
    }
}

/// The green waiters of the words that share this bucket.
pub(crate) struct Bucket<S> {
    pub(crate) queue: Lock<Queue<S>>,
    /// The length of the queue; changes only under the lock.
    pub(crate) waiters: AtomicU32,
}

impl<S: Sleep> Bucket<S> {
    /// By a waker that has changed the word: false unless there is surely no green waiter that it should wake.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        // ORDER: SeqCst: between the waker's store to the word and the load of the count; its partner is the
        // store of the count in `enqueue` (invariant 1).
        fence(Ordering::SeqCst);
        // ORDER: Relaxed: ordered by the fence.
        self.waiters.load(Ordering::Relaxed) == 0
    }

    /// Waits until a wake of `address` with one of `bits`, if `is_due` says that the word has the value to wait for.
    ///
    /// `is_due` loads the word sequentially consistent. `park` parks `sleeper`, which is the running thread, until it
    /// is notified, or its time is up, or for no reason; `is_in_time` says whether it may park on.
    pub(crate) fn wait(
        &self,
        (address, bits, sleeper): (usize, u32, S),
        is_due: impl FnOnce() -> bool,
        mut park: impl FnMut(),
        mut is_in_time: impl FnMut() -> bool,
    ) -> Waited {
        let waiter = Waiter::new(address, bits, sleeper);
        // SAFETY: the node stays here until one of the returns below, which are those of invariant 3.
        if !unsafe { self.enqueue(&waiter, is_due) } {
            return Waited::NotDue;
        }
        loop {
            park();
            match waiter.look() {
                Seen::Woken => return Waited::Woken,
                Seen::WokenUnderLock => {
                    self.leave(&waiter);
                    return Waited::Woken;
                }
                Seen::Waiting if is_in_time() => {}
                Seen::Waiting if self.leave(&waiter) => return Waited::TimedOut,
                Seen::Waiting => return Waited::Woken,
            }
        }
    }

    /// By a waiter: enters the list if `is_due` says that the word still has the value to wait for.
    ///
    /// # Safety
    /// The node stays where it is until its thread may return (invariant 3).
    #[inline]
    unsafe fn enqueue(&self, waiter: &Waiter<S>, is_due: impl FnOnce() -> bool) -> bool {
        let mut queue = self.queue.lock();
        // ORDER: SeqCst: before the load of the word; its partner is the fence in `is_empty` (invariant 1).
        self.waiters.store(queue.len + 1, Ordering::SeqCst);
        total_order();
        let enters = is_due();
        if enters {
            queue.push(waiter);
        } else {
            self.publish(&queue);
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
            self.publish(&queue);
        }
        waits
    }

    /// By a waker: takes up to `most` waiters for `address` with one of `bits` out of the list and passes those that
    /// were parked to `wake`, which must not do more than note them. Says how many it took.
    pub(crate) fn take(
        &self,
        address: usize,
        bits: u32,
        most: u32,
        mut wake: impl FnMut(S::Runnable),
    ) -> u32 {
        let mut queue = self.queue.lock();
        let mut taken = 0;
        let mut at = queue.head;
        while taken < most {
            // SAFETY: a node in the list is alive (invariant 3).
            let Some(waiter) = (unsafe { at.as_ref() }) else {
                break;
            };
            at = waiter.next.get();
            if waiter.address != address || waiter.bits & bits == 0 {
                continue;
            }
            queue.unlink(waiter);
            taken += 1;
            // ORDER: Release: pairs with the Acquire in `look`, here and below.
            waiter.state.store(TAKEN, Ordering::Release);
            // SAFETY: the thread passes this lock before it ends, unless it reads the RELEASED that is stored below
            // while it cannot run (invariant 3).
            if let Some(runnable) = unsafe { waiter.sleeper.notify() } {
                // ORDER: Release: as above.
                waiter.state.store(RELEASED, Ordering::Release);
                wake(runnable);
            }
        }
        self.publish(&queue);
        taken
    }

    /// Shows the length of the queue to wakers.
    #[inline]
    fn publish(&self, queue: &Queue<S>) {
        // ORDER: Relaxed: a waker that reads a count that is too high takes the lock for nothing; it is never too
        // low, because waiters raise it in `enqueue` before they look at the word.
        self.waiters.store(queue.len, Ordering::Relaxed);
    }
}
