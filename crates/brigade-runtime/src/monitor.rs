//! The monitor: one kernel thread without a processor that takes processors from stuck carriers.
//!
//! # What it does
//!
//! While some processor runs, it looks every [`LOOK_NS`]. A processor whose tick has not moved for the quantum
//! and for which work waits is taken from its carrier (`handoff.rs`) and given to another. The stuck green
//! thread goes on undisturbed on its kernel thread; the kernel's scheduler shares the cores.
//!
//! A thread that spawns or wakes others all the time enters the runtime by itself; it is only told to yield there,
//! because without a processor each of its spawns would go through the global queue.
//!
//! If there is an idle processor, waiting work is its business: the monitor only wakes it.
//!
//! # The quantum
//!
//! One millisecond; longer the more carriers are adrift, up to ten, so that a crowd of threads that compute
//! does not become a crowd of kernel threads faster than it has to.
//!
//! # Sleep
//!
//! When no processor runs, or those that run have done so for long and nothing waits for them, it sleeps until a
//! thread is run that something waits for, or work appears ([`Shared::rouse_monitor`]), and makes no wake-ups. A
//! thread that runs alone does not rouse it: beside threads that compute, the monitor's own wake-up would make the
//! kernel put one of those in front. Before that, if nothing runs,
//! it gives pooled stacks back, once.
//!
//! # Rejected
//!
//! Looking every 20 µs at first (Go): Go needs it to retake processors from system calls; here the quantum is
//! the shortest time that matters. Signals to the stuck thread: see `handoff.rs`.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;

use brigade_context::{self as context, prim::sys};

use crate::carrier::Carrier;
use crate::launch::{be_prompt, end_kernel_thread, note_start, spawn_kernel_thread};
use crate::prim::{AtomicPtr, NEVER, Ordering, futex_wait, now_ns};
use crate::queue::List;
use crate::reactor::Until;
use crate::sched::{self, Proc};
use crate::shared::Shared;

/// How often the monitor looks while a processor runs.
const LOOK_NS: u64 = 500_000;
/// How long a thread may hold a processor that others wait for.
const QUANTUM_NS: u64 = 1_000_000;
/// The quantum with many carriers adrift.
const QUANTUM_MAX_NS: u64 = 10_000_000;

/// A running processor for which nothing waits is left alone after this time without a dispatch.
const QUIET_AFTER_NS: u64 = 20_000_000;
/// Idle processors are left alone after this time: not at once, because waking the monitor again costs more than a
/// few looks.
const IDLE_AFTER_NS: u64 = 5_000_000;
/// Pooled stacks are given back when the runtime was idle for so long.
const TRIM_AFTER_NS: u64 = 100_000_000;
/// The looks for a stall get rarer up to this.
const INSPECT_AFTER_MAX_NS: u64 = 60_000_000_000;

/// What the monitor remembers of a processor.
#[derive(Clone, Copy)]
struct Seen {
    tick: u32,
    activity: u64,
    since_ns: u64,
}

/// Starts the monitor of a runtime.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    shared.kernel_thread_starts();
    let home = shared.retain();
    let started = spawn_kernel_thread(monitor_main, home.cast_mut().cast());
    if started.is_err() {
        end_kernel_thread(home.cast());
    }
    started
}

extern "C" fn monitor_main(argument: *mut c_void) -> *mut c_void {
    let home = argument.cast::<Shared>().cast_const();
    {
        // SAFETY: the thread holds the reference taken in `start`.
        let shared = unsafe { &*home };
        be_prompt();
        note_start(sys::gettid());
        watch(shared);
        sched::queue_ready(shared, None, shared.reactor.close());
    }
    end_kernel_thread(home);
    std::ptr::null_mut()
}

fn watch(shared: &Shared) {
    let mut seen = vec![
        Seen {
            tick: 0,
            activity: 0,
            since_ns: now_ns()
        };
        shared.processors.len()
    ];
    let mut rest = Rest::default();
    while !shared.is_stopped() {
        look(shared, &mut seen);
        if !is_quiet(shared, &seen) {
            rest = Rest::default();
            nap(shared);
        } else if shared.processors.iter().any(Proc::is_running) {
            sleep_until_roused(shared, &seen, NEVER);
        } else if !sleep_until_roused(shared, &seen, rest.until_ns()) {
            rest.go_on();
        }
    }
}

