//! Senders and receivers: the handles of all kinds of channels.

use std::fmt;
use std::iter::FusedIterator;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;

use super::array::{Array, Refused};
use super::counter::{ReceiverRef, SenderRef};
use super::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use super::list::List;
use super::prim::{NEVER, Wait, deadline_after, deadline_at};
use super::timer::{Timer, wait_for_nothing};
use super::zero::{Side, Zero};

/// The sending side of a channel. Can be cloned; the channel is disconnected when all are gone.
///
/// # Examples
///
/// ```
/// use brigade_sync::channel;
///
/// let (sender, receiver) = channel::bounded(1);
/// let other = sender.clone();
/// assert!(sender.send("one").is_ok());
/// assert!(other.try_send("two").unwrap_err().is_full());
/// drop(receiver);
/// assert_eq!(sender.send("three").unwrap_err().into_inner(), "three");
/// ```
pub struct Sender<T> {
    pub(super) kind: SenderKind<T>,
}

pub(super) enum SenderKind<T> {
    Array(SenderRef<Array<T>>),
    List(SenderRef<List<T>>),
    Zero(SenderRef<Zero<T>>),
}

/// The receiving side of a channel. Can be cloned; each message goes to one receiver.
///
/// # Examples
///
/// ```
/// use brigade_sync::channel;
///
/// let (sender, receiver) = channel::unbounded();
/// sender.send(1).unwrap();
/// assert_eq!(receiver.recv(), Ok(1));
/// drop(sender);
/// assert!(receiver.recv().is_err());
/// ```
pub struct Receiver<T> {
    pub(super) kind: ReceiverKind<T>,
}

pub(super) enum ReceiverKind<T> {
    Array(ReceiverRef<Array<T>>),
    List(ReceiverRef<List<T>>),
    Zero(ReceiverRef<Zero<T>>),
    Timer(Arc<Timer<T>>),
    Never,
}

// SAFETY: messages go from one thread to another, and are never shared; the counts are atomic.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as for `Send`: a shared handle gives away messages, and never references to them.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as for the sender: messages go from one thread to another.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as for the sender: a shared handle gives away messages, and never references to them.
unsafe impl<T: Send> Sync for Receiver<T> {}

