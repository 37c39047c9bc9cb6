//! Threads that wait for channels: the protocol.
//!
//! A [`Selection`] is one wait of a thread, for one operation or for any of several. It has a [`Waiter`] in the list
//! of each channel it waits for. Both lie on the stack of the waiting thread.
//!
//! # States of a selection
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `WAITING` | nobody has chosen | a waker (to `CLAIMED` or `TAKEN`), the thread itself (to `ABORTED`) |
//! | `CLAIMED` | somebody has chosen an arm and is going to wake the thread when he is done | he (to `TAKEN`) |
//! | `TAKEN` + arm | the arm was chosen; the waker may still hold the lock of the arm's list | the thread, after it has passed that lock |
//! | `RELEASED` + arm | the arm was chosen; the waker had to queue the thread | the thread, which runs only after that |
//! | `ABORTED` | the thread has stopped waiting by itself | nobody |
//!
//! # Invariants
//!
//! 1. *One choice.* `WAITING` is left once: by one compare-and-exchange, or, when the thread waits for one channel only,
//!    under that channel's lock together with the removal from the list. So of all the channels a thread waits for, one
//!    wakes it, and a wake is never spent on a thread that leaves by itself.
//! 2. *Lifetime.* A waiter and its selection are touched by others only under the lock of a list in which the waiter
//!    is, or was when that critical section began. A thread leaves only after it has taken each of its waiters out
//!    under the lock, or, for the arm that was chosen, has seen `RELEASED` (stored last, and it ran only after that),
//!    or has seen `TAKEN` and passed the lock. Between `CLAIMED` and the end the waiter is in no list, and belongs to
//!    who claimed it; the claimer wakes it under the same lock.
//! 3. *No lost wake.* A waiter says that there is one, then looks at the channel once more; who changes a channel
//!    changes it first and looks for waiters then: a store and a load on each side, in the one total order of
//!    sequentially consistent operations.
//! 4. Nothing is allocated or dropped, and no thread is queued, under the lock.
//!
//! # Rejected
//!
//! Counted waiters: an allocation for each wait. A lock for all channels of a select, in the order of their addresses
//! (Go): the channels with a ring would need it on their fast path.

use core::cell::Cell;
use core::ptr;

use super::prim::{
    AtomicU32, AtomicUsize, Current, Lock, NEVER, Ordering, Runnable, Runnables, Sleeper, Wait,
    is_in_time, with_current, yield_if_overdue,
};

const WAITING: usize = 0;
const CLAIMED: usize = 1;
const ABORTED: usize = 2;
const TAKEN: usize = 3;
const RELEASED: usize = 4;
const KIND_MASK: usize = 7;
const ARM_SHIFT: u32 = 3;

/// One wait of a thread; see the module.
pub(super) struct Selection {
    state: AtomicUsize,
    sleeper: Sleeper,
    /// Whether it has waiters in several lists. If not, all but the thread's looks happens under the one lock, and who
    /// finds its waiter in the list need not ask whether it can be claimed.
    is_shared: bool,
}

/// What a waiting thread finds when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody has chosen yet.
    Waiting,
    /// Somebody has chosen, and is not done.
    Claimed,
    /// The thread has stopped waiting by itself.
    Aborted,
    /// The arm was chosen; the thread passes its list's lock before it leaves.
    Taken(usize),
    /// The arm was chosen.
    Released(usize),
}

impl Selection {
    /// One for a single operation.
    #[inline(always)]
    pub(super) fn new(sleeper: Sleeper) -> Selection {
        Selection {
            state: AtomicUsize::new(WAITING),
            sleeper,
            is_shared: false,
        }
    }

    /// One for several operations.
    pub(super) fn new_shared(sleeper: Sleeper) -> Selection {
        Selection {
            is_shared: true,
            ..Selection::new(sleeper)
        }
    }

    /// One that is in no list, and waits for somebody who knows it.
    #[inline(always)]
    pub(super) fn new_claimed(sleeper: Sleeper) -> Selection {
        Selection {
            state: AtomicUsize::new(CLAIMED),
            ..Selection::new(sleeper)
        }
    }

    /// By the thread.
    #[inline(always)]
    pub(super) fn look(&self) -> Seen {
        // ORDER: Acquire: pairs with the Release stores in `finish`; what the waker did comes before.
        let state = self.state.load(Ordering::Acquire);
        match state & KIND_MASK {
            WAITING => Seen::Waiting,
            CLAIMED => Seen::Claimed,
            ABORTED => Seen::Aborted,
            TAKEN => Seen::Taken(state >> ARM_SHIFT),
            _ => Seen::Released(state >> ARM_SHIFT),
        }
    }

    /// By the thread, for several operations: stops waiting, unless somebody has chosen.
    pub(super) fn abort(&self) {
        debug_assert!(self.is_shared);
        // ORDER: Acquire on failure: as in `look`. Relaxed on success: publishes nothing.
        let _ = self
            .state
            .compare_exchange(WAITING, ABORTED, Ordering::Relaxed, Ordering::Acquire);
    }

