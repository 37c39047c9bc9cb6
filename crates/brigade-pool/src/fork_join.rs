//! Fork-join on green threads: [`join`], [`fork_scope`], [`par_map`].
//!
//! # Who waits parks
//!
//! Pools that steal work let a thread that waits run other work meanwhile, on top of its own stack. If it holds a lock then,
//! and that work wants the same lock, neither can go on. Here each part is a thread of its own: who waits parks, and the
//! processor runs other threads. One that wants the lock parks too, until the lock is given back.
//!
//! # Invariants
//!
//! 1. [`join`] does not return, by unwinding either, before the thread it has spawned has ended. So that thread may borrow
//!    what the closures borrow.
//! 2. A scope does not end before its threads have: the runtime's count of the scope waits for them.
//!
//! # Rejected
//!
//! Running both closures on the current thread where that is cheaper (in deep recursion, or while nobody has taken the
//! spawned one): the second closure would see the thread-locals of the first, and two closures that wait for each other
//! would work or hang by chance.

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{
    AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind,
};
use std::sync::Arc;

use brigade_runtime::park::RawLock;
use brigade_runtime::{
    Join, RuntimeHandle, ScopeCount, SpawnOptions, current_or_default, spawn_here_borrowing,
};

use crate::job::quietly;

/// Calls both closures, possibly at the same time, and returns both results.
///
/// `a` runs as a green thread of its own, on the runtime of the calling green thread, or on the default runtime. `b` runs
/// on the calling thread, which then waits for `a`. That is: two threads, with thread-locals of their own. So they may wait
/// for each other, and a lock that is held over the call is never met by unrelated work on the same thread.
///
/// # Blocking
///
/// Blocks the calling thread only, until both have returned.
///
/// # Panics
///
/// With the panic of `b`, or else that of `a`, after both have ended. Also if no thread can be spawned, before either has
/// begun.
#[inline]
#[track_caller]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB,
    RA: Send,
{
    let site = Location::caller();
    // SAFETY: `join_to_the_end` below returns before the frame of this function is left: nothing in between unwinds, and
    // the handle is not given away.
    let thread = unsafe { spawn(site, a) };
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => panic!("brigade: cannot fork: {error}"),
    };
    let right = catch_unwind(AssertUnwindSafe(b));
    let left = thread.join_to_the_end(site);
    match (left, right) {
        (Ok(left), Ok(right)) => (left, right),
        (left, right) => fail(left, right),
    }
}

#[cold]
fn fail<RA, RB, R>(
    left: Result<RA, Box<dyn Any + Send>>,
    right: Result<RB, Box<dyn Any + Send>>,
) -> R {
    match (left, right) {
        (left, Err(payload)) => {
            // The result, or a second panic, goes nowhere.
            quietly(|| drop(left));
            resume_unwind(payload)
        }
        (Err(payload), right) => {
            quietly(|| drop(right));
            resume_unwind(payload)
        }
        (Ok(_), Ok(_)) => unreachable!("one of them has panicked"),
    }
}

/// # Safety
///
/// The caller calls [`Join::join_to_the_end`] before what `f` and `T` borrow ends.
#[inline(always)]
unsafe fn spawn<F, T>(site: &'static Location<'static>, f: F) -> io::Result<Join<T>>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let options = SpawnOptions {
        name: None,
        stack: None,
        site,
        scope: None,
    };
    // SAFETY: the caller's promise.
    match unsafe { spawn_here_borrowing(options, f) } {
        Ok(spawned) => spawned,
        // SAFETY: the caller's promise.
        Err((options, f)) => unsafe { current_or_default()?.spawn_borrowing(options, f) },
    }
}

