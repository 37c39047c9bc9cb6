//! The scheduler: which runnable thread next, and the switches between threads.
//!
//! # Stacks
//!
//! A thread that yields, parks or ends picks the next one itself and switches straight to it; what is left to
//! do for the thread that went away ([`Action`]) is done by the one that arrives ([`finish_previous`]), because
//! only then is the context of the first saved. Everything that is rare or needs stack (timers, the global
//! queue, stealing, fresh stacks, sleeping) is done by [`run`] on the carrier's own stack, so that a parked
//! green thread needs no more than its first page.
//!
//! # The choice (one place: [`next_context`] and [`find_work`])
//!
//! `run_next`, then the ring; every [`PERIOD`]th dispatch goes through [`find_work`], which fires timers and
//! takes one thread of the global queue first. With nothing local: a batch of the global queue, then the others'
//! rings, timers that a stuck carrier does not fire, and at last the `run_next` of a processor that makes no
//! progress.
//!
//! # Where this differs from Go
//!
//! * The global queue is looked at every 32nd dispatch, not every 61st, together with the timers.
//! * A searcher takes another's `run_next` when that processor has not dispatched for [`HOT_NS`], instead of
//!   after a sleep: a pair that talks is not torn apart, a hog's child is not left waiting.
//! * An idle processor keeps the carrier that went to sleep with it; the carrier sleeps until that
//!   processor's next timer, so no timer needs a keeper.
//!
//! # Invariants
//!
//! 1. Code in this module runs inside the runtime (`handoff.rs`), so the carrier's processor stays its own.
//! 2. Nothing is kept over a switch but what lives on the stack of the thread itself; the carrier is asked
//!    anew after it.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use brigade_context::{self as context, Context, Slot, prepare, reap, retire, switch};

use brigade_context::prim::sys;

use crate::carrier::{Action, Carrier, Woken};
use crate::launch;
use crate::prim::{NEVER, Ordering, fence_light, now_ns, spin_loop};
use crate::processor::{CREDIT_BATCH, SLOT_BATCH, SLOT_CACHE};
use crate::queue::List;
use crate::reactor::Until;
use crate::roster::{self, ENTRY_BATCH};
use crate::shared::{CarrierPtr, Model, Shared};
use crate::task::{Task, TaskRef};
pub(crate) use crate::wake::{Proc, poke, start_carrier, take_idle, wake_for_work};

/// Every how many dispatches the scheduler looks at timers and the global queue.
const PERIOD: u32 = 32;
/// How long a carrier searches before it sleeps.
const SEARCH_NS: u64 = 30_000;
/// The same where threads wait for descriptors: most work comes from there then, and who sleeps in the reactor gets it
/// at once (`brigade-bench -l echo-100`).
const SEARCH_BESIDE_REACTOR_NS: u64 = 3_000;
/// Spin-loop hints between two looks of a searcher, at most: a few microseconds.
const SEARCH_PAUSES_MAX: u32 = 128;
/// A processor that has not dispatched for so long may lose its `run_next`.
const HOT_NS: u64 = 5_000;
/// Timers fired at a time.
const FIRE_BATCH: usize = 128;

/// The carrier this code runs on, or null on an ordinary kernel thread.
#[inline(always)]
pub(crate) fn here() -> *const Carrier {
    brigade_context::carrier().cast::<Carrier>().cast_const()
}

/// The runtime of a carrier.
#[inline(always)]
pub(crate) fn shared_of(carrier: &Carrier) -> &Shared {
    // SAFETY: `home` is the runtime that started the carrier; it lives until its last carrier has ended.
    unsafe { &*carrier.home.cast::<Shared>() }
}

/// Enters the runtime; the processor, or null when the carrier has lost it.
#[inline(always)]
pub(crate) fn enter(carrier: &Carrier) -> *const Proc {
    if carrier.handoff.enter() {
        carrier.processor.get()
    } else {
        enter_adrift(carrier)
    }
}

#[cold]
fn enter_adrift(carrier: &Carrier) -> *const Proc {
    carrier.processor.set(ptr::null());
    ptr::null()
}

/// Stops the current thread with `action` and runs something else. Returns when the thread is resumed, outside
/// the runtime.
///
/// # Safety
///
/// Must run on a green thread of `carrier`, which is not a guest, inside the runtime; `processor` is what
/// [`enter`] returned.
#[inline(always)]
pub(crate) unsafe fn suspend(carrier: &Carrier, processor: *const Proc, action: Action) {
    let me = carrier.current.get();
    carrier.previous.set(me);
    carrier.action.set(action);
    // SAFETY: the running thread's record is alive.
    unsafe { (*me).note_switch_away() };
    // SAFETY: inside the runtime with `processor` held or null.
    let to = unsafe { next_context(carrier, processor) };
    // SAFETY: `from` belongs to the running thread; `to` is the context of a thread that was taken out of a
    // queue, or of the scheduler, which is suspended while a green thread runs.
    unsafe { switch((*me).context.get(), to) };
    // SAFETY: the switch has just come back to a green thread.
    unsafe { arrive() };
}

