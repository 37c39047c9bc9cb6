//! What Brigade knows about its threads and locks, shown: as text for people, as JSON for programs.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. It reads what the
//! runtime and the locks have recorded, and changes nothing.
//!
//! * [`Threads`]: a snapshot of all threads, as a table or as JSON, both written row by row.
//! * [`ToJson`]: JSON of snapshots and of the reports about locks. The texts of reports are their `Display`, in
//!   `brigade-event`.

mod json;
mod threads;

pub use brigade_event::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, DeadlockedThread,
    HeldLockReport, LockClass, LockDescription, LockFacts, LockKind, Mode, OrderEdge, OrderKind,
    OrderReport, Taking, ThreadInfo, ThreadLabel, ThreadName, ThreadState, WaitReason, WaitReport,
};
pub use json::{SCHEMA_VERSION, ToJson};
pub use threads::{SiteSummary, Threads};
