//! The primitives on the machine.

use brigade_event::Mode;
use brigade_runtime::park::{Current, Wait, lot};

pub(crate) use brigade_runtime::park::RawLock as Lock;
pub(crate) use brigade_runtime::park::lot::{Parked, are_woken_alive, unpark_one};
pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// How often a thread that finds a lock taken looks again before it waits.
pub(crate) const SPINS: u32 = 6;

/// A thread that is going to wait.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// The current thread.
    pub(crate) current: &'a Current,
    /// What to tell those who ask.
    pub(crate) wait: &'a Wait,
    /// Until when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) deadline_ns: u64,
}

impl Waiting<'_> {
    fn request(&self, address: usize, mode: Mode, front: bool) -> lot::Request<'_> {
        lot::Request {
            current: self.current,
            address,
            mode,
            wait: self.wait,
            deadline_ns: self.deadline_ns,
            front,
        }
    }

    /// Waits at the address of a lock; see [`lot::park_owned`].
    #[inline]
    pub(crate) fn park_owned(
        &self,
        address: usize,
        mode: Mode,
        front: bool,
        is_due: impl FnOnce() -> bool,
    ) -> Parked<String> {
        lot::park_owned(&self.request(address, mode, front), is_due)
    }
}
