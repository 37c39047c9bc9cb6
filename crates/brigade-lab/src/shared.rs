//! One number that several threads read and add to, guarded in different ways.
//!
//! What the threads do with it is as short as can be, one load or one addition, so that the guard is what is
//! measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::channel::{Receiver, Sender, channel};
use crate::together::Kind;

/// One thread's way to the number.
pub(crate) trait Access: Send + 'static {
    /// The number.
    fn read(&mut self) -> u64;
    /// Adds one.
    fn add(&mut self);
}

/// An own number for each thread: nothing is shared. The control.
pub(crate) struct Own(pub(crate) u64);

impl Access for Own {
    fn read(&mut self) -> u64 {
        // Not kept in a register, as no shared number could be.
        *std::hint::black_box(&mut self.0)
    }

    fn add(&mut self) {
        *std::hint::black_box(&mut self.0) += 1;
    }
}

impl Access for Arc<AtomicU64> {
    fn read(&mut self) -> u64 {
        // ORDER: Relaxed, a counter that publishes nothing.
        self.load(Ordering::Relaxed)
    }

    fn add(&mut self) {
        // ORDER: Relaxed, as above.
        self.fetch_add(1, Ordering::Relaxed);
    }
}

impl Access for Arc<Mutex<u64>> {
    fn read(&mut self) -> u64 {
        *self.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self) {
        *self.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

impl Access for Arc<brigade::sync::Mutex<u64>> {
    fn read(&mut self) -> u64 {
        *self.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self) {
        *self.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

impl Access for Arc<RwLock<u64>> {
    fn read(&mut self) -> u64 {
        *RwLock::read(self).unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self) {
        *self.write().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

impl Access for Arc<brigade::sync::RwLock<u64>> {
    fn read(&mut self) -> u64 {
        *brigade::sync::RwLock::read(self).unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self) {
        *self.write().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

/// What the owner of a number is asked for.
#[derive(Clone, Copy)]
enum Request {
    /// Tell the client of that index the number.
    Read(usize),
    /// Add one; there is no answer.
    Add,
}

/// How many requests wait for the owner at most.
const REQUESTS: usize = 128;

/// Why a channel between owner and clients is open while either needs it.
const OPEN: &str = "the owner ends after its clients, and they wait for its answers";

/// One thread's way to a number that another thread owns.
pub(crate) struct Client {
    index: usize,
    requests: Sender<Request>,
    answers: Receiver<u64>,
}

impl Access for Client {
    fn read(&mut self) -> u64 {
        self.requests.send(Request::Read(self.index)).expect(OPEN);
        self.answers.receive().expect(OPEN)
    }

    fn add(&mut self) {
        self.requests.send(Request::Add).expect(OPEN);
    }
}

/// The thread that owns a number.
pub(crate) struct Owner {
    requests: Receiver<Request>,
    answers: Vec<Sender<u64>>,
}

impl Owner {
    /// An owner with so many clients, all of them threads of `kind`.
    pub(crate) fn with_clients(kind: Kind, count: usize) -> (Self, Vec<Client>) {
        let (sender, requests) = channel(kind, Some(REQUESTS));
        let (answers, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| channel(kind, Some(1))).unzip();
        let client = |(index, answers)| Client {
            index,
            requests: sender.clone(),
            answers,
        };
        let clients = receivers.into_iter().enumerate().map(client).collect();
        (Self { requests, answers }, clients)
    }

    /// Serves the clients until the last of them has gone, and returns the number.
    pub(crate) fn serve(self) -> u64 {
        let mut number = 0;
        while let Some(request) = self.requests.receive() {
            match request {
                Request::Read(client) => self.answers[client].send(number).expect(OPEN),
                Request::Add => number += 1,
            }
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_and_read(mut access: impl Access) {
        assert_eq!(access.read(), 0);
        access.add();
        access.add();
        assert_eq!(access.read(), 2);
    }

    #[test]
    fn every_way_reads_what_was_added() {
        add_and_read(Own(0));
        add_and_read(Arc::new(AtomicU64::new(0)));
        add_and_read(Arc::new(Mutex::new(0)));
        add_and_read(Arc::new(brigade::sync::Mutex::new(0)));
        add_and_read(Arc::new(RwLock::new(0)));
        add_and_read(Arc::new(brigade::sync::RwLock::new(0)));
        let (owner, mut clients) = Owner::with_clients(Kind::Kernel, 1);
        let serving = std::thread::spawn(|| owner.serve());
        add_and_read(clients.remove(0));
        assert_eq!(serving.join().unwrap(), 2);
    }
}
