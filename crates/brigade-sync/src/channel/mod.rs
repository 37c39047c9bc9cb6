//! Channels for any number of senders and receivers, with the names and the meaning of crossbeam-channel.
//!
//! [`bounded`] channels have room for so many messages, [`unbounded`] ones for any number. With capacity 0 each message
//! goes straight from a sender to a receiver that waits for it. [`after`], [`at`], [`tick`] and [`never()`] are receivers
//! without senders. [`select!`](crate::select) and [`Select`] wait for several operations at once.
//!
//! A thread that waits blocks as such: a green thread parks, a kernel thread blocks; both can be at the two ends of one
//! channel.
//!
//! # Disconnection
//!
//! When the last receiver is gone, messages that are still in the channel are dropped and sending fails. When the last
//! sender is gone, what is in the channel can still be received; then receiving fails.
//!
//! # Guarantees
//!
//! Messages of one sender to one receiver arrive in the order in which they were sent. Each message is received once, or
//! dropped once.
//!
//! # Today's behaviour
//!
//! Threads that wait are woken in the order in which they came, but one that comes later may be faster; only with
//! capacity 0 is the message handed to the one that waits longest. A channel without messages and waiters takes less than
//! 256 bytes, with capacity for n messages as much more as n slots need.
//!
//! # Examples
//!
//! ```
//! use brigade_sync::channel;
//!
//! let (sender, receiver) = channel::unbounded();
//! for n in 0..3 {
//!     sender.send(n).unwrap();
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), 3);
//! ```

mod array;
mod backoff;
mod counter;
mod error;
mod handle;
mod list;
pub(crate) mod prim;
mod select;
mod timer;
mod waiter;
mod zero;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::{
    RecvError, RecvTimeoutError, SelectTimeoutError, SendError, SendTimeoutError, TryRecvError,
    TrySelectError, TrySendError,
};
pub use handle::{IntoIter, Iter, Receiver, Sender, TryIter};
#[doc(hidden)]
pub use select::internal;
pub use select::{Select, SelectedOperation};

use handle::{ReceiverKind, SenderKind};

/// A channel with room for `capacity` messages; with 0, each `send` waits for a `recv`.
///
/// # Panics
///
/// If the memory for the messages cannot be had.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = brigade_sync::channel::bounded(1);
/// sender.send(1).unwrap();
/// assert!(sender.try_send(2).is_err());
/// assert_eq!(receiver.recv(), Ok(1));
/// ```
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    if capacity == 0 {
        let (sender, receiver) = counter::new(zero::Zero::new());
        return join(SenderKind::Zero(sender), ReceiverKind::Zero(receiver));
    }
    let (sender, receiver) = counter::new(array::Array::new(capacity));
    join(SenderKind::Array(sender), ReceiverKind::Array(receiver))
}

/// A channel with room for any number of messages.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = brigade_sync::channel::unbounded();
/// sender.send(1).unwrap();
/// assert_eq!(receiver.recv(), Ok(1));
/// ```
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = counter::new(list::List::new());
    join(SenderKind::List(sender), ReceiverKind::List(receiver))
}

fn join<T>(sender: SenderKind<T>, receiver: ReceiverKind<T>) -> (Sender<T>, Receiver<T>) {
    (Sender { kind: sender }, Receiver { kind: receiver })
}

/// A receiver that gets one message when `duration` has passed: the moment at which it was due. Then it gets no more, and
/// is not disconnected.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade_sync::channel::after;
///
/// let timer = after(Duration::from_millis(1));
/// assert!(timer.recv().is_ok());
/// assert!(timer.try_recv().unwrap_err().is_empty());
/// ```
#[must_use]
pub fn after(duration: Duration) -> Receiver<Instant> {
    Instant::now().checked_add(duration).map_or_else(never, at)
}

/// A receiver that gets one message at `instant`: the moment itself. Then it gets no more, and is not disconnected.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
///
/// let now = Instant::now();
/// assert_eq!(brigade_sync::channel::at(now).recv(), Ok(now));
/// ```
#[must_use]
pub fn at(instant: Instant) -> Receiver<Instant> {
    Receiver {
        kind: ReceiverKind::Timer(Arc::new(timer::Timer::at(instant))),
    }
}

/// A receiver that gets a message every `period`, the first after one: the moment at which it was due.
///
/// There is room for one message; when it is taken late, the next one comes a period after that.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade_sync::channel::tick;
///
/// let ticker = tick(Duration::from_millis(1));
/// let first = ticker.recv().unwrap();
/// assert!(ticker.recv().unwrap() > first);
/// ```
#[must_use]
pub fn tick(period: Duration) -> Receiver<Instant> {
    Receiver {
        kind: ReceiverKind::Timer(Arc::new(timer::Timer::every(period))),
    }
}

/// A receiver that never gets a message and is never disconnected.
///
/// # Examples
///
/// ```
/// let nothing = brigade_sync::channel::never::<u8>();
/// assert!(nothing.try_recv().unwrap_err().is_empty());
/// ```
#[must_use]
pub fn never<T>() -> Receiver<T> {
    Receiver {
        kind: ReceiverKind::Never,
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
