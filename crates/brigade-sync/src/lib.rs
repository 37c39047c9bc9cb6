//! Locks, channels and select of Brigade: they park green threads and block kernel threads, in any mix.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. Of the runtime it
//! sees `brigade_runtime::park` alone.

// The model checker sees only the protocols; the rest of what they offer is unused there.
#![cfg_attr(loom, allow(dead_code))]

mod prim;
mod raw;

#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
pub mod order;
#[cfg(not(loom))]
mod poison;

#[cfg(not(loom))]
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
#[cfg(not(loom))]
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

#[cfg(all(loom, test))]
mod models;
