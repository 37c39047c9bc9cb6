//! crossbeam: its channels, on kernel threads.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::channels::{Channels, Receiving, Sending};

/// `crossbeam-channel`.
pub(super) struct Crossbeam;

impl Channels for Crossbeam {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;
    type SharedSender = Sender<u64>;
    type SharedReceiver = Receiver<u64>;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        bounded(0)
    }

    fn bounded(capacity: usize) -> (Self::SharedSender, Self::SharedReceiver) {
        bounded(capacity)
    }
}

impl Sending for Sender<u64> {
    fn put(&self, value: u64) {
        self.send(value).expect("somebody receives");
    }
}

impl Receiving for Receiver<u64> {
    fn take(&self) -> Option<u64> {
        self.recv().ok()
    }
}
