//! Many items, one job each, and the results in order: [`ThreadPool::map`], [`ThreadPool::try_map`].
//!
//! Items are taken from the iterator as jobs end: so many are in flight that the threads do not run dry, and no more.

use std::collections::VecDeque;
use std::panic::resume_unwind;

use crate::error::JobError;
use crate::job::quietly;
use crate::pool::ThreadPool;
use crate::scope::ScopedJobHandle;

/// Items in flight per thread of the pool.
const PER_THREAD: usize = 8;

impl ThreadPool {
    /// Calls `f` with each item, on the threads of the pool, and returns the results in the order of the items.
    ///
    /// # Present behaviour
    ///
    /// Each item is a job of its own, in turn with other jobs of the pool. At most eight items per thread are in flight;
    /// the next is taken from the iterator when the oldest of them has ended. For tiny `f`, map over chunks.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such, until all results are there. The iterator
    /// runs on the calling thread.
    ///
    /// # Panics
    ///
    /// With the panic of `f` for the first item, in the order of items, for which it panicked. Items in flight that have
    /// not begun are dropped then, and those that have begun are waited for. Also if the pool is shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::new(2);
    /// let base = 10;
    /// assert_eq!(pool.map(0..4, |n| n + base), [10, 11, 12, 13]);
    /// ```
    ///
    /// ```should_panic
    /// brigade_pool::ThreadPool::new(2).map([1, 0], |n| 1 / n);
    /// ```
    #[track_caller]
    pub fn map<I, F, R>(&self, items: I, f: F) -> Vec<R>
    where
        I: IntoIterator<Item: Send>,
        F: Fn(I::Item) -> R + Sync,
        R: Send,
    {
        enum Never {}
        match self.try_map(items, |item| Ok::<R, Never>(f(item))) {
            Ok(results) => results,
            Err(never) => match never {},
        }
    }

    /// As [`ThreadPool::map`] for an `f` that may fail: returns the error of the first item, in the order of items, for
    /// which it failed. No more items are taken then; those in flight that have not begun are dropped, and those that have
    /// begun are waited for.
    ///
    /// # Errors
    ///
    /// That of `f`.
    ///
    /// # Panics
    ///
    /// As [`ThreadPool::map`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::new(2);
    /// assert_eq!(pool.try_map(["1", "2"], str::parse::<u8>), Ok(vec![1, 2]));
    /// assert!(pool.try_map(["1", "two", "3"], str::parse::<u8>).is_err());
    /// ```
    #[track_caller]
    pub fn try_map<I, F, R, E>(&self, items: I, f: F) -> Result<Vec<R>, E>
    where
        I: IntoIterator<Item: Send>,
        F: Fn(I::Item) -> Result<R, E> + Sync,
        R: Send,
        E: Send,
    {
        let window = PER_THREAD * self.threads().max(1);
        let f = &f;
        self.scope(|scope| {
            let mut results = Vec::new();
            let mut flight = Flight(VecDeque::with_capacity(window));
            for item in items {
                if flight.0.len() == window {
                    results.extend(flight.land()?);
                }
                flight.0.push_back(scope.submit(move || f(item)));
            }
            while let Some(result) = flight.land()? {
                results.push(result);
            }
            Ok(results)
        })
    }
}

/// Items in flight, oldest first. Dropped early, it cancels those that have not begun.
struct Flight<'scope, T>(VecDeque<ScopedJobHandle<'scope, T>>);

impl<R, E> Flight<'_, Result<R, E>> {
    /// Waits for the oldest item.
    #[track_caller]
    fn land(&mut self) -> Result<Option<R>, E> {
        let Some(oldest) = self.0.pop_front() else {
            return Ok(None);
        };
        match oldest.join().map_err(JobError::try_into_panic) {
            Ok(result) => result.map(Some),
            Err(Ok(payload)) => resume_unwind(payload),
            Err(Err(error)) => panic!("{error}"),
        }
    }
}

impl<T> Drop for Flight<'_, T> {
    fn drop(&mut self) {
        for handle in &self.0 {
            handle.cancel();
        }
        // What they end with is not asked for any more, not even by the scope.
        for handle in self.0.drain(..) {
            quietly(|| drop(handle.join()));
        }
    }
}