    /// By the thread, for a single operation, when it has taken its waiter out of the list itself.
    fn set_aborted(&self) {
        debug_assert!(!self.is_shared);
        // ORDER: Relaxed: read by the thread itself.
        self.state.store(ABORTED, Ordering::Relaxed);
    }

    /// By a waker, under the lock: the thread is the waker's to wake. False: it was chosen or has left.
    #[inline(always)]
    fn claim(&self) -> bool {
        if !self.is_shared {
            return true;
        }
        // ORDER: Relaxed: what the thread wrote before it waited came through the lock of the list; `finish` publishes.
        let claimed =
            self.state
                .compare_exchange(WAITING, CLAIMED, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// By a waker that has claimed it, under the lock, and will finish later.
    pub(super) fn keep(&self) {
        // ORDER: Relaxed: tells the thread not to leave when its time is up, which it looks for under the lock.
        self.state.store(CLAIMED, Ordering::Relaxed);
    }

    /// Whether a waker could claim it now.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        // ORDER: Relaxed: who acts on the answer claims, or looks again.
        self.state.load(Ordering::Relaxed) == WAITING
    }

    /// By who has claimed it, under the lock: `arm` is the thread's. Something returned is to be scheduled after the
    /// lock was released; the selection is not touched after this.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the arm's list, and the thread has not left (invariant 2).
    #[inline(always)]
    pub(super) unsafe fn finish(&self, arm: usize) -> Option<Runnable> {
        let arm = arm << ARM_SHIFT;
        // ORDER: Release: pairs with `look`. Before `notify`, so that the thread does not park again.
        self.state.store(arm | TAKEN, Ordering::Release);
        // SAFETY: the thread leaves only after it has passed the lock, or has seen the store below.
        let runnable = unsafe { self.sleeper.notify() };
        if runnable.is_some() {
            // ORDER: Release: pairs with `look`. The thread is parked until it is scheduled.
            self.state.store(arm | RELEASED, Ordering::Release);
        }
        runnable
    }

    /// By the thread: parks until an arm was chosen, or it was aborted. When the deadline has passed it calls `expire`,
    /// which aborts unless somebody has chosen.
    #[inline]
    pub(super) fn wait(
        &self,
        me: &Current,
        wait: &Wait,
        deadline_ns: u64,
        expire: impl Fn(),
    ) -> Seen {
        loop {
            match self.look() {
                Seen::Waiting if !is_in_time(deadline_ns) => expire(),
                Seen::Waiting => me.park(wait, deadline_ns),
                Seen::Claimed => me.park(wait, NEVER),
                seen => return seen,
            }
        }
    }
}

/// The place of a selection in the list of one channel; see the module.
pub(super) struct Waiter {
    selection: Cell<*const Selection>,
    arm: Cell<usize>,
    /// With a rendezvous: the message and who waits with it; null for a select, which has none. Under the lock.
    pub(super) peer: Cell<*const ()>,
    previous: Cell<*const Waiter>,
    next: Cell<*const Waiter>,
    is_queued: Cell<bool>,
}

impl Waiter {
    #[inline(always)]
    pub(super) fn new(selection: &Selection, arm: usize) -> Waiter {
        let waiter = Waiter::unbound();
        waiter.selection.set(selection);
        waiter.arm.set(arm);
        waiter
    }

    /// One without a selection.
    pub(super) const fn unbound() -> Waiter {
        Waiter {
            selection: Cell::new(ptr::null()),
            arm: Cell::new(0),
            peer: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            is_queued: Cell::new(false),
        }
    }

    /// Makes it the arm of a selection, for which it must be in no list.
    pub(super) fn bind(&self, selection: *const Selection, arm: usize) {
        debug_assert!(!self.is_queued.get());
        self.selection.set(selection);
        self.arm.set(arm);
        self.peer.set(ptr::null());
    }

    pub(super) fn arm(&self) -> usize {
        self.arm.get()
    }

