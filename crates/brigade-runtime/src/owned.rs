//! Waiting in the lot for something that has owners, who may be waiting themselves.

use std::ops::ControlFlow;

use crate::lot::{Parked, Request, park};
use crate::prim::NEVER;
use crate::roster::Entry;

/// As [`park`], for an address that has owners: a wait without a deadline that would close a circle of owners that wait
/// for each other may be refused, with the reason.
#[inline]
pub fn park_owned(request: &Request<'_>, is_due: impl FnOnce() -> bool) -> Parked<String> {
    park(request, is_due, || {
        if request.deadline_ns != NEVER {
            return None;
        }
        match check_block(request.current.entry(), request.address) {
            ControlFlow::Continue(()) => None,
            ControlFlow::Break(reason) => Some(reason),
        }
    })
}

/// The search for deadlocks: the thread of `_entry`, which is in the lot, is going to wait for `_address`.
fn check_block(_entry: &'static Entry, _address: usize) -> ControlFlow<String> {
    ControlFlow::Continue(())
}

/// Whether a thread that was woken is alive and will run. In the child of a fork it may have been another one's.
#[inline]
#[must_use]
pub fn are_woken_alive() -> bool {
    brigade_context::fork_generation() == 0
}
