//! Earliest Eligible Virtual Deadline First, the scheduler of Linux from 6.6 on.
//!
//! Sources: I. Stoica, H. Abdel-Wahab, *Earliest Eligible Virtual Deadline First: A Flexible and Accurate
//! Mechanism for Proportional Share Resource Allocation*, 1995; `kernel/sched/fair.c` of Linux 6.6, whose names of
//! functions stand at their counterparts here.
//!
//! The *lag* of a thread is what it should have had of the core less what it had. A thread with no negative
//! lag is *eligible*. Each asks for one base slice at a time; its virtual deadline is where its virtual
//! time will be when it has got it. The eligible thread with the earliest deadline runs.
//!
//! As in the kernel, a thread that was picked runs until its request is met even if another with an earlier
//! deadline comes (`RUN_TO_PARITY`), and what a sleeping thread was owed is kept (`PLACE_LAG`). Not modelled:
//! slices of one's own, and threads that stay queued after they fell asleep until their lag is gone
//! (`DELAY_DEQUEUE`, Linux 6.12).

use crate::policy::fair::{Fair, NICE_0, Virtual, in_ns, real_ns, virtual_of};
use crate::policy::{Policy, ThreadId, look_at};
use crate::task::Machine;

pub(super) struct Eevdf {
    fair: Fair,
    base_slice_ns: u64,
    tick_ns: u64,
    /// The deadline that the current thread of each core had when it was picked: until it is met, nobody
    /// preempts it.
    parity: Vec<Virtual>,
    largest_lag_ns: f64,
}

impl Eevdf {
    pub(super) fn new(machine: &Machine) -> Self {
        Self {
            fair: Fair::new(machine.cores),
            base_slice_ns: machine.base_slice_ns,
            tick_ns: machine.tick_ns,
            parity: vec![0; machine.cores],
            largest_lag_ns: 0.0,
        }
    }

    /// The sum of weight times virtual time on `core`, and the sum of the weights.
    fn sums(&self, core: usize) -> (Virtual, i128) {
        let threads = self.fair.queues[core].all();
        threads.fold((0, 0), |(times, weights), thread| {
            let entity = self.fair.entity(thread);
            (
                times + entity.vruntime * entity.weight,
                weights + entity.weight,
            )
        })
    }

    /// `avg_vruntime`: where the virtual time of all would be if nobody had got too much.
    fn average(&self, core: usize) -> Virtual {
        match self.sums(core) {
            (_, 0) => self.fair.queues[core].floor,
            (times, weights) => times.div_euclid(weights),
        }
    }

    fn note_average(&mut self, core: usize) {
        self.fair.queues[core].floor = self.average(core);
    }

    /// `pick_eevdf`, without the current thread's protection.
    fn best(&self, core: usize) -> Option<ThreadId> {
        let (times, weights) = self.sums(core);
        // `vruntime_eligible`: the lag is not negative.
        let eligible = |thread: &ThreadId| self.fair.entity(*thread).vruntime * weights <= times;
        let threads = self.fair.queues[core].all().filter(eligible);
        // Of equal ones the one that was queued first, as in the kernel's tree.
        threads.min_by_key(|thread| self.fair.entity(*thread).deadline)
    }

    fn request(&self, thread: ThreadId) -> Virtual {
        virtual_of(self.base_slice_ns, self.fair.entity(thread).weight)
    }

    /// `update_entity_lag`: what `thread` is owed, within the limits that the theory gives.
    fn keep_lag(&mut self, core: usize, thread: ThreadId) {
        let most = virtual_of(
            (2 * self.base_slice_ns).max(self.tick_ns),
            self.fair.entity(thread).weight,
        );
        let lag = self.average(core) - self.fair.entity(thread).vruntime;
        self.fair.entity_mut(thread).lag = lag.clamp(-most, most);
    }

    /// `place_entity`: the thread joins with the lag it left with, and asks for a slice; a new one for half
    /// of one, so that it blends in.
    fn place(&mut self, core: usize, thread: ThreadId) {
        let (_, weights) = self.sums(core);
        let average = self.average(core);
        let request = self.request(thread);
        let entity = self.fair.entity_mut(thread);
        // Its joining moves the average towards it; more lag now makes it what it was then.
        let lag = match weights {
            0 => 0,
            _ => entity.lag * (weights + entity.weight) / weights,
        };
        let asks = if entity.is_new { request / 2 } else { request };
        entity.vruntime = average - lag;
        entity.deadline = entity.vruntime + asks;
        entity.is_new = false;
        entity.core = core;
    }

