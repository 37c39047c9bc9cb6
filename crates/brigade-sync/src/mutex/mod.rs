//! The mutex.
//!
//! The word is a protocol of its own (`raw/mutex.rs`). Around it, [`Lock`] keeps what others may know: the owner in the
//! tag, the list of held locks in the thread's entry, and whether a holder panicked. The order of its steps:
//!
//! | taking | giving back |
//! |---|---|
//! | the order of locks is checked, if it is watched and the thread holds others | poison is settled |
//! | the word is taken | the thread's list forgets the lock |
//! | the owner is set | the owner is cleared |
//! | the thread's list remembers the lock | the word is given back |
//!
//! so that tag and list never name a thread that has given the lock back.

mod guard;

use core::cell::UnsafeCell;
use core::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use brigade_event::{LockKind, LockTag, Mode, WaitReason};
use brigade_runtime::park::{self, Entry, NEVER, Wait, deadline_after, deadline_at};

pub use guard::{MappedMutexGuard, MutexGuard};

use crate::order;
use crate::poison::Flag;
use crate::prim::{AtomicU32, Waiting};
use crate::raw::Refusal;
use crate::raw::mutex::RawMutex;

/// A lock that one thread holds at a time, around a value.
///
/// It has the names, signatures and poisoning of [`std::sync::Mutex`], works between green and kernel threads in any
/// mix, and says who holds it and who waits for it. A green thread that waits parks; a kernel thread blocks.
///
/// A running thread may take the lock before one that waits. About every half millisecond a lock that is waited for is
/// handed to the thread that has waited longest, so everybody is served in the end.
///
/// # Examples
///
/// ```
/// use brigade_sync::Mutex;
///
/// static SUM: Mutex<u64> = Mutex::new(0).with_name("sum");
///
/// *SUM.lock().unwrap() += 2;
/// assert_eq!(*SUM.lock().unwrap(), 2);
/// ```
///
/// A thread that panics while it holds the lock poisons it:
///
/// ```
/// use brigade_sync::Mutex;
/// use std::sync::Arc;
///
/// let mutex = Arc::new(Mutex::new(1));
/// let theirs = Arc::clone(&mutex);
/// let panicked = std::thread::spawn(move || {
///     let _guard = theirs.lock().unwrap();
///     panic!("in the middle of it");
/// })
/// .join();
/// assert!(panicked.is_err());
/// let value = mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
/// assert_eq!(*value, 1);
/// ```
pub struct Mutex<T: ?Sized> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes with the mutex, and whoever takes the lock may move it out: `T: Send` is what both need.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: the lock gives out one guard at a time.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// A mutex without a value.
pub(crate) struct Lock {
    raw: RawMutex,
    pub(crate) poison: Flag,
    tag: LockTag,
}

impl Lock {
    #[track_caller]
    const fn new() -> Lock {
        Lock {
            raw: RawMutex {
                state: AtomicU32::new(0),
            },
            poison: Flag::new(),
            tag: LockTag::new(LockKind::Mutex),
        }
    }

