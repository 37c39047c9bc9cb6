//! What the runtime says about itself: why a thread waits, and how often things happened.
//!
//! This crate is written by the layers below the public API and read by the layers above it; it knows
//! neither tasks nor processors.
//!
//! * [`WaitReason`]: one unique value per place that can block. A reason is never re-used for a second
//!   place: a dump that says "join" must mean exactly one thing.
//! * [`Counters`]: the counters of one processor. They have one writer at a time (the carrier that holds the
//!   processor), so an increment is a load and a store, not a read-modify-write; readers may be a few
//!   events behind.
//! * [`LockTag`]: what a lock says about itself, for reports about who waits for whom.
//! * [`DeadlockReport`], [`OrderReport`]: what is said about locks that went wrong, as plain data with a text.
//! * [`ThreadInfo`]: a thread as a snapshot shows it.
//! * [`outside`]: where a reader outside the process finds the threads.
//! * [`Metrics`]: the sum over the processors of a runtime, as plain numbers.

mod counters;
mod deadlock;
mod lock;
mod order_report;
pub mod outside;
mod reason;
mod report;
mod thread;

pub use counters::{Counter, Counters, Metrics};
pub use deadlock::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, DeadlockedThread,
    HeldLockReport, WaitReport,
};
pub use lock::{LockKind, LockTag, Mode};
pub use order_report::{LockClass, OrderEdge, OrderKind, OrderReport, Taking};
pub use reason::WaitReason;
pub use report::{LockDescription, LockFacts, ThreadLabel, ThreadName};
pub use thread::{ThreadInfo, ThreadState};
