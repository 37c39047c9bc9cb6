//! A thread in the middle of something that ends with a token.
//!
//! A [`Seat`] lies on the thread's stack. While the thread has taken it, the end of the token notifies the thread, and
//! of its waits those give up that are meant:
//!
//! | taken with | waits that give up | how |
//! |---|---|---|
//! | [`Seat::take_for_operation`] | those with a deadline, all of which belong to the one operation | `in_time.rs` |
//! | [`Seat::take_for_io`] | those for descriptors | `io.rs` asks [`is_io_over`] and [`io_deadline_ns`] |
//!
//! # Invariants
//!
//! 1. Seats are taken and given back like frames of a stack. Those for descriptors are a list, innermost first: a wait
//!    gives up when any of them ends. Of operations only the innermost counts, and none inside of a seat for
//!    descriptors, where foreign code runs.
//! 2. The record that the token notifies is alive as long as the seat is taken: a green thread's own, or one that the
//!    seat counts.
//!
//! # Present behaviour
//!
//! A kernel thread that runs the destructors of its thread-locals has a new record for each wait. There a token ends
//! waits at its deadline, and does not wake them before.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr;

use super::token::{Ended, Token};
use super::tree::{EXPIRED, Waiter};
use crate::current;
use crate::green::{Green, Sleeper};
use crate::in_time::replace_operation;
use crate::prim::AtomicU32;
use crate::task::TaskRef;

thread_local! {
    /// The innermost seat for descriptors.
    static IO: Cell<*const Seat<'static>> = const { Cell::new(ptr::null()) };
}

/// What is to be undone when a seat is given back.
#[derive(Clone, Copy)]
enum Taken {
    /// Not taken.
    No,
    /// The operation that the thread was in before.
    Operation(*const AtomicU32),
    /// That, and the seat that was the innermost before.
    Io(*const AtomicU32, *const Seat<'static>),
}

/// A place in the list of a token; see the module.
pub struct Seat<'a> {
    token: &'a Token,
    waiter: Waiter<Sleeper>,
    taken: Cell<Taken>,
    /// Keeps the record of a kernel thread.
    _record: Option<TaskRef>,
    _pinned: PhantomPinned,
}

impl<'a> Seat<'a> {
    /// A seat of the current thread that is not taken.
    #[must_use]
    pub fn new(token: &'a Token) -> Seat<'a> {
        let (sleeper, record) = match Green::current() {
            Some(green) => (green.sleeper(), None),
            None => {
                let record = current::kernel();
                (Sleeper::of(&record), Some(record))
            }
        };
        Seat {
            token,
            waiter: Waiter::new(sleeper),
            taken: Cell::new(Taken::No),
            _record: record,
            _pinned: PhantomPinned,
        }
    }

    /// Takes the seat for an operation of Brigade's own, all of whose waits have a deadline.
    ///
    /// # Errors
    ///
    /// The token has ended.
    ///
    /// # Safety
    ///
    /// The seat was not taken before, and is dropped by the current thread, before any other seat that was taken earlier.
    pub unsafe fn take_for_operation(self: Pin<&Self>) -> Result<(), Ended> {
        self.enter()?;
        // SAFETY: the seat keeps the token alive, and its drop puts the old word back.
        let before = unsafe { replace_operation(self.token.0.word()) };
        self.taken.set(Taken::Operation(before));
        Ok(())
    }

    /// Takes the seat for foreign code whose waits for descriptors give up when the token ends.
    ///
    /// # Errors
    ///
    /// The token has ended.
    ///
    /// # Safety
    ///
    /// As [`Seat::take_for_operation`].
    pub unsafe fn take_for_io(self: Pin<&Self>) -> Result<(), Ended> {
        self.enter()?;
        // SAFETY: nothing needs to stay alive; the drop puts the old word back.
        let before = unsafe { replace_operation(ptr::null()) };
        let outer = IO.replace((&raw const *self).cast());
        self.taken.set(Taken::Io(before, outer));
        Ok(())
    }

    fn enter(self: Pin<&Self>) -> Result<(), Ended> {
        if let Some(ended) = self.token.ended() {
            return Err(ended);
        }
        // SAFETY: pinned, so it stays until its drop, which leaves; the sleeper is this thread.
        if unsafe { self.token.0.enter(&self.get_ref().waiter) } {
            Ok(())
        } else if self.token.0.state() == EXPIRED {
            Err(Ended::Expired)
        } else {
            Err(Ended::Cancelled)
        }
    }

    /// The seat that is around this one.
    fn outer(&self) -> *const Seat<'static> {
        match self.taken.get() {
            Taken::Io(_, outer) => outer,
            Taken::No | Taken::Operation(_) => ptr::null(),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let before = match self.taken.get() {
            Taken::No => return,
            Taken::Operation(before) => before,
            Taken::Io(before, outer) => {
                IO.set(outer);
                before
            }
        };
        // SAFETY: the word of an outer seat, which is still taken, or null.
        unsafe { replace_operation(before) };
        self.token.0.leave(&self.waiter);
    }
}

/// Calls `f` with the seats for descriptors that the current thread has taken, until it says true; says whether it did.
#[inline]
fn any_io_seat(mut f: impl FnMut(&Token) -> bool) -> bool {
    let mut at = IO.get();
    // SAFETY: null, or a seat that this thread has taken and not yet given back.
    while let Some(seat) = unsafe { at.as_ref() } {
        if f(seat.token) {
            return true;
        }
        at = seat.outer();
    }
    false
}

/// Whether waits for descriptors must end, because a token ended that the thread's operation belongs to.
#[inline]
pub(crate) fn is_io_over() -> bool {
    any_io_seat(|token| token.ended().is_some())
}

/// The deadline of a wait for descriptors that has this one by itself.
#[inline]
pub(crate) fn io_deadline_ns(own_ns: u64) -> u64 {
    let mut earliest_ns = own_ns;
    any_io_seat(|token| {
        earliest_ns = earliest_ns.min(token.deadline_ns());
        false
    });
    earliest_ns
}
