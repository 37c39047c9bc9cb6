//! The primitives under the model checker.

pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};

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
    // ORDER: pairs with the fence in `Bucket::is_empty`.
    fence(Ordering::SeqCst);
}
