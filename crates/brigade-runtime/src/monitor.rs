//! The monitor: one kernel thread without a processor that takes processors from stuck carriers.
//!
//! # What it does
//!
//! While some processor runs, it looks every [`LOOK_NS`]. A processor whose tick has not moved for the quantum
//! and for which work waits is taken from its carrier (`handoff.rs`) and given to another. The stuck green
//! thread goes on undisturbed on its kernel thread; the kernel's scheduler shares the cores.
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
//! When no processor runs it gives pooled stacks back, sleeps until a processor starts ([`Shared::rouse_monitor`]),
//! and makes no wake-ups.
//!
//! # Rejected
//!
//! Looking every 20 µs at first (Go): Go needs it to retake processors from system calls; here the quantum is
//! the shortest time that matters. Signals to the stuck thread: see `handoff.rs`.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;

use brigade_context::prim::sys;

use crate::launch::{be_prompt, end_kernel_thread, spawn_kernel_thread};
use crate::prim::{NEVER, Ordering, futex_wait, now_ns};
use crate::sched::{self, Proc};
use crate::shared::Shared;

/// How often the monitor looks while a processor runs.
const LOOK_NS: u64 = 500_000;
/// How long a thread may hold a processor that others wait for.
const QUANTUM_NS: u64 = 1_000_000;
/// The quantum with many carriers adrift.
const QUANTUM_MAX_NS: u64 = 10_000_000;

/// What the monitor remembers of a processor.
#[derive(Clone, Copy)]
struct Seen {
    tick: u32,
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
    // SAFETY: the thread holds the reference taken in `start`.
    let shared = unsafe { &*home };
    be_prompt();
    let mut seen = vec![
        Seen {
            tick: 0,
            since_ns: 0
        };
        shared.processors.len()
    ];
    while !shared.is_stopped() {
        if shared.processors.iter().any(Proc::is_running) {
            look(shared, &mut seen);
            nap(shared);
        } else {
            sleep_until_roused(shared);
        }
    }
    end_kernel_thread(home);
    std::ptr::null_mut()
}

/// Waits for the next look.
fn nap(shared: &Shared) {
    // ORDER: Relaxed: the value while which the monitor waits.
    let word = shared.monitor_word.load(Ordering::Relaxed);
    futex_wait(&shared.monitor_word, word, now_ns() + LOOK_NS);
}

fn sleep_until_roused(shared: &Shared) {
    brigade_context::trim();
    // ORDER: SeqCst: before the last look at the processors (see `rouse_monitor`).
    shared.monitor_word.store(0, Ordering::SeqCst);
    while !shared.is_stopped() && !shared.processors.iter().any(Proc::is_running) {
        futex_wait(&shared.monitor_word, 0, NEVER);
        // ORDER: SeqCst: as above.
        if shared.monitor_word.load(Ordering::SeqCst) != 0 {
            break;
        }
    }
    // ORDER: SeqCst: as above.
    shared.monitor_word.store(1, Ordering::SeqCst);
}

fn look(shared: &Shared, seen: &mut [Seen]) {
    let now = now_ns();
    for (p, seen) in shared.processors.iter().zip(seen) {
        let tick = p.tick();
        if !p.is_running() || tick != seen.tick {
            *seen = Seen {
                tick,
                since_ns: now,
            };
            continue;
        }
        if now.saturating_sub(seen.since_ns) < quantum_ns(shared) || !work_waits(shared, p, now) {
            continue;
        }
        if shared.idle.count() > 0 && !p.has_mail() {
            sched::wake_for_work(shared);
        } else if retake(p, tick) {
            shared.handoffs.add_shared(1);
            sched::start_carrier(shared, p, false);
            seen.since_ns = now;
        }
    }
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
    let same = || p.owner() == owner && p.is_running() && p.tick() == tick;
    let taken = carrier.handoff.retake(same);
    if taken {
        // ORDER: Relaxed: a number that was stored when the carrier started.
        sys::set_time_slice(carrier.tid.load(Ordering::Relaxed), 0);
    }
    taken
}