/// A scope in which green threads that borrow are spawned; see [`fork_scope`].
pub struct ForkScope<'scope> {
    runtime: RuntimeHandle,
    count: Arc<ScopeCount>,
    /// The first panic of a thread of the scope.
    panic: RawLock<Option<Box<dyn Any + Send>>>,
    // Invariance over 'scope: it must not shrink to something that ends before the threads do.
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<'scope> ForkScope<'scope> {
    /// Runs `f` as a green thread, which may spawn more in the same scope. The scope waits for all of them.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Panics
    ///
    /// If no thread can be spawned.
    #[track_caller]
    pub fn spawn<F>(&self, f: F)
    where
        F: FnOnce(&ForkScope<'scope>) + Send + 'scope,
    {
        let options = SpawnOptions {
            name: None,
            stack: None,
            site: Location::caller(),
            scope: Some(Arc::clone(&self.count)),
        };
        let body = move || {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(self))) {
                let mut first = self.panic.lock();
                if first.is_none() {
                    *first = Some(payload);
                } else {
                    drop(first);
                    quietly(|| drop(payload));
                }
            }
        };
        // SAFETY: what `f` borrows lives for 'scope, and this scope lives until `fork_scope` returns, which it does after
        // the count's `wait`.
        if let Err(error) = unsafe { self.runtime.spawn_borrowing(options, body) } {
            panic!("brigade: cannot fork: {error}");
        }
    }
}

// Nothing unwinds under a lock, so a panic leaves nothing half done.
impl UnwindSafe for ForkScope<'_> {}
impl RefUnwindSafe for ForkScope<'_> {}

impl fmt::Debug for ForkScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkScope").finish_non_exhaustive()
    }
}

/// Calls `f` with a scope in which it may spawn green threads that borrow, and waits for all of them.
///
/// As [`std::thread::scope`], but threads of the scope may spawn into it, nobody joins them one by one, and a panic comes
/// out as it was.
///
/// # Blocking
///
/// Blocks the calling thread only, until `f` and all threads of the scope have ended.
///
/// # Panics
///
/// With the panic of `f`, or else with the first one of a thread, after all threads have ended. Also if the default runtime
/// has to be started and cannot be.
#[track_caller]
pub fn fork_scope<'scope, F, T>(f: F) -> T
where
    F: FnOnce(&ForkScope<'scope>) -> T,
{
    let runtime = match current_or_default() {
        Ok(runtime) => runtime,
        Err(error) => panic!("brigade: cannot start the default runtime: {error}"),
    };
    let scope = ForkScope {
        runtime,
        count: ScopeCount::new(),
        panic: RawLock::new(None),
        scope: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // Threads of the scope catch their panics, so that the count knows of none.
    scope.count.wait();
    let panicked = scope.panic.lock().take();
    match (result, panicked) {
        (Err(payload), later) => {
            quietly(|| drop(later));
            resume_unwind(payload)
        }
        (Ok(_), Some(payload)) => resume_unwind(payload),
        (Ok(value), None) => value,
    }
}

/// Calls `f` with each item, on green threads, and returns the results in the order of the items.
///
/// The items are cut into chunks, four for each processor of the runtime, so that threads that are done early find more.
///
/// # Blocking
///
/// Blocks the calling thread only, until all results are there.
///
/// # Panics
///
/// With a panic of `f`, after all threads have ended.
#[track_caller]
pub fn par_map<T, F, R>(items: &[T], f: F) -> Vec<R>
where
    T: Sync,
    F: Fn(&T) -> R + Sync,
    R: Send,
{
    const CHUNKS_PER_PROCESSOR: usize = 4;
    let (f, mut parts) = (&f, Vec::<Vec<R>>::new());
    fork_scope(|scope| {
        let chunks = CHUNKS_PER_PROCESSOR * scope.runtime.workers();
        let length = items.len().div_ceil(chunks).max(1);
        parts.resize_with(items.len().div_ceil(length), Vec::new);
        for (part, chunk) in parts.iter_mut().zip(items.chunks(length)) {
            scope.spawn(move |_| part.extend(chunk.iter().map(f)));
        }
    });
    parts.into_iter().flatten().collect()
}
