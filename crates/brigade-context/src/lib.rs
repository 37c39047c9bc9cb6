//! Stacks, thread-local storage blocks and the context switch of Brigade's green threads.
//!
//! A green thread has its own stack and its own TLS block, both in one [`Slot`]. [`switch`] goes from one
//! to another and takes the thread pointer along, so every thread-local, `errno` and
//! `std::thread::current()` belong to the green thread. How the block is learnt is told in `tls`.
//!
//! Before anything else, ask [`support`]: where it refuses, nothing here may be used.
//!
//! The order of modules: `prim` < `arch` < `tls` < `stack` < `thread` < the rest. This crate knows no
//! scheduler.

// Where `arch` has no switch, `support` refuses at once and much of the rest has no caller.
#![cfg_attr(
    not(all(
        target_arch = "x86_64",
        target_os = "linux",
        target_env = "gnu",
        not(target_feature = "crt-static"),
        not(miri)
    )),
    allow(dead_code)
)]

mod alloc;
mod arch;
mod blocking;
mod carrier;
#[cfg(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri)
))]
mod deny;
mod fork;
mod keys;
mod overflow;
pub mod prim;
mod reaper;
mod setxid;
mod stack;
mod support;
mod thread;
mod tls;
mod trial;

pub use alloc::CarrierAlloc;
pub use arch::{Context, switch};
pub use blocking::{RunBlocking, install_blocking};
pub use carrier::{CarrierBase, carrier, forget_carrier_after_fork, on_carrier, on_green};
pub use fork::{fork_generation, on_fork, on_fork_once};
pub use overflow::install_overflow_handler;
pub use reaper::reap;
pub use stack::{
    DEFAULT_STACK_SIZE, MAX_STACK_SIZE, MIN_STACK_SIZE, PoolStats, SizeClass, Slot, WARM_SLOTS,
    acquire, release, reserve, stats, trim, unreserve,
};
pub use support::{Support, Unsupported, UnsupportedKind, support};
pub use thread::{Entry, prepare, retire, run_destructors};
