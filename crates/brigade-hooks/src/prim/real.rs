//! The primitives on the machine.

pub(crate) use brigade_runtime::raw::RawLock as Lock;
pub(crate) use core::sync::atomic::{AtomicU32, Ordering, fence};

/// Marks a place where the total order of sequentially consistent accesses is relied upon. Nothing to do here; the
/// model checker knows no such order and needs a fence.
#[inline(always)]
pub(crate) fn total_order() {}
