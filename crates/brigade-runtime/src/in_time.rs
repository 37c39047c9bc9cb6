//! Whether a wait may go on: its deadline, and the operation it is part of.
//!
//! A thread may be in the middle of an operation that others can cancel (`cancel/seat.rs`). The waits of such an
//! operation have a deadline, however far; all loops that wait with a deadline ask [`is_in_time`] whether they may go
//! on, and give up when it says no, as they do when their time is up. A wait without a deadline asks nobody, and cannot
//! be cancelled.
//!
//! # Invariants
//!
//! 1. *No lost cancellation.* Who cancels changes the word of the operation, then notifies the thread. A notification
//!    may be used up by anything that the thread does before it parks; so the thread looks at the word once more right
//!    before it parks ([`is_interrupted`] in `current.rs`), and nothing that uses notifications up lies in between.
//! 2. The word outlives the operation: who says what it is takes it back before the word goes away.

use std::cell::Cell;
use std::ptr;

use crate::prim::{AtomicU32, NEVER, Ordering, now_ns};

thread_local! {
    /// The word of the operation that the thread is in the middle of; null when there is none.
    static OPERATION: Cell<*const AtomicU32> = const { Cell::new(ptr::null()) };
}

/// The value of a word whose operation may go on.
pub(crate) const LIVE: u32 = 0;

/// A deadline that is further away than any machine runs: the wait needs no timer.
const FAR_NS: u64 = 1 << 62;

/// Whether a wait with this deadline (nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for none) may go on.
#[inline(always)]
#[must_use]
pub fn is_in_time(deadline_ns: u64) -> bool {
    deadline_ns == NEVER || is_timed_in_time(deadline_ns)
}

#[cold]
fn is_timed_in_time(deadline_ns: u64) -> bool {
    !is_interrupted() && (deadline_ns >= FAR_NS || now_ns() < deadline_ns)
}

/// Whether a wait with this deadline needs a timer.
#[inline(always)]
pub(crate) fn needs_timer(deadline_ns: u64) -> bool {
    deadline_ns < FAR_NS
}

/// Whether the operation that the current thread is in the middle of was cancelled.
#[inline]
pub(crate) fn is_interrupted() -> bool {
    // SAFETY: null, or a word that is alive (invariant 2).
    let word = unsafe { OPERATION.get().as_ref() };
    // ORDER: Acquire: pairs with the Release of who cancels.
    word.is_some_and(|word| word.load(Ordering::Acquire) != LIVE)
}

/// From now on the current thread is in the middle of the operation with this word, or of none. Returns what it was
/// before.
///
/// # Safety
///
/// The word stays alive until this is called again by the same thread.
pub(crate) unsafe fn replace_operation(word: *const AtomicU32) -> *const AtomicU32 {
    OPERATION.replace(word)
}
