//! The waiters of one direction: whatever comes between an attempt and a wait, nobody sleeps beside an event.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};

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

/// A task: whether it was woken, and where its thread sleeps.
struct Task {
    is_woken: Mutex<bool>,
    bell: Condvar,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().unwrap() = true;
        self.bell.notify_one();
    }
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task {
            is_woken: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    fn sleep(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !*is_woken {
            is_woken = self.bell.wait(is_woken).unwrap();
        }
        *is_woken = false;
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

    /// By the poller: so many bytes have come, or none, as with an edge of something else. The tick moves and the watch
    /// fires under the lock of the list; then it is answered.
    fn write(&self, bytes: u32) {
        // ORDER: Relaxed: published by the tick.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
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

    /// One try to wait; true: an event has come, so it does not wait.
    fn wait(&self, place: &mut Place, task: &Arc<Task>, seen: u32) -> bool {
        let is_still = || self.tick() == seen;
        let arm = |_| {
            let mut is_armed = self.is_armed.lock().unwrap();
            let is_late = self.fault != Fault::ArmsBlindly && self.tick() != seen;
            *is_armed = !is_late;
            Ok::<_, Infallible>((!is_late).then_some(()))
        };
        let waker = Waker::from(Arc::clone(task));
        let waits = self.waiters.wait(place, waker, is_still, |()| true, arm);
        waits != Poll::Pending
    }

    /// A task that reads one byte.
    fn read(&self) {
        let task = Task::new();
        let mut place = Place::default();
        loop {
            let seen = self.tick();
            if self.take() {
                break;
            }
            if !self.wait(&mut place, &task, seen) {
                task.sleep();
            }
        }
        self.waiters.leave(&place);
    }

    /// A task that wants to read, and is dropped when it waits.
    fn give_up(&self) {
        let mut place = Place::default();
        let seen = self.tick();
        self.wait(&mut place, &Task::new(), seen);
        self.waiters.leave(&place);
    }
}

/// `readers` tasks wait for a byte each while the bytes come, and one gives up if `quits`, when an edge comes without a
/// byte. If a wake-up is lost the model hangs.
fn reading(fault: Fault, readers: usize, quits: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(if readers > 1 { 2 } else { 3 });
    model.check(move || {
        let rig = Rig::new(fault);
        let mut threads = Vec::new();
        for _ in 0..readers {
            let rig = Arc::clone(&rig);
            threads.push(loom::thread::spawn(move || rig.read()));
        }
        if quits {
            let rig = Arc::clone(&rig);
            threads.push(loom::thread::spawn(move || rig.give_up()));
        }
        (0..usize::from(quits)).for_each(|_| rig.write(0));
        (0..readers).for_each(|_| rig.write(1));
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_reader_misses_no_event() {
    reading(Fault::None, 1, false);
}

#[test]
fn two_readers_behind_one_watch_miss_no_event() {
    reading(Fault::None, 2, false);
}

#[test]
fn one_that_gives_up_takes_no_event_from_the_other() {
    reading(Fault::None, 1, true);
}

#[test]
#[should_panic]
fn arming_without_another_look_is_found() {
    reading(Fault::ArmsBlindly, 1, false);
}

#[test]
#[should_panic]
fn answering_in_two_steps_is_found() {
    reading(Fault::AnswersInTwoSteps, 1, true);
}
