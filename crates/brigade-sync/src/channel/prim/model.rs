//! The primitives under the model checker: loom's, and threads that park as the runtime's do.

use std::cell::Cell;
use std::panic::Location;

use brigade_event::WaitReason;
use loom::sync::Notify;

pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use loom::thread::yield_now;

/// Small enough that the models come to the end of a block.
pub(crate) const BLOCK_MESSAGES: usize = 3;
/// Looking again is a new interleaving, which the checker tries anyway.
pub(crate) const SPINS: u32 = 0;
/// The deadline that does not come. Every other one has passed.
pub(crate) const NEVER: u64 = u64::MAX;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// A place that is read and written by rules of its own, which the checker checks.
pub(crate) struct Place<T>(loom::cell::UnsafeCell<T>);

impl<T> Place<T> {
    pub(crate) fn new(value: T) -> Place<T> {
        Place(loom::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(f)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// A value behind loom's mutex.
pub(crate) struct Lock<T>(loom::sync::Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Lock<T> {
        Lock(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// Stands for the total order of sequentially consistent accesses, which loom treats as acquire and release (its
/// issue 180), at the places that rely on it.
pub(crate) fn total_order() {
    if !WITHOUT_TOTAL_ORDER.get() {
        // ORDER: pairs with the other calls of this function.
        fence(Ordering::SeqCst);
    }
}

thread_local! {
    /// A planted fault. The threads of a model are one kernel thread.
    static WITHOUT_TOTAL_ORDER: Cell<bool> = const { Cell::new(false) };
}

/// Plants the fault that who changes a channel and who begins to wait need not see each other.
pub(crate) fn forget_total_order() {
    WITHOUT_TOTAL_ORDER.set(true);
}

pub(crate) fn yield_if_overdue() {}

/// Not random: the checker needs the same run twice.
pub(crate) fn random() -> u32 {
    0
}

pub(crate) fn now_ns() -> u64 {
    NEVER - 1
}

pub(crate) fn deadline_after(_: std::time::Duration) -> u64 {
    1
}

pub(crate) fn deadline_at(_: std::time::Instant) -> u64 {
    1
}

pub(crate) fn is_in_time(deadline_ns: u64) -> bool {
    deadline_ns == NEVER
}

pub(crate) fn is_past(deadline_ns: u64) -> bool {
    deadline_ns != NEVER
}

/// What a thread is about to wait for.
pub(crate) struct Wait;

impl Wait {
    pub(crate) fn new(_: WaitReason, _: usize, _: &'static Location<'static>) -> Wait {
        Wait
    }
}

/// The park word of the runtime, as far as a waiter sees it. The model never frees it, so that a late look is found and
/// not undefined.
struct Green {
    word: AtomicU32,
    scheduled: Notify,
    ended: AtomicBool,
}

/// The current thread, for as long as it waits for something.
pub(crate) struct Current(&'static Green);

pub(crate) fn with_current<R>(f: impl FnOnce(&Current) -> R) -> R {
    let current = Current(Box::leak(Box::new(Green {
        word: AtomicU32::new(RUNNING),
        scheduled: Notify::new(),
        ended: AtomicBool::new(false),
    })));
    let result = f(&current);
    // ORDER: Release: pairs with the Acquire in `notify`.
    current.0.ended.store(true, Ordering::Release);
    result
}

impl Current {
    pub(crate) fn sleeper(&self) -> Sleeper {
        Sleeper(self.0)
    }

    /// Parks once; returns when it was notified and scheduled, or at once if there is a deadline.
    pub(crate) fn park(&self, _: &Wait, deadline_ns: u64) {
        let gives_up = deadline_ns != NEVER;
        let next = if gives_up { RUNNING } else { PARKED };
        // ORDER: AcqRel: the runtime's park word has its own proof.
        let parked =
            self.0
                .word
                .compare_exchange(RUNNING, next, Ordering::AcqRel, Ordering::Acquire);
        if parked.is_err() {
            // ORDER: AcqRel: as above; takes the notification.
            self.0.word.swap(RUNNING, Ordering::AcqRel);
            return;
        }
        // ORDER: Acquire: pairs with `schedule`.
        while !gives_up && self.0.word.load(Ordering::Acquire) != RUNNING {
            self.0.scheduled.wait();
        }
    }
}

/// A thread in a list of waiters.
#[derive(Clone, Copy)]
pub(crate) struct Sleeper(&'static Green);

impl Sleeper {
    pub(crate) unsafe fn notify(self) -> Option<Runnable> {
        // ORDER: Acquire: pairs with the Release in `with_current`.
        let ended = self.0.ended.load(Ordering::Acquire);
        assert!(!ended, "touched after its end");
        // ORDER: AcqRel: as in the runtime's park word.
        let before = self.0.word.fetch_or(NOTIFIED, Ordering::AcqRel);
        (before == PARKED).then_some(Runnable(self.0))
    }
}

/// A parked thread that the holder must schedule; it does not run before.
pub(crate) struct Runnable(&'static Green);

impl Runnable {
    pub(crate) fn schedule(self) {
        // ORDER: Release: pairs with the Acquire in `park`.
        self.0.word.store(RUNNING, Ordering::Release);
        self.0.scheduled.notify();
    }
}

/// Threads to schedule.
pub(crate) struct Runnables(Vec<Runnable>);

impl Runnables {
    pub(crate) fn new() -> Runnables {
        Runnables(Vec::new())
    }

    pub(crate) fn push(&mut self, runnable: Runnable) {
        self.0.push(runnable);
    }

    pub(crate) fn schedule(self) {
        self.0.into_iter().for_each(Runnable::schedule);
    }
}
