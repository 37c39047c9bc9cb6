//! An event: a set releases all that wait, a reset none, and a timeout forgets nobody.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::green::{Green, Sleeper};
use crate::prim::Lock;
use crate::signal::{RESET, Signal};
use crate::wait_queue::{Inner, WaitQueue};

struct Event(Signal<Sleeper>);

// SAFETY: the queue's pointers are used only under its lock, which the models check.
unsafe impl Sync for Event {}

impl Event {
    /// Never freed: a planted fault unwinds in the middle of a run.
    fn new() -> &'static Event {
        Box::leak(Box::new(Event(Signal {
            word: AtomicU32::new(RESET),
            queue: WaitQueue {
                inner: Lock::new(Inner::new(())),
            },
        })))
    }

    /// Waits as a thread of its own; false if its time was up.
    fn wait(&self, gives_up: bool) -> bool {
        self.0.is_set() || {
            let green = Green::new();
            let was_set = self
                .0
                .wait_slow(Sleeper(green), || green.park(gives_up), || !gives_up);
            green.end();
            was_set
        }
    }
}

fn spawn<T: 'static>(
    event: &'static Event,
    body: impl FnOnce(&Event) -> T + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || body(event))
}

#[test]
fn a_set_releases_all_and_publishes_what_came_before() {
    loom::model(|| {
        let event = Event::new();
        let value: &AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
        let other = spawn(event, |event| event.wait(false));
        let setter = spawn(event, |event| {
            // ORDER: Relaxed: published by the event, which is what is checked.
            value.store(1, Ordering::Relaxed);
            event.0.set();
        });
        assert!(event.wait(false));
        // ORDER: Relaxed: as above.
        assert_eq!(value.load(Ordering::Relaxed), 1);
        assert!(other.join().unwrap());
        setter.join().unwrap();
    });
}

#[test]
fn who_gives_up_leaves_the_others_to_the_set() {
    loom::model(|| {
        let event = Event::new();
        let hasty = spawn(event, |event| event.wait(true));
        let setter = spawn(event, |event| event.0.set());
        assert!(event.wait(false));
        hasty.join().unwrap();
        setter.join().unwrap();
        assert!(event.0.is_set());
    });
}

#[test]
fn a_reset_right_after_a_set_loses_nobody_who_waits() {
    loom::model(|| {
        let event = Event::new();
        let setter = spawn(event, |event| {
            event.0.set();
            event.0.reset();
        });
        let in_time = event.wait(true);
        setter.join().unwrap();
        assert!(!event.0.is_set());
        // Not in time, or released: either way the event is as new, with nobody in the queue.
        event.0.queue.with(|locked| assert!(locked.is_empty()));
        let _ = in_time;
    });
}

/// Planted fault: the first to give up says that nobody waits.
#[test]
#[should_panic]
fn the_checker_finds_a_timeout_that_forgets_the_others() {
    loom::model(|| {
        let event = Event::new();
        let hasty = spawn(event, |event| {
            event.wait(true);
            // ORDER: Relaxed: the fault is what is stored.
            event.0.word.store(RESET, Ordering::Relaxed);
            event.0.set();
        });
        event.wait(false);
        hasty.join().unwrap();
    });
}
