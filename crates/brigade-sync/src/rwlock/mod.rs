//! The lock for many readers or one writer.
//!
//! As the mutex (`mutex/mod.rs` has the order of the steps), around another word (`raw/rwlock.rs`). The tag names the
//! writer only; readers are known by their lists of held locks.

mod guard;

use core::cell::UnsafeCell;
use core::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use brigade_event::{LockKind, LockTag, Mode, WaitReason};
use brigade_runtime::park::{self, Entry, NEVER, Wait, deadline_after, deadline_at};

pub use guard::{RwLockReadGuard, RwLockWriteGuard};

use crate::order;
use crate::poison::Flag;
use crate::prim::{AtomicU32, Waiting};
use crate::raw::Refusal;
use crate::raw::rwlock::RawRwLock;

/// A lock that many readers or one writer hold at a time, around a value.
///
/// It has the names, signatures and poisoning of [`std::sync::RwLock`], works between green and kernel threads in any
/// mix, and says who holds it and who waits for it. A green thread that waits parks; a kernel thread blocks. Only a
/// writer poisons it.
///
/// Neither side starves. A reader that comes while a thread waits for the lock waits behind it, so writers get their
/// turn; when a reader gets its turn, all readers that wait enter with it. A running thread may take the lock before one
/// that was woken, but about every half millisecond a lock that is waited for is handed to who has waited longest.
///
/// A thread that reads must not read again, nor write, before it has given its guard back: if a writer waits in between,
/// both wait for ever. Such a circle is reported.
///
/// # Examples
///
/// ```
/// use brigade_sync::RwLock;
///
/// let names = RwLock::new(vec!["a"]);
/// {
///     let one = names.read().unwrap();
///     let other = names.read().unwrap();
///     assert_eq!(one.len(), other.len());
/// }
/// names.write().unwrap().push("b");
/// assert_eq!(names.read().unwrap().len(), 2);
/// ```
///
/// A writer keeps readers out:
///
/// ```
/// use brigade_sync::RwLock;
///
/// let value = RwLock::new(1);
/// let guard = value.write().unwrap();
/// assert!(value.try_read().is_err());
/// # drop(guard);
/// ```
pub struct RwLock<T: ?Sized> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes with the lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: the lock gives out one `&mut T` (`T: Send`) or many `&T` (`T: Sync`) at a time.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// A lock without a value.
pub(crate) struct Lock {
    raw: RawRwLock,
    poison: Flag,
    tag: LockTag,
}

impl Lock {
    #[track_caller]
    const fn new() -> Lock {
        Lock {
            raw: RawRwLock {
                state: AtomicU32::new(0),
            },
            poison: Flag::new(),
            tag: LockTag::new(LockKind::RwLock),
        }
    }