    /// Takes the lock, called at `site`.
    #[inline]
    #[track_caller]
    pub(crate) fn acquire(&self, site: &'static Location<'static>) {
        let me = park::me();
        if me.count_lock() {
            park::checkpoint_rarely();
        }
        if order::is_on() {
            order::before_lock(me, &self.tag, Mode::Exclusive, site);
        }
        if !self.raw.lock_now() {
            self.acquire_slow(site);
        }
        self.taken(me, site);
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_slow(&self, site: &'static Location<'static>) {
        match self.wait(site, NEVER) {
            Ok(()) => {}
            Err(Refusal::Deadlock(reason)) => panic!("{reason}"),
            Err(Refusal::TimedOut) => unreachable!("there was no deadline"),
        }
    }

    fn wait(&self, site: &'static Location<'static>, deadline_ns: u64) -> Result<(), Refusal> {
        let is_owner_running = || self.is_owner_running();
        if self.raw.spin(is_owner_running) {
            return Ok(());
        }
        let address = self.tag.address();
        let wait = Wait::new(WaitReason::Mutex, address, site);
        park::with_current(|current| {
            let waiting = Waiting {
                current,
                wait: &wait,
                deadline_ns,
            };
            self.raw.lock_parking(address, &waiting, is_owner_running)
        })
    }

    /// False if the owner surely does not run, so that the lock will not be free soon.
    fn is_owner_running(&self) -> bool {
        // SAFETY: an owner is an entry, and entries live for ever.
        let owner = unsafe { self.tag.owner().cast::<Entry>().as_ref() };
        owner.is_none_or(|owner| !owner.is_waiting())
    }

    /// Takes the lock if it is free.
    #[inline]
    fn try_acquire(&self, site: &'static Location<'static>) -> bool {
        if order::is_on() {
            order::before_try(&self.tag);
        }
        let is_taken = self.raw.try_lock();
        if is_taken {
            self.taken(park::me(), site);
        }
        is_taken
    }

    /// As [`Lock::acquire`], until the deadline. False: it has passed.
    fn acquire_until(&self, site: &'static Location<'static>, deadline_ns: u64) -> bool {
        if order::is_on() {
            order::before_try(&self.tag);
        }
        let is_taken = self.raw.try_lock() || self.wait(site, deadline_ns).is_ok();
        if is_taken {
            self.taken(park::me(), site);
        }
        is_taken
    }

    #[inline(always)]
    fn taken(&self, me: &'static Entry, site: &'static Location<'static>) {
        self.tag.set_owner(me);
        me.lock_taken(&self.tag, Mode::Exclusive, site);
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The current thread holds it.
    #[inline]
    pub(crate) unsafe fn release(&self) {
        park::me().lock_released(&self.tag, Mode::Exclusive);
        self.tag.clear_owner();
        self.raw.unlock(self.tag.address());
    }
}

impl<T> Mutex<T> {
    /// A free mutex around `value`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            lock: Lock::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Names the mutex, in reports and as a class of locks: mutexes of one name are one class, wherever they are made.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> Mutex<T> {
        self.lock.tag.set_name(name);
        self
    }

    /// Gives the mutex a rank: a thread that holds one of its class may take another one of higher rank.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::Mutex;
    ///
    /// let levels: Vec<_> = (1..4).map(|rank| Mutex::new(()).with_rank(rank)).collect();
    /// let _guards: Vec<_> = levels.iter().map(Mutex::lock).collect();
    /// ```
    #[must_use]
    pub const fn with_rank(mut self, rank: u16) -> Mutex<T> {
        self.lock.tag.set_rank(rank);
        self
    }

    /// The value; no lock is needed, because nobody else has the mutex.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned. The error holds the value.
    pub fn into_inner(self) -> LockResult<T> {
        let Mutex { lock, value } = self;
        lock.poison.result(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, and waits while another thread holds it: a green thread parks, a kernel thread blocks.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned: a thread panicked while it held it. The error holds the guard.
    ///
    /// # Panics
    ///
    /// If waiting would close a circle of threads that wait for each other's locks, and the handler of deadlocks
    /// chose to panic. Otherwise such a thread waits for ever; so does one that takes a mutex that it holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::Mutex;
    ///
    /// let names = Mutex::new(vec!["a"]);
    /// names.lock().unwrap().push("b");
    /// assert_eq!(names.lock().unwrap().len(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock.acquire(Location::caller());
        // SAFETY: this thread has just taken the lock.
        unsafe { self.guard() }
    }

    /// Takes the lock if it is free. Does not wait.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`]: another thread holds it, or this one does. [`TryLockError::Poisoned`]: it was
    /// taken, and is poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::Mutex;
    ///
    /// let mutex = Mutex::new(1);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_err(), "it is taken");
    /// # drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if !self.lock.try_acquire(Location::caller()) {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: this thread has just taken the lock.
        Ok(unsafe { self.guard() }?)
    }

    /// As [`Mutex::lock`], but waits at most for `time`.
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
    /// use brigade_sync::Mutex;
    /// use std::time::Duration;
    ///
    /// let mutex = Mutex::new(1);
    /// let guard = mutex.try_lock_for(Duration::from_secs(1)).unwrap();
    /// assert!(mutex.try_lock_for(Duration::from_millis(1)).is_err(), "it is taken");
    /// # drop(guard);
    /// ```
    #[track_caller]
    pub fn try_lock_for(&self, time: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        self.lock_until_ns(Location::caller(), || deadline_after(time))
    }

    /// As [`Mutex::try_lock_for`], but waits at most until `time`.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock_for`].
    #[track_caller]
    pub fn try_lock_until(&self, time: Instant) -> TryLockResult<MutexGuard<'_, T>> {
        self.lock_until_ns(Location::caller(), || deadline_at(time))
    }

    fn lock_until_ns(
        &self,
        site: &'static Location<'static>,
        deadline_ns: impl FnOnce() -> u64,
    ) -> TryLockResult<MutexGuard<'_, T>> {
        if !self.lock.try_acquire(site) && !self.lock.acquire_until(site, deadline_ns()) {
            return Err(TryLockError::WouldBlock);
        }
        // SAFETY: this thread has just taken the lock.
        Ok(unsafe { self.guard() }?)
    }

    /// # Safety
    /// The current thread holds the lock, and no guard of it exists.
    #[inline(always)]
    unsafe fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        // SAFETY: the caller's contract.
        let guard = unsafe { MutexGuard::new(&self.lock, &self.value) };
        self.lock.poison.result(guard)
    }

    /// Whether the mutex is poisoned. While others use it the answer may be old.
    #[inline]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.lock.poison.is_poisoned()
    }

    /// Forgets that the mutex was poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::Mutex;
    ///
    /// let mutex = Mutex::new(0);
    /// let panicked = std::panic::catch_unwind(|| {
    ///     let _guard = mutex.lock();
    ///     panic!("in the middle of it");
    /// });
    /// assert!(panicked.is_err() && mutex.is_poisoned());
    /// mutex.clear_poison();
    /// assert!(mutex.lock().is_ok());
    /// ```
    #[inline]
    pub fn clear_poison(&self) {
        self.lock.poison.clear();
    }

    /// The value; no lock is needed, because nobody else has a reference to the mutex.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned. The error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.lock.poison.result(self.value.get_mut())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mutex");
        match self.try_lock().map_err(only_poisoned) {
            Ok(guard) => shown.field("data", &&*guard),
            Err(Some(guard)) => shown.field("data", &&*guard),
            Err(None) => shown.field("data", &format_args!("<locked>")),
        };
        shown.field("poisoned", &self.is_poisoned());
        shown.finish_non_exhaustive()
    }
}

fn only_poisoned<G>(error: TryLockError<G>) -> Option<G> {
    match error {
        TryLockError::Poisoned(poisoned) => Some(PoisonError::into_inner(poisoned)),
        TryLockError::WouldBlock => None,
    }
}
