//! What Brigade knows about its threads and locks, shown: as text for people, as JSON for programs.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. It reads what the
//! runtime and the locks have recorded, and changes nothing but who is told of a deadlock.
//!
//! * [`Threads`]: a snapshot of all threads, as a table or as JSON, both written row by row.
//! * [`on_deadlock`]: who is told of a deadlock, and what is done about it.
//! * [`ToJson`]: JSON of snapshots and of the reports about locks. The texts of reports are their `Display`, in
//!   `brigade-event`.

mod deadlock;
mod json;
mod stall;
mod threads;
mod writer;

pub use brigade_event::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, DeadlockedThread,
    HeldLockReport, LockClass, LockDescription, LockFacts, LockKind, Mode, OrderEdge, OrderKind,
    OrderReport, Taking, ThreadInfo, ThreadLabel, ThreadName, ThreadState, WaitReason, WaitReport,
};
pub use deadlock::{abandoned_searches, on_deadlock};
pub use json::{SCHEMA_VERSION, ToJson};
pub use stall::install;
pub use threads::{SiteSummary, Threads};
