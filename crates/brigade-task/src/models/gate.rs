//! The gate: no task is left behind, whatever the pollers do, and few are woken.

use std::panic::Location;
use std::sync::Arc;

use brigade_event::WaitReason;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::gate::Gate;
use crate::prim::{Bed, Slept};

/// Pollers and a queue, as `executor.rs` puts them together: tasks are numbers.
struct Rig {
    gate: Gate,
    bed: Bed,
    queue: Mutex<Vec<u32>>,
    /// What the pollers read without the lock.
    len: AtomicUsize,
    polled: AtomicUsize,
    /// Pollers that could not be woken, because none slept: they would be started.
    missing: AtomicUsize,
    tasks: usize,
    fault: Fault,
}

/// What is planted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The count is read before the task is queued.
    AsksFirst,
    /// The queues are looked at before the count is taken down.
    LooksFirst,
    /// Who finds a task does not see to the next one.
    LeavesTheRest,
}

impl Rig {
    fn new(tasks: usize, fault: Fault) -> Arc<Rig> {
        Arc::new(Rig {
            fault,
            gate: Gate::new(),
            bed: Bed::new(WaitReason::Tasks),
            queue: Mutex::new(Vec::new()),
            len: AtomicUsize::new(0),
            polled: AtomicUsize::new(0),
            missing: AtomicUsize::new(0),
            tasks,
        })
    }

    fn push(&self, task: u32) {
        let early = self.fault == Fault::AsksFirst && self.gate.task_queued();
        {
            let mut queue = self.queue.lock().unwrap();
            queue.push(task);
            // ORDER: Relaxed: as in `queue.rs`.
            self.len.store(queue.len(), Ordering::Relaxed);
        }
        if early || self.fault != Fault::AsksFirst && self.gate.task_queued() {
            self.rouse();
        }
    }

    fn rouse(&self) {
        if !self.bed.wake_one() {
            // ORDER: Relaxed: counted for the end of the run.
            self.missing.fetch_add(1, Ordering::Relaxed);
            self.poll();
        }
    }

    fn pop(&self) -> Option<u32> {
        // ORDER: Relaxed: as in `queue.rs`.
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queue = self.queue.lock().unwrap();
        let task = queue.pop();
        // ORDER: Relaxed: as in `queue.rs`.
        self.len.store(queue.len(), Ordering::Relaxed);
        task
    }

    fn is_empty(&self) -> bool {
        // ORDER: Relaxed: as in `queue.rs`.
        self.len.load(Ordering::Relaxed) == 0
    }

    /// A poller that searches; it polls one task at a time and then is held up for ever, which is the worst it can do to
    /// the others, and ends when it has found nothing.
    fn poll(&self) {
        match self.pop() {
            Some(_) => {
                let is_left = || self.fault != Fault::LeavesTheRest && !self.is_empty();
                if self.gate.found(is_left) {
                    self.rouse();
                }
                self.done();
            }
            None => {
                self.gate.stop_searching();
                // The last look, under the lock of the bed; it sleeps no more in this run.
                if !self.is_empty() {
                    self.gate.search();
                    self.poll();
                }
            }
        }
    }

    /// A task was polled. Who sleeps in vain is woken, as at the end of a runtime.
    fn done(&self) {
        // ORDER: SeqCst: in one order with `is_done`, as the executor's counts.
        self.polled.fetch_add(1, Ordering::SeqCst);
        self.bed.wake_all();
    }

    fn is_done(&self) -> bool {
        // ORDER: SeqCst: as in `done`.
        self.polled.load(Ordering::SeqCst) == self.tasks
    }

    fn check(&self) {
        // ORDER: Relaxed: all threads were joined.
        assert_eq!(
            self.polled.load(Ordering::Relaxed),
            self.tasks,
            "a task was left behind"
        );
    }
}

/// Two threads queue a task each; the pollers are started as they are asked for.
fn held_up(fault: Fault) {
    loom::model(move || {
        let rig = Rig::new(2, fault);
        let theirs = Arc::clone(&rig);
        let other = loom::thread::spawn(move || theirs.push(1));
        rig.push(2);
        other.join().unwrap();
        rig.check();
    });
}

/// One poller that has found nothing yet, and a task that comes.
fn falling_asleep(fault: Fault) {
    loom::model(move || {
        let rig = Rig::new(1, fault);
        let theirs = Arc::clone(&rig);
        rig.gate.search();
        let sleeper = loom::thread::spawn(move || {
            if theirs.pop().is_some() {
                return theirs.done();
            }
            let early = theirs.is_empty();
            theirs.gate.stop_searching();
            let is_empty = || match theirs.fault {
                Fault::LooksFirst => early,
                _ => theirs.is_empty(),
            };
            let is_due = || is_empty() && !theirs.is_done();
            let slept = theirs.bed.sleep(Location::caller(), is_due);
            if slept != Slept::UntilOne {
                theirs.gate.search();
            }
            if theirs.pop().is_some() {
                theirs.done();
            }
        });
        // If the sleeper is not woken for it, and this thread is not told to poll it, the model hangs.
        rig.push(1);
        sleeper.join().unwrap();
        rig.check();
    });
}

#[test]
fn pollers_that_are_held_up_leave_no_task_behind() {
    held_up(Fault::None);
}

#[test]
#[should_panic(expected = "a task was left behind")]
fn one_that_does_not_see_to_the_next_task_is_found() {
    held_up(Fault::LeavesTheRest);
}

#[test]
fn a_poller_that_goes_to_sleep_misses_no_task() {
    falling_asleep(Fault::None);
}

#[test]
#[should_panic]
fn one_that_asks_before_it_queues_is_found() {
    falling_asleep(Fault::AsksFirst);
}

#[test]
#[should_panic]
fn one_that_looks_before_it_counts_itself_out_is_found() {
    falling_asleep(Fault::LooksFirst);
}
