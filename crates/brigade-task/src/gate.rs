//! Who looks for tasks, and who has to be woken for that: the protocol between those who queue tasks and the pollers.
//!
//! A *poller* is a green thread that takes tasks out of the queues and polls them. It either polls, or searches, or
//! sleeps, or has ended. The [`Gate`] counts those that search.
//!
//! # Invariants
//!
//! 1. *Somebody comes.* While a queue holds a task, a poller searches, or somebody is about to wake or start one, or
//!    the queues are just being looked at by who takes the last count. So a task is never left to pollers that are all
//!    held up by what they poll: one that blocks or computes keeps no other task waiting.
//! 2. *One at a time.* Who queues a task wakes a poller only if none searches. The one that is woken wakes the next
//!    when it has found something and there is more.
//! 3. *Counted once.* Whoever searches is counted: by who wakes it alone, or starts it, or by itself where all were woken,
//!    or nobody. A count that is wrong by one stays so, and nobody is woken again.
//!
//! For (1), three steps may not be reordered with their partners: a task is queued and then the count is read; the count
//! is taken down and then the queues are read. Both sides have a sequentially consistent fence in between, so one of
//! the two sees the other.
//!
//! # Rejected
//!
//! A poller for each processor that searches until it finds something: idle processes would not be idle. Waking a poller
//! for each task: a task that wakes ten would start ten searches, for tasks that the waking poller takes next anyway.

use crate::prim::{AtomicUsize, Ordering, fence_after_rmw};

/// The count of those that search; see the module.
pub(crate) struct Gate {
    searching: AtomicUsize,
}

impl Gate {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Gate {
        Gate {
            searching: AtomicUsize::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Gate {
        Gate {
            searching: AtomicUsize::new(0),
        }
    }

    /// A task was queued, and the lock of its queue given back, which is an atomic read-modify-write. True: the caller must make a poller search, which is counted already.
    #[must_use]
    pub(crate) fn task_queued(&self) -> bool {
        // After the task was queued; its partner is the fence in `stop_searching`.
        fence_after_rmw();
        self.claim()
    }

    /// Counts one that searches if there is none.
    #[must_use]
    fn claim(&self) -> bool {
        // ORDER: Relaxed: the fence before orders it, and the exchange below decides.
        self.searching.load(Ordering::Relaxed) == 0
            && self
                .searching
                // ORDER: Relaxed: only a count; tasks are published by the locks of their queues.
                .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// A poller that polled searches again.
    pub(crate) fn search(&self) {
        // ORDER: Relaxed: only a count; who misses it wakes one too many.
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// A poller no longer searches, because it has found a task. True: the caller must make another one search, which is
    /// counted already. `is_work_left` looks at the queues.
    #[must_use]
    pub(crate) fn found(&self, is_work_left: impl FnOnce() -> bool) -> bool {
        self.stop_searching() && is_work_left() && self.claim()
    }

    /// By who does not search, right after an atomic read-modify-write that others may have missed who stopped searching
    /// before. True: as for [`Gate::found`].
    #[must_use]
    pub(crate) fn claim_if(&self, is_due: impl FnOnce() -> bool) -> bool {
        // Its partner is the fence in `stop_searching`: what was written is seen after that, or the count is seen here.
        fence_after_rmw();
        is_due() && self.claim()
    }

    /// A poller no longer searches. True: it was the last one. What it does next sees what was queued before somebody
    /// relied on it.
    pub(crate) fn stop_searching(&self) -> bool {
        // ORDER: Relaxed: the fence below orders it before what comes.
        let before = self.searching.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a poller that was not counted stops searching");
        // Before the queues are looked at; its partner is the fence in `task_queued`.
        fence_after_rmw();
        before == 1
    }
}