    /// Takes the lock, called at `site`.
    #[inline]
    #[track_caller]
    fn acquire(&self, mode: Mode, site: &'static Location<'static>) {
        let me = park::me();
        if me.count_lock() {
            park::checkpoint_rarely();
        }
        if order::is_on() {
            order::before_lock(me, &self.tag, mode, site);
        }
        let is_taken = match mode {
            Mode::Shared => self.raw.read_now(),
            Mode::Exclusive => self.raw.write_now(),
        };
        if !is_taken {
            self.acquire_slow(mode, site);
        }
        self.taken(mode, me, site);
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_slow(&self, mode: Mode, site: &'static Location<'static>) {
        match self.wait(mode, site, NEVER) {
            Ok(()) => {}
            Err(Refusal::Deadlock(reason)) => panic!("{reason}"),
            Err(Refusal::TimedOut) => unreachable!("there was no deadline"),
        }
    }

    fn wait(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        deadline_ns: u64,
    ) -> Result<(), Refusal> {
        let is_owner_running = || self.is_owner_running();
        if self.raw.spin(mode, is_owner_running) {
            return Ok(());
        }
        let reason = match mode {
            Mode::Shared => WaitReason::RwLockRead,
            Mode::Exclusive => WaitReason::RwLockWrite,
        };
        let address = self.tag.address();
        let wait = Wait::new(reason, address, site);
        park::with_current(|current| {
            let waiting = Waiting {
                current,
                wait: &wait,
                deadline_ns,
            };
            self.raw
                .lock_parking(mode, address, &waiting, is_owner_running)
        })
    }

    /// False if the writer surely does not run, so that the lock will not be free soon.
    fn is_owner_running(&self) -> bool {
        // SAFETY: an owner is an entry, and entries live for ever.
        let owner = unsafe { self.tag.owner().cast::<Entry>().as_ref() };
        owner.is_none_or(|owner| !owner.is_waiting())
    }

    /// Takes the lock if that needs no waiting.
    #[inline]
    fn try_acquire(&self, mode: Mode, site: &'static Location<'static>) -> bool {
        if order::is_on() {
            order::before_try(&self.tag);
        }
        let is_taken = self.raw.try_lock(mode);
        if is_taken {
            self.taken(mode, park::me(), site);
        }
        is_taken
    }

    /// As [`Lock::acquire`], until the deadline. False: it has passed.
    fn acquire_until(
        &self,
        mode: Mode,
        site: &'static Location<'static>,
        deadline_ns: impl FnOnce() -> u64,
    ) -> bool {
        if order::is_on() {
            order::before_try(&self.tag);
        }
        let is_taken = self.raw.try_lock(mode) || self.wait(mode, site, deadline_ns()).is_ok();
        if is_taken {
            self.taken(mode, park::me(), site);
        }
        is_taken
    }

    #[inline(always)]
    fn taken(&self, mode: Mode, me: &'static Entry, site: &'static Location<'static>) {
        if mode == Mode::Exclusive {
            self.tag.set_owner(me);
        }
        me.lock_taken(&self.tag, mode, site);
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The current thread holds it as a reader.
    #[inline]
    unsafe fn release_read(&self) {
        park::me().lock_released(&self.tag, Mode::Shared);
        self.raw.unlock_read(self.tag.address());
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The current thread holds it as the writer.
    #[inline]
    unsafe fn release_write(&self) {
        park::me().lock_released(&self.tag, Mode::Exclusive);
        self.tag.clear_owner();
        self.raw.unlock_write(self.tag.address());
    }

    /// The writer becomes a reader.
    ///
    /// # Safety
    /// The current thread holds it as the writer.
    unsafe fn downgrade(&self, site: &'static Location<'static>) {
        let me = park::me();
        me.lock_released(&self.tag, Mode::Exclusive);
        me.lock_taken(&self.tag, Mode::Shared, site);
        self.tag.clear_owner();
        self.raw.downgrade(self.tag.address());
    }
}

impl<T> RwLock<T> {
    /// A free lock around `value`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            lock: Lock::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Names the lock, in reports and as a class of locks: locks of one name are one class, wherever they are made.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> RwLock<T> {
        self.lock.tag.set_name(name);
        self
    }

    /// Gives the lock a rank: a thread that holds one of its class may take another one of higher rank.
    #[must_use]
    pub const fn with_rank(mut self, rank: u16) -> RwLock<T> {
        self.lock.tag.set_rank(rank);
        self
    }

    /// The value; no lock is needed, because nobody else has it.
    ///
    /// # Errors
    ///
    /// The lock is poisoned. The error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        let RwLock { lock, value } = self;
        lock.poison.result(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock as a reader, and waits while a writer holds it or a thread waits for it: a green thread parks, a
    /// kernel thread blocks.
    ///
    /// # Errors
    ///
    /// The lock is poisoned: a writer panicked. The error holds the guard.
    ///
    /// # Panics
    ///
    /// If waiting would close a circle of threads that wait for each other's locks, and the handler of deadlocks
    /// chose to panic. Otherwise such a thread waits for ever. Also with more than a hundred million readers.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.lock.acquire(Mode::Shared, Location::caller());
        // SAFETY: this thread has just become a reader.
        unsafe { self.read_guard() }
    }

    /// Takes the lock as the writer, and waits while others hold it: a green thread parks, a kernel thread blocks.
    ///
    /// # Errors
    ///
    /// As [`RwLock::read`].
    ///
    /// # Panics
    ///
    /// As [`RwLock::read`].
    #[inline]
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.lock.acquire(Mode::Exclusive, Location::caller());
        // SAFETY: this thread has just become the writer.
        unsafe { self.write_guard() }
    }

    /// Takes the lock as a reader if no writer holds it and nobody waits for it. Does not wait.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`]: it cannot be taken now. [`TryLockError::Poisoned`]: it was taken, and is poisoned.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let site = Location::caller();
        self.read_if(|lock| lock.try_acquire(Mode::Shared, site))
    }

