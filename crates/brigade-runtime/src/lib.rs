//! The M:N scheduler of Brigade: threads, processors, carriers, the monitor.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. What is
//! public here is what the façade uses. `park` and `unpark` of the module `current` are the only way in which anything
//! blocks; [`RuntimeConfig`], [`RuntimeHandle`] and [`Join`] start and end things.
//!
//! The modules have an order, which a test enforces; each may use only those before it:
//!
//! `prim < queue < readiness < park_word < in_time < handoff < idle < roster < task < outside < timer < alarm < fd < reactor < processor < carrier < shared < launch < wake < sched < monitor
//! < current < green < lot < cancel < edges < owned < io < thread < spawn < snapshot < runtime < watch`

// The model checker sees only the protocols; the rest of what they offer is unused there.
#![cfg_attr(loom, allow(dead_code, unreachable_pub))]

mod prim;

pub mod cancel;
mod handoff;
mod idle;
mod lot;
mod park_word;
mod queue;
mod readiness;

#[cfg(not(loom))]
mod alarm;
#[cfg(not(loom))]
mod carrier;
#[cfg(not(loom))]
mod current;
#[cfg(not(loom))]
mod edges;
#[cfg(not(loom))]
mod fd;
#[cfg(not(loom))]
mod green;
#[cfg(not(loom))]
mod in_time;
#[cfg(not(loom))]
mod io;
#[cfg(not(loom))]
mod launch;
#[cfg(not(loom))]
mod monitor;
#[cfg(not(loom))]
mod outside;
#[cfg(not(loom))]
mod owned;
#[cfg(not(loom))]
mod processor;
#[cfg(not(loom))]
mod reactor;
#[cfg(not(loom))]
mod roster;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod snapshot;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod wake;
#[cfg(not(loom))]
mod watch;

#[cfg(not(loom))]
pub use brigade_event::{Metrics, WaitReason};
#[cfg(not(loom))]
pub use runtime::{
    DEFAULT_MAX_CARRIERS, MAX_WORKERS, RuntimeConfig, RuntimeHandle, WeakRuntime,
    current_or_default,
};
#[cfg(not(loom))]
pub use shared::{Extension, Model};
#[cfg(not(loom))]
pub use spawn::{
    Join, ScopeCount, SpawnOptions, ThreadResult, park_for_token, sleep_until, spawn_here,
    spawn_here_borrowing,
};
#[cfg(not(loom))]
pub use thread::{Thread, ThreadId, current};

/// The clock of the deadlines in this crate: nanoseconds of `CLOCK_MONOTONIC`.
#[cfg(not(loom))]
pub mod clock {
    pub use crate::prim::{NEVER, deadline_after, deadline_at, now_ns};
}

/// How everything above the runtime blocks.
#[cfg(not(loom))]
pub mod park {
    pub use crate::current::{blocking, is_turn_over, label, me, processor_hint, yield_now};
    pub use crate::green::{
        Current, Green, Runnable, Runnables, Sleeper, checkpoint_rarely, with_current,
    };
    pub use crate::in_time::is_in_time;
    pub use crate::prim::{NEVER, deadline_after, deadline_at, now_ns};
    pub use crate::roster::{Entry, HeldLock, Wait, WaitRecord};
    pub use crate::snapshot::note_foreign_wakers;
    pub use brigade_context::on_fork_once;
    pub use brigade_context::prim::{RawGuard, RawLock};

    /// Waiting for addresses.
    pub mod lot {
        pub use crate::lot::{
            Choice, Found, Parked, Request, Turn, park, unpark_all, unpark_each, unpark_one,
        };
        pub use crate::owned::{are_woken_alive, park_owned, park_owned_with_alarm};
    }
}

/// Who waits for whom.
#[cfg(not(loom))]
pub mod waits {
    pub use crate::edges::report_deadlock;
    pub use crate::edges::{DeadlockHandler, abandoned, set_deadlock_handler};
    pub use crate::launch::kernel_threads;
    pub use crate::monitor::{Stall, StallInspector, set_stall_inspector};
    pub use crate::snapshot::{Picture, picture};
    pub use crate::snapshot::{describe_stuck_lock, threads};
}

/// Waiting for descriptors, and what is known of each.
#[cfg(not(loom))]
pub mod descriptors {
    pub use crate::fd::{Facts, Fd, Interest, Seen, fact};
    pub use crate::io::{Wait, Wanted, closed, closing, lent, opened, replacing, shared, shut};
}

/// Waiting for descriptors without a thread: for futures.
#[cfg(not(loom))]
pub mod alarms {
    pub use crate::alarm::Alarms;
    pub use crate::watch::{
        Armed, Home, Watch, enroll, is_last, is_ready, make_daemon, set_nonblocking,
        spawn_at_place, with_place,
    };
}

/// What the layers above need of the one below: system calls and locks that go through no libc symbol, and forks.
#[cfg(not(loom))]
pub mod raw {
    pub use brigade_context::prim::{RawGuard, RawLock, sys};
    pub use brigade_context::{fork_generation, on_fork_once};
}

#[cfg(all(loom, test))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests;