// A panic cannot leave a channel half changed: nothing foreign runs while it changes.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    /// Sends a message; waits while there is no room, with capacity 0 until a receiver takes it.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or the kernel thread where there is none.
    ///
    /// # Errors
    ///
    /// When no receiver is left, also while it waits. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// assert!(sender.send(1).is_ok());
    /// drop(receiver);
    /// assert_eq!(sender.send(2).unwrap_err().into_inner(), 2);
    /// ```
    #[track_caller]
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.send_until(message, NEVER, Location::caller())
            .map_err(|(_, message)| SendError(message))
    }

    /// Sends a message if that needs no waiting: if there is room, or with capacity 0 if a receiver waits.
    ///
    /// # Blocking
    ///
    /// Does not block, except while the receiver that it meets is a select that is about to receive.
    ///
    /// # Errors
    ///
    /// When there is no room, and when no receiver is left. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// assert!(sender.try_send(1).is_ok());
    /// assert!(sender.try_send(2).unwrap_err().is_full());
    /// drop(receiver);
    /// assert!(sender.try_send(3).unwrap_err().is_disconnected());
    /// ```
    #[track_caller]
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.send_until(message, 0, Location::caller()).map_err(
            |(refused, message)| match refused {
                Refused::NotReady => TrySendError::Full(message),
                Refused::Disconnected => TrySendError::Disconnected(message),
            },
        )
    }

    /// As [`Sender::send`], for at most `timeout`.
    ///
    /// # Blocking
    ///
    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// When there was no room in time, and when no receiver is left. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// assert!(sender.send_timeout(1, Duration::from_secs(5)).is_ok());
    /// assert!(sender.send_timeout(2, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # drop(receiver);
    /// ```
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, deadline_after(timeout), Location::caller())
            .map_err(to_timeout)
    }

    /// As [`Sender::send`], until `deadline`.
    ///
    /// # Blocking
    ///
    /// As [`Sender::send`].
    ///
    /// # Errors
    ///
    /// When there was no room in time, and when no receiver is left. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// let now = std::time::Instant::now();
    /// assert!(sender.send_deadline(1, now).is_ok());
    /// assert!(sender.send_deadline(2, now).unwrap_err().is_timeout());
    /// # drop(receiver);
    /// ```
    #[track_caller]
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(message, deadline_at(deadline), Location::caller())
            .map_err(to_timeout)
    }

    #[inline(always)]
    pub(super) fn send_until(
        &self,
        message: T,
        deadline_ns: u64,
        site: &'static Location<'static>,
    ) -> Result<(), (Refused, T)> {
        match &self.kind {
            SenderKind::Array(array) => {
                let wait = Wait::new(WaitReason::Send, array.address(), site);
                array.channel().send(message, wait, deadline_ns)
            }
            SenderKind::List(list) => list
                .channel()
                .send(message)
                .map_err(|message| (Refused::Disconnected, message)),
            SenderKind::Zero(zero) => {
                let wait = Wait::new(WaitReason::Send, zero.address(), site);
                let exchanged =
                    zero.channel()
                        .exchange(Side::Send, Some(message), &wait, deadline_ns);
                match exchanged {
                    Err((refused, Some(message))) => Err((refused, message)),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Whether there is no message. With capacity 0 there never is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            SenderKind::Array(array) => array.channel().is_empty(),
            SenderKind::List(list) => list.channel().is_empty(),
            SenderKind::Zero(_) => true,
        }
    }

    /// Whether there is no room. With capacity 0 there never is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match &self.kind {
            SenderKind::Array(array) => array.channel().is_full(),
            SenderKind::List(_) => false,
            SenderKind::Zero(_) => true,
        }
    }

    /// How many messages are in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.kind {
            SenderKind::Array(array) => array.channel().len(),
            SenderKind::List(list) => list.channel().len(),
            SenderKind::Zero(_) => 0,
        }
    }

    /// For how many messages there is room; none if for any number.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        match &self.kind {
            SenderKind::Array(array) => Some(array.channel().capacity()),
            SenderKind::List(_) => None,
            SenderKind::Zero(_) => Some(0),
        }
    }

    /// Whether both send to the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.address() == other.address()
    }

    /// The identity of the channel.
    pub(super) fn address(&self) -> usize {
        match &self.kind {
            SenderKind::Array(array) => array.address(),
            SenderKind::List(list) => list.address(),
            SenderKind::Zero(zero) => zero.address(),
        }
    }
}

fn to_timeout<T>((refused, message): (Refused, T)) -> SendTimeoutError<T> {
    match refused {
        Refused::NotReady => SendTimeoutError::Timeout(message),
        Refused::Disconnected => SendTimeoutError::Disconnected(message),
    }
}

