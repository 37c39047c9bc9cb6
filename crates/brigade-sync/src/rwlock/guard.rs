//! The guards of a lock for readers and writers.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::panic::{RefUnwindSafe, UnwindSafe};
use std::panic::Location;

use super::Lock;
use crate::poison::Witness;

/// The right to read the value in a [`RwLock`](super::RwLock); gives the lock back when dropped.
///
/// It stays on its thread: a lock is given back by the thread that took it.
#[must_use = "the lock is given back at once if the guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a Lock,
    value: &'a UnsafeCell<T>,
    /// The thread that took it gives it back.
    not_send: PhantomData<*const ()>,
}

// SAFETY: a guard gives out only `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

// As a reference to the value: reading does not poison.
impl<T: ?Sized + RefUnwindSafe> UnwindSafe for RwLockReadGuard<'_, T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for RwLockReadGuard<'_, T> {}

/// The right to use the value in a [`RwLock`](super::RwLock) alone; gives the lock back when dropped.
///
/// It stays on its thread: a lock is given back by the thread that took it.
#[must_use = "the lock is given back at once if the guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a Lock,
    value: &'a UnsafeCell<T>,
    witness: Witness,
    /// The thread that took it gives it back.
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out only `&T`.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

// As for the lock: who sees the value after a panic sees that it is poisoned.
impl<T: ?Sized> UnwindSafe for RwLockWriteGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// # Safety
    /// The current thread reads with the lock around `value`, and no guard stands for that.
    #[inline(always)]
    pub(super) unsafe fn new(lock: &'a Lock, value: &'a UnsafeCell<T>) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard {
            lock,
            value,
            not_send: PhantomData,
        }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// # Safety
    /// The current thread is the writer of the lock around `value`, and no guard of it exists.
    #[inline(always)]
    pub(super) unsafe fn new(lock: &'a Lock, value: &'a UnsafeCell<T>) -> RwLockWriteGuard<'a, T> {
        RwLockWriteGuard {
            lock,
            value,
            witness: lock.poison.witness(),
            not_send: PhantomData,
        }
    }

    /// Turns the writer into a reader: no other writer comes in between. Readers that wait enter.
    ///
    /// An associated function, so that it hides no method of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::{RwLock, RwLockWriteGuard};
    ///
    /// let value = RwLock::new(1);
    /// let mut writer = value.write().unwrap();
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!(*value.read().unwrap(), *reader);
    /// assert!(value.try_write().is_err());
    /// ```
    #[track_caller]
    pub fn downgrade(guard: RwLockWriteGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        let guard = ManuallyDrop::new(guard);
        guard.lock.poison.settle(guard.witness);
        // SAFETY: the guard existed, so this thread is the writer.
        unsafe { guard.lock.downgrade(Location::caller()) };
        // SAFETY: this thread reads now, and the guard of the writer is not dropped.
        unsafe { RwLockReadGuard::new(guard.lock, guard.value) }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this thread became a reader when it made the guard, and guards do not move to other threads.
        unsafe { self.lock.release_read() };
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.settle(self.witness);
        // SAFETY: this thread became the writer when it made the guard, and guards do not move to other threads.
        unsafe { self.lock.release_write() };
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so this thread reads, and there is no writer.
        unsafe { &*self.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so this thread is the writer, and no `&mut` to the value is alive.
        unsafe { &*self.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { &mut *self.value.get() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
