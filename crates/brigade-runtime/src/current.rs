//! The current thread, and how it waits: green threads park, kernel threads block on a futex.
//!
//! [`park`] and [`unpark`] are the only way in which anything above the runtime blocks. A wait may end without
//! a reason; callers look at their condition again. A kernel thread gets a record of its own at its first use
//! of Brigade, so that joiners, scopes and parkers need not know what they are.

use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
use std::cell::{Cell, OnceCell};
use std::panic::Location;
use std::sync::Arc;

use brigade_context::{SizeClass, on_fork_once};
use brigade_event::ThreadLabel;

use crate::carrier::{Action, Carrier};
use crate::in_time::{is_interrupted, needs_timer};
use crate::launch;
use crate::prim::{AtomicBool, NEVER, Ordering, futex_wait, futex_wake, kernel_thread, now_ns};
use crate::roster::{self, Entry, Wait};
use crate::sched::{self, Proc};
use crate::shared::{Model, Shared};
use crate::task::{ScopeSeat, Task, TaskParts, TaskRef, TaskVtable, next_ids};

thread_local! {
    /// The record of a kernel thread.
    static FOREIGN: OnceCell<Foreign> = const { OnceCell::new() };
    /// The entry of the thread, once somebody has asked for it.
    static ME: Cell<*const Entry> = const { Cell::new(std::ptr::null()) };
    /// Ends the use of the entry of a kernel thread.
    static SEAT: Seat = const { Seat(Cell::new(std::ptr::null())) };
    /// Whether the name for the record of a kernel thread is being made.
    static NAMING: Cell<bool> = const { Cell::new(false) };
    /// The runtime of a kernel thread that is a thread of one.
    static HOME: OnceCell<Arc<Shared>> = const { OnceCell::new() };
}

/// The record of a kernel thread; its entry forgets it first.
struct Foreign(TaskRef);

impl Drop for Foreign {
    fn drop(&mut self) {
        self.0.entry().unbind_from(self.0.as_ptr().cast());
    }
}

/// The entry of a kernel thread; null until it has one.
struct Seat(Cell<*const Entry>);

impl Drop for Seat {
    fn drop(&mut self) {
        ME.set(roster::nobody());
        // SAFETY: null, or an entry; entries live for ever.
        if let Some(entry) = unsafe { self.0.get().as_ref() } {
            // What the thread still waits for is remembered nowhere: the entry may be another thread's soon.
            let _ = FOREIGN.try_with(|cell| {
                if let Some(foreign) = cell.get() {
                    foreign.0.use_entry(roster::nobody());
                }
            });
            entry.unbind();
            if entry.is_reusable() {
                roster::give_back(std::iter::once(entry));
            }
        }
    }
}

/// The entry of the current thread.
#[inline(always)]
#[must_use]
pub fn me() -> &'static Entry {
    // SAFETY: null, or an entry; entries live for ever.
    match unsafe { ME.get().as_ref() } {
        Some(entry) => entry,
        None => me_slow(),
    }
}

#[cold]
#[inline(never)]
fn me_slow() -> &'static Entry {
    // SAFETY: the running thread holds a reference to itself.
    if let Some(green) = unsafe { current_green().as_ref() } {
        ME.set(green.entry());
        return green.entry();
    }
    // What is called here may ask again.
    ME.set(roster::nobody());
    register_fork_handlers();
    let entry = roster::fetch_one();
    if SEAT.try_with(|seat| seat.0.set(entry)).is_err() {
        roster::give_back(std::iter::once(entry).filter(|entry| entry.is_reusable()));
        return roster::nobody();
    }
    ME.set(entry);
    entry
}

/// Keeps the roster whole across forks. Called before anybody takes one of its locks.
pub(crate) fn register_fork_handlers() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if DONE.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the first of the three comes before the others.
    let parent = || unsafe {
        roster::unlock_after_fork();
        launch::unlock_after_fork(false);
    };
    // SAFETY: the locks were taken before the fork; the child has one thread, and its entry is named.
    let child = || unsafe {
        roster::unlock_in_child(ME.get());
        launch::unlock_after_fork(true);
    };
    let before = || {
        launch::lock_for_fork();
        roster::lock_for_fork();
    };
    on_fork_once(&DONE, before, parent, child);
}

