//! Waiting in the lot for something that has owners, who may be waiting themselves.

use std::ptr;

use brigade_event::LockTag;

use crate::edges::{Target, check, pass_search};
use crate::lot::{Parked, Request, park, park_with_alarm};
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
        if is_endless { refusal(request) } else { None }
    });
    settle(&parked);
    if is_endless {
        request.current.entry().end_wait();
    }
    parked
}

/// As [`park_owned`], without a deadline but with an alarm: it rings at `alarm_ns`, then `on_alarm` runs on the waiting
/// thread and says when it rings again (`u64::MAX`: never). `on_alarm` neither waits nor gives up anything that others
/// wait for: to them the thread waits all the time, and it keeps its place among the waiters.
#[inline]
pub fn park_owned_with_alarm(
    request: &Request<'_>,
    alarm_ns: u64,
    on_alarm: impl FnMut() -> u64,
    is_due: impl FnOnce() -> bool,
) -> Parked<String> {
    // As in `park_owned`.
    request.current.begin_wait(request.wait);
    let parked = park_with_alarm(request, alarm_ns, on_alarm, is_due, || refusal(request));
    settle(&parked);
    request.current.entry().end_wait();
    parked
}

/// Why the thread, which stands in the lot, must not wait; none if it may.
#[inline]
fn refusal(request: &Request<'_>) -> Option<String> {
    // SAFETY: the caller waits for the lock that the address is the tag of, so it is alive.
    let tag = unsafe { &*ptr::with_exposed_provenance::<LockTag>(request.address) };
    let target = Target::Lock(tag, request.mode);
    check(request.current.task(), request.wait, target)
}

#[inline]
fn settle(parked: &Parked<String>) {
    if let Parked::Refused(_) = parked {
        pass_search();
    }
}

/// Whether a thread that was woken is alive and will run. In the child of a fork it may have been another one's.
#[inline]
#[must_use]
pub fn are_woken_alive() -> bool {
    brigade_context::fork_generation() == 0
}
