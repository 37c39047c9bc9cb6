//! Round robin: one queue, and a quantum after which the next one has its turn.
//!
//! `SCHED_RR` of POSIX with one priority. L. Kleinrock, *Analysis of a time-shared processor*, 1964. A
//! thread that is alone when its quantum ends gets a new one; threads that come at the moment a
//! quantum ends are queued before the one whose quantum it was, as textbooks do.

use crate::policy::queue::Queue;
use crate::policy::{Policy, ThreadId};
use crate::task::Machine;

pub(super) struct RoundRobin {
    queue: Queue,
    quantum_ns: u64,
    /// What the current thread of each core has used of its quantum.
    used_ns: Vec<u64>,
}

impl RoundRobin {
    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            queue: Queue::new(machine.cores),
            quantum_ns: machine.quantum_ns,
            used_ns: vec![0; machine.cores],
        }
    }
}

impl Policy for RoundRobin {
    fn add(&mut self, _nice: i8) {}

    fn wake(&mut self, thread: ThreadId) -> Option<usize> {
        self.queue.push(thread);
        None
    }

    fn preempts(&mut self, _core: usize, _woken: ThreadId) -> bool {
        false
    }

    fn pick(&mut self, core: usize) -> Option<ThreadId> {
        self.used_ns[core] = 0;
        self.queue.pick(core)
    }

    fn charge(&mut self, core: usize, _switching_ns: u64, ran_ns: u64) {
        self.used_ns[core] += ran_ns;
    }

    fn next_check(&self, core: usize, now_ns: u64, switching_ns: u64) -> Option<u64> {
        let left = self.quantum_ns.saturating_sub(self.used_ns[core]);
        Some(now_ns + switching_ns + left)
    }

    fn expired(&mut self, core: usize) -> bool {
        if self.used_ns[core] < self.quantum_ns {
            return false;
        }
        self.used_ns[core] = 0;
        !self.queue.is_empty()
    }

    fn put_back(&mut self, core: usize) {
        self.queue.put_back(core);
    }

    fn sleep(&mut self, core: usize) {
        self.queue.sleep(core);
    }
}