    /// The selection.
    ///
    /// # Safety
    ///
    /// The waiter is bound, and the thread has not left (invariant 2).
    #[inline(always)]
    pub(super) unsafe fn selection<'a>(&self) -> &'a Selection {
        // SAFETY: the caller's contract.
        unsafe { &*self.selection.get() }
    }
}

/// Waiters, oldest first; behind a lock.
pub(super) struct List {
    head: *const Waiter,
    tail: *const Waiter,
}

// SAFETY: the waiters are used only under the lock that the list is behind; invariant 2 keeps them alive.
unsafe impl Send for List {}

impl List {
    pub(super) const fn new() -> List {
        List {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    /// Appends a waiter.
    ///
    /// # Safety
    ///
    /// The waiter is bound, is in no list, and stays until it was unlinked.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, waiter: &Waiter) {
        waiter.previous.set(self.tail);
        waiter.next.set(ptr::null());
        waiter.is_queued.set(true);
        // SAFETY: a waiter in the list is alive (invariant 2).
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(waiter),
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    /// Takes the waiter out if it is still in. True: it was.
    #[inline(always)]
    pub(super) fn unlink(&mut self, waiter: &Waiter) -> bool {
        if !waiter.is_queued.replace(false) {
            return false;
        }
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: a waiter in the list is alive (invariant 2), here and below.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above: the neighbour is in the list.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.tail = previous,
        }
        true
    }

    /// Takes out the oldest waiter whose selection can be claimed, and claims it. Waiters of selections that were
    /// chosen elsewhere are taken out on the way.
    #[inline(always)]
    pub(super) fn claim<'a>(&mut self) -> Option<&'a Waiter> {
        loop {
            // SAFETY: a waiter in the list is alive (invariant 2).
            let waiter = unsafe { self.head.as_ref() }?;
            self.unlink(waiter);
            // SAFETY: as above: its thread takes the lock before it leaves.
            if unsafe { waiter.selection() }.claim() {
                return Some(waiter);
            }
        }
    }

    /// By the thread, for a single operation: leaves the list, unless somebody has chosen.
    pub(super) fn expire(&mut self, waiter: &Waiter) {
        if self.unlink(waiter) {
            // SAFETY: the waiter's own thread calls.
            unsafe { waiter.selection() }.set_aborted();
        }
    }

    /// Whether somebody else than `own` waits.
    pub(super) fn has_waiting(&self, own: *const Selection) -> bool {
        let mut at = self.head;
        // SAFETY: a waiter in the list is alive (invariant 2).
        while let Some(waiter) = unsafe { at.as_ref() } {
            // SAFETY: its thread takes the lock before it leaves, hence has not left.
            if waiter.selection.get() != own && unsafe { waiter.selection() }.is_waiting() {
                return true;
            }
            at = waiter.next.get();
        }
        false
    }
}

/// The threads that wait for one side of a channel with memory of its own: woken, they try again.
pub(super) struct Waiters {
    list: Lock<List>,
    /// Whether there is anybody in the list; changes only under the lock.
    any: AtomicU32,
}

impl Waiters {
    pub(super) fn new() -> Waiters {
        Waiters {
            list: Lock::new(List::new()),
            any: AtomicU32::new(0),
        }
    }

    /// By who has changed the channel: wakes one.
    #[inline(always)]
    pub(super) fn wake_one(&self) {
        if self.has_any() {
            self.wake_slow(1);
        }
    }

    /// By who has changed the channel: wakes so many.
    #[inline]
    pub(super) fn wake(&self, most: usize) {
        if self.has_any() {
            self.wake_slow(most);
        }
    }

    #[inline(always)]
    fn has_any(&self) -> bool {
        super::prim::total_order();
        // ORDER: SeqCst: pairs with the store in `enqueue` (invariant 3); the caller's change comes first.
        self.any.load(Ordering::SeqCst) != 0
    }

    #[cold]
    #[inline(never)]
    fn wake_slow(&self, most: usize) {
        let mut runnables = Runnables::new();
        let mut list = self.list.lock();
        for _ in 0..most {
            let Some(waiter) = list.claim() else {
                break;
            };
            // SAFETY: under the lock; the waiter was in the list when the critical section began.
            if let Some(runnable) = unsafe { waiter.selection().finish(waiter.arm()) } {
                runnables.push(runnable);
            }
        }
        self.note_empty(&list);
        drop(list);
        runnables.schedule();
        yield_if_overdue();
    }

    /// Puts a waiter into the list. The caller looks at the channel once more before it waits.
    ///
    /// # Safety
    ///
    /// The waiter is bound and in no list, and stays until invariant 2 lets it leave.
    #[inline]
    pub(super) unsafe fn enqueue(&self, waiter: &Waiter) {
        let mut list = self.list.lock();
        // SAFETY: the caller's contract.
        unsafe { list.push(waiter) };
        // ORDER: SeqCst: pairs with the load in `has_any` (invariant 3).
        self.any.store(1, Ordering::SeqCst);
        drop(list);
        super::prim::total_order();
    }

    /// Takes the waiter out if it is in, and passes the lock in any case.
    pub(super) fn leave(&self, waiter: &Waiter) {
        let mut list = self.list.lock();
        list.unlink(waiter);
        self.note_empty(&list);
    }

    #[inline(always)]
    fn note_empty(&self, list: &List) {
        if list.head.is_null() {
            // ORDER: Relaxed: a waker that does not see it yet takes the lock for nothing.
            self.any.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until somebody wakes the thread, or the deadline, or at once if there is no need to when it is in the list.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(&self, wait: &Wait, deadline_ns: u64, must_wait: impl FnOnce() -> bool) {
        with_current(|me| {
            let selection = Selection::new(me.sleeper());
            let waiter = Waiter::new(&selection, 0);
            // SAFETY: new; `wait` ends in one of the states below, which are those of invariant 2.
            unsafe { self.enqueue(&waiter) };
            let expire = || {
                let mut list = self.list.lock();
                list.expire(&waiter);
                self.note_empty(&list);
            };
            if !must_wait() {
                expire();
            }
            if matches!(
                selection.wait(me, wait, deadline_ns, expire),
                Seen::Taken(_)
            ) {
                drop(self.list.lock());
            }
        });
    }
}
