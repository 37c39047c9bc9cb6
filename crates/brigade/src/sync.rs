//! Locks and channels with std's names, for green threads and kernel threads in any mix.

pub use brigade_sync::order;
pub use brigade_sync::{
    LockResult, MappedMutexGuard, Mutex, MutexGuard, PoisonError, TryLockError, TryLockResult,
};
