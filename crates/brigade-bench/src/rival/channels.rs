//! The channel lines for blocking channels: threads of any system pass numbers on.
//!
//! Each workload ends by disconnection, as channels are meant to be used, and counts its messages at the receiving
//! end. Systems differ in what they offer, and each uses the nearest thing it has; who has no rendezvous takes a
//! buffer of one, who has no bounded channel counts with a semaphore, who has one receiver only puts it into a mutex.

use std::sync::{Arc, Mutex, mpsc};

use super::threads::{Threads, check};
use crate::line;

/// The sending end of a channel of numbers.
pub(super) trait Sending: Send + 'static {
    /// Sends; the workloads never send where nobody receives.
    fn put(&self, value: u64);
}

/// The receiving end of a channel of numbers.
pub(super) trait Receiving: Send + 'static {
    /// Receives; `None` once all senders are gone and the channel is empty.
    fn take(&self) -> Option<u64>;
}

/// What a family of channels is called by.
pub(super) trait Channels: 'static {
    /// Of a rendezvous channel.
    type Sender: Sending;
    /// Of a rendezvous channel.
    type Receiver: Receiving;
    /// Of a bounded channel with several senders.
    type SharedSender: Sending + Clone;
    /// Of a bounded channel with several receivers.
    type SharedReceiver: Receiving + Clone;

    /// A channel for one sender and one receiver that buffers as little as the family can.
    fn rendezvous() -> (Self::Sender, Self::Receiver);
    /// A channel that holds `capacity` numbers.
    fn bounded(capacity: usize) -> (Self::SharedSender, Self::SharedReceiver);
}

/// Two threads send a number there and back, `n` times.
pub(super) fn ping_pong<R: Threads, C: Channels>(n: u64) -> Result<u64, String> {
    let (ping, pinged) = C::rendezvous();
    let (pong, ponged) = C::rendezvous();
    let echo = R::spawn(move || {
        while let Some(value) = pinged.take() {
            pong.put(value + 1);
        }
    });
    let caller = R::spawn(move || {
        (0..n).fold(0, |value, _| {
            ping.put(value);
            ponged.take().expect("the echo lives")
        })
    });
    let count = R::join(caller);
    R::join(echo);
    check(count, n, n, "the number of round trips")
}

/// Four producers send `n` numbers together to four consumers.
pub(super) fn four_by_four<R: Threads, C: Channels>(n: u64) -> Result<u64, String> {
    let (sender, receiver) = C::bounded(line::CHANNEL_CAPACITY);
    let produce = |first: u64| {
        let sender = sender.clone();
        R::spawn(move || (first..n).step_by(4).for_each(|value| sender.put(value)))
    };
    let consume = |_| {
        let receiver = receiver.clone();
        R::spawn(move || std::iter::from_fn(|| receiver.take()).sum::<u64>())
    };
    let producers: Vec<_> = (0..4).map(produce).collect();
    let consumers: Vec<_> = (0..4).map(consume).collect();
    drop((sender, receiver));
    producers.into_iter().for_each(R::join);
    let sum = consumers.into_iter().map(R::join).sum();
    check(sum, line::sum_below(n), n, "the sum of the messages")
}

/// A token makes `n` hops around a ring of threads.
pub(super) fn ring<R: Threads, C: Channels>(threads: u64, n: u64) -> Result<u64, String> {
    let (start, mut receiver) = C::rendezvous();
    let mut members = Vec::new();
    for _ in 1..threads {
        let (sender, next) = C::rendezvous();
        members.push((std::mem::replace(&mut receiver, next), sender));
    }
    // The last one closes the ring, and starts it, so that `start` needs no clone.
    let body = move |(receiver, sender): (C::Receiver, C::Sender), first: Option<u64>| {
        R::spawn(move || pass_on(&receiver, &sender, first))
    };
    let spawn_member = |member| body(member, None);
    let mut handles: Vec<_> = members.into_iter().map(spawn_member).collect();
    handles.push(body((receiver, start), Some(n)));
    let hops = handles.into_iter().map(R::join).sum();
    check(hops, n, n, "the number of hops")
}

/// Passes the token on, one less each time, until it is used up or the one before has ended. The end of the thread
/// drops its sender, so all others end in turn. Returns how many tokens came by.
fn pass_on(receiver: &impl Receiving, sender: &impl Sending, first: Option<u64>) -> u64 {
    first.into_iter().for_each(|token| sender.put(token));
    let mut seen = 0;
    while let Some(token) = receiver.take() {
        seen += 1;
        match token - 1 {
            0 => break,
            left => sender.put(left),
        }
    }
    seen
}

/// `std::sync::mpsc`.
pub(super) struct Std;

/// A receiver that several threads take turns at.
pub(super) type Turns = Arc<Mutex<mpsc::Receiver<u64>>>;

impl Channels for Std {
    type Sender = mpsc::SyncSender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type SharedSender = mpsc::SyncSender<u64>;
    type SharedReceiver = Turns;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        mpsc::sync_channel(0)
    }

    fn bounded(capacity: usize) -> (Self::SharedSender, Self::SharedReceiver) {
        let (sender, receiver) = mpsc::sync_channel(capacity);
        (sender, Arc::new(Mutex::new(receiver)))
    }
}

impl Sending for mpsc::SyncSender<u64> {
    fn put(&self, value: u64) {
        self.send(value).expect("somebody receives");
    }
}

impl Receiving for mpsc::Receiver<u64> {
    fn take(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl Receiving for Turns {
    fn take(&self) -> Option<u64> {
        self.lock().expect("a workload panicked").recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rival::kernel::Kernel;

    /// std's channels, but the shared one forgets a message.
    struct Forgetful;

    #[derive(Clone)]
    struct Forgets(mpsc::SyncSender<u64>);

    impl Sending for Forgets {
        fn put(&self, value: u64) {
            if value != 7 {
                self.0.put(value);
            }
        }
    }

    impl Channels for Forgetful {
        type Sender = mpsc::SyncSender<u64>;
        type Receiver = mpsc::Receiver<u64>;
        type SharedSender = Forgets;
        type SharedReceiver = Turns;

        fn rendezvous() -> (Self::Sender, Self::Receiver) {
            Std::rendezvous()
        }

        fn bounded(capacity: usize) -> (Self::SharedSender, Self::SharedReceiver) {
            let (sender, receiver) = Std::bounded(capacity);
            (Forgets(sender), receiver)
        }
    }

    #[test]
    fn a_message_that_gets_lost_fails_the_sample() {
        assert_eq!(four_by_four::<Kernel, Std>(1_000), Ok(1_000));
        assert!(four_by_four::<Kernel, Forgetful>(1_000).is_err());
    }

    #[test]
    fn every_round_trip_and_every_hop_is_counted() {
        assert_eq!(ping_pong::<Kernel, Std>(100), Ok(100));
        assert_eq!(ring::<Kernel, Std>(2, 100), Ok(100));
        assert_eq!(ring::<Kernel, Std>(7, 100), Ok(100));
    }
}
