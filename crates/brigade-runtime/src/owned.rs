//! Waiting in the lot for something that has owners, who may be waiting themselves.

use std::ptr;

use brigade_event::LockTag;

use crate::edges::{Target, check, pass_search};
use crate::lot::{Parked, Request, park};
use crate::prim::NEVER;

/// As [`park`], for a lock whose tag is at the address: a wait without a deadline that would close a circle of owners
/// that wait for each other may be refused, with the reason.
#[inline]
pub fn park_owned(request: &Request<'_>, is_due: impl FnOnce() -> bool) -> Parked<String> {
    let is_endless = request.deadline_ns == NEVER;
    if is_endless {
        // Before the atomic operation by which the thread enters the lot, which is the fence that `check` wants between
        // this record and its looks at others.
        request.current.begin_wait(request.wait);
    }
    let parked = park(request, is_due, || {
        if !is_endless {
            return None;
        }
        // SAFETY: the caller waits for the lock that the address is the tag of, so it is alive.
        let tag = unsafe { &*ptr::with_exposed_provenance::<LockTag>(request.address) };
        let target = Target::Lock(tag, request.mode);
        check(request.current.task(), request.wait, target)
    });
    if let Parked::Refused(_) = parked {
        pass_search();
    }
    if is_endless {
        request.current.entry().end_wait();
    }
    parked
}

/// Whether a thread that was woken is alive and will run. In the child of a fork it may have been another one's.
#[inline]
#[must_use]
pub fn are_woken_alive() -> bool {
    brigade_context::fork_generation() == 0
}
