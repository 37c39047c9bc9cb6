//! may: stackful coroutines, `may::coroutine`, and the locks and channels of `may::sync`.

use std::sync::Arc;
use std::time::Duration;

use may::coroutine;
use may::sync::{Mutex, Semphore, mpmc, mpsc};

use super::channels::{Channels, Receiving, Sending};
use super::locks::Lock;
use super::threads::Threads;

/// may coroutines.
pub(super) struct May;

impl Threads for May {
    type Handle<T: Send + 'static> = coroutine::JoinHandle<T>;

    fn run<T, F>(workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        may::config().set_workers(workers);
        Self::spawn(body)
            .join()
            .map_err(|_| "the first coroutine panicked".to_owned())
    }

    fn spawn<T, F>(body: F) -> Self::Handle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // SAFETY: may asks that the coroutine use no thread-local across a yield and stay within
        // its stack; the workloads touch no thread-local of their own and use little stack.
        unsafe { coroutine::spawn(body) }
    }

    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("a workload panicked")
    }

    fn yield_now() {
        coroutine::yield_now();
    }

    fn park() {
        coroutine::park();
    }

    fn sleep(time: Duration) {
        coroutine::sleep(time);
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

/// `may::sync::mpsc` and `mpmc`: unbounded, both.
pub(super) struct MayChannels;

impl Channels for MayChannels {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type SharedSender = Counted<mpmc::Sender<u64>>;
    type SharedReceiver = Counted<mpmc::Receiver<u64>>;

    fn rendezvous() -> (Self::Sender, Self::Receiver) {
        mpsc::channel()
    }

    fn bounded(capacity: usize) -> (Self::SharedSender, Self::SharedReceiver) {
        let (sender, receiver) = mpmc::channel();
        let room = Arc::new(Semphore::new(capacity));
        let counted = Counted {
            end: sender,
            room: room.clone(),
        };
        (
            counted,
            Counted {
                end: receiver,
                room,
            },
        )
    }
}

/// An end of a channel that is bounded by a count of free places.
#[derive(Clone)]
pub(super) struct Counted<E> {
    end: E,
    room: Arc<Semphore>,
}

impl Sending for mpsc::Sender<u64> {
    fn put(&self, value: u64) {
        self.send(value).expect("somebody receives");
    }
}

impl Receiving for mpsc::Receiver<u64> {
    fn take(&self) -> Option<u64> {
        self.recv().ok()
    }
}

impl Sending for Counted<mpmc::Sender<u64>> {
    fn put(&self, value: u64) {
        self.room.wait();
        self.end.send(value).expect("somebody receives");
    }
}

impl Receiving for Counted<mpmc::Receiver<u64>> {
    fn take(&self) -> Option<u64> {
        let value = self.end.recv().ok();
        self.room.post();
        value
    }
}
