//! A carrier: a kernel thread that runs green threads while it holds a processor.
//!
//! # States
//!
//! | state | `processor` | where |
//! |---|---|---|
//! | running | set | runs a green thread, or the scheduler on its own stack |
//! | adrift | null | runs a green thread whose processor was taken or given away |
//! | asleep | null, but it is the `owner` of an idle processor | waits on `parker`, or in the reactor, until work or that processor's next timer |
//! | spare | null | in the spare list, waits on `parker` |
//!
//! # Who owns what
//!
//! The cells are the carrier's own: only code that runs on the kernel thread touches them, which includes
//! green threads. `assigned` is written by who wakes the carrier, before the store to `parker`, and read by the
//! carrier after it.
//!
//! # Invariants
//!
//! 1. `base` is the first field: the context layer finds the carrier through it.
//! 2. Who wakes a carrier has first taken it out of the place where it could be found: the spare list, or the
//!    idle set together with its processor. So a carrier is woken by one at a time.
//! 3. `IN_REACTOR` is set in `parker` while the carrier may block in the reactor; who leaves a message then ends that
//!    wait instead of waking the futex.
//! 4. After a switch the running code must ask anew on which carrier it is.

use std::cell::{Cell, UnsafeCell};
use std::ptr;

use brigade_context::{CarrierBase, Context};

use crate::handoff::Handoff;
use crate::prim::{AtomicPtr, AtomicU32, Ordering, futex_wait, futex_wake, now_ns};
use crate::processor::Processor;
use crate::queue::List;
use crate::reactor::{Reactor, Until};
use crate::task::Task;

/// What the next code on the carrier must do for the thread that switched away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// It yields: queue it at the end.
    Yield,
    /// It parks.
    Park,
    /// It has ended: retire its stack.
    Exit,
}

const EMPTY: u32 = 0;
const ASSIGNED: u32 = 1;
const DETACHED: u32 = 2;
const STOP: u32 = 3;
const DISMISSED: u32 = 4;
/// With a message or without: the carrier waits in the reactor.
const IN_REACTOR: u32 = 8;

/// Why a sleeping carrier woke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Woken {
    /// It was given the processor in `assigned`.
    Assigned,
    /// Its processor went to somebody else and it is in the spare list.
    Detached,
    /// Its processor went to somebody else, and there is no place in the spare list.
    Dismissed,
    /// The deadline passed.
    TimedOut,
    /// The runtime stops.
    Stop,
    /// The reactor has something, or nothing at all has happened.
    Events,
}

/// The record of a carrier; see the module.
#[repr(C)]
pub(crate) struct Carrier {
    pub(crate) base: UnsafeCell<CarrierBase>,
    pub(crate) processor: Cell<*const Processor<Carrier>>,
    pub(crate) current: Cell<*mut Task>,
    pub(crate) previous: Cell<*mut Task>,
    pub(crate) action: Cell<Action>,
    /// A thread that the one which switched to the scheduler has picked already, or null.
    pub(crate) picked: Cell<*mut Task>,
    /// Set while the carrier is counted as a searcher.
    pub(crate) searching: Cell<bool>,
    /// Set in the child of a fork: the thread on this carrier is alone and blocks its kernel thread.
    pub(crate) guest: Cell<bool>,
    /// The scheduler's own context, on the kernel thread's stack.
    pub(crate) context: UnsafeCell<Context>,
    /// The runtime, as `shared.rs` knows it.
    pub(crate) home: *const (),
    /// The reactor of the runtime, which lives as long.
    reactor: *const Reactor,
    pub(crate) handoff: Handoff,
    assigned: AtomicPtr<Processor<Carrier>>,
    parker: AtomicU32,
    /// The kernel's number of the thread.
    pub(crate) tid: AtomicU32,
    /// Operations that might have parked the running thread and did not.
    calls: AtomicU32,
    /// The signals that the kernel thread blocked when it started.
    pub(crate) blocked_signals: Cell<u64>,
}

/// Every how many calls a thread looks whether it has had its time.
const CALLS_PER_LOOK: u32 = 16;

impl Carrier {
    /// A carrier that will start with `processor` and, if told so, as a searcher.
    pub(crate) fn new(
        home: *const (),
        reactor: *const Reactor,
        processor: *const Processor<Carrier>,
        searching: bool,
    ) -> Carrier {
        Carrier {
            base: UnsafeCell::new(CarrierBase::new()),
            processor: Cell::new(processor),
            current: Cell::new(ptr::null_mut()),
            previous: Cell::new(ptr::null_mut()),
            action: Cell::new(Action::None),
            picked: Cell::new(ptr::null_mut()),
            searching: Cell::new(searching),
            guest: Cell::new(false),
            context: UnsafeCell::new(Context::empty()),
            home,
            reactor,
            handoff: Handoff::new(),
            assigned: AtomicPtr::new(ptr::null_mut()),
            parker: AtomicU32::new(EMPTY),
            tid: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            blocked_signals: Cell::new(0),
        }
    }

    /// Makes the record of a carrier that has ended that of a new one. Others may still look at the atomics.
    pub(crate) fn reset(&self, processor: *const Processor<Carrier>, searching: bool) {
        self.handoff.reset();
        self.processor.set(processor);
        self.searching.set(searching);
        self.action.set(Action::None);
        self.picked.set(ptr::null_mut());
        self.current.set(ptr::null_mut());
        // ORDER: Relaxed: published by the start of the kernel thread.
        self.parker.store(EMPTY, Ordering::Relaxed);
    }

