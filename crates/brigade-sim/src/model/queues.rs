//! The queues of green threads: one for each processor, one for all, and stealing.
//!
//! Source: the scheduler of Go (`runtime/proc.go`, `findRunnable`), whose rules Brigade follows: the processor's
//! own queue first, every 61st time the global one first, then half of another's.

use std::collections::VecDeque;

use crate::model::TaskId;

/// How often the global queue comes first.
const GLOBAL_FIRST_EVERY: u64 = 61;

pub(super) struct Queues {
    local: Vec<VecDeque<TaskId>>,
    global: VecDeque<TaskId>,
    picks: Vec<u64>,
    rng: fastrand::Rng,
    pub(super) steals: u64,
}

impl Queues {
    pub(super) fn new(processors: usize, seed: u64) -> Self {
        Self {
            local: vec![VecDeque::new(); processors],
            global: VecDeque::new(),
            picks: vec![0; processors],
            rng: fastrand::Rng::with_seed(seed),
            steals: 0,
        }
    }

    /// Queues a task on the processor where it ran last, or on the global queue.
    pub(super) fn push(&mut self, last: Option<usize>, task: TaskId) {
        match last {
            Some(processor) => self.local[processor].push_back(task),
            None => self.global.push_back(task),
        }
    }

    /// Does a task wait that `processor` would take without stealing?
    pub(super) fn waits_for(&self, processor: usize) -> bool {
        !self.local[processor].is_empty() || !self.global.is_empty()
    }

    /// The next task for `processor`.
    pub(super) fn pick(&mut self, processor: usize) -> Option<TaskId> {
        self.picks[processor] += 1;
        let global_first = self.picks[processor].is_multiple_of(GLOBAL_FIRST_EVERY);
        let first = if global_first {
            self.global.pop_front()
        } else {
            None
        };
        first
            .or_else(|| self.local[processor].pop_front())
            .or_else(|| self.global.pop_front())
            .or_else(|| self.steal(processor))
    }

    /// Takes half, the oldest first, of the first queue that has any, beginning anywhere.
    fn steal(&mut self, thief: usize) -> Option<TaskId> {
        let count = self.local.len();
        let begin = self.rng.usize(..count);
        let mut victims = (0..count).map(|i| (begin + i) % count);
        let victim = victims.find(|victim| !self.local[*victim].is_empty())?;
        let half = self.local[victim].len().div_ceil(2);
        let mut taken: VecDeque<TaskId> = self.local[victim].drain(..half).collect();
        self.steals += 1;
        let task = taken.pop_front();
        self.local[thief].extend(taken);
        task
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tasks_come_first_then_those_of_all_then_half_of_anothers() {
        let mut queues = Queues::new(2, 7);
        for (last, task) in [
            (None, 0),
            (Some(0), 1),
            (Some(1), 2),
            (Some(1), 3),
            (Some(1), 4),
        ] {
            queues.push(last, TaskId(task));
        }
        let order: Vec<_> = (0..4).map(|_| queues.pick(0).unwrap().0).collect();
        assert_eq!(order, [1, 0, 2, 3]);
        assert_eq!(queues.steals, 1);
        assert!(queues.waits_for(1) && !queues.waits_for(0));
    }

    #[test]
    fn the_global_queue_is_not_starved_by_a_full_local_one() {
        let mut queues = Queues::new(1, 7);
        queues.push(None, TaskId(1000));
        for task in 0..200 {
            queues.push(Some(0), TaskId(task));
        }
        let at = (1..).find(|_| queues.pick(0) == Some(TaskId(1000)));
        assert_eq!(at, Some(GLOBAL_FIRST_EVERY));
    }
}