/// What is done when nothing runs for some time: stacks are given back, and somebody looks whether anything will ever
/// run again.
struct Rest {
    trimmed: bool,
    /// How long to wait before the next look; none when there is nothing to look at until a thread has run.
    inspect_after_ns: Option<u64>,
}

impl Default for Rest {
    fn default() -> Rest {
        Rest {
            trimmed: false,
            inspect_after_ns: Some(TRIM_AFTER_NS),
        }
    }
}

impl Rest {
    fn until_ns(&self) -> u64 {
        match self.inspect_after_ns {
            Some(after_ns) => now_ns() + after_ns,
            None => NEVER,
        }
    }

    fn go_on(&mut self) {
        if !self.trimmed {
            self.trimmed = true;
            context::trim();
        }
        let after_ns = self.inspect_after_ns.unwrap_or(TRIM_AFTER_NS);
        self.inspect_after_ns = match inspect() {
            Stall::No => None,
            Stall::Perhaps => Some((2 * after_ns).min(INSPECT_AFTER_MAX_NS)),
        };
    }
}

/// What somebody who looks at an idle process has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It waits for something from outside, or its deadlock has been reported: no use in looking again before a thread
    /// has run.
    No,
    /// All green threads wait for other threads, but a kernel thread may be about to wake one: look again later.
    Perhaps,
}

/// Looks at an idle process.
pub type StallInspector = fn() -> Stall;

static INSPECTOR: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Sets what is called, on the monitor's kernel thread, when a runtime has been idle for some time.
pub fn set_stall_inspector(inspector: StallInspector) {
    // ORDER: Release: pairs with the Acquire in `inspect`.
    INSPECTOR.store(inspector as *mut (), Ordering::Release);
}

fn inspect() -> Stall {
    // ORDER: Acquire: pairs with `set_stall_inspector`.
    let inspector = INSPECTOR.load(Ordering::Acquire);
    if inspector.is_null() {
        return Stall::No;
    }
    // SAFETY: only inspectors are stored.
    unsafe { std::mem::transmute::<*mut (), StallInspector>(inspector)() }
}

/// Waits for the next look.
fn nap(shared: &Shared) {
    // ORDER: Relaxed: the value while which the monitor waits.
    let word = shared.monitor_word.load(Ordering::Relaxed);
    futex_wait(&shared.monitor_word, word, now_ns() + LOOK_NS);
}

/// Nothing to watch: all processors are idle, or run the same thread since long and nothing waits for them.
fn is_quiet(shared: &Shared, seen: &[Seen]) -> bool {
    let now = now_ns();
    // Even beside idle processors: their carriers sleep, and somebody must wake one.
    if shared.global_len() != 0 || shared.is_unpolled() {
        return false;
    }
    shared.processors.iter().zip(seen).all(|(p, seen)| {
        let still_ns = now.saturating_sub(seen.since_ns);
        if p.tick() != seen.tick {
            return false;
        }
        let waiting = p.is_waited_for();
        if p.is_running() {
            still_ns >= QUIET_AFTER_NS && !waiting
        } else {
            still_ns >= IDLE_AFTER_NS && !(waiting && p.owner().is_null())
        }
    })
}

/// Sleeps until there is something to watch, or the deadline. True: roused.
fn sleep_until_roused(shared: &Shared, seen: &[Seen], deadline_ns: u64) -> bool {
    // ORDER: SeqCst: before the last look (see `rouse_monitor`).
    shared.monitor_word.store(0, Ordering::SeqCst);
    // ORDER: SeqCst: its partner is the fence in `see_to_polling`.
    crate::prim::fence(Ordering::SeqCst);
    let mut in_time = true;
    // ORDER: SeqCst: the last look is at what the rousers wrote before they read the word.
    while in_time
        && !shared.is_stopped()
        && is_quiet(shared, seen)
        && shared.monitor_word.load(Ordering::SeqCst) == 0
    {
        futex_wait(&shared.monitor_word, 0, deadline_ns);
        in_time = deadline_ns == NEVER || now_ns() < deadline_ns;
    }
    // ORDER: SeqCst: from here on nobody needs to rouse.
    shared.monitor_word.store(1, Ordering::SeqCst);
    in_time
}

