//! A processor: the right to run green threads, and what goes with it.
//!
//! # Who owns what
//!
//! The carrier that holds the processor owns `local` (caches that need no synchronisation). Everything else is
//! shared: thieves take from `queue`, others may insert into `timers` and `mail`, the monitor reads `tick`.
//!
//! # Invariants
//!
//! 1. A processor is held by one carrier, or is in the idle set, or is being handed from one to another by
//!    the thread that took it (monitor, waker, or a carrier that gives it away).
//! 2. `owner` is the carrier that holds it or, while it is idle, the carrier that sleeps for its timers; null
//!    when an idle processor has no carrier.
//! 3. `tick` changes with every dispatch, so an unchanged tick means that the same thread still runs.

use std::cell::UnsafeCell;
use std::num::NonZeroU64;
use std::ptr;

use brigade_context::Slot;
use brigade_event::Counters;

use crate::prim::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Lock, NEVER, Ordering};
use crate::queue::{List, LocalQueue};
use crate::roster::{self, ENTRY_BATCH, Entry};
use crate::task::{Task, fatal, next_ids};
use crate::timer::Timers;

/// Stack slots a processor keeps for itself.
pub(crate) const SLOT_CACHE: usize = 64;
/// Slots fetched or returned at a time.
pub(crate) const SLOT_BATCH: usize = 32;
/// Reservations a processor fetches or returns at a time.
pub(crate) const CREDIT_BATCH: usize = 64;
/// Thread numbers a processor fetches at a time.
const ID_BATCH: u64 = 256;
/// Dispatches in a row that may come from `run_next` before the ring gets its turn.
const STREAK_MAX: u32 = 64;

/// What only the holder touches.
pub(crate) struct Local {
    pub(crate) slots: Vec<Slot>,
    pub(crate) credits: usize,
    /// Free entries of the roster.
    pub(crate) entries: Vec<&'static Entry>,
    next_id: u64,
    last_id: u64,
    pub(crate) random: u32,
    streak: u32,
    lone_pushes: usize,
}

/// A processor; see the module.
#[repr(align(128))]
pub(crate) struct Processor<C> {
    pub(crate) index: usize,
    pub(crate) queue: LocalQueue<Task>,
    tick: AtomicU32,
    pub(crate) counters: Counters,
    pub(crate) timers: Timers,
    owner: AtomicPtr<C>,
    running: AtomicBool,
    /// The monitor wants the running thread to yield at its next chance.
    overdue: AtomicBool,
    pub(crate) spawned: brigade_event::Counter,
    pub(crate) finished: brigade_event::Counter,
    mail: Lock<List<Task>>,
    mail_len: AtomicUsize,
    local: UnsafeCell<Local>,
}

// SAFETY: `local` is touched only by the holder (invariant 1); hand-overs of the processor synchronise. The
// rest is atomic or behind a lock.
unsafe impl<C> Sync for Processor<C> {}
// SAFETY: as for `Sync`.
unsafe impl<C> Send for Processor<C> {}

impl<C> Processor<C> {
    pub(crate) fn new(index: usize) -> Processor<C> {
        Processor {
            index,
            queue: LocalQueue::new(),
            tick: AtomicU32::new(0),
            counters: Counters::new(),
            timers: Timers::new(),
            owner: AtomicPtr::new(ptr::null_mut()),
            running: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            spawned: brigade_event::Counter::new(),
            finished: brigade_event::Counter::new(),
            mail: Lock::new(List::new()),
            mail_len: AtomicUsize::new(0),
            local: UnsafeCell::new(Local {
                slots: Vec::with_capacity(SLOT_CACHE),
                credits: 0,
                entries: Vec::with_capacity(4 * ENTRY_BATCH),
                next_id: 0,
                last_id: 0,
                random: 0x9e37_79b9 ^ (index as u32).wrapping_mul(0x85eb_ca6b) | 1,
                streak: 0,
                lone_pushes: 0,
            }),
        }
    }