    /// The largest lag of a thread on `core`, in CPU time: the theory bounds it by one slice where slices end
    /// exactly and nobody comes or goes.
    fn note_lag(&mut self, core: usize) {
        let average = self.average(core);
        let lag = |thread: ThreadId| {
            let entity = self.fair.entity(thread);
            in_ns((average - entity.vruntime) * entity.weight / NICE_0).abs()
        };
        let largest = self.fair.queues[core].all().map(lag);
        self.largest_lag_ns = largest.fold(self.largest_lag_ns, f64::max);
    }

    fn start(&mut self, core: usize, thread: ThreadId) {
        self.fair.start(core, thread);
        self.parity[core] = self.fair.entity(thread).deadline;
    }
}

impl Policy for Eevdf {
    fn add(&mut self, nice: i8) {
        self.fair.add(nice);
    }

    fn wake(&mut self, thread: ThreadId) -> Option<usize> {
        let core = self.fair.core_for(thread);
        self.place(core, thread);
        self.fair.queues[core].queued.push(thread);
        self.note_average(core);
        Some(core)
    }

    /// `check_preempt_wakeup_fair`: only if the woken thread is the best, and the current one has met what it
    /// was picked for.
    fn preempts(&mut self, core: usize, woken: ThreadId) -> bool {
        let Some(current) = self.fair.queues[core].current else {
            return false;
        };
        let unmet = self.fair.entity(current).vruntime < self.parity[core];
        let (times, weights) = self.sums(core);
        let eligible = self.fair.entity(current).vruntime * weights <= times;
        !(unmet && eligible) && self.best(core) == Some(woken)
    }

    fn pick(&mut self, core: usize) -> Option<ThreadId> {
        self.note_lag(core);
        if let Some(thread) = self.best(core) {
            self.start(core, thread);
            return Some(thread);
        }
        let from = self.fair.busiest()?;
        let thread = self.best(from).filter(|best| {
            // The best of all there may be the one that runs.
            self.fair.queues[from].queued.contains(best)
        });
        let thread = thread.or_else(|| self.fair.queues[from].queued.first().copied())?;
        self.keep_lag(from, thread);
        self.fair.remove(from, thread);
        self.note_average(from);
        self.place(core, thread);
        self.start(core, thread);
        Some(thread)
    }

    /// `update_curr`.
    fn charge(&mut self, core: usize, switching_ns: u64, ran_ns: u64) {
        self.fair.charge(core, switching_ns + ran_ns);
        self.note_average(core);
    }

    fn next_check(&self, core: usize, now_ns: u64, _switching_ns: u64) -> Option<u64> {
        let queue = &self.fair.queues[core];
        let current = queue.current.filter(|_| !queue.queued.is_empty())?;
        let entity = self.fair.entity(current);
        let left = real_ns(entity.deadline - entity.vruntime, entity.weight);
        Some(look_at(now_ns, self.tick_ns, left))
    }

    /// `update_deadline`: the request is met, so the next one is made and another thread may be better.
    fn expired(&mut self, core: usize) -> bool {
        let Some(current) = self.fair.queues[core].current else {
            return false;
        };
        let entity = self.fair.entity(current);
        if entity.vruntime < entity.deadline {
            return false;
        }
        let next = entity.vruntime + self.request(current);
        self.fair.entity_mut(current).deadline = next;
        !self.fair.queues[core].queued.is_empty()
    }

    fn put_back(&mut self, core: usize) {
        self.fair.put_back(core);
    }

    fn sleep(&mut self, core: usize) {
        if let Some(current) = self.fair.queues[core].current {
            self.keep_lag(core, current);
            self.fair.queues[core].current = None;
            self.note_average(core);
        }
    }

    fn vruntime_ns(&self, thread: ThreadId) -> Option<f64> {
        Some(in_ns(self.fair.entity(thread).vruntime))
    }

    fn largest_lag_ns(&self) -> Option<f64> {
        Some(self.largest_lag_ns)
    }
}
