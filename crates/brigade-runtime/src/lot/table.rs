//! The table of buckets: which bucket an address falls into, waiting, waking, and what a fork leaves of it.
//!
//! # Invariants
//!
//! 1. In the child of a fork nobody waits and nobody holds a lock of the table: the handler makes every bucket as
//!    new. It is registered before the first waiter enters, hence before any bucket's lock is taken.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use brigade_context::on_fork_once;
use brigade_event::Mode;

use super::bucket::{Bucket, Choice, Found, Parked, Queue, Sleep, Ticket, Turn};
use crate::green::{Current, Runnable, Runnables, Sleeper};
use crate::in_time::{is_in_time, replace_operation};
use crate::prim::{AtomicBool, AtomicU32, Lock, NEVER, Ordering, now_ns};
use crate::roster::Wait;
use crate::task::Task;

/// Few threads wait for locks at a time, and a fork pays for the size.
const BUCKETS: usize = 1 << 12;

/// One cache line, all zeros at first.
#[repr(align(64))]
struct Place(Bucket<Sleeper>);

impl Place {
    const fn new() -> Place {
        Place(Bucket {
            queue: Lock::new(Queue::new()),
        })
    }
}

const _: () = assert!(size_of::<Place>() == 64);

static TABLE: [Place; BUCKETS] = [const { Place::new() }; BUCKETS];

impl Sleep for Sleeper {
    type Runnable = Runnable;

    #[inline(always)]
    unsafe fn notify(self) -> Option<Runnable> {
        // SAFETY: the caller's contract.
        unsafe { Sleeper::notify(self) }
    }
}

#[inline(always)]
fn bucket(address: usize) -> &'static Bucket<Sleeper> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let hash = ((address as u64) >> 2).wrapping_mul(GOLDEN);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize].0
}

/// What the current thread wants to wait for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The current thread.
    pub current: &'a Current,
    /// The address that a wake names.
    pub address: usize,
    /// How the thread wants to hold what it waits for.
    pub mode: Mode,
    /// What to tell those who ask.
    pub wait: &'a Wait,
    /// Until when: nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for ever.
    pub deadline_ns: u64,
    /// Whether it goes to the front, because it was woken before and came too late.
    pub front: bool,
}

/// Waits until a wake of the address or the deadline, if `is_due` says that there is reason to. It runs under a lock of
/// the table, under which the wakes of the address decide, too; it must be short.
///
/// `queued` runs outside of that lock when the thread can already be woken; it may refuse to wait.
#[inline]
pub fn park<R>(
    request: &Request<'_>,
    is_due: impl FnOnce() -> bool,
    queued: impl FnOnce() -> Option<R>,
) -> Parked<R> {
    register_fork_handler();
    let ticket = Ticket {
        sleeper: request.current.sleeper(),
        address: request.address,
        mode: request.mode,
        timed: request.deadline_ns != NEVER,
        front: request.front,
    };
    let park = || request.current.park(request.wait, request.deadline_ns);
    let is_in_time = || is_in_time(request.deadline_ns);
    bucket(request.address).wait(ticket, is_due, queued, park, is_in_time)
}

/// As [`park`], without a deadline but with an alarm: it rings at `alarm_ns`, then `on_alarm` runs on the waiting thread,
/// outside of all locks, and says when it rings again (`u64::MAX`: never). The thread keeps its place among the waiters.
///
/// As a wait without a deadline it cannot be cancelled.
#[inline]
pub(crate) fn park_with_alarm<R>(
    request: &Request<'_>,
    alarm_ns: u64,
    mut on_alarm: impl FnMut() -> u64,
    is_due: impl FnOnce() -> bool,
    queued: impl FnOnce() -> Option<R>,
) -> Parked<R> {
    register_fork_handler();
    let ticket = Ticket {
        sleeper: request.current.sleeper(),
        address: request.address,
        mode: request.mode,
        timed: false,
        front: request.front,
    };
    let alarm_ns = Cell::new(alarm_ns);
    let park = || request.current.park(request.wait, alarm_ns.get());
    // Else its parks, which have deadlines, would end at once in an operation that was cancelled.
    let _masked = Masked::new();
    let rings = || {
        if alarm_ns.get() != NEVER && now_ns() >= alarm_ns.get() {
            alarm_ns.set(on_alarm());
        }
        true
    };
    bucket(request.address).wait(ticket, is_due, queued, park, rings)
}

