//! The pool as its users see it: [`ThreadPool`].

use std::fmt;
use std::mem;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread::JoinHandle as KernelThread;
use std::time::Duration;

use brigade_runtime::park::{NEVER, RawLock, deadline_after};

use crate::builder::Builder;
use crate::error::{JobError, Rejected};
use crate::handle::{JobHandle, RawHandle};
use crate::job::JobCell;
use crate::scope::{self, PoolScope};
use crate::shared::{Full, Shared};
use crate::stats::Stats;

/// A fixed number of kernel threads that run jobs from one queue, first in, first out.
///
/// For work that computes, or that must be on few kernel threads. Work that waits belongs on green threads, which need no
/// pool.
///
/// A job runs on an ordinary kernel thread: what blocks there blocks that thread. Who waits for a job parks only itself, if
/// it is a green thread.
///
/// # Guarantees
///
/// * Each job that was taken runs exactly once, or is dropped and its handle says so.
/// * Jobs begin in the order in which they were submitted, but for those that a waiting thread of the pool runs itself.
/// * A job that panics ends itself only. Its handle gets the payload; the thread goes on.
/// * What was done before a job was submitted is seen by the job, and what the job did is seen by who joins it.
/// * When a job was joined, [`stats`](ThreadPool::stats) counts it as ended.
/// * Dropping the pool waits until everything that is queued has run.
///
/// # Waiting inside a job
///
/// A job may submit jobs to its own pool and join them, in any depth: a thread of the pool that joins a job which has not
/// begun runs it itself. The same holds for the end of a scope. It runs no other jobs meanwhile, so a lock that is held
/// over a join is never wanted by unrelated work on the same thread. Not covered is a job that waits *in some other way*
/// (a channel, a lock, an `await`) for one that is still in the queue: with all threads waiting so, the pool stands still.
/// If then everything else in the process waits too, that is reported as a deadlock.
///
/// # Forks
///
/// In the child of a fork the pool has no threads. There each submission is refused, each handle says that the pool is
/// closed, and dropping the pool does nothing. Make a new one.
///
/// # Examples
///
/// ```
/// use brigade_pool::ThreadPool;
///
/// let pool = ThreadPool::new(2);
/// let handle = pool.submit(|| (1..=10).product::<u64>());
/// assert_eq!(handle.join().unwrap(), 3_628_800);
/// assert_eq!(pool.map(["a", "bb"], str::len), [1, 2]);
/// ```
///
/// A panic is an error of one job:
///
/// ```
/// # let pool = brigade_pool::ThreadPool::new(1);
/// let error = pool.submit(|| panic!("this one")).join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(pool.submit(|| "the next").join().unwrap(), "the next");
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: RawLock<Vec<KernelThread<()>>>,
}

impl ThreadPool {
    /// A pool of so many threads, with a queue without limit.
    ///
    /// # Panics
    ///
    /// If `threads` is 0, or the machine allows no more threads; [`Builder::build`] returns an error instead.
    #[must_use]
    #[track_caller]
    pub fn new(threads: usize) -> ThreadPool {
        match Builder::new().threads(threads).build() {
            Ok(pool) => pool,
            Err(error) => panic!("brigade: {error}"),
        }
    }

    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn without_threads(shared: Arc<Shared>) -> ThreadPool {
        ThreadPool {
            shared,
            threads: RawLock::new(Vec::new()),
        }
    }

    pub(crate) fn adopt(&mut self, thread: KernelThread<()>) {
        self.threads.lock().push(thread);
    }

    /// Runs `f` on a thread of the pool. Nobody hears of its panic but [`stats`](ThreadPool::stats) and the panic hook.
    ///
    /// # Blocking
    ///
    /// Where the queue has a limit and the pool was built to wait: blocks the calling green thread, or an ordinary kernel
    /// thread as such, until there is room.
    ///
    /// # Panics
    ///
    /// If the pool was shut down, or the queue is full and the pool was built to reject. [`submit`](ThreadPool::submit) and
    /// [`try_submit`](ThreadPool::try_submit) return that as an error.
    #[track_caller]
    pub fn execute<F>(&self, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        let job = JobCell::new(f, None, false);
        if let Err((job, why)) = self.shared.submit(job, Full::AsBuilt) {
            job.lose(why);
            panic!("{}", JobError::lost(why));
        }
    }

