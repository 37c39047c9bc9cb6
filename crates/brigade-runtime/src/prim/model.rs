//! The primitives under the model checker.

pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

/// Small enough that the models overflow the ring.
pub(crate) const RING_SLOTS: usize = 4;

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

/// The deadline that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// A clock that stands still.
pub(crate) fn now_ns() -> u64 {
    0
}

/// The light side of the asymmetric fence. The model knows no asymmetric fence, so both sides are full.
pub(crate) fn fence_light() {
    // ORDER: pairs with `fence_heavy`.
    fence(Ordering::SeqCst);
}

/// The heavy side of the asymmetric fence.
pub(crate) fn fence_heavy() {
    // ORDER: pairs with `fence_light`.
    fence(Ordering::SeqCst);
}

/// Stands for the total order of sequentially consistent accesses, which loom treats as acquire and release (its
/// issue 180), at the places that rely on it.
pub(crate) fn total_order() {
    // ORDER: pairs with the other calls of this function.
    fence(Ordering::SeqCst);
}
