//! A value that is written once.
//!
//! # Invariants
//!
//! 1. The value is initialised exactly when the once is complete. It is written by the thread that completes it, and
//!    afterwards only through `&mut`.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::once::Once;

/// A value that is written once and then read by all threads without a lock.
///
/// As [`std::sync::OnceLock`].
///
/// # Blocking
///
/// [`get_or_init`](OnceLock::get_or_init), [`set`](OnceLock::set) and [`wait`](OnceLock::wait) block while another
/// thread makes the value: the calling green thread, or an ordinary kernel thread as such. `get` never blocks.
///
/// # Examples
///
/// ```
/// use brigade_sync::OnceLock;
///
/// static NAME: OnceLock<String> = OnceLock::new();
///
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "first".to_owned()), "first");
/// assert_eq!(NAME.get_or_init(|| "second".to_owned()), "first");
/// ```
///
/// A second value is refused and given back:
///
/// ```
/// let once = brigade_sync::OnceLock::new();
/// assert_eq!(once.set(1), Ok(()));
/// assert_eq!(once.set(2), Err(2));
/// ```
pub struct OnceLock<T> {
    once: Once,
    value: UnsafeCell<MaybeUninit<T>>,
    /// Dropping this drops a `T`.
    owns: PhantomData<T>,
}

// SAFETY: `&OnceLock` moves a `T` in from any thread (`set`) and lends `&T` to all.
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}
// SAFETY: it owns a `T`.
unsafe impl<T: Send> Send for OnceLock<T> {}

impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// No value yet.
    #[must_use]
    #[track_caller]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            owns: PhantomData,
        }
    }

    /// The value, if there is one. Does not block.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: complete (invariant 1).
        self.once
            .is_completed()
            .then(|| unsafe { self.get_unchecked() })
    }

    /// The value, if there is one, to change it.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.once.is_completed() {
            // SAFETY: complete (invariant 1), and nobody else has a reference.
            Some(unsafe { self.value.get_mut().assume_init_mut() })
        } else {
            None
        }
    }

    /// Blocks until there is a value, and returns it.
    ///
    /// # Panics
    ///
    /// If it is called inside the function that makes the value.
    #[inline]
    #[track_caller]
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        // SAFETY: complete (invariant 1).
        unsafe { self.get_unchecked() }
    }

    /// Makes `value` the value; blocks while another thread makes one.
    ///
    /// # Errors
    ///
    /// With `value`, if there is one already.
    ///
    /// # Panics
    ///
    /// If it is called inside the function that makes the value.
    #[inline]
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.fill(|| value.take());
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// The value; if there is none, the one that `f` makes. Blocks while another thread makes it.
    ///
    /// # Panics
    ///
    /// With the panic of `f`; then there is no value, and the next call tries again. And if `f` itself asks for the
    /// value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    ///
    /// let once = brigade_sync::OnceLock::new();
    /// assert!(catch_unwind(AssertUnwindSafe(|| once.get_or_init(|| panic!("no luck")))).is_err());
    /// assert_eq!(once.get_or_init(|| 1), &1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        if !self.once.is_completed() {
            self.fill(|| Some(f()));
        }
        // SAFETY: complete (invariant 1): `fill` has returned and its function gave a value.
        unsafe { self.get_unchecked() }
    }

    /// Takes the value out.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out; afterwards there is none.
    pub fn take(&mut self) -> Option<T> {
        if !self.once.is_completed() {
            return None;
        }
        self.once.reset();
        // SAFETY: it was complete (invariant 1), and is not any more.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// Completes the once with the value that `make` gives, unless it is complete. `make` gives one.
    #[cold]
    #[track_caller]
    fn fill(&self, make: impl FnOnce() -> Option<T>) {
        self.once.call_once_force(|_| {
            let value = make().expect("called once, with a value");
            // SAFETY: one thread at a time runs this function, and nobody reads before it has returned.
            unsafe { (*self.value.get()).write(value) };
        });
    }

    /// # Safety
    ///
    /// The once is complete.
    #[inline(always)]
    unsafe fn get_unchecked(&self) -> &T {
        // SAFETY: the caller's contract, and invariant 1.
        unsafe { (*self.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        if self.once.is_completed() {
            // SAFETY: complete (invariant 1); nobody uses it afterwards.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T> Default for OnceLock<T> {
    /// No value yet.
    #[track_caller]
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    /// One with a clone of the value, if there is one.
    #[track_caller]
    fn clone(&self) -> OnceLock<T> {
        self.get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T> From<T> for OnceLock<T> {
    /// One that has its value.
    #[track_caller]
    fn from(value: T) -> OnceLock<T> {
        let once = OnceLock::new();
        once.fill(|| Some(value));
        once
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}
