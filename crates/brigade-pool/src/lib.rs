//! A pool of kernel threads, and fork-join on green threads whose waiters park.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface.
//!
//! | module | holds |
//! |---|---|
//! | `shared` | the queue of a pool under its lock, who waits where, what its threads do |
//! | `queue` | the queue itself |
//! | `job`, `handle` | a closure, then its result, and who waits for that |
//! | `scope`, `map` | jobs that borrow |
//! | `pool`, `builder`, `stats`, `error` | the public side |
//! | `fork_join` | `join` and scopes of green threads |

mod builder;
mod error;
mod fork_join;
mod handle;
mod job;
mod map;
mod pool;
mod queue;
mod scope;
mod shared;
mod stats;

pub use builder::{Builder, WhenFull};
pub use error::{JobError, Rejected};
pub use fork_join::{ForkScope, fork_scope, join, par_map};
pub use handle::JobHandle;
pub use pool::ThreadPool;
pub use scope::{PoolScope, ScopedJobHandle};
pub use stats::Stats;
