//! Brigade: green threads, with the locks and channels of `brigade::sync`.

use std::time::Duration;

use brigade::runtime;
use brigade::sync::Mutex;
use brigade::sync::channel::{Receiver, Sender, bounded};
use brigade::thread;

use super::channels::{Channels, Receiving, Sending};
use super::locks::Lock;
use super::threads::Threads;

/// Green threads.
pub(super) struct Brigade;

impl Threads for Brigade {
    type Handle<T: Send + 'static> = thread::JoinHandle<T>;

    fn run<T, F>(workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let runtime = runtime::Builder::new()
            .workers(workers)
            .build()
            .map_err(|e| format!("building Brigade's runtime: {e}"))?;
        match runtime.model() {
            runtime::Model::ManyToMany => Ok(runtime.run(body)),
            other => Err(format!("this machine falls back to the model {other:?}")),
        }
    }

    fn spawn<T, F>(body: F) -> Self::Handle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        thread::spawn(body)
    }

    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("a workload panicked")
    }

    fn yield_now() {
        thread::yield_now();
    }

    fn park() {
        thread::park();
    }

    fn sleep(time: Duration) {
        thread::sleep(time);
    }
}

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Mutex::new(0)
    }

    fn add(&self) -> u64 {
        let mut value = self.lock().expect("a workload panicked");
        *value += 1;
        *value
    }
}

/// `brigade::sync::channel`.
pub(super) struct OwnChannels;

impl Channels for OwnChannels {
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
