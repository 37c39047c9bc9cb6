//! Jobs that borrow: [`PoolScope`].
//!
//! # Invariants
//!
//! 1. `running` counts the jobs of the scope whose closure or result may still exist in the hands of the pool. A job is
//!    counted before it is pushed, and leaves after its closure is gone and its result is with the handle or gone.
//! 2. [`ScopeState::wait`] returns only when none is counted, whatever unwinds. So nothing that was borrowed is used after
//!    the scope.
//! 3. The owner passes the lock of the state after it was notified, and before it leaves.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{
    AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind,
};
use std::sync::Arc;
use std::time::Duration;

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, RawLock, Sleeper, Wait, with_current};

use crate::error::{JobError, Lost};
use crate::handle::RawHandle;
use crate::job::{AnyJob, Job, JobCell};
use crate::shared::{Full, Shared};

struct Count {
    running: usize,
    panicked: bool,
    lost: bool,
    owner: Option<Sleeper>,
}

/// The jobs of a scope.
pub(crate) struct ScopeState {
    count: RawLock<Count>,
}

impl ScopeState {
    pub(crate) fn new() -> Arc<ScopeState> {
        Arc::new(ScopeState {
            count: RawLock::new(Count {
                running: 0,
                panicked: false,
                lost: false,
                owner: None,
            }),
        })
    }

    fn enter(&self) {
        self.count.lock().running += 1;
    }

    /// A job is over.
    pub(crate) fn leave(&self) {
        let runnable = {
            let mut count = self.count.lock();
            count.running -= 1;
            let owner = if count.running == 0 {
                count.owner.take()
            } else {
                None
            };
            // SAFETY: the owner passes this lock before it leaves (invariant 3).
            owner.and_then(|owner| unsafe { owner.notify() })
        };
        if let Some(runnable) = runnable {
            runnable.schedule();
        }
    }

    /// A job has no result, and nobody was there to be told.
    pub(crate) fn mark_failed(&self, error: &JobError) {
        let mut count = self.count.lock();
        count.panicked |= error.is_panic();
        count.lost |= error.is_dropped() || error.is_closed();
    }

    /// By the owner: blocks it until no job runs; see invariant 2.
    fn wait(self: &Arc<Self>, pool: &Shared, site: &'static Location<'static>) {
        let wait = Wait::new(WaitReason::PoolScope, Arc::as_ptr(self).addr(), site);
        if pool.is_stale() {
            // The child of a fork that `f` has made: the jobs run in the parent, and use the parent's memory.
            return;
        }
        while pool.help_scope(self) {}
        with_current(|me| {
            loop {
                {
                    let mut count = self.count.lock();
                    if count.running == 0 {
                        count.owner = None;
                        return;
                    }
                    count.owner = Some(me.sleeper());
                }
                me.park(&wait, NEVER);
            }
        });
    }

    /// What the scope panics with, if nobody else said it.
    fn failure(&self) -> Option<&'static str> {
        let count = self.count.lock();
        match (count.panicked, count.lost) {
            (true, _) => Some("a job of the scope panicked"),
            (_, true) => Some("a job of the scope was dropped, because the pool was shut down"),
            _ => None,
        }
    }
}

