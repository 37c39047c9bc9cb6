//! What a pool counts.

use crate::error::JobError;

/// Counts of a pool, taken together at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Worker processes that live and are not about to end.
    pub workers: usize,
    /// Jobs that wait for a worker.
    pub queued: usize,
    /// Jobs that a worker has.
    pub running: usize,
    /// Jobs that were submitted, ever.
    pub submitted: u64,
    /// Of these, jobs that have their reply.
    pub completed: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs whose worker ended under them.
    pub crashed: u64,
    /// Jobs that took too long.
    pub timed_out: u64,
    /// Jobs that were given up: aborted, or left when the pool was closed.
    pub cancelled: u64,
    /// Jobs that failed in other ways: lost, or not to be written or read.
    pub failed: u64,
    /// Worker processes that were started in place of others.
    pub restarts: u64,
    /// Times that a job was given to another worker because its first had ended: before it had read the job, or
    /// afterwards if the pool [retries](crate::PoolBuilder::retries).
    pub requeued: u64,
}

impl Stats {
    pub(crate) fn count_failure(&mut self, error: &JobError) {
        let count = if error.is_panic() {
            &mut self.panicked
        } else if error.is_crash() {
            &mut self.crashed
        } else if error.is_timeout() {
            &mut self.timed_out
        } else if error.is_cancelled() {
            &mut self.cancelled
        } else {
            &mut self.failed
        };
        *count += 1;
    }
}

/// A worker process, as [`ProcessPool::workers`](crate::ProcessPool::workers) saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The number of the process.
    pub pid: u32,
    /// Whether it has a job.
    pub is_busy: bool,
    /// Jobs it has done.
    pub jobs: u64,
}
