//! Channels of each kind: every message is received once or dropped once, nobody sleeps through a message, room or
//! disconnection, and nobody is touched after its end. The planted faults are in `channel/faults.rs`.

mod faults;
mod kinds;
mod select;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

/// Checks all runs in which threads are preempted so often at most.
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// Counts the messages that are alive.
#[derive(Clone)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new() -> Alive {
        Alive(Arc::new(AtomicUsize::new(0)))
    }

    fn message(&self, number: usize) -> Message {
        // ORDER: Relaxed: read after the threads were joined.
        self.0.fetch_add(1, Ordering::Relaxed);
        Message(number, self.clone())
    }

    #[track_caller]
    fn check_none(&self) {
        // ORDER: Relaxed: the threads were joined.
        assert_eq!(
            self.0.load(Ordering::Relaxed),
            0,
            "messages left or dropped twice"
        );
    }
}

/// A message that is missed when it is not dropped, or dropped twice.
struct Message(usize, Alive);

impl Drop for Message {
    fn drop(&mut self) {
        // ORDER: Relaxed: as in `Alive`.
        self.1.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    thread::spawn(body)
}
