//! What the tests of timers and descriptors share. They use an executor of their own, so that nothing else is needed.

#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module"
)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes by unparking a thread, and counts how often.
pub(crate) struct Bell {
    thread: Thread,
    rung: AtomicUsize,
}

impl Bell {
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell {
            thread: thread::current(),
            rung: AtomicUsize::new(0),
        })
    }

    pub(crate) fn rung(&self) -> usize {
        // ORDER: SeqCst: the partner of `wake`; a test compares counts.
        self.rung.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for(&self, rung: usize) {
        while self.rung() < rung {
            thread::park();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // ORDER: SeqCst: as in `rung`.
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Runs a future on the calling kernel thread, and aborts the process if that takes minutes.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let _watch = Watch::new();
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Both futures, polled in turn by one task.
pub(crate) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// A run that must end: if it is not dropped in time the process aborts.
pub(crate) struct Watch(Option<mpsc::Sender<()>>);

impl Watch {
    pub(crate) fn new() -> Watch {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a future that should be ready is not: it hangs");
                std::process::abort();
            }
        });
        Watch(Some(done))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
