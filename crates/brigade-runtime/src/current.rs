//! The current thread, and how it waits: green threads park, kernel threads block on a futex.
//!
//! [`park`] and [`unpark`] are the only way in which anything above the runtime blocks. A wait may end without
//! a reason; callers look at their condition again. A kernel thread gets a record of its own at its first use
//! of Brigade, so that joiners, scopes and parkers need not know what they are.

use std::cell::OnceCell;
use std::panic::Location;
use std::sync::Arc;

use brigade_context::SizeClass;
use brigade_event::WaitReason;

use crate::carrier::{Action, Carrier};
use crate::prim::{NEVER, Ordering, futex_wait, futex_wake, kernel_thread, now_ns};
use crate::sched::{self, Proc};
use crate::shared::Shared;
use crate::task::{Task, TaskParts, TaskRef, TaskVtable, next_ids};

thread_local! {
    /// The record of a kernel thread.
    static FOREIGN: OnceCell<TaskRef> = const { OnceCell::new() };
    /// The runtime of a kernel thread that is a thread of one.
    static HOME: OnceCell<Arc<Shared>> = const { OnceCell::new() };
}

static FOREIGN_VTABLE: TaskVtable = TaskVtable {
    run: run_foreign,
    dealloc: dealloc_foreign,
    take: take_foreign,
    abandon: abandon_foreign,
};

unsafe fn run_foreign(_task: *mut Task) {
    crate::task::fatal("brigade: a kernel thread was dispatched")
}

unsafe fn take_foreign(_task: *mut Task, _to: *mut ()) {
    crate::task::fatal("brigade: a kernel thread was joined as if Brigade had started it")
}

unsafe fn abandon_foreign(_task: *mut Task) {}

unsafe fn dealloc_foreign(task: *mut Task) {
    // SAFETY: made by `Box::into_raw` in `new_foreign`; the last reference is gone.
    drop(unsafe { Box::from_raw(task) });
}

/// The green thread this code runs on, or null on a kernel thread.
#[inline(always)]
pub(crate) fn current_green() -> *mut Task {
    let carrier = sched::here();
    // SAFETY: a non-null carrier is the one this code runs on.
    unsafe { carrier.as_ref() }.map_or(std::ptr::null_mut(), |carrier| carrier.current.get())
}

/// The record of the current thread.
pub(crate) fn current() -> TaskRef {
    let green = current_green();
    if !green.is_null() {
        // SAFETY: the running thread holds a reference to itself.
        return unsafe { TaskRef::acquire(green) };
    }
    current_kernel_slow()
}

#[cold]
fn current_kernel_slow() -> TaskRef {
    let known = FOREIGN.try_with(|cell| {
        cell.get_or_init(|| {
            let name = kernel_thread::current().name().map(Box::from);
            new_foreign(name)
        })
        .clone()
    });
    // After the kernel thread's thread-locals are gone: a record for this call alone, as std does.
    known.unwrap_or_else(|_| new_foreign(None))
}

/// Calls `f` with the record of the current thread.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Task) -> R) -> R {
    // SAFETY: the running thread holds a reference to itself, and it is this thread that runs `f`.
    match unsafe { current_green().as_ref() } {
        Some(green) => f(green),
        None => f(&current_kernel_slow()),
    }
}

/// The end of a thread: tells the one that waits for it.
#[inline]
pub(crate) fn finish(task: &Task) {
    let joiner = task.joiner_at_end();
    // SAFETY: the waiter does not go away before the thread is done.
    let Some(waiter) = (unsafe { joiner.as_ref() }) else {
        return;
    };
    if waiter.is_green() && waiter.park.notify() {
        // It is parked, and this call alone may queue it: it stays where it is until it is queued.
        task.set_done();
        return sched::ready(sched::here(), waiter.home, joiner);
    }
    // SAFETY: as above; the reference keeps the record when the waiter sees the end by itself.
    let waiter = unsafe { TaskRef::acquire(joiner) };
    task.set_done();
    unpark(&waiter);
}

/// Makes `task` the record of this kernel thread and `home` its runtime (one kernel thread per thread).
pub(crate) fn set_current(task: TaskRef, home: Arc<Shared>) {
    let _ = FOREIGN.try_with(|cell| cell.set(task));
    let _ = HOME.try_with(|cell| cell.set(home));
}

/// The runtime that this kernel thread is a thread of.
pub(crate) fn home() -> Option<Arc<Shared>> {
    HOME.try_with(|cell| cell.get().cloned()).ok().flatten()
}

fn new_foreign(name: Option<Box<str>>) -> TaskRef {
    let task = Task::kernel(TaskParts {
        vtable: &FOREIGN_VTABLE,
        home: std::ptr::null(),
        name,
        site: Location::caller(),
        class: SizeClass::default(),
        id: next_ids(1),
        refs: 1,
    });
    // SAFETY: a fresh record with the one reference given away here.
    unsafe { TaskRef::from_raw(Box::into_raw(Box::new(task))) }
}

/// Stops the current thread until [`unpark`], or the deadline (nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for
/// none), or for no reason. `me` is the current thread.
#[inline]
pub(crate) fn park(me: &Task, reason: WaitReason, deadline_ns: u64) {
    if me.park.take_notification() {
        return;
    }
    me.set_wait(reason);
    // SAFETY: a non-null carrier is the one this code runs on.
    match unsafe { sched::here().as_ref() } {
        Some(carrier) if me.is_green() => park_green(carrier, deadline_ns),
        _ => park_kernel(me, deadline_ns),
    }
    me.set_wait(WaitReason::None);
}