/// First thing after a switch to a green thread.
///
/// # Safety
///
/// Must run on a green thread right after a switch to it.
#[inline(always)]
unsafe fn arrive() {
    // SAFETY: green threads run on carriers.
    let carrier = unsafe { &*here() };
    // SAFETY: right after a switch.
    unsafe { finish_previous(carrier) };
    carrier.handoff.exit();
}

/// The context to switch to: a thread of the own queue if that needs no more than a switch, else the
/// scheduler's.
///
/// # Safety
///
/// Inside the runtime; `processor` is the carrier's, or null.
#[inline(always)]
unsafe fn next_context(carrier: &Carrier, processor: *const Proc) -> *const Context {
    // SAFETY: a non-null processor lives as long as the runtime.
    if let Some(p) = unsafe { processor.as_ref() }
        && !p.tick().wrapping_add(1).is_multiple_of(PERIOD)
    {
        // SAFETY: the carrier holds the processor.
        let task = unsafe { p.pop_local() };
        if !task.is_null() {
            // SAFETY: the task came out of the queue, so it is ours, and the processor is held.
            if unsafe { is_started(task) || start_warm(p, task) } {
                // SAFETY: the task came out of the queue and has a context now.
                unsafe { dispatch(carrier, p, task) };
                // SAFETY: the record is alive: a live thread holds a reference to it.
                return unsafe { (*task).context.get() };
            }
            carrier.picked.set(task);
        }
    }
    carrier.current.set(ptr::null_mut());
    carrier.context.get()
}

#[inline(always)]
unsafe fn is_started(task: *mut Task) -> bool {
    // SAFETY: the caller took the task out of a queue; its slot is written by who runs it first.
    unsafe { (*(*task).slot.get()).is_some() }
}

/// Starts a new thread on a warm slot of the default class, if there is one.
#[inline(always)]
unsafe fn start_warm(p: &Proc, task: *mut Task) -> bool {
    // SAFETY: the caller holds the processor; the reference ends before the switch.
    let local = unsafe { p.local() };
    match local.slots.last() {
        // SAFETY: the caller took the task out of a queue.
        Some(slot) if slot.is_built() && slot.class() == unsafe { (*task).class } => {}
        _ => return false,
    }
    let Some(slot) = local.slots.pop() else {
        return false;
    };
    // SAFETY: the slot is unused.
    match unsafe { start_on(task, slot) } {
        Ok(()) => true,
        Err(slot) => {
            local.slots.push(slot);
            false
        }
    }
}

/// Binds a new thread to a slot.
#[inline(always)]
unsafe fn start_on(task: *mut Task, mut slot: Slot) -> Result<(), Slot> {
    // SAFETY: the slot is ours and unused; `thread_main` never returns.
    match unsafe { prepare(&mut slot, thread_main, task.cast()) } {
        Ok(context) => {
            // SAFETY: the caller took the task out of a queue, so nobody else touches these cells.
            unsafe {
                *(*task).context.get() = context;
                *(*task).slot.get() = Some(slot);
            }
            Ok(())
        }
        Err(_) => Err(slot),
    }
}

/// Makes `task` the one that runs on the carrier.
#[inline(always)]
unsafe fn dispatch(carrier: &Carrier, p: &Proc, task: *mut Task) {
    // SAFETY: the caller took the task out of a queue.
    unsafe {
        (*task).park.dispatch();
        (*task).note_dispatch();
    }
    carrier.current.set(task);
    p.advance_tick();
    p.counters.switches.bump();
}

/// The root of every green thread.
unsafe extern "C" fn thread_main(task: *mut ()) -> ! {
    let task = task.cast::<Task>();
    // SAFETY: first code after the first switch to the thread.
    unsafe { arrive() };
    // SAFETY: the record is alive: the thread holds a reference to it.
    unsafe { ((*task).vtable.run)(task) };
    // SAFETY: green threads run on carriers; all of the thread's code has run.
    unsafe { end_thread() }
}