fn look(shared: &Shared, seen: &mut [Seen]) {
    let now = now_ns();
    look_at_reactor(shared, now);
    if shared.idle.count() > 0 && shared.has_visible_work() {
        sched::wake_for_work(shared);
    }
    for (p, seen) in shared.processors.iter().zip(seen) {
        let tick = p.tick();
        let activity = activity(p);
        if tick != seen.tick {
            *seen = Seen {
                tick,
                activity,
                since_ns: now,
            };
        }
        if !p.is_running() || seen.since_ns == now {
            if !p.is_running() && p.owner().is_null() && work_waits(shared, p, now) {
                sched::poke(shared, p);
            }
            continue;
        }
        let was_active = activity != seen.activity;
        seen.activity = activity;
        if !work_waits(shared, p, now) {
            continue;
        }
        if shared.idle.count() > 0 && !p.has_mail() {
            sched::wake_for_work(shared);
        } else if now.saturating_sub(seen.since_ns) < quantum_ns(shared) {
            continue;
        } else if was_active {
            p.set_overdue();
        } else if shared.can_start_carrier() && retake(p, tick) {
            shared.handoffs.add_shared(1);
            sched::start_carrier(shared, p, false);
            seen.since_ns = now;
        }
    }
}

/// Polls if nobody has done so lately, and lets an idle carrier do it from now on if there is one.
fn look_at_reactor(shared: &Shared, now: u64) {
    if !is_unpolled(shared, now) || !shared.reactor.try_claim() {
        return;
    }
    let mut ready = List::new();
    shared.reactor.poll(Until::Now, &mut ready);
    shared.reactor.release();
    sched::queue_ready(shared, None, ready);
    if shared.idle.count() > 0 {
        // It finds nothing to run and goes to sleep in the reactor.
        sched::wake_for_work(shared);
    }
}

/// The reactor is open and nobody looks into it.
fn is_unpolled(shared: &Shared, now: u64) -> bool {
    shared.reactor.is_open() && !shared.reactor.is_polled(now.saturating_sub(LOOK_NS))
}

/// A number that changes when the thread that runs on `p` comes to a place where it would yield if it were asked to.
fn activity(p: &Proc) -> u64 {
    // SAFETY: carrier records live as long as the runtime.
    let owner = unsafe { p.owner().as_ref() };
    let looks = owner.map_or(0, Carrier::looks);
    p.activity().wrapping_add(u64::from(looks))
}

fn quantum_ns(shared: &Shared) -> u64 {
    let crowding = shared.adrift() / (4 * shared.processors.len());
    QUANTUM_NS
        .saturating_mul(1 + crowding as u64)
        .min(QUANTUM_MAX_NS)
}

/// Does anything wait for this processor, or for any?
fn work_waits(shared: &Shared, p: &Proc, now: u64) -> bool {
    !p.queue.is_empty() || p.has_mail() || shared.global_len() != 0 || p.timers.earliest_ns() <= now
}

/// Takes the processor from its carrier, if the carrier still runs the thread that it ran at `tick`.
fn retake(p: &Proc, tick: u32) -> bool {
    let owner = p.owner();
    // SAFETY: carrier records live as long as the runtime.
    let Some(carrier) = (unsafe { owner.as_ref() }) else {
        return false;
    };
    // The carrier is outside the runtime and cannot get in while it is asked, so its cell may be read. It may hold
    // another processor by now: `owner` alone does not say which one.
    let same = || std::ptr::eq(carrier.processor.get(), p) && p.is_running() && p.tick() == tick;
    let taken = carrier.handoff.retake(same);
    if taken {
        p.set_owner(std::ptr::null_mut());
        // ORDER: Relaxed: a number that was stored when the carrier started.
        sys::set_time_slice(carrier.tid.load(Ordering::Relaxed), 0);
    }
    taken
}
