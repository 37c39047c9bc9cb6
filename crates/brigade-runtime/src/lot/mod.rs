//! The lot: threads of any kind wait for addresses in it, and are found there by those who wake them.
//!
//! A lock is a word and an address. The threads that wait for it are in the lot, not in the lock: a lock costs a few
//! bytes, and who looks for deadlocks can ask who waits for an address without touching the lock.
//!
//! The protocol of one bucket is in [`bucket.rs`](bucket), the table of buckets in [`table.rs`](table).

mod bucket;
#[cfg(not(loom))]
mod table;

pub(crate) use bucket::Sleep;
#[cfg(not(loom))]
pub use bucket::{Choice, Found, Parked, Turn};
#[cfg(not(loom))]
pub(crate) use table::{LotWaiter, for_each_waiter, park_with_alarm};
#[cfg(not(loom))]
pub use table::{Request, park, unpark_all, unpark_each, unpark_one};

#[cfg(all(loom, test))]
pub(crate) use bucket::{Bucket, Choice, Parked, Queue, Ticket};
