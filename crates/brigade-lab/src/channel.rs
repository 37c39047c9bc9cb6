//! Channels of either kind of threads, for arms that differ in nothing else: std's between kernel threads and
//! Brigade's between green ones.

use std::sync::mpsc;

use brigade::sync::channel::{self, bounded, unbounded};

use crate::experiment::ArmError;
use crate::together::Kind;

/// A channel for threads of `kind` with room for so many messages; without a limit if there is none.
pub(crate) fn channel<T>(kind: Kind, room: Option<usize>) -> (Sender<T>, Receiver<T>) {
    match (kind, room) {
        (Kind::Kernel, Some(room)) => {
            let (sender, receiver) = mpsc::sync_channel(room);
            (Sender::Bounded(sender), Receiver::Std(receiver))
        }
        (Kind::Kernel, None) => {
            let (sender, receiver) = mpsc::channel();
            (Sender::Unbounded(sender), Receiver::Std(receiver))
        }
        (Kind::Green, room) => {
            let (sender, receiver) = room.map_or_else(unbounded, bounded);
            (Sender::Brigade(sender), Receiver::Brigade(receiver))
        }
    }
}

/// The end that sends.
pub(crate) enum Sender<T> {
    Bounded(mpsc::SyncSender<T>),
    Unbounded(mpsc::Sender<T>),
    Brigade(channel::Sender<T>),
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Bounded(sender) => Self::Bounded(sender.clone()),
            Self::Unbounded(sender) => Self::Unbounded(sender.clone()),
            Self::Brigade(sender) => Self::Brigade(sender.clone()),
        }
    }
}

impl<T> Sender<T> {
    /// Sends `message`, and waits for room.
    ///
    /// # Errors
    ///
    /// Failed if there is no receiver any more.
    pub(crate) fn send(&self, message: T) -> Result<(), ArmError> {
        let sent = match self {
            Self::Bounded(sender) => sender.send(message).is_ok(),
            Self::Unbounded(sender) => sender.send(message).is_ok(),
            Self::Brigade(sender) => sender.send(message).is_ok(),
        };
        sent.then_some(())
            .ok_or_else(|| ArmError::Failed("the receiver of a channel ended early".into()))
    }
}

/// The end that receives.
pub(crate) enum Receiver<T> {
    Std(mpsc::Receiver<T>),
    Brigade(channel::Receiver<T>),
}

impl<T> Receiver<T> {
    /// Waits for the next message; none when no sender is left.
    pub(crate) fn receive(&self) -> Option<T> {
        match self {
            Self::Std(receiver) => receiver.recv().ok(),
            Self::Brigade(receiver) => receiver.recv().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_the_ends_notice_each_other() {
        for kind in [Kind::Kernel, Kind::Green] {
            for room in [Some(2), None] {
                let (sender, receiver) = channel(kind, room);
                assert_eq!((sender.send(1), sender.clone().send(2)), (Ok(()), Ok(())));
                drop(sender);
                let received = [(); 3].map(|()| receiver.receive());
                assert_eq!(received, [Some(1), Some(2), None], "{kind:?} {room:?}");
                let (sender, receiver) = channel(kind, room);
                drop(receiver);
                assert!(sender.send(1).is_err(), "{kind:?} {room:?}");
            }
        }
    }
}
