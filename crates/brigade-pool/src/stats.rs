//! What a pool has done: [`Stats`].

use std::time::Duration;

/// What a pool does and has done, all of it at one moment.
///
/// Every job that the queue took is in one of six places:
/// `submitted = queued + running + completed + panicked + cancelled + dropped`.
///
/// # Examples
///
/// ```
/// let pool = brigade_pool::ThreadPool::new(2);
/// assert_eq!(pool.map(0..10, |n| n * n).len(), 10);
/// let stats = pool.stats();
/// assert_eq!((stats.threads, stats.submitted, stats.completed), (2, 10, 10));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Kernel threads of the pool that have not ended.
    pub threads: usize,
    /// Kernel threads that wait for a job.
    pub idle: usize,
    /// Jobs in the queue.
    pub queued: usize,
    /// Threads that wait for room in the queue, each with a job that is not submitted yet.
    pub blocked: usize,
    /// Jobs that have begun and not ended. A thread that waits for a job of its own pool may run that job meanwhile;
    /// then both run.
    pub running: usize,
    /// Jobs that were taken, whatever became of them.
    pub submitted: u64,
    /// Jobs that returned.
    pub completed: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs that were cancelled by their handles before they began.
    pub cancelled: u64,
    /// Jobs that the pool took out of its queue before they began.
    pub dropped: u64,
    /// Jobs that were refused, because the queue was full or the pool shut down. Not in `submitted`.
    pub rejected: u64,
    /// Time that all jobs which began have spent in the queue.
    pub wait_total: Duration,
    /// The longest time a job spent in the queue before it began.
    pub wait_max: Duration,
    /// Time that all jobs which ended have run.
    pub run_total: Duration,
    /// The longest run of a job.
    pub run_max: Duration,
}

/// The same as it is counted.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) running: usize,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) panicked: u64,
    pub(crate) cancelled: u64,
    pub(crate) dropped: u64,
    pub(crate) rejected: u64,
    wait_total_ns: u64,
    wait_max_ns: u64,
    run_total_ns: u64,
    run_max_ns: u64,
}

impl Counts {
    /// A job begins that was in the queue for so long.
    pub(crate) fn begin(&mut self, waited_ns: u64) {
        self.running += 1;
        self.wait_total_ns = self.wait_total_ns.saturating_add(waited_ns);
        self.wait_max_ns = self.wait_max_ns.max(waited_ns);
    }

    /// A job has ended that ran for so long.
    pub(crate) fn end(&mut self, ran_ns: u64, panicked: bool) {
        self.running -= 1;
        if panicked {
            self.panicked += 1;
        } else {
            self.completed += 1;
        }
        self.run_total_ns = self.run_total_ns.saturating_add(ran_ns);
        self.run_max_ns = self.run_max_ns.max(ran_ns);
    }

    /// All that is counted here; the rest is zero.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            running: self.running,
            submitted: self.submitted,
            completed: self.completed,
            panicked: self.panicked,
            cancelled: self.cancelled,
            dropped: self.dropped,
            rejected: self.rejected,
            wait_total: Duration::from_nanos(self.wait_total_ns),
            wait_max: Duration::from_nanos(self.wait_max_ns),
            run_total: Duration::from_nanos(self.run_total_ns),
            run_max: Duration::from_nanos(self.run_max_ns),
            ..Stats::default()
        }
    }
}
