//! The primitives on the machine.

pub(crate) use brigade_runtime::park::RawLock as Lock;
pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How often a thread that finds a lock taken looks again before it waits.
pub(crate) const SPINS: u32 = 3;
