//! Threads that borrow: [`scope`].

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use brigade_runtime::{Join, ScopeCount};

use super::{Builder, Result, Thread};

/// A scope in which threads that borrow can be spawned. See [`std::thread::Scope`].
pub struct Scope<'scope, 'env: 'scope> {
    count: Arc<ScopeCount>,
    // Invariance over 'scope: see the comment in std's scoped.rs; without it 'scope could shrink to something that
    // ends before the threads do.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// One that the current thread opens, and must wait for before anything goes away that its threads borrow.
    pub(crate) fn open() -> Scope<'scope, 'env> {
        Scope {
            count: ScopeCount::new(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Blocks until no thread of the scope runs. True: one of them panicked and nobody took its result.
    #[track_caller]
    pub(crate) fn wait(&self) -> bool {
        self.count.wait()
    }

    pub(crate) fn count(&self) -> &Arc<ScopeCount> {
        &self.count
    }

    /// Spawns a thread that may borrow from outside the scope.
    ///
    /// # Panics
    ///
    /// If a limit of the machine is hit; [`Builder::spawn_scoped`] returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("brigade: failed to spawn a thread: {error}"),
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Makes a scope and waits for all threads that were spawned in it. See [`std::thread::scope`].
///
/// # Blocking
///
/// Blocks the calling thread only, until the closure and all threads of the scope have returned.
///
/// # Panics
///
/// With the panic of `f`, after all threads have ended; and if a thread panicked that was not joined.
///
/// # Examples
///
/// ```
/// let mut numbers = vec![1, 2, 3];
/// let sum = brigade::thread::scope(|s| {
///     let sum = s.spawn(|| numbers.iter().sum::<i32>());
///     sum.join().unwrap()
/// });
/// numbers.push(sum);
/// assert_eq!(numbers, [1, 2, 3, 6]);
/// ```
///
/// ```should_panic
/// brigade::thread::scope(|s| {
///     s.spawn(|| panic!("not joined"));
/// });
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::open();
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let panicked = scope.wait();
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if panicked => panic!("a scoped thread panicked"),
        Ok(value) => value,
    }
}

/// The right to join a thread of a scope. See [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    join: Join<T>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    pub(crate) fn new(join: Join<T>) -> Self {
        ScopedJoinHandle {
            join,
            scope: PhantomData,
        }
    }

    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.join.thread()
    }

    /// Waits until the thread has ended and returns its value.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The payload of the thread's panic.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.join.join()
    }

    /// Whether the thread has ended. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
