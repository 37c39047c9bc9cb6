//! The only door from the experiments to thread pools.

use brigade::pool::{JobError, JobHandle, ThreadPool};

use crate::experiment::ArmError;

/// A pool for one arm.
pub(crate) struct Pool(ThreadPool);

impl Pool {
    /// Starts a pool of so many kernel threads, with a queue without limit.
    ///
    /// # Errors
    ///
    /// Failed if the machine allows no more threads.
    pub(crate) fn start(threads: usize) -> Result<Self, ArmError> {
        Ok(Self(ThreadPool::builder().threads(threads).build()?))
    }

    /// Puts a job into the queue.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Job<T> {
        Job(self.0.submit(f))
    }
}

/// A job of a pool.
pub(crate) struct Job<T>(JobHandle<T>);

impl<T> Job<T> {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Failed if the job panicked.
    pub(crate) fn join(self) -> Result<T, ArmError> {
        let failed = |error: JobError| ArmError::Failed(format!("a job: {error}"));
        self.0.join().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_and_one_that_panics_fails_alone() {
        let pool = Pool::start(2).expect("the pool starts");
        let jobs: Vec<_> = (0..100).map(|n| pool.submit(move || n)).collect();
        let failing = pool.submit(|| panic!("planted"));
        let sum: Result<i32, _> = jobs.into_iter().map(Job::join).sum();
        assert_eq!(sum, Ok(4950));
        assert!(failing.join().is_err());
    }
}
