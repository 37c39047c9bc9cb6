//! The hand-off word: carrier and monitor never hold the processor together.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::handoff::Handoff;

struct Shared {
    handoff: Handoff,
    /// Stands for what only the holder of the processor may touch.
    processor: UnsafeCell<u32>,
}

// SAFETY: the model shows that the accesses exclude each other; loom reports it if they do not.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`, the model is about exactly that.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        let shared = Shared {
            handoff: Handoff::new(),
            processor: UnsafeCell::new(0),
        };
        shared.handoff.take_up();
        shared.handoff.exit();
        Arc::new(shared)
    }

    fn touch(&self) {
        // SAFETY: the caller holds the processor; loom checks it.
        self.processor.with_mut(|value| unsafe { *value += 1 });
    }
}

#[test]
fn carrier_and_monitor_exclude_each_other() {
    loom::model(|| {
        let shared = Shared::new();
        let monitor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let taken = shared.handoff.retake(|| true);
                if taken {
                    shared.touch();
                }
                taken
            })
        };
        let mut held = 0;
        for _ in 0..2 {
            if shared.handoff.enter() {
                shared.touch();
                held += 1;
            }
            shared.handoff.exit();
        }
        let taken = monitor.join().unwrap();
        assert!(taken || held == 2, "the processor was lost");
    });
}

#[test]
fn a_carrier_that_gives_up_is_not_overruled() {
    loom::model(|| {
        let shared = Shared::new();
        let monitor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.handoff.retake(|| true))
        };
        let mut given = false;
        if shared.handoff.enter() {
            shared.touch();
            shared.handoff.give_up();
            given = true;
        }
        shared.handoff.exit();
        let taken = monitor.join().unwrap();
        assert!(given != taken, "the processor has two new owners, or none");
        assert!(
            !shared.handoff.enter(),
            "the carrier believes to hold a processor"
        );
    });
}

#[test]
fn a_second_request_fails_after_the_first_succeeded() {
    loom::model(|| {
        let shared = Shared::new();
        let monitor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let first = shared.handoff.retake(|| true);
                let second = shared.handoff.retake(|| true);
                assert!(!(first && second), "taken twice");
                first || second
            })
        };
        let held = shared.handoff.enter();
        shared.handoff.exit();
        let taken = monitor.join().unwrap();
        assert!(held || taken);
    });
}