static FOREIGN_VTABLE: TaskVtable = TaskVtable {
    run: run_foreign,
    dealloc: dealloc_foreign,
    take: take_foreign,
    abandon: abandon_foreign,
    scope: scope_of_foreign,
};

unsafe fn run_foreign(_task: *mut Task) {
    crate::task::fatal("brigade: a kernel thread was dispatched")
}

unsafe fn take_foreign(_task: *mut Task, _to: *mut ()) {
    crate::task::fatal("brigade: a kernel thread was joined as if Brigade had started it")
}

unsafe fn abandon_foreign(_task: *mut Task) {}

unsafe fn scope_of_foreign(_task: *const Task) -> Option<ScopeSeat> {
    None
}

unsafe fn dealloc_foreign(task: *mut Task) {
    // SAFETY: allocated and written by `new_foreign`; the last reference is gone.
    unsafe {
        task.drop_in_place();
        System.dealloc(task.cast(), Layout::new::<Task>());
    }
}

/// The green thread this code runs on, or null on a kernel thread.
#[inline(always)]
pub(crate) fn current_green() -> *mut Task {
    let carrier = sched::here();
    // SAFETY: a non-null carrier is the one this code runs on.
    unsafe { carrier.as_ref() }.map_or(std::ptr::null_mut(), |carrier| carrier.current.get())
}

/// How reports name the current thread. Allocates nothing: a kernel thread that has no record yet has no number.
#[must_use]
pub fn label() -> ThreadLabel {
    // SAFETY: the running thread holds a reference to itself.
    if let Some(green) = unsafe { current_green().as_ref() } {
        return green.label();
    }
    let known = FOREIGN.try_with(|cell| cell.get().map(|foreign| foreign.0.label()));
    known
        .ok()
        .flatten()
        .unwrap_or_else(|| ThreadLabel::new(0, None))
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

/// The record of the kernel thread this code runs on, whatever green thread it may carry.
pub(crate) fn kernel() -> TaskRef {
    current_kernel_slow()
}

#[cold]
fn current_kernel_slow() -> TaskRef {
    let known = FOREIGN.try_with(|cell| {
        if let Some(foreign) = cell.get() {
            return foreign.0.clone();
        }
        // The name takes memory, and an allocator may wait for a lock and come back here: then the inner call makes the
        // record.
        let name = if NAMING.replace(true) {
            None
        } else {
            let name = kernel_thread::current().name().map(Box::from);
            NAMING.set(false);
            name
        };
        let foreign = cell.get_or_init(|| Foreign(new_foreign(name)));
        if current_green().is_null() {
            foreign.0.set_entry(me());
        }
        foreign.0.clone()
    });
    known.unwrap_or_else(|_| {
        // After the kernel thread's thread-locals are gone: a record for this call alone, as std does. Nobody finds it,
        // because its entry does not name it.
        let task = new_foreign(None);
        if current_green().is_null() {
            task.use_entry(me());
        }
        task
    })
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
    task.set_entry(me());
    let _ = FOREIGN.try_with(|cell| cell.set(Foreign(task)));
    let _ = HOME.try_with(|cell| cell.set(home));
}

/// The runtime that this kernel thread is a thread of.
pub(crate) fn home() -> Option<Arc<Shared>> {
    HOME.try_with(|cell| cell.get().cloned()).ok().flatten()
}

/// Takes no memory from the program's allocator, which may be the one that waits.
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
    let layout = Layout::new::<Task>();
    // SAFETY: the layout is not empty.
    let place = unsafe { System.alloc(layout) }.cast::<Task>();
    if place.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: fresh memory of that layout; a record with the one reference given away here.
    unsafe {
        place.write(task);
        TaskRef::from_raw(place)
    }
}

/// Stops the current thread until [`unpark`], or the deadline (nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for
/// none), or for no reason. `me` is the current thread.
#[inline]
pub(crate) fn park(me: &Task, wait: &Wait, deadline_ns: u64) {
    if me.park.take_notification() {
        return;
    }
    // Right before the wait: the notification that came with the cancellation may have been used up.
    if deadline_ns != NEVER && is_interrupted() {
        return;
    }
    // A thread that searched for a circle says that it waits until the wait is over, also while it looks at its condition
    // again: others search only once.
    if me.entry().is_waiting() {
        return park_begun(me, deadline_ns);
    }
    me.begin_wait(wait, deadline_ns != NEVER);
    park_begun(me, deadline_ns);
    me.end_wait();
}

