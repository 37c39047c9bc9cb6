//! First in, first out: one queue, and whoever is picked runs until it waits or ends.
//!
//! Also called first come, first served; `SCHED_FIFO` of POSIX with one priority. A. Silberschatz,
//! P. Galvin, G. Gagne, *Operating System Concepts*, chapter "CPU Scheduling".

use crate::policy::queue::Queue;
use crate::policy::{Policy, ThreadId};
use crate::task::Machine;

pub(super) struct Fifo {
    queue: Queue,
}

impl Fifo {
    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            queue: Queue::new(machine.cores),
        }
    }
}

impl Policy for Fifo {
    fn add(&mut self, _nice: i8) {}

    fn wake(&mut self, thread: ThreadId) -> Option<usize> {
        self.queue.push(thread);
        None
    }

    fn preempts(&mut self, _core: usize, _woken: ThreadId) -> bool {
        false
    }

    fn pick(&mut self, core: usize) -> Option<ThreadId> {
        self.queue.pick(core)
    }

    fn charge(&mut self, _core: usize, _switching_ns: u64, _ran_ns: u64) {}

    fn next_check(&self, _core: usize, _now_ns: u64, _switching_ns: u64) -> Option<u64> {
        None
    }

    fn expired(&mut self, _core: usize) -> bool {
        false
    }

    fn put_back(&mut self, core: usize) {
        self.queue.put_back(core);
    }

    fn sleep(&mut self, core: usize) {
        self.queue.sleep(core);
    }
}