    /// Takes the lock as the writer if nobody holds it. Does not wait.
    ///
    /// # Errors
    ///
    /// As [`RwLock::try_read`].
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let site = Location::caller();
        self.write_if(|lock| lock.try_acquire(Mode::Exclusive, site))
    }

    /// As [`RwLock::read`], but waits at most for `time`.
    ///
    /// A wait with an end is no part of a deadlock, and teaches nothing about the order of locks.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`]: the time was up. [`TryLockError::Poisoned`]: it was taken, and is poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::RwLock;
    /// use std::time::Duration;
    ///
    /// let value = RwLock::new(1);
    /// let reader = value.try_read_for(Duration::from_secs(1)).unwrap();
    /// assert!(value.try_write_for(Duration::from_millis(1)).is_err(), "somebody reads");
    /// # drop(reader);
    /// ```
    #[track_caller]
    pub fn try_read_for(&self, time: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let site = Location::caller();
        self.read_if(|lock| lock.acquire_until(Mode::Shared, site, || deadline_after(time)))
    }

    /// As [`RwLock::try_read_for`], but waits at most until `time`.
    ///
    /// # Errors
    ///
    /// As [`RwLock::try_read_for`].
    #[track_caller]
    pub fn try_read_until(&self, time: Instant) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let site = Location::caller();
        self.read_if(|lock| lock.acquire_until(Mode::Shared, site, || deadline_at(time)))
    }

    /// As [`RwLock::write`], but waits at most for `time`.
    ///
    /// # Errors
    ///
    /// As [`RwLock::try_read_for`].
    #[track_caller]
    pub fn try_write_for(&self, time: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let site = Location::caller();
        self.write_if(|lock| lock.acquire_until(Mode::Exclusive, site, || deadline_after(time)))
    }

    /// As [`RwLock::try_write_for`], but waits at most until `time`.
    ///
    /// # Errors
    ///
    /// As [`RwLock::try_read_for`].
    #[track_caller]
    pub fn try_write_until(&self, time: Instant) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let site = Location::caller();
        self.write_if(|lock| lock.acquire_until(Mode::Exclusive, site, || deadline_at(time)))
    }

    #[inline(always)]
    fn read_if(&self, take: impl FnOnce(&Lock) -> bool) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if !take(&self.lock) {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: this thread has just become a reader.
        Ok(unsafe { self.read_guard() }?)
    }

    #[inline(always)]
    fn write_if(&self, take: impl FnOnce(&Lock) -> bool) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if !take(&self.lock) {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: this thread has just become the writer.
        Ok(unsafe { self.write_guard() }?)
    }

    /// # Safety
    /// The current thread is a reader, for which no guard exists.
    #[inline(always)]
    unsafe fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        // SAFETY: the caller's contract.
        let guard = unsafe { RwLockReadGuard::new(&self.lock, &self.value) };
        self.lock.poison.result(guard)
    }

    /// # Safety
    /// The current thread is the writer, and no guard exists.
    #[inline(always)]
    unsafe fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        // SAFETY: the caller's contract.
        let guard = unsafe { RwLockWriteGuard::new(&self.lock, &self.value) };
        self.lock.poison.result(guard)
    }

    /// Whether the lock is poisoned. While others use it the answer may be old.
    #[inline]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.lock.poison.is_poisoned()
    }

    /// Forgets that the lock was poisoned.
    #[inline]
    pub fn clear_poison(&self) {
        self.lock.poison.clear();
    }

    /// The value; no lock is needed, because nobody else has a reference to it.
    ///
    /// # Errors
    ///
    /// The lock is poisoned. The error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.lock.poison.result(self.value.get_mut())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => shown.field("data", &&*guard),
            Err(TryLockError::Poisoned(poisoned)) => {
                shown.field("data", &&*PoisonError::into_inner(poisoned))
            }
            Err(TryLockError::WouldBlock) => shown.field("data", &format_args!("<locked>")),
        };
        shown.field("poisoned", &self.is_poisoned());
        shown.finish_non_exhaustive()
    }
}