/// A scope in which jobs that borrow can be submitted; see [`ThreadPool::scope`](crate::ThreadPool::scope).
pub struct PoolScope<'scope, 'env: 'scope> {
    pool: Arc<Shared>,
    state: Arc<ScopeState>,
    // Invariance over 'scope: it must not shrink to something that ends before the jobs do.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> PoolScope<'scope, 'env> {
    /// Runs `f` on a thread of the pool. The scope waits for it, and panics at its end if `f` did.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread while the queue is full, whatever the pool does then with other jobs (a pool that runs
    /// them at once does so here too): no job of a scope is refused, or dropped for a newer one.
    ///
    /// # Panics
    ///
    /// If the pool was shut down.
    #[track_caller]
    pub fn execute<F>(&'scope self, f: F)
    where
        F: FnOnce() + Send + 'scope,
    {
        if let Err(why) = self.push(&self.cell(f, false)) {
            panic!("{}", JobError::lost(why));
        }
    }

    /// Runs `f` on a thread of the pool; its result comes out of the handle.
    ///
    /// If the pool was shut down, the handle says so.
    ///
    /// # Blocking
    ///
    /// As [`PoolScope::execute`].
    #[track_caller]
    pub fn submit<F, T>(&'scope self, f: F) -> ScopedJobHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let cell = self.cell(f, true);
        let _ = self.push(&cell);
        ScopedJobHandle {
            raw: RawHandle::new(cell, Arc::clone(&self.pool)),
        }
    }

    fn cell<F, T>(&self, f: F, has_handle: bool) -> Arc<JobCell<F, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.state.enter();
        JobCell::new(f, Some(Arc::clone(&self.state)), has_handle)
    }

    /// Pushes a job; if it is refused, it is lost when this returns.
    #[track_caller]
    fn push<F, T>(&self, cell: &Arc<JobCell<F, T>>) -> Result<(), Lost>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let job: Arc<dyn Job + 'scope> = Arc::clone(cell) as _;
        // SAFETY: the types are the same but for the lifetime. What is borrowed lives until the scope has waited for
        // this job, which was counted; afterwards nothing of it is used (invariants 1 and 2 here, 2 of `job.rs`).
        let job = unsafe { mem::transmute::<Arc<dyn Job + 'scope>, AnyJob>(job) };
        match self.pool.submit(job, Full::Keep) {
            Ok(()) => Ok(()),
            Err((job, why)) => {
                job.lose(why);
                Err(why)
            }
        }
    }
}

impl fmt::Debug for PoolScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolScope").finish_non_exhaustive()
    }
}

#[track_caller]
pub(crate) fn scope<'env, F, T>(pool: &Arc<Shared>, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope PoolScope<'scope, 'env>) -> T,
{
    let scope = PoolScope {
        pool: Arc::clone(pool),
        state: ScopeState::new(),
        scope: PhantomData,
        env: PhantomData,
    };
    let site = Location::caller();
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.state.wait(pool, site);
    match (result, scope.state.failure()) {
        (Err(payload), _) => resume_unwind(payload),
        (Ok(_), Some(text)) => panic!("{text}"),
        (Ok(value), None) => value,
    }
}

/// The right to the result of a job of a scope; see [`JobHandle`](crate::JobHandle).
///
/// Dropping it leaves the job to the scope, which waits for it, and panics at its end if the job did.
pub struct ScopedJobHandle<'scope, T> {
    raw: RawHandle<'scope, T>,
}

impl<'scope, T> ScopedJobHandle<'scope, T> {
    /// Waits until the job has ended, and returns its result.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such. A thread of the pool runs the job itself if
    /// it has not begun.
    ///
    /// # Errors
    ///
    /// The job panicked or was not run.
    #[track_caller]
    pub fn join(self) -> Result<T, JobError> {
        self.raw.join(Location::caller())
    }

    /// The result if the job has ended, else the handle. Does not block.
    ///
    /// # Errors
    ///
    /// The handle, if the job has not ended.
    pub fn try_join(self) -> Result<Result<T, JobError>, ScopedJobHandle<'scope, T>> {
        match self.raw.try_take() {
            Some(result) => Ok(result),
            None => Err(self),
        }
    }

    /// Waits until the job has ended, but for at most `timeout`.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such.
    ///
    /// # Errors
    ///
    /// The handle, if the time was up.
    #[track_caller]
    pub fn join_timeout(
        self,
        timeout: Duration,
    ) -> Result<Result<T, JobError>, ScopedJobHandle<'scope, T>> {
        self.raw.wait_timeout(timeout, Location::caller());
        self.try_join()
    }

    /// Whether the job has ended. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// Takes the job out of the queue, if it has not begun. True: it will never run, and its closure was dropped.
    pub fn cancel(&self) -> bool {
        self.raw.cancel()
    }
}

// Nothing unwinds under a lock, so a panic leaves nothing half done.
impl UnwindSafe for PoolScope<'_, '_> {}
impl RefUnwindSafe for PoolScope<'_, '_> {}
impl<T> UnwindSafe for ScopedJobHandle<'_, T> {}
impl<T> RefUnwindSafe for ScopedJobHandle<'_, T> {}

impl<T> fmt::Debug for ScopedJobHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJobHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