/// The end of a green thread. In the child of a fork it is the end of the only thread, hence of the process,
/// as with kernel threads.
unsafe fn end_thread() -> ! {
    // SAFETY: green threads run on carriers.
    let carrier = unsafe { &*here() };
    if carrier.guest.get() {
        // SAFETY: plain libc call; no code of this thread is left to run.
        unsafe { libc::exit(0) };
    }
    let processor = enter(carrier);
    // SAFETY: on a green thread, inside the runtime.
    unsafe { suspend(carrier, processor, Action::Exit) };
    crate::task::fatal("brigade: a terminated thread was resumed")
}

/// Does what is left to do for the thread that switched away.
///
/// # Safety
///
/// Must be called once after each switch, on the stack that was switched to, inside the runtime.
#[inline(always)]
unsafe fn finish_previous(carrier: &Carrier) {
    let previous = carrier.previous.get();
    match carrier.action.replace(Action::None) {
        Action::Park => {
            // SAFETY: the previous thread's context is saved, so it may be parked; its record is alive: a live
            // thread holds a reference to it.
            if !unsafe { (*previous).park.commit_park() } {
                requeue_notified(carrier, previous);
            }
        }
        // SAFETY: the previous thread's context is saved, so it may be queued.
        Action::Yield => unsafe { requeue(carrier, previous) },
        // SAFETY: the previous thread has switched away for the last time.
        Action::Exit => unsafe { finish_exit(carrier, previous) },
        Action::None => {}
    }
}

