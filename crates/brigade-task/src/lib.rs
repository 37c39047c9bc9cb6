//! Futures on Brigade's processors.
//!
//! This crate is a part of `brigade`, which is the only stable interface: there it is `brigade::task`.
//!
//! A program may mix blocking green threads and tasks freely: [`spawn`] starts a task, [`block_on`] waits for a future on
//! any thread, and a task may block like a thread. There is one scheduler below both.

// The model checker sees only the protocols; the rest is unused there.
#![cfg_attr(loom, allow(dead_code, unreachable_pub))]

mod prim;

mod gate;
mod parker;
mod waiters;

#[cfg(not(loom))]
mod block_on;
#[cfg(not(loom))]
mod driver;
#[cfg(not(loom))]
mod executor;
#[cfg(all(not(loom), feature = "hyper"))]
pub mod hyper;
#[cfg(not(loom))]
mod io;
#[cfg(not(loom))]
mod join;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
mod time;
#[cfg(all(not(loom), feature = "tokio"))]
pub mod tokio;
#[cfg(not(loom))]
mod yield_now;

#[cfg(not(loom))]
pub use block_on::block_on;
#[cfg(not(loom))]
pub use executor::{live, spawn, spawn_on, try_spawn};
#[cfg(not(loom))]
pub use io::{Async, Incoming, IncomingUnix};
#[cfg(not(loom))]
pub use join::{JoinError, JoinHandle};
#[cfg(not(loom))]
pub use local::spawn_local;
#[cfg(not(loom))]
pub use time::{Interval, Sleep, TimedOut, interval, interval_at, sleep, sleep_until, timeout};
#[cfg(not(loom))]
pub use yield_now::{YieldNow, yield_now};

#[cfg(all(loom, test))]
mod models;