    /// By the carrier: counts an operation that might have parked the thread. True: it is time to look whether the
    /// monitor wants the thread to yield.
    #[inline(always)]
    pub(crate) fn count_call(&self) -> bool {
        // ORDER: Relaxed: one writer; the monitor only looks whether the number has changed.
        let calls = self.calls.load(Ordering::Relaxed).wrapping_add(1);
        // ORDER: Relaxed: as above.
        self.calls.store(calls, Ordering::Relaxed);
        calls.is_multiple_of(CALLS_PER_LOOK)
    }

    /// By the carrier: whether the monitor wants the thread to yield; a hint, where the processor has been taken away.
    #[inline(always)]
    pub(crate) fn is_overdue(&self) -> bool {
        // SAFETY: a non-null processor lives as long as the runtime.
        unsafe { self.processor.get().as_ref() }.is_some_and(Processor::is_overdue)
    }

    /// By the carrier: counts so many operations that it is time to look.
    pub(crate) fn count_look(&self) {
        // ORDER: Relaxed: as in `count_call`.
        let calls = self.calls.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.calls
            .store(calls.wrapping_add(CALLS_PER_LOOK), Ordering::Relaxed);
    }

    /// By the carrier: whether the code on it was called by the runtime itself, or under one of its locks: by an
    /// allocator with a standard lock, or in a signal handler. Such code must not enter the runtime.
    #[inline(always)]
    pub(crate) fn is_busy_below(&self) -> bool {
        // SAFETY: the carrier is attached, so nothing writes the record but this thread.
        let pinned = unsafe { (*self.base.get()).is_pinned() };
        self.handoff.is_inside() || pinned
    }

    /// By the monitor: a number that changes when the running thread looks whether it is to yield.
    pub(crate) fn looks(&self) -> u32 {
        // ORDER: Relaxed: as in `count_call`.
        self.calls.load(Ordering::Relaxed) / CALLS_PER_LOOK
    }

    /// The processor that the last [`Woken::Assigned`] brought, and whether to search with it.
    pub(crate) fn take_assigned(&self) -> (*const Processor<Carrier>, bool) {
        // ORDER: Relaxed: ordered by the Acquire swap of `parker` in `sleep`.
        let tagged = self.assigned.load(Ordering::Relaxed);
        let searching = tagged.addr() & 1 == 1;
        (
            tagged.map_addr(|address| address & !1).cast_const(),
            searching,
        )
    }

    /// Gives a sleeping carrier a processor (invariant 2) and wakes it.
    pub(crate) fn assign(&self, processor: *const Processor<Carrier>, searching: bool) {
        let tagged = processor.map_addr(|address| address | usize::from(searching));
        // ORDER: Relaxed: published by the Release store below.
        self.assigned.store(tagged.cast_mut(), Ordering::Relaxed);
        self.signal(ASSIGNED);
    }

    /// Tells a sleeping carrier that its processor is gone. It is left asleep; it finds out when it wakes.
    pub(crate) fn detach(&self) {
        self.leave(DETACHED);
    }

    /// Tells a sleeping carrier that its processor is gone and that it is not needed as a spare.
    pub(crate) fn dismiss(&self) {
        self.signal(DISMISSED);
    }

    /// Tells the carrier that the runtime stops.
    pub(crate) fn signal_stop(&self) {
        self.signal(STOP);
    }

    fn signal(&self, value: u32) {
        if self.leave(value) {
            // SAFETY: the reactor lives as long as the runtime, which outlives its carriers.
            unsafe { (*self.reactor).wake() };
        } else {
            futex_wake(&self.parker, 1);
        }
    }

    /// Leaves a message. True: the carrier may be in the reactor.
    fn leave(&self, value: u32) -> bool {
        // ORDER: Release: pairs with the Acquire in `sleep` and `sleep_polling`; Relaxed on the load: the old message
        // is replaced unread.
        let old = self
            .parker
            .fetch_update(Ordering::Release, Ordering::Relaxed, |old| {
                Some(old & IN_REACTOR | value)
            });
        old.is_ok_and(|old| old & IN_REACTOR != 0)
    }

    /// As [`Carrier::sleep`], in the reactor, whose polling the carrier has claimed. What wakes up is added to
    /// `ready`, whatever is returned. Wakes early at times.
    pub(crate) fn sleep_polling(&self, deadline_ns: u64, ready: &mut List<Task>) -> Woken {
        // ORDER: Relaxed on success: nothing is published. Acquire: pairs with the Release in `leave`.
        let empty =
            self.parker
                .compare_exchange(EMPTY, IN_REACTOR, Ordering::Relaxed, Ordering::Relaxed);
        if empty.is_ok() {
            // SAFETY: as in `signal`.
            unsafe { (*self.reactor).poll(Until::Deadline(deadline_ns), ready) };
        }
        // ORDER: Acquire: pairs with the Release in `leave`.
        match self.parker.swap(EMPTY, Ordering::Acquire) & !IN_REACTOR {
            EMPTY if ready.len() == 0 && deadline_ns <= now_ns() => Woken::TimedOut,
            EMPTY => Woken::Events,
            ASSIGNED => Woken::Assigned,
            DETACHED => Woken::Detached,
            DISMISSED => Woken::Dismissed,
            _ => Woken::Stop,
        }
    }

    /// Blocks the kernel thread until it is signalled or the deadline passes.
    pub(crate) fn sleep(&self, deadline_ns: u64) -> Woken {
        loop {
            // ORDER: Acquire: pairs with the Release in `signal` and `detach`.
            match self.parker.swap(EMPTY, Ordering::Acquire) {
                EMPTY => {}
                ASSIGNED => return Woken::Assigned,
                DETACHED => return Woken::Detached,
                DISMISSED => return Woken::Dismissed,
                _ => return Woken::Stop,
            }
            if deadline_ns != crate::prim::NEVER && now_ns() >= deadline_ns {
                return Woken::TimedOut;
            }
            futex_wait(&self.parker, EMPTY, deadline_ns);
        }
    }
}
