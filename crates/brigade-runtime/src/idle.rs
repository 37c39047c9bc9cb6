//! Who sleeps and who searches: no work is ever left beside a sleeping processor.
//!
//! # Words
//!
//! * `idle`: processors without work. Most of them have a carrier attached that sleeps on its own futex.
//! * `searching`: carriers with a processor that look for work at the others'.
//!
//! # Protocol (Go's, proc.go "Worker thread parking/unparking")
//!
//! Pusher: make the work visible (sequentially consistent store), then [`IdleSet::claim_search`]: if a
//! processor is idle and nobody searches, become responsible for waking one, on whose behalf `searching` is
//! already counted.
//!
//! Sleeper: publish the processor as idle ([`IdleSet::insert`]), stop being counted as searching, and only
//! then look at all queues again. If there is work, take the processor out again ([`IdleSet::remove`]).
//!
//! # Invariants
//!
//! 1. A push and a fall-asleep cannot miss each other: push, load `idle`/`searching` on one side; store
//!    `idle`, decrement `searching`, load queues on the other; all sequentially consistent, so at least one
//!    side sees the other.
//! 2. A pusher that finds a searcher wakes nobody: the searcher has not yet done its last look (1).
//! 3. A searcher that finds work and was the last one wakes the next if there is an idle processor; so a
//!    burst of work wakes the carriers one after the other, not in a herd.
//! 4. A processor in the set is touched only by who takes it out, under the lock.
//!
//! # Lone wake-ups
//!
//! A thread that is put into an empty `run_next` usually runs on its own processor within a microsecond, because the
//! thread that woke it waits for it. Waking another processor for it each time made two workers half as fast as one
//! at spawn and join (`brigade-bench -l spawn-join-one -w 1,2`). So each search that finds nothing doubles the number of lone pushes until
//! the next wake ([`IdleSet::lone_backoff`]), and a search that finds something makes it one again. A thread whose
//! waker does not wait after all is found by the monitor at its next look, within a millisecond.
//!
//! # Rejected
//!
//! A wake on every push: one futex call per spawn. No searching at all (tokio's default is bounded, may's is
//! none): a local push then waits for the next epoll time-out of the sleeper.

use crate::prim::{AtomicUsize, Lock, Ordering, total_order};

/// The idle processors and the number of searching carriers; see the module.
pub(crate) struct IdleSet {
    idle: Lock<Vec<usize>>,
    idle_count: AtomicUsize,
    searching: AtomicUsize,
    /// Searches without a find since the last one with.
    fruitless: AtomicUsize,
}

/// After this many fruitless searches the lone pushes per wake no longer double.
const FRUITLESS_MAX: usize = 10;

impl IdleSet {
    pub(crate) fn new(processors: usize) -> IdleSet {
        IdleSet {
            idle: Lock::new(Vec::with_capacity(processors)),
            idle_count: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
            fruitless: AtomicUsize::new(0),
        }
    }

    /// Processors that are idle.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        // ORDER: SeqCst: invariant 1.
        self.idle_count.load(Ordering::SeqCst)
    }

    /// By who has just made work visible. True: the caller must wake an idle processor ([`IdleSet::pop`])
    /// and start it as a searcher, or undo with [`IdleSet::end_search`].
    #[inline(always)]
    #[must_use]
    pub(crate) fn claim_search(&self) -> bool {
        total_order();
        // ORDER: SeqCst: invariant 1.
        if self.idle_count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        // ORDER: SeqCst: invariants 1 and 2.
        if self.searching.load(Ordering::SeqCst) != 0 {
            return false;
        }
        self.claim_search_slow()
    }

    #[cold]
    fn claim_search_slow(&self) -> bool {
        // ORDER: SeqCst on success: invariant 1. Relaxed on failure: another pusher claimed it, and its
        // searcher's last look comes after our push.
        self.searching
            .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// By a carrier that has run dry: starts searching unless half of the others do. False: do not search.
    #[must_use]
    pub(crate) fn begin_search(&self, processors: usize) -> bool {
        // ORDER: SeqCst: keeps the counters in one order; not on a fast path.
        let busy = processors.saturating_sub(self.idle_count.load(Ordering::SeqCst));
        // ORDER: SeqCst: as above.
        if 2 * self.searching.load(Ordering::SeqCst) >= busy.max(1) {
            return false;
        }
        // ORDER: SeqCst: invariant 2: pushers from here on rely on our last look.
        self.searching.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Stops searching. True: this was the last searcher.
    pub(crate) fn end_search(&self) -> bool {
        // ORDER: SeqCst: invariant 1: before the last look of a sleeper.
        let last = self.searching.fetch_sub(1, Ordering::SeqCst) == 1;
        total_order();
        last
    }

    /// Every how many lone pushes a processor is woken; see the module.
    #[inline(always)]
    pub(crate) fn lone_backoff(&self) -> usize {
        // ORDER: Relaxed: a statistic.
        1 << self.fruitless.load(Ordering::Relaxed)
    }

    /// A search has ended; did it find something?
    pub(crate) fn note_search(&self, found: bool) {
        // ORDER: Relaxed: a statistic; a lost update does not matter.
        let before = self.fruitless.load(Ordering::Relaxed);
        let after = if found {
            0
        } else {
            (before + 1).min(FRUITLESS_MAX)
        };
        // ORDER: Relaxed: as above.
        self.fruitless.store(after, Ordering::Relaxed);
    }

    /// Publishes a processor as idle.
    pub(crate) fn insert(&self, processor: usize) {
        let mut idle = self.idle.lock();
        idle.push(processor);
        // ORDER: SeqCst: invariant 1: before the last look of the sleeper.
        self.idle_count.store(idle.len(), Ordering::SeqCst);
        total_order();
    }

    /// Takes some idle processor out, the one that went idle last first.
    pub(crate) fn pop(&self) -> Option<usize> {
        let mut idle = self.idle.lock();
        let processor = idle.pop()?;
        // ORDER: SeqCst: invariant 1.
        self.idle_count.store(idle.len(), Ordering::SeqCst);
        Some(processor)
    }

    /// Takes the first processor out that `wanted` accepts, the one that went idle last first. `wanted` is asked
    /// under the lock, so what it reads is what went with the processor when it was inserted: a carrier that looks
    /// for *its* processor must not find one that others have used and inserted again.
    #[must_use]
    pub(crate) fn remove_where(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut idle = self.idle.lock();
        let position = idle.iter().rposition(|&p| wanted(p))?;
        let processor = idle[position];
        idle.remove(position);
        // ORDER: SeqCst: invariant 1.
        self.idle_count.store(idle.len(), Ordering::SeqCst);
        Some(processor)
    }
}