/// The current thread is in the middle of no operation that others can cancel, until this goes away.
struct Masked(*const AtomicU32);

impl Masked {
    fn new() -> Masked {
        // SAFETY: null is no word, so there is none that has to stay alive.
        Masked(unsafe { replace_operation(ptr::null()) })
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: the word of the operation that the thread is still in the middle of: who has said so takes it back later.
        unsafe { replace_operation(self.0) };
    }
}

/// Wakes the waiter for `address` that has waited longest, if there is one. `answer` runs before it knows, under a lock
/// of the table; it says what the wake says. It runs also when nobody waits. Says how many were woken.
#[inline]
pub fn unpark_one(address: usize, answer: impl FnOnce(&mut Found<'_>) -> usize) -> usize {
    let mut is_first = true;
    let choose = |_, _: &mut Turn<'_>| {
        if core::mem::take(&mut is_first) {
            Choice::Take
        } else {
            Choice::Stop
        }
    };
    let mut woken = None;
    let taken = bucket(address).take(address, choose, answer, |runnable| woken = Some(runnable));
    if let Some(runnable) = woken {
        runnable.schedule();
    }
    taken
}

/// As [`unpark_one`], for all waiters that `choose` picks, oldest first.
#[inline]
pub fn unpark_each(
    address: usize,
    choose: impl FnMut(Mode, &mut Turn<'_>) -> Choice,
    answer: impl FnOnce(&mut Found<'_>) -> usize,
) -> usize {
    let mut runnables = Runnables::new();
    let taken = bucket(address).take(address, choose, answer, |runnable| runnables.push(runnable));
    runnables.schedule();
    taken
}

/// As [`unpark_one`], for all waiters.
#[inline]
pub fn unpark_all(address: usize, answer: impl FnOnce(&mut Found<'_>) -> usize) -> usize {
    unpark_each(address, |_, _| Choice::Take, answer)
}

/// A thread in the lot, as a search for deadlocks sees it.
#[derive(Clone, Copy)]
pub(crate) struct LotWaiter {
    /// Its record, which is alive as long as the lock of the table is held.
    pub(crate) task: NonNull<Task>,
    /// How it wants to hold what it waits for.
    pub(crate) mode: Mode,
    /// Whether its wait has a deadline.
    pub(crate) timed: bool,
    /// Which wait it is: the same number at two looks means that it has waited all the time in between.
    pub(crate) number: u64,
}

/// Calls `f` with each thread that waits for `address`, oldest first. Runs under a lock of the table: `f` must be short,
/// and neither wait, wake nor allocate.
pub(crate) fn for_each_waiter(address: usize, mut f: impl FnMut(&LotWaiter)) {
    bucket(address).for_each(address, |ticket, number| {
        f(&LotWaiter {
            task: ticket.sleeper.task(),
            mode: ticket.mode,
            timed: ticket.timed,
            number,
        });
    });
}

#[inline]
fn register_fork_handler() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if !DONE.load(Ordering::Relaxed) {
        on_fork_once(&DONE, || {}, || {}, empty_after_fork);
    }
}

/// In the child of a fork.
fn empty_after_fork() {
    for place in &TABLE {
        // SAFETY: nobody else uses the bucket, and it holds no value that must be dropped. It lies in a static with
        // interior mutability in every field.
        unsafe { (&raw const *place).cast_mut().write(Place::new()) };
    }
}