    /// The holder's own part.
    ///
    /// # Safety
    ///
    /// The caller must hold the processor, and the reference must end before the caller switches or gives
    /// the processor away; two references must not be alive at a time.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn local(&self) -> &mut Local {
        // SAFETY: the caller holds the processor, and holds one reference at a time.
        unsafe { &mut *self.local.get() }
    }

    /// By the holder: counts a dispatch.
    #[inline(always)]
    pub(crate) fn advance_tick(&self) -> u32 {
        // ORDER: Relaxed: one writer; the monitor compares values and confirms under the hand-off protocol.
        let tick = self.tick.load(Ordering::Relaxed).wrapping_add(1);
        // ORDER: Relaxed: as above.
        self.tick.store(tick, Ordering::Relaxed);
        tick
    }

    #[inline(always)]
    pub(crate) fn tick(&self) -> u32 {
        // ORDER: Relaxed: as in `advance_tick`.
        self.tick.load(Ordering::Relaxed)
    }

    /// By the holder: the next thread of the own queue, or null: `run_next`, but not for ever before the
    /// ring.
    ///
    /// # Safety
    ///
    /// The caller must hold the processor.
    #[inline(always)]
    pub(crate) unsafe fn pop_local(&self) -> *mut Task {
        // SAFETY: the caller holds the processor; the reference ends with the function.
        let local = unsafe { self.local() };
        let next = self.queue.pop_next();
        if !next.is_null() {
            if local.streak < STREAK_MAX {
                local.streak += 1;
                return next;
            }
            local.streak = 0;
            let other = self.queue.pop();
            if other.is_null() {
                return next;
            }
            // The ring has just lost a task, so there is room unless it was refilled meanwhile, which only
            // the holder could do.
            self.queue
                .push(next, &mut |_| fatal("brigade: ring full after a pop"));
            return other;
        }
        local.streak = 0;
        self.queue.pop()
    }

    /// The carrier of invariant 2.
    #[inline]
    pub(crate) fn owner(&self) -> *mut C {
        // ORDER: Acquire: pairs with `set_owner`; the carrier's record was written before.
        self.owner.load(Ordering::Acquire)
    }

    pub(crate) fn set_owner(&self, carrier: *mut C) {
        // ORDER: Release: pairs with `owner`.
        self.owner.store(carrier, Ordering::Release);
    }

    /// False while the processor is idle.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        // ORDER: SeqCst: who inserts a timer or mail from outside looks here afterwards; the sleeper sets it
        // before it looks at timers and mail.
        self.running.load(Ordering::SeqCst)
    }

    pub(crate) fn set_running(&self, running: bool) {
        // ORDER: SeqCst: see `is_running`.
        self.running.store(running, Ordering::SeqCst);
    }

    /// By the monitor: the running thread has had its time, but it enters the runtime often enough to yield by
    /// itself.
    pub(crate) fn set_overdue(&self) {
        // ORDER: Relaxed: a request; when it is seen does not matter.
        self.overdue.store(true, Ordering::Relaxed);
    }

    /// Whether the monitor asked for a yield.
    #[inline(always)]
    pub(crate) fn is_overdue(&self) -> bool {
        // ORDER: Relaxed: as in `set_overdue`.
        self.overdue.load(Ordering::Relaxed)
    }

    /// By the holder: should the running thread yield? Asks once.
    #[inline(always)]
    pub(crate) fn take_overdue(&self) -> bool {
        // ORDER: Relaxed: as in `set_overdue`.
        let overdue = self.overdue.load(Ordering::Relaxed);
        if overdue {
            // ORDER: Relaxed: a request that is lost here is made again.
            self.overdue.store(false, Ordering::Relaxed);
        }
        overdue
    }

    /// Does anything wait for this processor: a thread in its queue or box, or a timer, due or not?
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.queue.is_empty() || self.has_mail() || self.timers.earliest_ns() != NEVER
    }

    /// A number that changes when the running thread spawns or wakes others.
    pub(crate) fn activity(&self) -> u64 {
        self.spawned
            .get()
            .wrapping_add(u64::from(self.queue.pushes()))
    }

    /// Puts a thread into the box that only this processor empties (the migrating test policy).
    pub(crate) fn put_mail(&self, task: *mut Task) {
        let mut mail = self.mail.lock();
        mail.push(task);
        // ORDER: SeqCst: as `running`.
        self.mail_len.store(mail.len(), Ordering::SeqCst);
    }

    pub(crate) fn has_mail(&self) -> bool {
        // ORDER: SeqCst: as `running`.
        self.mail_len.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn take_mail(&self) -> *mut Task {
        if !self.has_mail() {
            return ptr::null_mut();
        }
        let mut mail = self.mail.lock();
        let task = mail.pop();
        // ORDER: SeqCst: as `running`.
        self.mail_len.store(mail.len(), Ordering::SeqCst);
        task
    }
}

impl Local {
    /// Counts a push to an empty `run_next`. True: it needs no wake this time (idle.rs, "Lone wake-ups").
    #[inline(always)]
    pub(crate) fn is_lone_push(&mut self, backoff: usize) -> bool {
        self.lone_pushes += 1;
        if self.lone_pushes < backoff {
            return true;
        }
        self.lone_pushes = 0;
        false
    }

    /// A fresh thread number, out of the processor's batch.
    #[inline(always)]
    pub(crate) fn next_id(&mut self) -> NonZeroU64 {
        if self.next_id == self.last_id {
            self.next_id = next_ids(ID_BATCH).get();
            self.last_id = self.next_id + ID_BATCH;
        }
        let id = self.next_id;
        self.next_id += 1;
        NonZeroU64::new(id).unwrap_or_else(|| fatal("brigade: thread numbers are exhausted"))
    }

    /// A free entry for a new thread.
    #[inline(always)]
    pub(crate) fn entry(&mut self) -> &'static Entry {
        match self.entries.pop() {
            Some(entry) => entry,
            None => self.entry_slow(),
        }
    }

    #[cold]
    fn entry_slow(&mut self) -> &'static Entry {
        roster::fetch(ENTRY_BATCH, &mut self.entries);
        self.entries.pop().unwrap_or(roster::nobody())
    }

    /// The next number of a xorshift generator (Marsaglia, "Xorshift RNGs", 2003).
    pub(crate) fn next_random(&mut self) -> u32 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random = x;
        x
    }
}
