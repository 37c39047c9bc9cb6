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
    if request.deadline_ns != NEVER {
        return park(request, is_due, || None);
    }
    let parked = park(request, due_and_said(request, is_due), || refusal(request));
    settle(request, &parked);
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
    let is_due = due_and_said(request, is_due);
    let parked = park_with_alarm(request, alarm_ns, on_alarm, is_due, || refusal(request));
    settle(request, &parked);
    parked
}

/// As `is_due`, and says what the thread waits for. That is done under the lock of the lot under which the thread takes
/// its place: who reads the record finds the thread there, and giving that lock back is the atomic operation that `check`
/// wants between the record and its looks at others.
#[inline(always)]
fn due_and_said(request: &Request<'_>, is_due: impl FnOnce() -> bool) -> impl FnOnce() -> bool {
    || {
        let due = is_due();
        if due {
            request.current.begin_wait(request.wait);
        }
        due
    }
}

/// Why the thread, which stands in the lot, must not wait; none if it may.
#[inline]
fn refusal(request: &Request<'_>) -> Option<String> {
    // SAFETY: the caller waits for the lock that the address is the tag of, so it is alive.
    let tag = unsafe { &*ptr::with_exposed_provenance::<LockTag>(request.address) };
    let target = Target::Lock(tag, request.mode);
    check(request.current.task(), request.wait, target)
}

/// The thread has left the lot.
#[inline]
fn settle(request: &Request<'_>, parked: &Parked<String>) {
    if let Parked::Refused(_) = parked {
        pass_search();
    }
    if !matches!(parked, Parked::NotDue) {
        request.current.entry().end_wait();
    }
}

/// Whether a thread that was woken is alive and will run. In the child of a fork it may have been another one's.
#[inline]
#[must_use]
pub fn are_woken_alive() -> bool {
    brigade_context::fork_generation() == 0
}