#[inline(always)]
fn park_green(carrier: &Carrier, deadline_ns: u64) {
    let processor = sched::enter(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    if let Some(p) = unsafe { processor.as_ref() } {
        p.counters.parks.bump();
    }
    if deadline_ns == NEVER {
        // SAFETY: on a green thread, inside the runtime.
        unsafe { sched::suspend(carrier, processor, Action::Park) };
    } else {
        park_green_timed(carrier, processor, deadline_ns);
    }
}

fn park_green_timed(carrier: &Carrier, processor: *const Proc, deadline_ns: u64) {
    // SAFETY: this is a running green thread, which holds a reference to itself.
    let me = unsafe { TaskRef::acquire(carrier.current.get()) };
    let shared = sched::shared_of(carrier);
    // SAFETY: a non-null processor lives as long as the runtime. Adrift: any processor's timers will do.
    let p = unsafe { processor.as_ref() }.unwrap_or(&shared.processors[0]);
    // ORDER: Relaxed: written by this thread, or by a timer that fired and meant an earlier wait.
    let seq = me.timer_seq.load(Ordering::Relaxed);
    let is_earliest = p.timers.insert(deadline_ns, seq, me.clone());
    if processor.is_null() && is_earliest {
        sched::poke(shared, p);
        shared.rouse_monitor();
    }
    // SAFETY: on a green thread, inside the runtime.
    unsafe { sched::suspend(carrier, processor, Action::Park) };
    // ORDER: Relaxed: as above; the timer that fires bumps the number.
    if me.timer_seq.load(Ordering::Relaxed) == seq {
        p.timers.cancel(&me);
    }
}

#[cold]
fn park_kernel(me: &Task, deadline_ns: u64) {
    if me.park.commit_park() {
        let (word, value) = me.park.futex();
        while me.park.is_parked() && now_ns() < deadline_ns {
            futex_wait(word, value, deadline_ns);
        }
    }
    me.park.dispatch();
}

/// Wakes `task` if it is parked, else lets its next [`park`] return at once.
#[inline]
pub(crate) fn unpark(task: &TaskRef) {
    if task.park.notify() {
        if task.is_green() {
            sched::ready(sched::here(), task.home, task.as_ptr());
        } else {
            let (word, _) = task.park.futex();
            futex_wake(word, 1);
        }
    }
}

/// Yields if the monitor asked for it: a scheduling point of public functions that wake others.
#[inline]
pub(crate) fn yield_if_overdue() {
    // SAFETY: a non-null carrier is the one this code runs on.
    let Some(carrier) = (unsafe { sched::here().as_ref() }) else {
        return;
    };
    if carrier.current.get().is_null() || carrier.guest.get() {
        return;
    }
    // SAFETY: a non-null processor lives as long as the runtime.
    match unsafe { sched::enter(carrier).as_ref() } {
        Some(p) => sched::exit_or_yield(carrier, p),
        None => carrier.handoff.exit(),
    }
}

/// Lets other threads run.
pub fn yield_now() {
    // SAFETY: a non-null carrier is the one this code runs on.
    let Some(carrier) = (unsafe { sched::here().as_ref() }) else {
        return brigade_context::prim::sys::sched_yield();
    };
    if carrier.current.get().is_null() || carrier.guest.get() {
        return brigade_context::prim::sys::sched_yield();
    }
    let processor = sched::enter(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    let Some(p) = (unsafe { processor.as_ref() }) else {
        return yield_adrift(carrier);
    };
    if sched::nothing_else(carrier, p) {
        p.advance_tick();
        carrier.handoff.exit();
        return;
    }
    // SAFETY: on a green thread, inside the runtime.
    unsafe { sched::suspend(carrier, processor, Action::Yield) };
}

#[cold]
fn yield_adrift(carrier: &Carrier) {
    if let Some(p) = sched::take_idle(sched::shared_of(carrier)) {
        sched::adopt(carrier, p);
        // The carrier that slept for the processor's timers has lost it; if this thread computes on, only the
        // monitor can see that they are due.
        sched::shared_of(carrier).rouse_monitor();
        carrier.handoff.exit();
        return;
    }
    // SAFETY: on a green thread, inside the runtime, without a processor.
    unsafe { sched::suspend(carrier, std::ptr::null(), Action::Yield) };
}

/// Runs `f` without a processor: declared blocking.
pub fn blocking<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: a non-null carrier is the one this code runs on.
    let carrier = unsafe { sched::here().as_ref() };
    match carrier {
        Some(carrier)
            if !carrier.current.get().is_null()
                && !carrier.guest.get()
                && sched::give_away(carrier) => {}
        _ => return f(),
    }
    /// Gets a processor back, also when `f` unwinds.
    struct Return;
    impl Drop for Return {
        fn drop(&mut self) {
            // SAFETY: green threads run on carriers, and this one did when it gave its processor away.
            let carrier = unsafe { &*sched::here() };
            if carrier.guest.get() {
                return;
            }
            if sched::enter(carrier).is_null() {
                yield_adrift(carrier);
            } else {
                carrier.handoff.exit();
            }
        }
    }
    let _return = Return;
    f()
}
