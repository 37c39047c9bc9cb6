//! The Completely Fair Scheduler of Linux 2.6.23 to 6.5: the thread with the least virtual runtime.
//!
//! Source: `kernel/sched/fair.c` of Linux 6.5; the names of its functions stand at their counterparts here.
//! Group scheduling, load balancing beyond an idle core that takes a thread, and buddies are not modelled.

use crate::policy::fair::{Fair, NICE_0, Virtual, in_ns, real_ns, virtual_of};
use crate::policy::{Policy, ThreadId, look_at};
use crate::task::Machine;

pub(super) struct Cfs {
    fair: Fair,
    latency_ns: u64,
    min_granularity_ns: u64,
    wakeup_granularity_ns: u64,
    tick_ns: u64,
}

impl Cfs {
    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            fair: Fair::new(machine.cores),
            latency_ns: machine.latency_ns,
            min_granularity_ns: machine.min_granularity_ns,
            // The kernel's defaults are 6 ms of latency and 1 ms of this.
            wakeup_granularity_ns: machine.latency_ns / 6,
            tick_ns: machine.tick_ns,
        }
    }

    /// `sched_slice`: the thread's part, by weight, of the time in which each has its turn. `joining` is a
    /// thread that is not on the queue yet.
    fn slice_ns(&self, core: usize, thread: ThreadId, joining: bool) -> u64 {
        let weight = self.fair.entity(thread).weight;
        let joins = u64::from(joining);
        let count = self.fair.queues[core].len() as u64 + joins;
        // `__sched_period`.
        let period = self.latency_ns.max(count * self.min_granularity_ns);
        let load = self.fair.load(core) + i128::from(joins) * weight;
        let slice = i128::from(period) * weight / load.max(1);
        // `BASE_SLICE`, from Linux 5.13 on.
        u64::try_from(slice)
            .unwrap_or(u64::MAX)
            .max(self.min_granularity_ns)
    }

    /// How long the current thread of `core` may run before others are looked at: a slice, and no more than the
    /// latency even if many light threads make the period long (from Linux 6.2 on).
    fn ideal_ns(&self, core: usize, current: ThreadId) -> u64 {
        self.slice_ns(core, current, false).min(self.latency_ns)
    }

    fn leftmost(&self, core: usize) -> Option<ThreadId> {
        let queued = self.fair.queues[core].queued.iter().copied();
        queued.min_by_key(|thread| self.fair.entity(*thread).vruntime)
    }

    /// `update_min_vruntime`: it follows the least and never falls.
    fn raise_floor(&mut self, core: usize) {
        let threads = self.fair.queues[core].all();
        let least = threads
            .map(|thread| self.fair.entity(thread).vruntime)
            .min();
        let queue = &mut self.fair.queues[core];
        queue.floor = queue.floor.max(least.unwrap_or(queue.floor));
    }

    /// `place_entity`: a new thread begins one slice late, one that slept at most half a latency early.
    fn place(&mut self, core: usize, thread: ThreadId) {
        let floor = self.fair.queues[core].floor;
        let entity = self.fair.entity(thread);
        let weight = entity.weight;
        let placed = if entity.is_new {
            floor + virtual_of(self.slice_ns(core, thread, true), weight)
        } else {
            // What is kept of a sleeping thread counts from the queue it left (`migrate_task_rq_fair`).
            let kept = entity.vruntime - self.fair.queues[entity.core].floor + floor;
            kept.max(floor - virtual_of(self.latency_ns / 2, NICE_0))
        };
        let entity = self.fair.entity_mut(thread);
        entity.vruntime = placed;
        entity.is_new = false;
        entity.core = core;
    }

    fn behind(&self, core: usize, thread: ThreadId) -> Virtual {
        let current = self.fair.queues[core].current;
        current.map_or(0, |current| {
            self.fair.entity(current).vruntime - self.fair.entity(thread).vruntime
        })
    }
}

impl Policy for Cfs {
    fn add(&mut self, nice: i8) {
        self.fair.add(nice);
    }

    fn wake(&mut self, thread: ThreadId) -> Option<usize> {
        let core = self.fair.core_for(thread);
        self.place(core, thread);
        self.fair.queues[core].queued.push(thread);
        self.raise_floor(core);
        Some(core)
    }

    /// `check_preempt_wakeup`.
    fn preempts(&mut self, core: usize, woken: ThreadId) -> bool {
        let granularity = virtual_of(self.wakeup_granularity_ns, self.fair.entity(woken).weight);
        self.fair.queues[core].current.is_some() && self.behind(core, woken) > granularity
    }

    fn pick(&mut self, core: usize) -> Option<ThreadId> {
        if let Some(thread) = self.leftmost(core) {
            self.fair.start(core, thread);
            return Some(thread);
        }
        let from = self.fair.busiest()?;
        let thread = self.leftmost(from)?;
        self.fair.remove(from, thread);
        let moved = self.fair.queues[core].floor - self.fair.queues[from].floor;
        self.fair.entity_mut(thread).vruntime += moved;
        self.fair.start(core, thread);
        Some(thread)
    }

    fn charge(&mut self, core: usize, switching_ns: u64, ran_ns: u64) {
        self.fair.charge(core, switching_ns + ran_ns);
        self.raise_floor(core);
    }

    fn next_check(&self, core: usize, now_ns: u64, _switching_ns: u64) -> Option<u64> {
        let queue = &self.fair.queues[core];
        let current = queue.current.filter(|_| !queue.queued.is_empty())?;
        let left = self.ideal_ns(core, current).saturating_sub(queue.ran_ns);
        Some(look_at(now_ns, self.tick_ns, left))
    }

    /// `check_preempt_tick`.
    fn expired(&mut self, core: usize) -> bool {
        let queue = &self.fair.queues[core];
        let (Some(current), Some(leftmost)) = (queue.current, self.leftmost(core)) else {
            return false;
        };
        let ideal = self.ideal_ns(core, current);
        if queue.ran_ns >= ideal {
            return true;
        }
        let behind = real_ns(self.behind(core, leftmost), NICE_0);
        queue.ran_ns >= self.min_granularity_ns && behind > ideal
    }

    fn put_back(&mut self, core: usize) {
        self.fair.put_back(core);
    }

    fn sleep(&mut self, core: usize) {
        self.fair.queues[core].current = None;
        self.raise_floor(core);
    }

    fn vruntime_ns(&self, thread: ThreadId) -> Option<f64> {
        Some(in_ns(self.fair.entity(thread).vruntime))
    }
}
