//! Locks, channels and select of Brigade: they park green threads and block kernel threads, in any mix.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. Of the runtime it
//! sees `brigade_runtime::park` alone.

// The model checker sees only the protocols; the rest of what they offer is unused there.
#![cfg_attr(loom, allow(dead_code))]

pub mod channel;
mod prim;
mod raw;

mod members;
mod once_word;
mod permits;
mod signal;
mod wait_queue;

#[cfg(not(loom))]
mod barrier;
#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
mod condvar;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod interpreter;
#[cfg(not(loom))]
mod lazy_lock;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod once;
#[cfg(not(loom))]
mod once_lock;
#[cfg(not(loom))]
pub mod order;
#[cfg(not(loom))]
mod poison;
#[cfg(not(loom))]
mod rwlock;
#[cfg(not(loom))]
mod semaphore;
#[cfg(not(loom))]
mod wait_group;

#[cfg(not(loom))]
pub use barrier::{Barrier, BarrierWaitResult};
#[cfg(not(loom))]
pub use condvar::{Condvar, WaitTimeoutResult};
/// Keeps what is inside on cache lines of its own, so that writing beside it does not slow it down.
#[cfg(not(loom))]
pub use crossbeam_utils::CachePadded;
#[cfg(not(loom))]
pub use event::Event;
#[cfg(not(loom))]
pub use interpreter::{InterpreterGuard, InterpreterLock, InterpreterLockStats};
#[cfg(not(loom))]
pub use lazy_lock::LazyLock;
#[cfg(not(loom))]
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
#[cfg(not(loom))]
pub use once::{Once, OnceState};
#[cfg(not(loom))]
pub use once_lock::OnceLock;
#[cfg(not(loom))]
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(loom))]
pub use semaphore::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
#[cfg(not(loom))]
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
#[cfg(not(loom))]
pub use wait_group::WaitGroup;

#[cfg(all(loom, test))]
mod models;
