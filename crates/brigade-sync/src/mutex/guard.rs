//! The guards of a mutex.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;

use super::Lock;
use crate::poison::Witness;

/// The right to use the value in a [`Mutex`](super::Mutex); gives the lock back when dropped.
///
/// It stays on its thread: a lock is given back by the thread that took it.
#[must_use = "the lock is given back at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    held: Held<'a>,
    value: &'a UnsafeCell<T>,
}

// SAFETY: a shared guard gives out only `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

// As for the mutex: who sees the value after a panic sees that it is poisoned.
impl<T: ?Sized> UnwindSafe for MutexGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for MutexGuard<'_, T> {}

/// The right to use a part of the value in a [`Mutex`](super::Mutex); gives the lock back when dropped. Made by
/// [`MutexGuard::map`].
#[must_use = "the lock is given back at once if the guard is not kept"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    held: Held<'a>,
    value: NonNull<T>,
    part: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives out only `&T`.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

/// A lock that the current thread holds; gives it back when dropped.
struct Held<'a> {
    lock: &'a Lock,
    witness: Witness,
    /// The thread that took it gives it back.
    not_send: PhantomData<*const ()>,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.settle(self.witness);
        // SAFETY: this thread took the lock when it made the guard, and guards do not move to other threads.
        unsafe { self.lock.release() };
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// # Safety
    /// The current thread holds the lock around `value`, and no guard of it exists.
    #[inline(always)]
    pub(super) unsafe fn new(lock: &'a Lock, value: &'a UnsafeCell<T>) -> MutexGuard<'a, T> {
        MutexGuard {
            held: Held {
                lock,
                witness: lock.poison.witness(),
                not_send: PhantomData,
            },
            value,
        }
    }

    /// The guard of a part of the value.
    ///
    /// An associated function, so that it hides no method of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::{Mutex, MutexGuard};
    ///
    /// let pair = Mutex::new((1, 2));
    /// let mut second = MutexGuard::map(pair.lock().unwrap(), |pair| &mut pair.1);
    /// *second += 1;
    /// drop(second);
    /// assert_eq!(*pair.lock().unwrap(), (1, 3));
    /// ```
    pub fn map<U: ?Sized>(
        mut guard: MutexGuard<'a, T>,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(part(&mut guard));
        MappedMutexGuard {
            held: guard.held,
            value,
            part: PhantomData,
        }
    }

    /// The lock, for those who give it back for a while.
    pub(crate) fn lock(&self) -> &'a Lock {
        self.held.lock
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so this thread holds the lock, and no `&mut` to the value is alive.
        unsafe { &*self.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { &mut *self.value.get() }
    }
}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// As [`MutexGuard::map`], for a part of the part.
    pub fn map<U: ?Sized>(
        mut guard: MappedMutexGuard<'a, T>,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(part(&mut guard));
        MappedMutexGuard {
            held: guard.held,
            value,
            part: PhantomData,
        }
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: made from a `&mut` to a part of the value, which this guard alone may use while it exists.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
