//! The timers of a processor: threads that park with a deadline.
//!
//! A binary heap behind a lock. The processor's own carrier inserts and fires; a searching carrier may fire
//! the timers of a processor whose carrier is stuck.
//!
//! # Invariants
//!
//! 1. `earliest` is the smallest deadline in the heap, or `NEVER`; it changes only under the lock.
//! 2. A thread has at most one valid timer: the one whose number is the thread's `timer_seq`. Cancelling
//!    bumps `timer_seq`; the dead entry leaves the heap when its time comes, or when more than half of a
//!    large heap is dead.
//! 3. A timer that fires for a thread that no longer waits for it is harmless: a wake-up is only a reason to
//!    look again.
//! 4. An entry holds a reference to its thread.
//!
//! # Rejected
//!
//! A timing wheel: O(1), but its tick rounds deadlines, and 1,000,000 sleepers spend more on page faults than
//! on the heap. Positions stored in the threads for removal: each step of a sift would touch a cold record.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::prim::{AtomicU64, AtomicUsize, Lock, NEVER, Ordering};
use crate::task::TaskRef;

struct Entry {
    deadline_ns: u64,
    seq: u32,
    task: TaskRef,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.deadline_ns == other.deadline_ns
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        self.deadline_ns.cmp(&other.deadline_ns)
    }
}

/// Dead entries are swept when there are at least this many and they are the majority.
const SWEEP_MIN: usize = 1024;

/// The timers of one processor; see the module.
pub(crate) struct Timers {
    heap: Lock<BinaryHeap<Reverse<Entry>>>,
    earliest_ns: AtomicU64,
    dead: AtomicUsize,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers {
            heap: Lock::new(BinaryHeap::new()),
            earliest_ns: AtomicU64::new(NEVER),
            dead: AtomicUsize::new(0),
        }
    }

    /// The smallest deadline, or `NEVER`.
    #[inline(always)]
    pub(crate) fn earliest_ns(&self) -> u64 {
        // ORDER: SeqCst: a carrier that goes idle reads it after publishing its processor as idle; who inserts
        // from outside stores it before looking whether the processor is idle.
        self.earliest_ns.load(Ordering::SeqCst)
    }

    /// Adds a timer for `task`, whose `timer_seq` is `seq`. True: it is the earliest now.
    pub(crate) fn insert(&self, deadline_ns: u64, seq: u32, task: TaskRef) -> bool {
        let mut heap = self.heap.lock();
        self.sweep(&mut heap);
        heap.push(Reverse(Entry {
            deadline_ns,
            seq,
            task,
        }));
        // ORDER: Relaxed: written under the lock that this thread holds.
        let is_earliest = deadline_ns < self.earliest_ns.load(Ordering::Relaxed);
        if is_earliest {
            // ORDER: SeqCst: see `earliest_ns`.
            self.earliest_ns.store(deadline_ns, Ordering::SeqCst);
        }
        is_earliest
    }

    /// By the thread itself: its timer, if there is one, no longer counts.
    pub(crate) fn cancel(&self, task: &TaskRef) {
        // ORDER: Relaxed: only the thread itself writes it; a timer that fires meanwhile is harmless (3).
        task.timer_seq.fetch_add(1, Ordering::Relaxed);
        // ORDER: Relaxed: a statistic.
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    fn sweep(&self, heap: &mut BinaryHeap<Reverse<Entry>>) {
        // ORDER: Relaxed: a statistic; an entry that fired as dead may be counted too, which only sweeps
        // earlier.
        let dead = self.dead.load(Ordering::Relaxed);
        if dead < SWEEP_MIN || dead < heap.len() / 2 {
            return;
        }
        // ORDER: Relaxed: a statistic.
        self.dead.store(0, Ordering::Relaxed);
        heap.retain(|Reverse(entry)| entry.is_valid());
    }

    /// Takes up to `max` threads whose time has come.
    pub(crate) fn take_due(&self, now_ns: u64, max: usize, out: &mut Vec<TaskRef>) {
        let mut heap = self.heap.lock();
        while out.len() < max {
            match heap.peek() {
                Some(Reverse(entry)) if entry.deadline_ns <= now_ns => {}
                _ => break,
            }
            if let Some(Reverse(entry)) = heap.pop()
                && entry.is_valid()
            {
                // ORDER: Relaxed: tells the thread that its timer is gone; it is woken afterwards.
                entry.task.timer_seq.fetch_add(1, Ordering::Relaxed);
                out.push(entry.task);
            }
        }
        let earliest_ns = heap
            .peek()
            .map_or(NEVER, |Reverse(entry)| entry.deadline_ns);
        // ORDER: SeqCst: see `earliest_ns`.
        self.earliest_ns.store(earliest_ns, Ordering::SeqCst);
    }
}

impl Entry {
    fn is_valid(&self) -> bool {
        // ORDER: Relaxed: a stale answer wakes a thread once too often, which is harmless (3).
        self.task.timer_seq.load(Ordering::Relaxed) == self.seq
    }
}
