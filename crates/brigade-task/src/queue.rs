//! The queues of tasks that are to be polled: one for each processor.
//!
//! Who wakes a task queues it at the processor it runs on; a poller looks at its own first and takes from the others when
//! that is empty. A queue is a ring under a lock that is held for some nanoseconds. Nothing is allocated or freed under
//! it: an allocator may wait for a thread that wants the lock.
//!
//! Rejected: the deque of a work-stealing scheduler, owned by a poller. A poller that is held up by what it polls would
//! keep its tasks, or there would be as many deques to search as there are pollers.

use std::collections::VecDeque;
use std::mem;

use crate::executor::Runnable;

use crate::prim::{AtomicUsize, Lock, Ordering};

/// See the module.
pub(crate) struct Queues(Box<[Queue]>);

#[repr(align(128))]
struct Queue {
    ring: Lock<VecDeque<Runnable>>,
    /// The length of the ring; written under its lock.
    len: AtomicUsize,
}

impl Queues {
    pub(crate) fn new(count: usize) -> Queues {
        let queue = |_| Queue {
            ring: Lock::new(VecDeque::new()),
            len: AtomicUsize::new(0),
        };
        Queues((0..count.max(1)).map(queue).collect())
    }

    /// Queues a task at processor `hint`.
    pub(crate) fn push(&self, hint: usize, task: Runnable) {
        self.0[hint % self.0.len()].push(task);
    }

    /// Takes a task, from processor `hint` if it has one.
    pub(crate) fn pop(&self, hint: usize) -> Option<Runnable> {
        let count = self.0.len();
        (0..count).find_map(|offset| self.0[(hint + offset) % count].pop())
    }

    /// Whether there is no task. Exact for tasks that were queued before the fence that the caller passed.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDER: Relaxed: `gate.rs` has the fences.
        self.0
            .iter()
            .all(|queue| queue.len.load(Ordering::Relaxed) == 0)
    }
}

impl Queue {
    #[inline]
    fn push(&self, task: Runnable) {
        let mut ring = self.ring.lock();
        if ring.len() == ring.capacity() {
            drop(ring);
            return self.push_slow(task);
        }
        ring.push_back(task);
        // ORDER: Relaxed: written under the lock; who reads it without has the fences of `gate.rs`.
        self.len.store(ring.len(), Ordering::Relaxed);
    }

    /// Grows the ring first.
    #[cold]
    #[inline(never)]
    fn push_slow(&self, task: Runnable) {
        let mut larger = VecDeque::new();
        loop {
            let mut ring = self.ring.lock();
            if ring.len() < ring.capacity() || ring.len() < larger.capacity() {
                if ring.len() == ring.capacity() {
                    larger.extend(ring.drain(..));
                    mem::swap(&mut *ring, &mut larger);
                }
                ring.push_back(task);
                // ORDER: Relaxed: as in `push`.
                self.len.store(ring.len(), Ordering::Relaxed);
                // The old ring is freed after the lock.
                return drop(ring);
            }
            let wanted = 2 * ring.capacity().max(32);
            drop(ring);
            larger = VecDeque::with_capacity(wanted);
        }
    }

    #[inline]
    fn pop(&self) -> Option<Runnable> {
        // ORDER: Relaxed: who must not miss a task has passed a fence (`gate.rs`).
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut ring = self.ring.lock();
        let task = ring.pop_front();
        // ORDER: Relaxed: as in `push`.
        self.len.store(ring.len(), Ordering::Relaxed);
        task
    }
}
