//! A value that is made when it is first used.
//!
//! # Invariants
//!
//! 1. `init` is touched only by the thread inside the function of `once`, or through `&mut`.
//! 2. There is a value exactly when the once is complete. A function that panics takes `init` with it and poisons the
//!    once, so there is never going to be one.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::once::Once;

/// A value that is made by a function when it is first used.
///
/// As [`std::sync::LazyLock`], poisoning included: if the function panics, every later use panics.
///
/// # Blocking
///
/// The first use blocks while another thread runs the function: the calling green thread, or an ordinary kernel thread
/// as such. Later uses cost a load.
///
/// # Panics
///
/// A use panics if the function panics or has panicked, and if the function uses the value itself.
///
/// # Examples
///
/// ```
/// use brigade_sync::LazyLock;
///
/// static SQUARES: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).map(|n| n * n).collect());
///
/// assert_eq!(SQUARES[3], 9);
/// ```
///
/// A function that panics spoils it for good:
///
/// ```
/// use std::panic::{AssertUnwindSafe, catch_unwind};
/// use brigade_sync::LazyLock;
///
/// let lazy: LazyLock<u32> = LazyLock::new(|| panic!("no luck"));
/// assert!(catch_unwind(AssertUnwindSafe(|| *lazy)).is_err());
/// assert!(catch_unwind(AssertUnwindSafe(|| *lazy)).is_err());
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    value: UnsafeCell<Value<T, F>>,
}

/// What a lazy value holds.
enum Value<T, F> {
    /// The function that makes it.
    Due(F),
    /// Nothing: the function runs, or has panicked.
    Taken,
    /// The value.
    Made(T),
}

// SAFETY: `&LazyLock` lends `&T` to all threads, and moves the function to the thread that runs it and the value to
// the one that drops it.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `f` makes when it is first used.
    #[must_use]
    #[track_caller]
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            once: Once::new(),
            value: UnsafeCell::new(Value::Due(f)),
        }
    }

    /// The value, made now if it was not made before. The same as `&*this`.
    ///
    /// # Panics
    ///
    /// If the function panics or has panicked, and if the function uses the value itself.
    #[inline]
    #[track_caller]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        if !this.once.is_completed() {
            this.make_slow();
        }
        // SAFETY: complete, so nobody writes any more (invariants 1 and 2).
        match unsafe { &*this.value.get() } {
            Value::Made(value) => value,
            // SAFETY: complete (invariant 2).
            _ => unsafe { std::hint::unreachable_unchecked() },
        }
    }

    #[cold]
    #[track_caller]
    fn make_slow(&self) {
        self.once.call_once(|| {
            // SAFETY: one thread runs this function, once, and nobody reads before it has returned (invariant 1).
            let place = unsafe { &mut *self.value.get() };
            if let Value::Due(make) = std::mem::replace(place, Value::Taken) {
                let value = make();
                // SAFETY: as above. `make` may have held no reference: it would have had to wait for itself.
                unsafe { *self.value.get() = Value::Made(value) };
            }
        });
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    /// One that makes the default value.
    #[track_caller]
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("LazyLock");
        // SAFETY: read only when complete, when nobody writes any more (invariants 1 and 2).
        let value = self
            .once
            .is_completed()
            .then(|| unsafe { &*self.value.get() });
        match value {
            Some(Value::Made(value)) => tuple.field(value),
            _ => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}
