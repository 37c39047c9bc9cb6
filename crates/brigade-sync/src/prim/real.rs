//! The primitives on the machine.

pub(crate) use brigade_runtime::park::RawLock as Lock;
pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
