//! The lot on the machine: the runtime's.

use brigade_event::Mode;
use brigade_runtime::park::{Current, NEVER, Wait, lot};

pub(crate) use brigade_runtime::park::lot::{
    Choice, Parked, Turn, are_woken_alive, unpark_all, unpark_each, unpark_one,
};

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

    /// Waits at the address of a lock, in turn, without a deadline: what else would be that is when the alarm rings
    /// first. See [`lot::park_owned_with_alarm`].
    #[inline]
    pub(crate) fn park_owned_with_alarm(
        &self,
        address: usize,
        mode: Mode,
        on_alarm: impl FnMut() -> u64,
        is_due: impl FnOnce() -> bool,
    ) -> Parked<String> {
        let request = lot::Request {
            deadline_ns: NEVER,
            ..self.request(address, mode, false)
        };
        lot::park_owned_with_alarm(&request, self.deadline_ns, on_alarm, is_due)
    }

    /// Waits at any address; see [`lot::park`].
    #[inline]
    pub(crate) fn park<R>(
        &self,
        address: usize,
        mode: Mode,
        is_due: impl FnOnce() -> bool,
        queued: impl FnOnce() -> Option<R>,
    ) -> Parked<R> {
        lot::park(&self.request(address, mode, false), is_due, queued)
    }
}
