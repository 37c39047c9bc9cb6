//! Cancellation: tokens that end, and waits that end with them.
//!
//! The protocol is in `tree.rs`: nodes with a word, a deadline, and lists of who waits. On it stands `seat.rs`: what a
//! thread does to be woken when a token ends, and which of its waits then give up.

#[cfg(not(loom))]
mod seat;
#[cfg(not(loom))]
mod token;
mod tree;

#[cfg(not(loom))]
pub use seat::Seat;
#[cfg(not(loom))]
pub(crate) use seat::{io_deadline_ns, is_io_over};
#[cfg(not(loom))]
pub use token::{Ended, Listener, Token};

#[cfg(all(loom, test))]
pub(crate) use tree::{CANCELLED, LIVE, Node, NodeRef, Slot, Waiter};
