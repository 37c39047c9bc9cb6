//! The channel lines for channels that are awaited: tokio's own, flume and async-channel.
//!
//! The async twins of `rival/channels.rs`, with the same ends and checks.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::Executor;
use crate::line;

/// The sending end of a channel of numbers.
pub(crate) trait Sending: Clone + Send + Sync + 'static {
    /// Sends; the workloads never send where nobody receives.
    fn put(&self, value: u64) -> impl Future<Output = ()> + Send;
}

/// The receiving end of a channel of numbers.
pub(crate) trait Receiving: Send + 'static {
    /// Receives; `None` once all senders are gone and the channel is empty.
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

/// What a family of channels is called by.
pub(crate) trait Channels: 'static {
    /// The sending end.
    type Sender: Sending;
    /// The receiving end where there is one receiver.
    type Receiver: Receiving;
    /// The receiving end where there are several.
    type SharedReceiver: Receiving + Clone;

    /// A channel that buffers as little as the family can.
    fn rendezvous() -> (Self::Sender, Self::Receiver);
    /// A channel that holds `capacity` numbers.
    fn bounded(capacity: usize) -> (Self::Sender, Self::SharedReceiver);
}

/// Two tasks send a number there and back, `n` times; returns how often.
pub(super) async fn ping_pong<E: Executor, C: Channels>(n: u64) -> u64 {
    let (ping, mut pinged) = C::rendezvous();
    let (pong, mut ponged) = C::rendezvous();
    let echo = E::spawn(async move {
        while let Some(value) = pinged.take().await {
            pong.put(value + 1).await;
        }
    });
    let caller = E::spawn(async move {
        let mut value = 0;
        for _ in 0..n {
            ping.put(value).await;
            value = ponged.take().await.expect("the echo lives");
        }
        value
    });
    let count = caller.await;
    echo.await;
    count
}

/// Four producers send `n` numbers together to four consumers; returns the sum that arrived.
pub(super) async fn four_by_four<E: Executor, C: Channels>(n: u64) -> u64 {
    let (sender, receiver) = C::bounded(line::CHANNEL_CAPACITY);
    let produce = |first: u64| {
        let sender = sender.clone();
        E::spawn(async move {
            for value in (first..n).step_by(4) {
                sender.put(value).await;
            }
        })
    };
    let consume = |_| {
        let mut receiver = receiver.clone();
        E::spawn(async move {
            let mut sum = 0;
            while let Some(value) = receiver.take().await {
                sum += value;
            }
            sum
        })
    };
    let producers: Vec<_> = (0..4).map(produce).collect();
    let consumers: Vec<_> = (0..4).map(consume).collect();
    drop((sender, receiver));
    for producer in producers {
        producer.await;
    }
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.await;
    }
    sum
}

/// A token makes `n` hops around a ring of tasks; returns how many it made.
pub(super) async fn ring<E: Executor, C: Channels>(tasks: u64, n: u64) -> u64 {
    let (start, mut receiver) = C::rendezvous();
    let mut handles = Vec::new();
    for _ in 1..tasks {
        let (sender, next) = C::rendezvous();
        let own = std::mem::replace(&mut receiver, next);
        handles.push(E::spawn(pass_on::<C>(own, sender, None)));
    }
    handles.push(E::spawn(pass_on::<C>(receiver, start, Some(n))));
    let mut hops = 0;
    for handle in handles {
        hops += handle.await;
    }
    hops
}

async fn pass_on<C: Channels>(
    mut receiver: C::Receiver,
    sender: C::Sender,
    first: Option<u64>,
) -> u64 {
    if let Some(token) = first {
        sender.put(token).await;
    }
    let mut seen = 0;
    while let Some(token) = receiver.take().await {
        seen += 1;
        match token - 1 {
            0 => break,
            left => sender.put(left).await,
        }
    }
    seen
}

/// `tokio::sync::mpsc`: no rendezvous, so a buffer of one; one receiver, so a mutex for several.
pub(crate) struct Mpsc;

impl Channels for Mpsc {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type SharedReceiver = Arc<Mutex<mpsc::Receiver<u64>>>;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        mpsc::channel(1)
    }

    fn bounded(capacity: usize) -> (Self::Sender, Self::SharedReceiver) {
        let (sender, receiver) = mpsc::channel(capacity);
        (sender, Arc::new(Mutex::new(receiver)))
    }
}

impl Sending for mpsc::Sender<u64> {
    async fn put(&self, value: u64) {
        self.send(value).await.expect("somebody receives");
    }
}

impl Receiving for mpsc::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv().await
    }
}

impl Receiving for Arc<Mutex<mpsc::Receiver<u64>>> {
    async fn take(&mut self) -> Option<u64> {
        self.lock().await.recv().await
    }
}

/// `flume`.
pub(crate) struct Flume;

impl Channels for Flume {
    type Sender = flume::Sender<u64>;
    type Receiver = flume::Receiver<u64>;
    type SharedReceiver = flume::Receiver<u64>;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        flume::bounded(0)
    }

    fn bounded(capacity: usize) -> (Self::Sender, Self::SharedReceiver) {
        flume::bounded(capacity)
    }
}

impl Sending for flume::Sender<u64> {
    async fn put(&self, value: u64) {
        self.send_async(value).await.expect("somebody receives");
    }
}

impl Receiving for flume::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv_async().await.ok()
    }
}

/// `async-channel`: no rendezvous, so a buffer of one.
pub(crate) struct AsyncChannel;

impl Channels for AsyncChannel {
    type Sender = async_channel::Sender<u64>;
    type Receiver = async_channel::Receiver<u64>;
    type SharedReceiver = async_channel::Receiver<u64>;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(1)
    }

    fn bounded(capacity: usize) -> (Self::Sender, Self::SharedReceiver) {
        async_channel::bounded(capacity)
    }
}

impl Sending for async_channel::Sender<u64> {
    async fn put(&self, value: u64) {
        self.send(value).await.expect("somebody receives");
    }
}

impl Receiving for async_channel::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv().await.ok()
    }
}
