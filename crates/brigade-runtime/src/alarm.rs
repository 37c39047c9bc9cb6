//! Alarms: what a future has in the lists of waiters, where a thread has its record.
//!
//! Who fires a waiter (a carrier or the monitor inside the runtime, a hook that closes a descriptor) may hold a lock,
//! and must not run foreign code. A thread is made runnable by queueing its record; a future is made runnable by
//! calling its waker, which is foreign code. So what is fired for a future is an *alarm*: it enters the list of those
//! that rang, and the one thread that answers them, an ordinary green thread, is notified. It calls the wakers outside
//! of the runtime and of all locks, where they may do whatever a thread may do.
//!
//! # Who owns what
//!
//! | what | owner |
//! |---|---|
//! | an alarm that waits | the list of waiters that holds it; who takes it out there may ring it |
//! | an alarm that rang | [`Alarms`], until [`Alarms::answer`] hands its token to the answerer |
//! | an alarm that was answered or taken out unrung | whoever made it |
//!
//! # Invariants
//!
//! 1. An alarm is in at most one list: of waiters, or of those that rang. So one link is enough, and to ring allocates
//!    nothing.
//! 2. After its token has been handed out, an alarm is not touched before it is armed again.
//! 3. A ring is not lost: it is put into the list before the answerer is notified, both under the lock, and the answerer
//!    looks into the list after every park (`park_word.rs`, invariant 3).
//! 4. Lock order: an entry of the table of descriptors, then the lock here, which is a leaf.
//! 5. When the runtime of the answerer ends, another takes over for good ([`Alarms::hand_over`]); so alarms that were
//!    aimed at the first go on to ring somewhere.
//!
//! # Rejected
//!
//! Calling wakers on the carrier's stack, after leaving the runtime: a waker that blocks would block a kernel thread that
//! the monitor cannot tell from a scheduler at work, on a stack that is not made for foreign code. A kernel thread that
//! calls them: two switches of kernel threads for each batch. A fresh green thread for each batch: starting one can
//! fail, and takes memory where the caller holds a lock.

use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, NonNull};

use crate::prim::Lock;
use crate::queue::{Link, List};
use crate::task::{Task, TaskRef};

/// See the module.
pub(crate) struct Alarm {
    link: UnsafeCell<*mut Alarm>,
    alarms: Cell<*const Alarms>,
    token: Cell<usize>,
}

// SAFETY: `link` is used by nothing but `List`.
unsafe impl Link for Alarm {
    unsafe fn next(this: *mut Alarm) -> *mut Alarm {
        // SAFETY: the caller holds the list that `this` is in.
        unsafe { *(*this).link.get() }
    }

    unsafe fn set_next(this: *mut Alarm, next: *mut Alarm) {
        // SAFETY: the caller holds the list that `this` is in.
        unsafe { *(*this).link.get() = next }
    }
}

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm {
            link: UnsafeCell::new(ptr::null_mut()),
            alarms: Cell::new(ptr::null()),
            token: Cell::new(0),
        }
    }

    /// By its maker, while it is in no list: where it will ring, and what the answerer will be told.
    pub(crate) fn aim(&self, alarms: &'static Alarms, token: usize) {
        self.alarms.set(alarms);
        self.token.set(token);
    }

    /// By who has taken it out of a list of waiters: something returned is the parked answerer, which the caller must
    /// queue.
    ///
    /// # Safety
    ///
    /// `this` must be alive and aimed, in no list, and the caller alone may touch it.
    pub(crate) unsafe fn ring(this: NonNull<Alarm>) -> Option<NonNull<Task>> {
        // SAFETY: the caller's contract; what it was aimed at lives for ever.
        let alarms = unsafe { &*this.as_ref().alarms.get() };
        alarms.take_in(this)
    }
}

struct Inner {
    rung: List<Alarm>,
    answerer: Option<TaskRef>,
    /// Where alarms ring after the answerer has retired.
    successor: Option<&'static Alarms>,
}

impl Inner {
    /// Tells the answerer to look again. Before there is one nothing is lost: it looks before it parks.
    fn notify(&self) -> Option<NonNull<Task>> {
        let answerer = self.answerer.as_ref()?;
        answerer.park.notify().then(|| NonNull::from(&**answerer))
    }
}

/// The alarms that rang, and the thread that answers them; see the module.
pub struct Alarms {
    inner: Lock<Inner>,
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms::new()
    }
}

impl std::fmt::Debug for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarms").finish_non_exhaustive()
    }
}

impl Alarms {
    /// None that rang, and nobody who answers.
    #[must_use]
    pub const fn new() -> Alarms {
        Alarms {
            inner: Lock::new(Inner {
                rung: List::new(),
                answerer: None,
                successor: None,
            }),
        }
    }

    /// From now on `task`, the running thread, is the one to notify.
    pub(crate) fn set_answerer(&self, task: TaskRef) {
        let before = self.inner.lock().answerer.replace(task);
        debug_assert!(before.is_none(), "one thread answers");
    }

    fn take_in(&self, alarm: NonNull<Alarm>) -> Option<NonNull<Task>> {
        let mut inner = self.inner.lock();
        if let Some(successor) = inner.successor {
            drop(inner);
            return successor.take_in(alarm);
        }
        inner.rung.push(alarm.as_ptr());
        inner.notify()
    }

    /// By the answerer, which will answer no more: what rings from now on, and what rang, is the successor's. Something
    /// returned is the successor's answerer, which the caller must queue.
    pub(crate) fn hand_over(&self, successor: &'static Alarms) -> Option<NonNull<Task>> {
        let mut inner = self.inner.lock();
        inner.successor = Some(successor);
        inner.answerer = None;
        let mut rung = std::mem::take(&mut inner.rung);
        drop(inner);
        let mut woken = None;
        while let Some(alarm) = NonNull::new(rung.pop()) {
            woken = woken.or(successor.take_in(alarm));
        }
        woken
    }

    /// By the answerer: hands out the tokens of all that rang, first come, first served. True: there was one.
    pub fn answer(&self, mut f: impl FnMut(usize)) -> bool {
        let mut rung = std::mem::take(&mut self.inner.lock().rung);
        let mut any = false;
        while let Some(alarm) = NonNull::new(rung.pop()) {
            // SAFETY: an alarm that rang is ours until its token is handed out.
            f(unsafe { alarm.as_ref() }.token.get());
            any = true;
        }
        any
    }

    /// Whether none rang since [`Alarms::answer`].
    pub(crate) fn is_silent(&self) -> bool {
        self.inner.lock().rung.len() == 0
    }

    /// Makes the answerer look again: something returned is the answerer, parked, which the caller must queue.
    pub(crate) fn stir(&self) -> Option<NonNull<Task>> {
        self.inner.lock().notify()
    }
}
