//! Readiness: no edge is lost between an attempt and a wait, and a short read is not taken for the end of the data.

use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::readiness::Readiness;

/// A socket: bytes in the kernel, the word, and a place for one waiter behind a lock.
struct Socket {
    bytes: AtomicU32,
    word: Readiness,
    waits: Mutex<bool>,
    woken: AtomicBool,
}

impl Socket {
    fn new() -> Arc<Socket> {
        Arc::new(Socket {
            bytes: AtomicU32::new(0),
            word: Readiness::new(),
            waits: Mutex::new(false),
            woken: AtomicBool::new(false),
        })
    }

    /// A peer writes a byte, and the poller is told of the edge.
    fn arrive(&self) {
        // ORDER: SeqCst: stands for the kernel, which queues the byte before it reports the edge.
        self.bytes.fetch_add(1, Ordering::SeqCst);
        let mut waits = self.waits.lock().unwrap();
        self.word.advance(false, false);
        if std::mem::take(&mut *waits) {
            // ORDER: Release: stands for the park word; pairs with `wait`.
            self.woken.store(true, Ordering::Release);
        }
    }

    /// Takes all bytes; a read that asked for more than there was.
    fn try_read(&self) -> u32 {
        // ORDER: SeqCst: stands for the kernel.
        self.bytes.swap(0, Ordering::SeqCst)
    }

    /// Reads until `total` bytes have come. `careful` is false in the planted fault, which looks at the word only
    /// after the attempt.
    fn read(&self, total: u32, careful: bool) {
        let mut got = 0;
        while got < total {
            let mut before = self.word.glance();
            let mut found = 0;
            if !before.is_drained() {
                found = self.try_read();
                if !careful {
                    before = self.word.glance();
                }
                self.word.set_drained(before, found > 0);
            }
            got += found;
            if found == 0 {
                self.wait(before);
            }
        }
    }

    fn wait(&self, before: crate::readiness::Glance) {
        {
            let mut waits = self.waits.lock().unwrap();
            if !self.word.is_still(before) {
                return;
            }
            *waits = true;
        }
        // ORDER: Acquire: stands for the park word; pairs with `arrive`.
        while !self.woken.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // ORDER: Relaxed: nobody else writes it until this thread waits again, which takes the lock.
        self.woken.store(false, Ordering::Relaxed);
    }
}

fn one_reader_and_bytes_in_two_parts(careful: bool) {
    loom::model(move || {
        let socket = Socket::new();
        let peer = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || {
                socket.arrive();
                socket.arrive();
            })
        };
        socket.read(2, careful);
        peer.join().unwrap();
    });
}

#[test]
fn every_byte_is_read_whenever_its_edge_comes() {
    one_reader_and_bytes_in_two_parts(true);
}

/// The checker notices a reader that waits for ever: loom gives up on a loop that makes no progress.
#[test]
#[should_panic]
fn planted_a_look_after_the_attempt_loses_an_edge() {
    one_reader_and_bytes_in_two_parts(false);
}
