//! The waiters of one direction: whatever comes between an attempt and a wait, nobody sleeps beside an event.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Mutex, Notify};

use crate::waiters::{Place, Waiters};

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The watch is armed without another look at the tick.
    ArmsBlindly,
    /// Who answers takes the wakers first, and notes that the watch is not armed afterwards.
    AnswersInTwoSteps,
}

/// A descriptor as the runtime keeps it: a tick, and a list with one place for a watch.
struct Rig {
    fault: Fault,
    /// What an attempt takes: bytes in the file.
    bytes: AtomicU32,
    tick: AtomicU32,
    is_armed: Mutex<bool>,
    waiters: Waiters<()>,
}

/// A task: its waker, and where its thread sleeps.
struct Task {
    is_woken: AtomicBool,
    notify: Notify,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        // An exchange, because the checker lets a plain store come before an exchange that did not see it.
        // ORDER: Release: pairs with the Acquire in `sleep`.
        self.is_woken.swap(true, Ordering::Release);
        self.notify.notify();
    }
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task {
            is_woken: AtomicBool::new(false),
            notify: Notify::new(),
        })
    }

    fn sleep(&self) {
        // ORDER: Acquire: pairs with the Release in `wake`.
        while !self.is_woken.swap(false, Ordering::Acquire) {
            self.notify.wait();
        }
    }
}

impl Rig {
    fn new(fault: Fault) -> Arc<Rig> {
        Arc::new(Rig {
            fault,
            bytes: AtomicU32::new(0),
            tick: AtomicU32::new(0),
            is_armed: Mutex::new(false),
            waiters: Waiters::new(),
        })
    }

    fn tick(&self) -> u32 {
        // ORDER: Acquire: pairs with the Release in `write`, as in `readiness.rs` of the runtime.
        self.tick.load(Ordering::Acquire)
    }

    /// By the poller: a byte has come. The tick moves and the watch fires under the lock of the list; then it is answered.
    fn write(&self) {
        // ORDER: Relaxed: published by the tick.
        self.bytes.fetch_add(1, Ordering::Relaxed);
        let fires = {
            let mut is_armed = self.is_armed.lock().unwrap();
            // ORDER: Release: pairs with the Acquire in `tick`.
            self.tick.fetch_add(1, Ordering::Release);
            std::mem::take(&mut *is_armed)
        };
        if fires {
            let mut wakers = Vec::new();
            if self.fault == Fault::AnswersInTwoSteps {
                self.waiters.plant_early_drain(&mut wakers);
                loom::thread::yield_now();
                self.waiters.fired(&mut Vec::new());
            } else {
                self.waiters.fired(&mut wakers);
            }
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn take(&self) -> bool {
        // ORDER: Relaxed: as in `write`.
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                bytes.checked_sub(1)
            });
        taken.is_ok()
    }

    /// After an attempt before which the tick was `seen`: whether `waker` will be called.
    fn waits(&self, place: &mut Place, seen: u32, waker: Waker) -> bool {
        let is_still = || self.tick() == seen;
        let arm = |_| {
            let mut is_armed = self.is_armed.lock().unwrap();
            let is_late = self.fault != Fault::ArmsBlindly && self.tick() != seen;
            *is_armed = !is_late;
            Ok::<_, Infallible>((!is_late).then_some(()))
        };
        let waits = self.waiters.wait(place, waker, is_still, |()| true, arm);
        waits == Poll::Pending
    }

    /// A task that reads one byte, and looks `patience` times before it gives up its place.
    fn read(&self, mut patience: u32) {
        let task = Task::new();
        let mut place = Place::default();
        loop {
            let seen = self.tick();
            if self.take() {
                break;
            }
            if self.waits(&mut place, seen, Waker::from(Arc::clone(&task))) {
                if patience == 0 {
                    break;
                }
                patience -= 1;
                task.sleep();
            }
        }
        self.waiters.leave(&place);
    }
}

/// `readers` tasks wait for a byte each while the bytes come; others give up. If a wake-up is lost the model hangs.
fn reading(fault: Fault, readers: usize, quitters: usize) {
    reading_beside(fault, readers, quitters, false);
}

/// As [`reading`]; `is_armed`: one that is never polled again waits before all.
fn reading_beside(fault: Fault, readers: usize, quitters: usize, is_armed: bool) {
    loom::model(move || {
        let rig = Rig::new(fault);
        if is_armed {
            let waits = rig.waits(&mut Place::default(), 0, Waker::noop().clone());
            assert!(waits, "nothing has happened yet");
        }
        let start = |patience| {
            let rig = Arc::clone(&rig);
            loom::thread::spawn(move || rig.read(patience))
        };
        let threads: Vec<_> = (0..readers)
            .map(|_| start(u32::MAX))
            .chain((0..quitters).map(|_| start(0)))
            .collect();
        // One for each, also for those that give up.
        (0..readers + quitters).for_each(|_| rig.write());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_reader_misses_no_event() {
    reading(Fault::None, 1, 0);
}

#[test]
fn two_readers_behind_one_watch_miss_no_event() {
    reading(Fault::None, 2, 0);
}

#[test]
fn one_that_gives_up_takes_no_event_from_the_other() {
    reading(Fault::None, 1, 1);
}

#[test]
fn one_that_is_polled_no_more_takes_no_event_from_the_others() {
    reading_beside(Fault::None, 1, 1, true);
}

#[test]
#[should_panic]
fn arming_without_another_look_is_found() {
    reading(Fault::ArmsBlindly, 1, 0);
}

#[test]
#[should_panic]
fn answering_in_two_steps_is_found() {
    // The first event is taken by one that does not wait; then a reader leaves its waker between the two steps.
    reading_beside(Fault::AnswersInTwoSteps, 1, 1, true);
}