/// As [`park`], by a thread that has said what it waits for, and will say when it does so no longer.
#[inline(always)]
pub(crate) fn park_again(me: &Task, deadline_ns: u64) {
    if !me.park.take_notification() {
        park_begun(me, deadline_ns);
    }
}

#[inline(always)]
fn park_begun(me: &Task, deadline_ns: u64) {
    // SAFETY: a non-null carrier is the one this code runs on.
    match unsafe { sched::here().as_ref() } {
        Some(carrier) if me.is_green() => park_green(carrier, deadline_ns),
        _ => park_kernel(me, deadline_ns),
    }
}

#[inline(always)]
fn park_green(carrier: &Carrier, deadline_ns: u64) {
    let processor = sched::enter(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    match unsafe { processor.as_ref() } {
        Some(p) => p.counters.parks.bump(),
        None => sched::shared_of(carrier).adrift_parks.add_shared(1),
    }
    if needs_timer(deadline_ns) {
        park_green_timed(carrier, processor, deadline_ns);
    } else {
        // SAFETY: on a green thread, inside the runtime.
        unsafe { sched::suspend(carrier, processor, Action::Park) };
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
    // There is time for the exact time, and nobody may know of the wait yet.
    me.entry().restamp(roster::now_ms());
    if !me.park.commit_park() {
        return me.park.dispatch();
    }
    while let Some(value) = me.park.parked_value() {
        if deadline_ns == NEVER || now_ns() < deadline_ns {
            futex_wait(me.park.futex(), value, deadline_ns);
        } else if me.park.give_up() {
            return;
        } else {
            // A waker is about to resume the thread.
            futex_wait(me.park.futex(), value, NEVER);
        }
    }
}

/// By who has won the wake-up of a parked thread: makes it run.
#[inline]
pub(crate) fn resume(task: *mut Task) {
    // SAFETY: the thread is parked until it is resumed, so it is alive, and its runtime is.
    let (is_green, home) = unsafe { ((*task).is_green(), (*task).home) };
    if is_green {
        sched::ready(sched::here(), home, task);
    } else {
        resume_kernel(task);
    }
}

#[cold]
#[inline(never)]
pub(crate) fn resume_kernel(task: *mut Task) {
    // SAFETY: as in `resume`; once it runs it may end, hence the reference.
    let task = unsafe { TaskRef::acquire(task) };
    task.park.resume();
    futex_wake(task.park.futex(), 1);
}

/// Wakes `task` if it is parked, else lets its next [`park`] return at once.
#[inline]
pub(crate) fn unpark(task: &TaskRef) {
    if task.park.notify() {
        resume(task.as_ptr());
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

/// Whether the current thread is to let others run: it has had its time, or has lost its processor; where no monitor
/// measures the time ([`Model::ManyToOne`]), it has asked often enough. For loops that neither park nor call public
/// functions; the request is taken, so the caller yields.
#[must_use]
pub fn is_turn_over() -> bool {
    // SAFETY: a non-null carrier is the one this code runs on.
    let Some(carrier) = (unsafe { sched::here().as_ref() }) else {
        return false;
    };
    if carrier.current.get().is_null() || carrier.guest.get() {
        return false;
    }
    // SAFETY: a non-null processor lives as long as the runtime.
    let is_over = unsafe { sched::enter(carrier).as_ref() }.is_none_or(|p| {
        let is_counted = carrier.count_call();
        p.take_overdue() || is_counted && sched::shared_of(carrier).model == Model::ManyToOne
    });
    carrier.handoff.exit();
    is_over
}

/// The number of the processor that the current thread runs on; 0 elsewhere. It may be another one by now.
#[inline]
#[must_use]
pub fn processor_hint() -> usize {
    // SAFETY: a non-null carrier is the one this code runs on, and a non-null processor lives as long as its runtime.
    let processor = unsafe { sched::here().as_ref() }
        .and_then(|carrier| unsafe { carrier.processor.get().as_ref() });
    processor.map_or(0, |p| p.index)
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