impl<T> Receiver<T> {
    /// Receives a message; waits while there is none, with capacity 0 until a sender has one.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or the kernel thread where there is none.
    ///
    /// # Errors
    ///
    /// When the channel is empty and no sender is left, also while it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// sender.send(1).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert!(receiver.recv().is_err());
    /// ```
    #[track_caller]
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(NEVER, Location::caller())
            .map_err(|_| RecvError)
    }

    /// Receives a message if that needs no waiting: if there is one, or with capacity 0 if a sender waits.
    ///
    /// # Blocking
    ///
    /// Does not block, except while the sender that it meets is a select that is about to send.
    ///
    /// # Errors
    ///
    /// When the channel is empty; it says whether a sender is left.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// ```
    #[track_caller]
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.recv_until(0, Location::caller())
            .map_err(|refused| match refused {
                Refused::NotReady => TryRecvError::Empty,
                Refused::Disconnected => TryRecvError::Disconnected,
            })
    }

    /// As [`Receiver::recv`], for at most `timeout`.
    ///
    /// # Blocking
    ///
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// When there was no message in time, and when the channel is empty and no sender is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(1));
    /// assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// ```
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_after(timeout), Location::caller())
            .map_err(recv_timeout_error)
    }

    /// As [`Receiver::recv`], until `deadline`.
    ///
    /// # Blocking
    ///
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// When there was no message in time, and when the channel is empty and no sender is left.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::bounded(1);
    /// let now = std::time::Instant::now();
    /// assert!(receiver.recv_deadline(now).unwrap_err().is_timeout());
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.recv_deadline(now), Ok(1));
    /// ```
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(deadline_at(deadline), Location::caller())
            .map_err(recv_timeout_error)
    }

    #[inline(always)]
    pub(super) fn recv_until(
        &self,
        deadline_ns: u64,
        site: &'static Location<'static>,
    ) -> Result<T, Refused> {
        let wait = Wait::new(WaitReason::Recv, self.address(), site);
        match &self.kind {
            ReceiverKind::Array(array) => array.channel().recv(wait, deadline_ns),
            ReceiverKind::List(list) => list.channel().recv(wait, deadline_ns),
            ReceiverKind::Zero(zero) => {
                match zero
                    .channel()
                    .exchange(Side::Recv, None, &wait, deadline_ns)
                {
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => Err(Refused::NotReady),
                    Err((refused, _)) => Err(refused),
                }
            }
            ReceiverKind::Timer(timer) => timer.recv(wait, deadline_ns).ok_or(Refused::NotReady),
            ReceiverKind::Never => {
                wait_for_nothing(wait, deadline_ns);
                Err(Refused::NotReady)
            }
        }
    }

    /// The messages, until the channel is empty and no sender is left.
    ///
    /// # Blocking
    ///
    /// Each step blocks as [`Receiver::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::unbounded();
    /// sender.send(1).unwrap();
    /// sender.send(2).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// The messages that can be received without waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = brigade_sync::channel::unbounded();
    /// sender.send(1).unwrap();
    /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
    /// assert_eq!(receiver.try_iter().next(), None);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Whether there is no message. With capacity 0 there never is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            ReceiverKind::Array(array) => array.channel().is_empty(),
            ReceiverKind::List(list) => list.channel().is_empty(),
            ReceiverKind::Timer(timer) => timer.len() == 0,
            ReceiverKind::Zero(_) | ReceiverKind::Never => true,
        }
    }

    /// Whether there is no room. With capacity 0 there never is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match &self.kind {
            ReceiverKind::Array(array) => array.channel().is_full(),
            ReceiverKind::List(_) => false,
            ReceiverKind::Timer(timer) => timer.len() == 1,
            ReceiverKind::Zero(_) | ReceiverKind::Never => true,
        }
    }

    /// How many messages are in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.kind {
            ReceiverKind::Array(array) => array.channel().len(),
            ReceiverKind::List(list) => list.channel().len(),
            ReceiverKind::Timer(timer) => timer.len(),
            ReceiverKind::Zero(_) | ReceiverKind::Never => 0,
        }
    }

    /// For how many messages there is room; none if for any number.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        match &self.kind {
            ReceiverKind::Array(array) => Some(array.channel().capacity()),
            ReceiverKind::List(_) => None,
            ReceiverKind::Timer(_) => Some(1),
            ReceiverKind::Zero(_) | ReceiverKind::Never => Some(0),
        }
    }

    /// Whether both receive from the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.address() == other.address()
    }

    /// The identity of the channel; 0 for that of `never`.
    #[inline(always)]
    pub(super) fn address(&self) -> usize {
        match &self.kind {
            ReceiverKind::Array(array) => array.address(),
            ReceiverKind::List(list) => list.address(),
            ReceiverKind::Zero(zero) => zero.address(),
            ReceiverKind::Timer(timer) => Arc::as_ptr(timer).addr(),
            ReceiverKind::Never => 0,
        }
    }
}

fn recv_timeout_error(refused: Refused) -> RecvTimeoutError {
    match refused {
        Refused::NotReady => RecvTimeoutError::Timeout,
        Refused::Disconnected => RecvTimeoutError::Disconnected,
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let kind = match &self.kind {
            SenderKind::Array(array) => SenderKind::Array(array.clone()),
            SenderKind::List(list) => SenderKind::List(list.clone()),
            SenderKind::Zero(zero) => SenderKind::Zero(zero.clone()),
        };
        Sender { kind }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        let kind = match &self.kind {
            ReceiverKind::Array(array) => ReceiverKind::Array(array.clone()),
            ReceiverKind::List(list) => ReceiverKind::List(list.clone()),
            ReceiverKind::Zero(zero) => ReceiverKind::Zero(zero.clone()),
            ReceiverKind::Timer(timer) => ReceiverKind::Timer(timer.clone()),
            ReceiverKind::Never => ReceiverKind::Never,
        };
        Receiver { kind }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// The messages of a receiver that it owns; each step blocks as [`Receiver::recv`].
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}
