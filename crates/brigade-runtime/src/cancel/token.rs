//! A token, as the layers above see it.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::tree::{CANCELLED, EXPIRED, LIVE, NodeRef, Slot};
use crate::green::{Runnables, Sleeper};
use crate::prim::{NEVER, now_ns};

/// How a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody cancelled it, or an ancestor.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

/// A counted reference to a token.
#[derive(Clone)]
pub struct Token(pub(super) NodeRef<Sleeper>);

// A panic cannot leave a token half changed: nothing foreign runs while it changes.
impl UnwindSafe for Token {}
impl RefUnwindSafe for Token {}

impl Token {
    /// A token without a parent, with a deadline in nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for none.
    #[must_use]
    pub fn new(deadline_ns: u64) -> Token {
        Token(NodeRef::root_of_tree(deadline_ns))
    }

    /// A token that ends with this one, or at the deadline.
    #[must_use]
    pub fn child(&self, deadline_ns: u64) -> Token {
        Token(self.0.child(deadline_ns))
    }

    /// The earliest deadline of the token and its ancestors, `u64::MAX` for none.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.0.deadline_ns()
    }

    /// Whether both are the same token.
    #[must_use]
    pub fn is_same(&self, other: &Token) -> bool {
        std::ptr::eq(&raw const *self.0, &raw const *other.0)
    }

    /// Ends the token and all below it, and wakes who waits. Does not block.
    pub fn cancel(&self) {
        // The clock is read for the sake of a deadline alone.
        let mut runnables = Runnables::new();
        let slots = self.0.cancel(now_ns(), |runnable| runnables.push(runnable));
        runnables.schedule();
        slots.wake();
    }

    /// Whether it has ended, and how.
    #[inline]
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match self.0.state() {
            CANCELLED => Some(Ended::Cancelled),
            EXPIRED => Some(Ended::Expired),
            _ => self.is_late().then_some(Ended::Expired),
        }
    }

    #[inline]
    fn is_late(&self) -> bool {
        let deadline_ns = self.0.deadline_ns();
        deadline_ns != NEVER && now_ns() >= deadline_ns
    }
}

/// A task that waits for the end of a token by [`Token::cancel`]. Of the deadline it does not hear: it has a timer for it.
pub struct Listener {
    token: Token,
    slot: Option<Arc<Slot>>,
}

impl Listener {
    /// One that has not begun to wait.
    #[must_use]
    pub fn new(token: Token) -> Listener {
        Listener { token, slot: None }
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Whether the token has ended; if not, the task is woken when it is cancelled.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Ended> {
        if let Some(ended) = self.token.ended() {
            return Poll::Ready(ended);
        }
        let slot = self.slot.get_or_insert_with(Slot::new);
        let waker = context.waker().clone();
        match self.token.0.enlist(slot, waker) {
            Ok(old) => {
                drop(old);
                Poll::Pending
            }
            Err(_) if self.token.0.state() == EXPIRED => Poll::Ready(Ended::Expired),
            Err(_) => Poll::Ready(Ended::Cancelled),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            drop(self.token.0.delist(&slot));
        }
    }
}

const _: () = assert!(LIVE == crate::in_time::LIVE);
