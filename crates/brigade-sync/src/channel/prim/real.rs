//! The primitives on the machine.

pub(crate) use brigade_runtime::park::{
    Current, Green, NEVER, RawLock as Lock, Runnable, Runnables, Sleeper, Wait, deadline_after,
    deadline_at, is_in_time, now_ns, with_current, yield_now,
};
pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Messages in a block of an unbounded channel.
pub(crate) const BLOCK_MESSAGES: usize = 31;
/// How often a thread looks again at what another one is in the middle of, before it lets others run.
pub(crate) const SPINS: u32 = 6;

/// A place that is read and written by rules of its own.
pub(crate) struct Place<T>(core::cell::UnsafeCell<T>);

impl<T> Place<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> Place<T> {
        Place(core::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with the address. What `f` does with it is for the caller to justify.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    /// The value.
    #[inline(always)]
    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// Marks a place where the total order of sequentially consistent accesses is relied upon. Nothing to do here; the
/// model checker knows no such order and needs a fence.
#[inline(always)]
pub(crate) fn total_order() {}

/// After waking others: lets them run if the thread has had its time. One that never wakes anybody and never waits is
/// like one that computes: the monitor sees to it.
#[inline(always)]
pub(crate) fn yield_if_overdue() {
    if let Some(green) = Green::current() {
        green.yield_if_overdue();
    }
}

/// Whether a wait until this deadline is over. With 0 it always is, and with [`NEVER`] never; neither asks the clock.
#[inline]
pub(crate) fn is_past(deadline_ns: u64) -> bool {
    deadline_ns == 0 || !is_in_time(deadline_ns)
}

thread_local! {
    static SEED: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// Marsaglia's xorshift: good enough for a fair choice.
pub(crate) fn random() -> u32 {
    SEED.try_with(|seed| {
        let mut x = seed.get();
        if x == 0 {
            // Threads begin differently.
            x = (&raw const *seed).addr() as u64 | 1;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        seed.set(x);
        (x >> 32) as u32
    })
    .unwrap_or(0)
}