    /// Runs `f` on a thread of the pool; its result comes out of the handle.
    ///
    /// # Blocking
    ///
    /// As [`ThreadPool::execute`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::new(1);
    /// let handle = pool.submit(|| 2);
    /// pool.shutdown();
    /// assert_eq!(handle.join().unwrap(), 2);
    ///
    /// let late = pool.submit(|| 3);
    /// assert!(late.join().unwrap_err().is_closed());
    /// ```
    #[track_caller]
    pub fn submit<F, T>(&self, f: F) -> JobHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let cell = JobCell::new(f, None, true);
        let job = Arc::clone(&cell);
        if let Err((job, why)) = self.shared.submit(job, Full::AsBuilt) {
            job.lose(why);
        }
        self.handle(cell)
    }

    /// As [`ThreadPool::submit`], but only if the queue has room, whatever the pool was built to do else. Does not block.
    ///
    /// # Errors
    ///
    /// The closure, if the queue is full or the pool was shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::builder().threads(1).capacity(1).build()?;
    /// let (open, gate) = std::sync::mpsc::channel::<()>();
    /// let (begun, begins) = std::sync::mpsc::channel();
    /// let running = pool.submit(move || {
    ///     begun.send(()).unwrap();
    ///     gate.recv().is_err()
    /// });
    /// begins.recv().unwrap();
    /// let queued = pool.try_submit(|| 1).unwrap();
    /// let refused = pool.try_submit(|| 2).unwrap_err();
    /// assert!(refused.is_full());
    ///
    /// drop(open);
    /// assert!(running.join().unwrap());
    /// assert_eq!(queued.join().unwrap() + refused.into_inner()(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn try_submit<F, T>(&self, f: F) -> Result<JobHandle<T>, Rejected<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let cell = JobCell::new(f, None, true);
        let job = Arc::clone(&cell);
        match self.shared.submit(job, Full::Refuse) {
            Ok(()) => Ok(self.handle(cell)),
            Err((_, why)) => match cell.into_closure() {
                Some(f) => Err(Rejected::new(f, why)),
                None => unreachable!("a job that was refused has its closure"),
            },
        }
    }

    fn handle<F, T>(&self, cell: Arc<JobCell<F, T>>) -> JobHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        JobHandle::new(RawHandle::new(cell, Arc::clone(&self.shared)))
    }

    /// Calls `f` with a scope in which jobs may borrow, and waits for all of them.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such, until `f` and all jobs of the scope have
    /// ended. A thread of the pool meanwhile runs those jobs of the scope that have not begun.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, after all jobs have ended; and if a job panicked, or was dropped because the pool was shut
    /// down, whose handle was not joined.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::new(2);
    /// let mut halves = [0, 0];
    /// let (left, right) = halves.split_at_mut(1);
    /// let sum = pool.scope(|scope| {
    ///     scope.execute(|| left[0] = 1);
    ///     scope.submit(|| right[0] = 2).join().unwrap();
    ///     "done"
    /// });
    /// assert_eq!((sum, halves), ("done", [1, 2]));
    /// ```
    ///
    /// ```should_panic
    /// brigade_pool::ThreadPool::new(1).scope(|scope| {
    ///     scope.execute(|| panic!("out of the scope"));
    /// });
    /// ```
    #[track_caller]
    pub fn scope<'env, F, T>(&self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope PoolScope<'scope, 'env>) -> T,
    {
        scope::scope(&self.shared, f)
    }

    /// The number of kernel threads of the pool; 0 after they have ended.
    #[must_use]
    pub fn threads(&self) -> usize {
        if self.shared.is_stale() {
            return 0;
        }
        self.shared.threads()
    }

    /// What the pool does and has done. Does not block. All zero in the child of a fork.
    #[must_use]
    pub fn stats(&self) -> Stats {
        if self.shared.is_stale() {
            return Stats::default();
        }
        self.shared.stats()
    }

    /// Takes no more jobs, runs all that are queued, and waits for the end of the threads. Threads that wait for room in
    /// the queue are refused.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such, until all jobs have ended.
    ///
    /// # Panics
    ///
    /// On a thread of the pool, which would wait for itself.
    #[track_caller]
    pub fn shutdown(&self) {
        self.end(NEVER, Location::caller());
    }

    /// As [`ThreadPool::shutdown`], but waits for at most `timeout`. True: all jobs have ended. False: the rest goes on;
    /// dropping the pool waits for it.
    ///
    /// # Panics
    ///
    /// On a thread of the pool, which would wait for itself.
    #[track_caller]
    pub fn shutdown_timeout(&self, timeout: Duration) -> bool {
        self.end(deadline_after(timeout), Location::caller())
    }

    /// Takes no more jobs, and drops those that have not begun: their handles say so. Returns how many were dropped.
    ///
    /// Does not wait for those that run; [`shutdown`](ThreadPool::shutdown) does, and so does dropping the pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade_pool::ThreadPool::new(1);
    /// let (open, gate) = std::sync::mpsc::channel::<()>();
    /// let (begun, begins) = std::sync::mpsc::channel();
    /// pool.execute(move || {
    ///     begun.send(()).unwrap();
    ///     let _ = gate.recv();
    /// });
    /// begins.recv().unwrap();
    /// let queued = pool.submit(|| 1);
    /// assert_eq!(pool.shutdown_now(), 1);
    /// assert!(queued.join().unwrap_err().is_dropped());
    /// drop(open);
    /// pool.shutdown();
    /// ```
    pub fn shutdown_now(&self) -> usize {
        if self.shared.is_stale() {
            return 0;
        }
        self.shared.close(true)
    }

    #[track_caller]
    fn end(&self, deadline_ns: u64, site: &'static Location<'static>) -> bool {
        if self.shared.is_stale() {
            return true;
        }
        assert!(
            !self.shared.is_mine(),
            "a thread of a pool cannot wait for the end of its own pool"
        );
        self.shared.close(false);
        let has_ended = self.shared.wait_ended(deadline_ns, site);
        if has_ended {
            self.reap();
        }
        has_ended
    }

    /// Joins the kernel threads, which have nothing more to do than to destroy their thread-locals.
    fn reap(&self) {
        let threads = mem::take(&mut *self.threads.lock());
        for thread in threads {
            // They catch panics.
            let _ = thread.join();
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if self.shared.is_stale() {
            // What is in the queue belongs to threads of the parent, and so may the lock.
            mem::forget(Arc::clone(&self.shared));
            // The memory of those threads may be that of new ones by now, which would be detached in their place.
            mem::forget(mem::replace(&mut self.threads, RawLock::new(Vec::new())));
        } else if self.shared.is_mine() {
            // The last owner was one of its jobs. What is queued runs; nobody is left to wait for it.
            self.shared.close(false);
        } else {
            self.end(NEVER, Location::caller());
        }
    }
}

// Nothing unwinds under a lock, so a panic leaves nothing half done.
impl UnwindSafe for ThreadPool {}
impl RefUnwindSafe for ThreadPool {}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