/// Queues a thread that was woken while it parked.
#[cold]
#[inline(never)]
fn requeue_notified(carrier: &Carrier, task: *mut Task) {
    let shared = shared_of(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    match unsafe { carrier.processor.get().as_ref() } {
        Some(p) if !shared.migrate => {
            p.queue
                .push(task, &mut |list| shared.push_global_list(list));
            wake_for_work(shared);
        }
        _ => requeue_slow(shared, carrier.processor.get(), task),
    }
}

/// Queues the thread that switched away, behind the others.
///
/// An idle processor is woken for it, but without the full fence that would make push and last look see each other
/// for certain (idle.rs, invariant 1): in the few nanoseconds of that window the thread waits for its own processor
/// or, if that gets stuck, for the monitor.
#[inline(always)]
unsafe fn requeue(carrier: &Carrier, task: *mut Task) {
    let shared = shared_of(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    match unsafe { carrier.processor.get().as_ref() } {
        Some(p) if !shared.migrate => {
            p.queue
                .push_quiet(task, &mut |list| shared.push_global_list(list));
            wake_for_work(shared);
        }
        _ => requeue_slow(shared, carrier.processor.get(), task),
    }
}

#[cold]
fn requeue_slow(shared: &Shared, processor: *const Proc, task: *mut Task) {
    if shared.migrate && !processor.is_null() {
        // SAFETY: the processor lives as long as the runtime.
        mail_away(shared, unsafe { (*processor).index }, task);
    } else {
        shared.push_global(task);
        wake_for_work(shared);
    }
}

/// Test policy: gives the thread to the processor after `from`.
fn mail_away(shared: &Shared, from: usize, task: *mut Task) {
    let to = &shared.processors[(from + 1) % shared.processors.len()];
    // SAFETY: the thread is in the caller's hands.
    // ORDER: Relaxed: any processor will do.
    unsafe {
        (*task)
            .last_processor
            .store(to.index as u32, Ordering::Relaxed)
    };
    to.put_mail(task);
    poke(shared, to);
}

/// Retires a thread whose last switch is behind it.
#[inline(always)]
unsafe fn finish_exit(carrier: &Carrier, task: *mut Task) {
    let shared = shared_of(carrier);
    // SAFETY: the thread has ended; its slot is nobody's but ours.
    let Some(mut slot) = (unsafe { (*(*task).slot.get()).take() }) else {
        crate::task::fatal("brigade: a thread without a stack has ended")
    };
    // SAFETY: the thread has switched away for good.
    let clean = unsafe { retire(&mut slot) };
    // SAFETY: the record is alive: its own reference is dropped below.
    let entry = unsafe { (*task).entry() };
    entry.unbind();
    // SAFETY: a non-null processor lives as long as the runtime.
    match unsafe { carrier.processor.get().as_ref() } {
        Some(p) if clean && slot.class() == shared.class && entry.is_reusable() => {
            // SAFETY: the carrier holds the processor; the reference ends here.
            let local = unsafe { p.local() };
            local.entries.push(entry);
            local.slots.push(slot);
            local.credits += 1;
            p.finished.bump_published();
        }
        processor => {
            roster::give_back(std::iter::once(entry).filter(|entry| entry.is_reusable()));
            finish_exit_slow(shared, processor, slot, clean);
        }
    }
    // SAFETY: the reference that a live thread holds to itself.
    drop(unsafe { TaskRef::from_raw(task) });
    fence_light();
    if shared.is_closing()
        && let Some(daemon) = shared.stop_if_done()
    {
        shared.push_global(daemon.as_ptr());
        wake_for_work(shared);
    }
}

#[cold]
#[inline(never)]
fn finish_exit_slow(shared: &Shared, processor: Option<&Proc>, slot: Slot, clean: bool) {
    let class = slot.class();
    if clean {
        context::release(class, std::iter::once(slot));
    } else {
        reap(class, slot);
    }
    context::unreserve(class, 1);
    match processor {
        Some(p) => p.finished.bump_published(),
        None => shared.outside_finished.add_shared(1),
    }
}

/// A carrier's kernel thread.
pub(crate) extern "C" fn carrier_main(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `launch::start` passed the argument to this kernel thread, and the record has a processor; what
    // runs in between leaves the carrier without one.
    unsafe {
        let carrier = &*launch::enter_carrier(argument);
        adopt(carrier, &*carrier.processor.get());
        run(carrier);
        let shared = shared_of(carrier);
        if shared.model == Model::ManyToOne {
            // There is no monitor to do it, and threads of other runtimes may wait in this reactor.
            queue_ready(shared, None, shared.reactor.close());
        }
        launch::leave_carrier(argument.cast());
    }
    ptr::null_mut()
}

/// Starts the first carrier of a processor.
pub(crate) fn launch_processor(shared: &Shared, p: &Proc) -> std::io::Result<()> {
    p.set_running(true);
    launch::start(shared, p, false, carrier_main)
}

/// The scheduler of a carrier: runs threads until the carrier is to end.
///
/// # Safety
///
/// Must run on the carrier's own kernel thread, attached, inside the runtime.
pub(crate) unsafe fn run(carrier: &Carrier) {
    loop {
        let picked = carrier.picked.replace(ptr::null_mut());
        let task = if picked.is_null() {
            find_work(carrier)
        } else {
            picked
        };
        if task.is_null() {
            return;
        }
        // SAFETY: who has a thread to run has a processor.
        let p = unsafe { &*carrier.processor.get() };
        tidy(shared_of(carrier), p);
        if p.is_waited_for() || shared_of(carrier).reactor.is_open() {
            shared_of(carrier).rouse_monitor();
        }
        // SAFETY: the task was taken out of a queue; the carrier holds the processor.
        if !unsafe { is_started(task) || start_cold(shared_of(carrier), p, task) } {
            starve(shared_of(carrier), task);
            continue;
        }
        // SAFETY: as above; the scheduler's context is saved in the carrier.
        unsafe {
            dispatch(carrier, p, task);
            switch(carrier.context.get(), (*task).context.get());
            carrier.current.set(ptr::null_mut());
            restamp_previous(carrier);
            finish_previous(carrier);
        }
    }
}

/// Nothing else was there to run: the wait of the thread that parks begins at the exact time.
///
/// # Safety
///
/// As [`finish_previous`], before it.
unsafe fn restamp_previous(carrier: &Carrier) {
    // SAFETY: a non-null processor lives as long as the runtime.
    let p = unsafe { carrier.processor.get().as_ref() };
    let has_work = !carrier.picked.get().is_null() || p.is_some_and(|p| !p.queue.is_empty());
    if carrier.action.get() == Action::Park && !has_work {
        // SAFETY: the thread is not parked yet, so nobody else may run it.
        unsafe { (*carrier.previous.get()).entry().restamp(roster::now_ms()) };
    }
}

/// Starts a new thread, fetching slots as needed.
unsafe fn start_cold(shared: &Shared, p: &Proc, task: *mut Task) -> bool {
    // SAFETY: the caller took the task out of a queue.
    let class = unsafe { (*task).class };
    // SAFETY: the carrier holds the processor; the reference ends with the function.
    let local = unsafe { p.local() };
    let slot = if class == shared.class {
        if local.slots.is_empty() && context::acquire(class, &mut local.slots, SLOT_BATCH).is_err()
        {
            return false;
        }
        local.slots.pop()
    } else {
        let mut one = Vec::with_capacity(1);
        if context::acquire(class, &mut one, 1).is_err() {
            return false;
        }
        one.pop()
    };
    let Some(slot) = slot else { return false };
    // SAFETY: the slot is unused, the task ours.
    match unsafe { start_on(task, slot) } {
        Ok(()) => true,
        Err(slot) => {
            context::release(class, std::iter::once(slot));
            false
        }
    }
}

/// The kernel refused memory for a stack that was reserved at the spawn. The thread waits for its turn again;
/// threads that end meanwhile free their stacks.
#[cold]
fn starve(shared: &Shared, task: *mut Task) {
    shared.push_global(task);
    brigade_context::prim::sys::nanosleep(std::time::Duration::from_millis(1));
}

/// Returns what the processor has cached beyond its share.
fn tidy(shared: &Shared, p: &Proc) {
    // SAFETY: the carrier holds the processor; the reference ends with the function.
    let local = unsafe { p.local() };
    if local.slots.len() > SLOT_CACHE {
        let keep = SLOT_CACHE - SLOT_BATCH;
        context::release(shared.class, local.slots.drain(keep..));
    }
    if local.credits > 4 * CREDIT_BATCH {
        context::unreserve(shared.class, local.credits - CREDIT_BATCH);
        local.credits = CREDIT_BATCH;
    }
    if local.entries.len() > 4 * ENTRY_BATCH {
        roster::give_back(local.entries.drain(ENTRY_BATCH..));
    }
}

/// A thread to run. Sleeps when there is none; null when the carrier is to end.
fn find_work(carrier: &Carrier) -> *mut Task {
    let shared = shared_of(carrier);
    loop {
        if shared.is_stopped() {
            return ptr::null_mut();
        }
        // SAFETY: a non-null processor lives as long as the runtime.
        let Some(p) = (unsafe { carrier.processor.get().as_ref() }) else {
            if !become_spare(carrier) {
                return ptr::null_mut();
            }
            continue;
        };
        fire_own_timers(shared, p);
        if p.tick().wrapping_add(1).is_multiple_of(PERIOD) {
            poll_now(shared, p);
        }
        let mut task = find_local(shared, p);
        if task.is_null() && poll_now(shared, p) {
            task = find_local(shared, p);
        }
        if task.is_null() && (carrier.searching.get() || begin_search(carrier, shared, p)) {
            task = search(shared, p);
        }
        if !task.is_null() {
            end_search(carrier, shared);
            return task;
        }
        go_idle(carrier, shared, p);
    }
}

/// The next thread that needs no search.
fn find_local(shared: &Shared, p: &Proc) -> *mut Task {
    if p.tick().wrapping_add(1).is_multiple_of(PERIOD) {
        let task = shared.pop_global(0, |_| {});
        if !task.is_null() {
            return task;
        }
    }
    let mail = p.take_mail();
    if !mail.is_null() {
        return mail;
    }
    // SAFETY: the caller's carrier holds the processor.
    let task = unsafe { p.pop_local() };
    if !task.is_null() {
        return task;
    }
    let share = shared.global_len() / shared.processors.len();
    let room = crate::prim::RING_SLOTS / 2;
    let task = shared.pop_global(share.min(room), |more| {
        p.queue.push(more, &mut |_| {
            crate::task::fatal("brigade: an empty ring overflowed")
        });
    });
    if !task.is_null() && !p.queue.ring_is_empty() {
        wake_for_work(shared);
    }
    task
}

/// Looks into the reactor unless somebody else does. True: threads were queued at `p`.
fn poll_now(shared: &Shared, p: &Proc) -> bool {
    if !shared.reactor.is_open() || !shared.reactor.try_claim() {
        return false;
    }
    let mut ready = List::new();
    shared.reactor.poll(Until::Now, &mut ready);
    shared.reactor.release();
    let found = ready.len() != 0;
    queue_ready(shared, Some(p), ready);
    found
}

/// Queues threads whose wake-ups the caller has won, at its processor if it has one.
pub(crate) fn queue_ready(shared: &Shared, p: Option<&Proc>, mut ready: List<Task>) {
    let mut queued = ready.len();
    if queued == 0 {
        return;
    }
    if let Some(p) = p {
        queued += usize::from(!p.queue.ring_is_empty());
    }
    while let Some(task) = ptr::NonNull::new(ready.pop()).map(ptr::NonNull::as_ptr) {
        // SAFETY: the thread is in the caller's hands.
        let home = unsafe { (*task).home };
        match p {
            _ if !ptr::eq(home, ptr::from_ref(shared).cast()) => ready_outside(home, task),
            Some(p) if shared.migrate => mail_away(shared, p.index, task),
            Some(p) => {
                p.queue
                    .push(task, &mut |list| shared.push_global_list(list));
            }
            None => ready_outside(home, task),
        }
    }
    if p.is_some() && queued > 1 {
        wake_for_work(shared);
    }
}

/// Fires the timers of the own processor that are due.
fn fire_own_timers(shared: &Shared, p: &Proc) {
    let earliest_ns = p.timers.earliest_ns();
    if earliest_ns != NEVER {
        let now = now_ns();
        if earliest_ns <= now {
            fire_timers(shared, p, p, now);
        }
    }
}

/// Fires timers of `of` and queues their threads at `p`, the caller's processor.
#[inline(never)]
fn fire_timers(shared: &Shared, p: &Proc, of: &Proc, now: u64) {
    let mut due = Vec::with_capacity(FIRE_BATCH);
    of.timers.take_due(now, FIRE_BATCH, &mut due);
    p.counters.timers_fired.add(due.len() as u64);
    let mut queued = usize::from(!p.queue.ring_is_empty());
    for task in due {
        if task.park.notify() {
            queued += 1;
            if shared.migrate {
                mail_away(shared, p.index, task.as_ptr());
            } else {
                p.queue
                    .push(task.as_ptr(), &mut |list| shared.push_global_list(list));
            }
        }
    }
    if queued > 1 {
        wake_for_work(shared);
    }
}

fn begin_search(carrier: &Carrier, shared: &Shared, p: &Proc) -> bool {
    // Where all others are idle there is nothing to find; what comes from outside wakes a sleeper.
    let others = shared.idle.count() + 1 < shared.processors.len();
    if others && shared.idle.begin_search(shared.processors.len()) {
        carrier.searching.set(true);
        p.counters.searches.bump();
        return true;
    }
    false
}

/// The carrier has found work: it no longer searches, and if it was the last searcher the next one takes over
/// (idle.rs, invariant 3).
fn end_search(carrier: &Carrier, shared: &Shared) {
    if carrier.searching.replace(false) {
        shared.idle.note_search(true);
        if shared.idle.end_search() && shared.has_visible_work() {
            wake_for_work(shared);
        }
    }
}

/// A `run_next` that may belong to a processor without progress.
#[derive(Clone, Copy)]
struct Watch {
    victim: usize,
    item: *mut Task,
    tick: u32,
    since_ns: u64,
}

/// Looks for work at the others for [`SEARCH_NS`].
fn search(shared: &Shared, p: &Proc) -> *mut Task {
    let limit_ns = if shared.reactor.is_open() {
        SEARCH_BESIDE_REACTOR_NS
    } else {
        SEARCH_NS
    };
    let start_ns = now_ns();
    let mut watch = None;
    let mut pauses = 8;
    loop {
        let now = now_ns();
        let task = search_once(shared, p, now, &mut watch);
        let timed_out = now.saturating_sub(start_ns) > limit_ns;
        if !task.is_null() || timed_out || shared.is_stopped() {
            return task;
        }
        if p.timers.earliest_ns() <= now {
            fire_timers(shared, p, p, now);
        }
        // Each look takes cache lines from a victim that may be busy with its own queue, so they get rarer.
        for _ in 0..pauses {
            spin_loop();
        }
        pauses = (2 * pauses).min(SEARCH_PAUSES_MAX);
    }
}

fn search_once(shared: &Shared, p: &Proc, now: u64, watch: &mut Option<Watch>) -> *mut Task {
    let task = find_local(shared, p);
    if !task.is_null() {
        return task;
    }
    let count = shared.processors.len();
    // SAFETY: the caller's carrier holds the processor; the reference ends with the statement.
    let first = unsafe { p.local() }.next_random() as usize % count;
    for offset in 0..count {
        let victim = &shared.processors[(first + offset) % count];
        if victim.index == p.index {
            continue;
        }
        let (task, taken) = victim.queue.steal_into(&p.queue);
        if !task.is_null() {
            p.counters.steals.add(u64::from(taken));
            return task;
        }
        if victim.timers.earliest_ns().saturating_add(HOT_NS) <= now {
            fire_timers(shared, p, victim, now);
        }
        let task = steal_next(victim, now, watch);
        if !task.is_null() {
            p.counters.steals.bump();
            return task;
        }
    }
    ptr::null_mut()
}

/// Takes the victim's `run_next` if the victim has made no progress for [`HOT_NS`].
fn steal_next(victim: &Proc, now: u64, watch: &mut Option<Watch>) -> *mut Task {
    let item = victim.queue.next_item();
    let tick = victim.tick();
    match *watch {
        Some(seen) if seen.victim == victim.index => {
            if item.is_null() || seen.item != item || seen.tick != tick {
                *watch = None;
            } else if now.saturating_sub(seen.since_ns) >= HOT_NS {
                *watch = None;
                return victim.queue.steal_next(item);
            }
        }
        None if !item.is_null() => {
            *watch = Some(Watch {
                victim: victim.index,
                item,
                tick,
                since_ns: now,
            });
        }
        _ => {}
    }
    ptr::null_mut()
}

/// Publishes the processor as idle, looks once more, and sleeps. On return the carrier has a processor or is
/// to end or to look for one.
fn go_idle(carrier: &Carrier, shared: &Shared, p: &Proc) {
    // SAFETY: the carrier holds the processor; the reference ends with the statement.
    let credits = std::mem::take(&mut unsafe { p.local() }.credits);
    if credits > 0 {
        context::unreserve(shared.class, credits);
    }
    carrier.handoff.give_up();
    carrier.processor.set(ptr::null());
    p.set_owner(ptr::from_ref(carrier).cast_mut());
    p.set_running(false);
    shared.idle.insert(p.index);
    if carrier.searching.replace(false) {
        shared.idle.note_search(false);
        shared.idle.end_search();
    }
    // Others may have used the processor meanwhile and made it idle again: then it is not ours any more.
    let me = ptr::from_ref(carrier).cast_mut();
    let take_back = || {
        shared
            .idle
            .remove_where(|i| i == p.index && p.owner() == me)
            .is_some()
    };
    if last_look(shared, p) && take_back() {
        return adopt(carrier, p);
    }
    let mut deadline_ns = p.timers.earliest_ns();
    let polls = shared.reactor.is_open() && shared.reactor.try_claim();
    let mut ready = List::new();
    loop {
        let woken = if polls {
            carrier.sleep_polling(deadline_ns, &mut ready)
        } else {
            carrier.sleep(deadline_ns)
        };
        let has_found = ready.len() != 0;
        match woken {
            Woken::Assigned => adopt_assigned(carrier),
            Woken::TimedOut | Woken::Events
                if (has_found || woken == Woken::TimedOut) && take_back() =>
            {
                adopt(carrier, p);
            }
            // Somebody has taken the processor and will say so.
            Woken::TimedOut => deadline_ns = NEVER,
            Woken::Events | Woken::Detached | Woken::Dismissed | Woken::Stop => {}
        }
        // SAFETY: a non-null processor lives as long as the runtime.
        let held = unsafe { carrier.processor.get().as_ref() };
        let lost = matches!(woken, Woken::Detached | Woken::Dismissed);
        let leaves = held.is_some() || lost || shared.is_stopped();
        if leaves && polls {
            shared.leave_reactor(held.is_some());
        }
        queue_ready(shared, held, std::mem::take(&mut ready));
        if leaves {
            if woken == Woken::Detached {
                wait_spare(carrier, shared);
            }
            return;
        }
    }
}

/// A sleeper's last look (idle.rs): anything that its processor could run?
fn last_look(shared: &Shared, p: &Proc) -> bool {
    if shared.is_stopped() || p.has_mail() || shared.has_visible_work() {
        return true;
    }
    shared.processors.iter().any(|victim| {
        let item = victim.queue.next_item();
        if item.is_null() || victim.index == p.index {
            return false;
        }
        // A `run_next` pushed before we were visible as idle: its pusher may have relied on us. If the victim
        // dispatches, it has taken the item; whoever pushes a new one sees us.
        let tick = victim.tick();
        let start_ns = now_ns();
        while now_ns().saturating_sub(start_ns) < HOT_NS {
            if victim.tick() != tick || victim.queue.next_item() != item {
                return false;
            }
            spin_loop();
        }
        true
    })
}

/// The carrier takes a processor that is nobody's.
pub(crate) fn adopt(carrier: &Carrier, p: &Proc) {
    carrier.processor.set(p);
    p.set_owner(ptr::from_ref(carrier).cast_mut());
    p.set_running(true);
    carrier.handoff.take_up();
}

fn adopt_assigned(carrier: &Carrier) {
    let (processor, searching) = carrier.take_assigned();
    carrier.searching.set(searching);
    // SAFETY: processors live as long as the runtime.
    adopt(carrier, unsafe { &*processor });
}

/// The carrier has no processor and nothing to run. False: it is to end.
fn become_spare(carrier: &Carrier) -> bool {
    let shared = shared_of(carrier);
    // The monitor may have given a stuck carrier the kernel's default slice.
    sys::set_time_slice(0, launch::SLICE_NS);
    // A processor for which no kernel thread could be had waits for the next carrier that is free.
    let orphan = shared
        .idle
        .remove_where(|i| shared.processors[i].owner().is_null());
    if let Some(index) = orphan {
        adopt(carrier, &shared.processors[index]);
        return true;
    }
    if shared.has_visible_work()
        && let Some(p) = take_idle(shared)
    {
        adopt(carrier, p);
        return true;
    }
    {
        let mut spares = shared.spares.lock();
        if spares.len() >= shared.max_spares() || shared.is_stopped() {
            return false;
        }
        spares.push(CarrierPtr(ptr::from_ref(carrier).cast_mut()));
    }
    wait_spare(carrier, shared);
    true
}

/// Waits in the spare list.
fn wait_spare(carrier: &Carrier, shared: &Shared) {
    while !shared.is_stopped() {
        if carrier.sleep(NEVER) == Woken::Assigned {
            return adopt_assigned(carrier);
        }
    }
}

/// Makes a thread runnable whose wake-up the caller has won, or a new one.
#[inline(always)]
pub(crate) fn ready(carrier: *const Carrier, home: *const (), task: *mut Task) {
    // SAFETY: a non-null carrier is the one this code runs on.
    if let Some(carrier) = unsafe { carrier.as_ref() }
        && carrier.home == home
        && !carrier.guest.get()
    {
        let processor = enter(carrier);
        // SAFETY: a non-null processor lives as long as the runtime.
        if let Some(p) = unsafe { processor.as_ref() } {
            ready_local(shared_of(carrier), p, task);
            carrier.handoff.exit();
            return;
        }
        carrier.handoff.exit();
    }
    ready_outside(home, task);
}

/// Makes a thread runnable at the caller's processor.
#[inline(always)]
pub(crate) fn ready_local(shared: &Shared, p: &Proc, task: *mut Task) {
    if shared.migrate {
        return mail_away(shared, p.index, task);
    }
    let displaced = p.queue.push_next(task);
    if displaced.is_null() {
        // SAFETY: the caller's carrier holds the processor; the reference ends with the statement.
        if unsafe { p.local() }.is_lone_push(shared.idle.lone_backoff()) {
            return shared.rouse_monitor();
        }
    } else {
        p.queue
            .push(displaced, &mut |list| shared.push_global_list(list));
    }
    wake_for_work(shared);
}

/// Makes a thread runnable from outside its runtime's processors.
#[cold]
#[inline(never)]
fn ready_outside(home: *const (), task: *mut Task) {
    // SAFETY: the caller has the thread in its hands, so it is alive and its runtime is. After the push it may end
    // at once, and the runtime with it; hence the reference.
    let shared = unsafe {
        Arc::increment_strong_count(home.cast::<Shared>());
        Arc::from_raw(home.cast::<Shared>())
    };
    if shared.generation != context::fork_generation() {
        // In the child of a fork: the thread exists only in the parent.
        return;
    }
    if shared.migrate {
        // SAFETY: the thread is in the caller's hands.
        // ORDER: Relaxed: any processor will do.
        let last = unsafe { (*task).last_processor.load(Ordering::Relaxed) };
        return mail_away(&shared, last as usize, task);
    }
    shared.push_global(task);
    wake_for_work(&shared);
}

/// Leaves the runtime, or yields if the thread has had its time. Only where the caller holds nothing that others
/// spin for.
#[inline(always)]
pub(crate) fn exit_or_yield(carrier: &Carrier, p: &Proc) {
    if p.take_overdue() {
        // SAFETY: on a green thread, inside the runtime, with the carrier's processor.
        unsafe { suspend(carrier, p, Action::Yield) };
    } else {
        carrier.handoff.exit();
    }
}

/// True when a thread that yields would only be picked again.
#[inline(always)]
pub(crate) fn nothing_else(carrier: &Carrier, p: &Proc) -> bool {
    let shared = shared_of(carrier);
    p.queue.is_empty()
        && shared.global_len() == 0
        && !shared.migrate
        && !p.tick().wrapping_add(1).is_multiple_of(PERIOD)
}

/// The carrier gives its processor away and stays with its green thread: declared blocking.
///
/// False: it had none.
pub(crate) fn give_away(carrier: &Carrier) -> bool {
    let shared = shared_of(carrier);
    let processor = enter(carrier);
    // SAFETY: a non-null processor lives as long as the runtime.
    let held = unsafe { processor.as_ref() }.filter(|_| shared.model == Model::ManyToMany);
    if let Some(p) = held {
        carrier.handoff.give_up();
        carrier.processor.set(ptr::null());
        p.set_owner(ptr::null_mut());
        shared.handoffs.add_shared(1);
        let busy = !p.queue.is_empty()
            || p.has_mail()
            || shared.global_len() != 0
            || p.timers.earliest_ns() != NEVER;
        if busy {
            start_carrier(shared, p, false);
        } else {
            p.set_running(false);
            shared.idle.insert(p.index);
            // The last look of a sleeper, and one at what somebody adrift may have left with this processor.
            if p.timers.earliest_ns() != NEVER || p.has_mail() {
                poke(shared, p);
            }
            if shared.has_visible_work() {
                wake_for_work(shared);
            }
        }
    }
    carrier.handoff.exit();
    held.is_some()
}
