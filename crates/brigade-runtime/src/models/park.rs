//! The park word: no wake-up is lost, and a thread is queued once.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::park_word::ParkWord;

struct Green {
    word: ParkWord,
    condition: AtomicBool,
    queued: AtomicU32,
}

impl Green {
    fn new() -> Arc<Green> {
        Arc::new(Green {
            word: ParkWord::new(),
            condition: AtomicBool::new(false),
            queued: AtomicU32::new(0),
        })
    }

    fn wake(&self) {
        // ORDER: Relaxed: `notify` must publish it.
        self.condition.store(true, Ordering::Relaxed);
        if self.word.notify() {
            // ORDER: Release: stands for the run queue; pairs with `run`.
            self.queued.fetch_add(1, Ordering::Release);
        }
    }

    /// The thread's life: waits for its condition, as every caller of park does. `commit` stands for the switch.
    fn run(&self) {
        loop {
            // ORDER: Relaxed: the park word must make it visible.
            if self.condition.load(Ordering::Relaxed) {
                return;
            }
            if self.word.take_notification() {
                continue;
            }
            if self.word.commit_park() {
                // ORDER: Acquire: stands for the run queue; pairs with `wake`.
                while self.queued.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
                // ORDER: Relaxed: a count of the model.
                assert_eq!(self.queued.swap(0, Ordering::Relaxed), 1, "queued twice");
            }
            self.word.dispatch();
        }
    }
}

#[test]
fn a_wake_up_is_never_lost() {
    loom::model(|| {
        let green = Green::new();
        let waker = {
            let green = Arc::clone(&green);
            thread::spawn(move || green.wake())
        };
        green.run();
        waker.join().unwrap();
    });
}

#[test]
fn two_wakers_queue_a_thread_once() {
    loom::model(|| {
        let green = Green::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let green = Arc::clone(&green);
                thread::spawn(move || green.wake())
            })
            .collect();
        green.run();
        for waker in wakers {
            waker.join().unwrap();
        }
        // ORDER: Relaxed: everything has been joined.
        assert_eq!(green.queued.load(Ordering::Relaxed), 0);
    });
}

/// Planted fault: a thread that parks without the word's handshake.
#[test]
#[should_panic]
fn the_checker_finds_a_lost_wake_up() {
    loom::model(|| {
        let condition = Arc::new(AtomicBool::new(false));
        let parked = Arc::new(AtomicBool::new(false));
        let waker = {
            let (condition, parked) = (Arc::clone(&condition), Arc::clone(&parked));
            thread::spawn(move || {
                // ORDER: SeqCst: the fault is in the protocol, not in the orderings.
                condition.store(true, Ordering::SeqCst);
                // ORDER: SeqCst: as above, deliberately strong.
                parked.swap(false, Ordering::SeqCst)
            })
        };
        // ORDER: SeqCst: as above, deliberately strong.
        let must_park = !condition.load(Ordering::SeqCst);
        if must_park {
            // ORDER: SeqCst: as above, deliberately strong.
            parked.store(true, Ordering::SeqCst);
        }
        let woken = waker.join().unwrap();
        assert!(!must_park || woken, "parked for ever");
    });
}
