//! What CFS and EEVDF share: weights, virtual time, a queue for each core, and which core a thread wakes on.
//!
//! Source: the kernel's `kernel/sched/core.c` (the table of weights) and `kernel/sched/fair.c`.
//!
//! # Invariants
//!
//! 1. A thread's virtual time grows by the time it ran times 1024 by its weight, and by nothing else while
//!    it stays on its queue. The switch to it counts as its running, as in the kernel.
//! 2. Virtual time is kept in 1024ths of a nanosecond: rounding is too small to show in any run.
//!
//! # Rejected
//!
//! *A tree*: queues here hold tens of threads, and a scan shows the rule of the policy.

use crate::policy::ThreadId;

/// `sched_prio_to_weight` of the kernel: nice -20 to 19. One step is about 1.25.
const WEIGHTS: [i128; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// The weight of nice 0.
pub(super) const NICE_0: i128 = 1024;

/// Virtual time: 1024ths of a nanosecond of a thread with nice 0.
pub(super) type Virtual = i128;

const UNIT: i128 = 1024;

/// The kernel's weight of a nice value: two threads on one CPU share it in the ratio of their weights.
///
/// ```
/// assert_eq!(brigade_sim::weight_of(0), 1024);
/// assert_eq!(brigade_sim::weight_of(5), 335);
/// ```
///
/// # Panics
///
/// If `nice` is not in -20..=19.
#[must_use]
pub fn weight_of(nice: i8) -> u32 {
    WEIGHTS[usize::try_from(i16::from(nice) + 20).expect("nice is at least -20")] as u32
}

/// The virtual time in which a thread of this weight runs for `ns`.
pub(super) fn virtual_of(ns: u64, weight: i128) -> Virtual {
    i128::from(ns) * UNIT * NICE_0 / weight
}

/// How long a thread of this weight has to run until its virtual time has grown by `time`; rounded up.
pub(super) fn real_ns(time: Virtual, weight: i128) -> u64 {
    let parts = time.max(0) * weight;
    let unit = UNIT * NICE_0;
    u64::try_from((parts + unit - 1) / unit).unwrap_or(u64::MAX)
}

/// Virtual time in nanoseconds.
pub(super) fn in_ns(time: Virtual) -> f64 {
    time as f64 / UNIT as f64
}

/// What is known of one thread.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    pub(super) weight: i128,
    pub(super) vruntime: Virtual,
    /// EEVDF: until when, in virtual time, its request is to be met.
    pub(super) deadline: Virtual,
    /// EEVDF: what it was owed when it left its queue, in virtual time.
    pub(super) lag: Virtual,
    /// CFS: its virtual time counts from the least of this core's queue. EEVDF: where it was last.
    pub(super) core: usize,
    /// It has never been queued.
    pub(super) is_new: bool,
}

/// The threads of one core.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) queued: Vec<ThreadId>,
    pub(super) current: Option<ThreadId>,
    /// For how long the current thread has run since it was picked.
    pub(super) ran_ns: u64,
    /// The virtual time that threads are placed by: CFS, the least of the queue, which never falls; EEVDF,
    /// the average when the queue was last not empty.
    pub(super) floor: Virtual,
}

impl Queue {
    /// All that are queued or run here, the one that runs at the end.
    pub(super) fn all(&self) -> impl Iterator<Item = ThreadId> + '_ {
        self.queued.iter().chain(&self.current).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.queued.len() + usize::from(self.current.is_some())
    }
}

/// All threads and all queues.
pub(super) struct Fair {
    pub(super) entities: Vec<Entity>,
    pub(super) queues: Vec<Queue>,
}

impl Fair {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            entities: Vec::new(),
            queues: vec![Queue::default(); cores],
        }
    }

    pub(super) fn add(&mut self, nice: i8) {
        self.entities.push(Entity {
            weight: i128::from(weight_of(nice)),
            vruntime: 0,
            deadline: 0,
            lag: 0,
            core: 0,
            is_new: true,
        });
    }

    pub(super) fn entity(&self, thread: ThreadId) -> &Entity {
        &self.entities[thread.0]
    }

    pub(super) fn entity_mut(&mut self, thread: ThreadId) -> &mut Entity {
        &mut self.entities[thread.0]
    }

    /// The sum of the weights on `core`.
    pub(super) fn load(&self, core: usize) -> i128 {
        let threads = self.queues[core].all();
        threads.map(|thread| self.entity(thread).weight).sum()
    }

    /// The core a thread wakes on: its last one if that is idle, else the first idle one, else the one with
    /// the least load; of equal ones its last one, then the first.
    pub(super) fn core_for(&self, thread: ThreadId) -> usize {
        let last = self.entity(thread).core;
        let rank = |core: &usize| (self.load(*core), *core != last, *core);
        (0..self.queues.len()).min_by_key(rank).unwrap_or(last)
    }

    /// A core from which an idle one takes a thread: the one with the most queued, if any is.
    pub(super) fn busiest(&self) -> Option<usize> {
        let queued = |core: &usize| self.queues[*core].queued.len();
        let cores = (0..self.queues.len()).rev();
        cores.max_by_key(queued).filter(|core| queued(core) > 0)
    }

    /// Takes `thread` out of the queue of `core`.
    pub(super) fn remove(&mut self, core: usize, thread: ThreadId) {
        self.queues[core].queued.retain(|queued| *queued != thread);
    }

    /// Makes `thread`, queued on `core`, its current one.
    pub(super) fn start(&mut self, core: usize, thread: ThreadId) {
        self.remove(core, thread);
        self.queues[core].current = Some(thread);
        self.queues[core].ran_ns = 0;
        self.entity_mut(thread).core = core;
    }

    /// The current thread of `core` has run for `ran_ns`.
    pub(super) fn charge(&mut self, core: usize, ran_ns: u64) {
        self.queues[core].ran_ns += ran_ns;
        if let Some(current) = self.queues[core].current {
            let entity = self.entity_mut(current);
            entity.vruntime += virtual_of(ran_ns, entity.weight);
        }
    }

    /// Queues the current thread of `core` again.
    pub(super) fn put_back(&mut self, core: usize) {
        let queue = &mut self.queues[core];
        queue.queued.extend(queue.current.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_of_nice_is_about_a_factor_of_one_and_a_quarter() {
        for pair in WEIGHTS.windows(2) {
            let ratio = pair[0] as f64 / pair[1] as f64;
            assert!((1.14..=1.31).contains(&ratio), "{pair:?}");
        }
        assert_eq!(
            [weight_of(-20), weight_of(0), weight_of(19)],
            [88761, 1024, 15]
        );
    }

    #[test]
    fn real_time_and_virtual_time_are_inverse() {
        for weight in WEIGHTS {
            for ns in [0, 1, 999, 4_000_000] {
                let there = virtual_of(ns, weight);
                assert!(real_ns(there, weight).abs_diff(ns) <= 1, "{ns} {weight}");
            }
        }
    }
}
