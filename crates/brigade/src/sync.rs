//! Locks and channels with std's names, for green threads and kernel threads in any mix.

pub use brigade_sync::channel;
pub use brigade_sync::order;
pub use brigade_sync::{
    Barrier, BarrierWaitResult, CachePadded, Condvar, Event, InterpreterGuard, InterpreterLock,
    InterpreterLockStats, LazyLock, LockResult, MappedMutexGuard, Mutex, MutexGuard, Once,
    OnceLock, OnceState, OwnedSemaphorePermit, PoisonError, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Semaphore, SemaphorePermit, TryLockError, TryLockResult, WaitGroup,
    WaitTimeoutResult,
};
