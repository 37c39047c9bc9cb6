//! Which kernel thread runs next.
//!
//! A thread is asleep, queued, or current on one core. The engine tells the policy each change; the policy
//! owns the queues and the virtual times, and knows nothing of tasks, events or clocks.
//!
//! # Invariants
//!
//! 1. A thread is in at most one place: one queue or one core.
//! 2. [`Policy::pick`] finds a thread for an idle core as long as any thread is queued, on whichever core.

mod cfs;
mod eevdf;
mod fair;
mod fifo;
mod queue;
mod round_robin;

pub use fair::weight_of;

use crate::scheduler::Kernel;
use crate::task::Machine;

/// A kernel thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadId(pub(crate) usize);

/// One policy of the kernel. Cores are counted from 0.
pub(crate) trait Policy {
    /// Makes a thread, asleep. Threads are numbered from 0 in the order they are made.
    fn add(&mut self, nice: i8);

    /// Queues a thread that was asleep, and returns the core whose current thread it may preempt, if the
    /// policy has preemption of that kind.
    fn wake(&mut self, thread: ThreadId) -> Option<usize>;

    /// Should `woken`, queued on `core`, run there instead of the current thread?
    fn preempts(&mut self, core: usize, woken: ThreadId) -> bool;

    /// Takes the thread that is to run on the idle `core` out of the queues.
    fn pick(&mut self, core: usize) -> Option<ThreadId>;

    /// The current thread of `core` has run for so long, after the core has switched to it for so long.
    fn charge(&mut self, core: usize, switching_ns: u64, ran_ns: u64);

    /// When [`expired`](Self::expired) is to be asked for `core`, which has a current thread, if nothing else
    /// happens before; in nanoseconds of the simulation, `now_ns` or later. The core has `switching_ns` of a
    /// switch still before it.
    fn next_check(&self, core: usize, now_ns: u64, switching_ns: u64) -> Option<u64>;

    /// Has the current thread of `core` had its time, so that another is to be picked?
    fn expired(&mut self, core: usize) -> bool;

    /// The current thread of `core` is queued again.
    fn put_back(&mut self, core: usize);

    /// The current thread of `core` falls asleep.
    fn sleep(&mut self, core: usize);

    /// The virtual time of a thread in nanoseconds, if the policy has such a thing.
    fn vruntime_ns(&self, _thread: ThreadId) -> Option<f64> {
        None
    }

    /// The largest lag seen at a choice, in nanoseconds of CPU time, if the policy has such a thing.
    fn largest_lag_ns(&self) -> Option<f64> {
        None
    }
}

/// The policy of that name.
pub(crate) fn of(kernel: Kernel, machine: &Machine) -> Box<dyn Policy> {
    match kernel {
        Kernel::Fifo => Box::new(fifo::Fifo::new(machine)),
        Kernel::RoundRobin => Box::new(round_robin::RoundRobin::new(machine)),
        Kernel::Cfs => Box::new(cfs::Cfs::new(machine)),
        Kernel::Eevdf => Box::new(eevdf::Eevdf::new(machine)),
    }
}

/// The first tick after `now_ns`, or exactly `after_ns` from now where there are no ticks.
fn look_at(now_ns: u64, tick_ns: u64, after_ns: u64) -> u64 {
    match now_ns.checked_div(tick_ns) {
        Some(ticks) => (ticks + 1) * tick_ns,
        None => now_ns + after_ns,
    }
}
