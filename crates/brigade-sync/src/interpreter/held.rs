//! Guards of interpreter locks, and the list of those that a thread has.
//!
//! # States of a slot
//!
//! | state | meaning |
//! |---|---|
//! | `Held` | the thread owns the lock |
//! | `Released` | it has a guard and has given the lock up for a while |
//! | `Gone` | the guard is gone; whoever was to take the lock again does not |

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use super::{Inner, InterpreterLock};
use crate::prim::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Released,
    Gone,
}

/// What a guard and its thread's list share; see the module.
pub(super) struct Slot {
    inner: Arc<Inner>,
    state: Cell<State>,
}

thread_local! {
    /// The slots of the guards that this thread has, oldest first.
    static HELD: RefCell<Vec<Rc<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// Which thread this is, among all that have ever held an interpreter lock. (The entry of a thread that has ended is used
/// again.)
pub(super) fn number_of_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    let known = NUMBER.get();
    if known != 0 {
        return known;
    }
    // ORDER: Relaxed: a number that stands for itself.
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    NUMBER.set(number);
    number
}

/// Calls `f` with the list of this thread; not if the thread is ending and has none any more.
fn with_held<R: Default>(f: impl FnOnce(&mut Vec<Rc<Slot>>) -> R) -> R {
    HELD.try_with(|held| f(&mut held.borrow_mut()))
        .unwrap_or_default()
}

/// The right to run the engine behind an [`InterpreterLock`]; gives the lock back when dropped.
///
/// It stays on its thread.
#[must_use = "the lock is given back at once if the guard is not kept"]
pub struct InterpreterGuard<'a> {
    slot: Rc<Slot>,
    lock: PhantomData<&'a InterpreterLock>,
}

impl InterpreterGuard<'_> {
    /// The current thread has just taken the lock.
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let slot = Rc::new(Slot {
            inner,
            state: Cell::new(State::Held),
        });
        with_held(|held| held.push(Rc::clone(&slot)));
        InterpreterGuard {
            slot,
            lock: PhantomData,
        }
    }

    /// A place where the engine may run in another thread for a while: if one has asked for the lock, it gets it now, and
    /// this one goes on when it is its turn again. Otherwise it costs a load.
    ///
    /// Does nothing inside of [`released`](InterpreterGuard::released).
    ///
    /// Other locks that the thread holds here stay with it while others are inside. If one of those wants them, the two
    /// wait for each other: do not hold a lock over a tick that is taken inside.
    ///
    /// # Blocking
    ///
    /// If the lock was asked for, blocks the calling green thread, or an ordinary kernel thread as such.
    ///
    /// # Panics
    ///
    /// If waiting would close a circle of threads that wait for each other's locks, and the handler of deadlocks chose to
    /// panic. Then the thread is outside, and dropping the guard does nothing.
    #[inline(always)]
    #[track_caller]
    pub fn tick(&self) {
        if self.slot.inner.raw.is_requested() {
            self.tick_slow();
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn tick_slow(&self) {
        let site = Location::caller();
        let Slot { inner, state } = &*self.slot;
        if state.get() == State::Held && inner.pass(site) {
            state.set(State::Released);
            inner.acquire(site);
            state.set(State::Held);
        }
    }

    /// Runs `f` outside: gives the lock up, and takes it again when `f` returns or unwinds. Inside of `f` the thread may
    /// enter, if it leaves again before `f` ends.
    ///
    /// Of the locks that the thread holds only this one is given up; [`InterpreterLock::allow_threads`] gives up all.
    ///
    /// # Blocking
    ///
    /// As `f` does, and then as [`InterpreterLock::enter`] does.
    ///
    /// # Panics
    ///
    /// With the panic of `f`; as [`InterpreterLock::enter`]; and if a guard of the same lock comes out of `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// let engine = brigade_sync::InterpreterLock::new();
    /// let inside = engine.enter();
    /// inside.released(|| assert!(!engine.is_inside()));
    /// assert!(engine.is_inside());
    /// ```
    #[inline]
    #[track_caller]
    pub fn released<R>(&self, f: impl FnOnce() -> R) -> R {
        let _outside = Outside::of(&self.slot, Location::caller());
        f()
    }
}

impl Drop for InterpreterGuard<'_> {
    fn drop(&mut self) {
        let state = self.slot.state.replace(State::Gone);
        with_held(|held| {
            if let Some(at) = held.iter().rposition(|slot| Rc::ptr_eq(slot, &self.slot)) {
                held.remove(at);
            }
        });
        if state == State::Held {
            self.slot.inner.release();
        }
    }
}

impl fmt::Debug for InterpreterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterpreterGuard")
            .field("is_held", &(self.slot.state.get() == State::Held))
            .finish_non_exhaustive()
    }
}

/// The thread has given a lock up, and takes it again at the end.
pub(super) struct Outside {
    slot: Rc<Slot>,
    site: &'static Location<'static>,
}

impl Outside {
    /// Gives the lock up, if the thread has it.
    fn of(slot: &Rc<Slot>, site: &'static Location<'static>) -> Option<Outside> {
        (slot.state.get() == State::Held).then(|| {
            slot.state.set(State::Released);
            slot.inner.release();
            Outside {
                slot: Rc::clone(slot),
                site,
            }
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if self.slot.state.get() == State::Released {
            self.slot.inner.assert_not_inside();
            self.slot.inner.acquire(self.site);
            self.slot.state.set(State::Held);
        }
    }
}

/// Gives all locks up that the thread has. They are taken again, oldest first, as the result goes away.
#[inline]
pub(super) fn leave_all(site: &'static Location<'static>) -> Vec<Outside> {
    let has_none = HELD
        .try_with(|held| held.borrow().is_empty())
        .unwrap_or(true);
    if has_none {
        Vec::new()
    } else {
        leave_all_slow(site)
    }
}

#[cold]
fn leave_all_slow(site: &'static Location<'static>) -> Vec<Outside> {
    with_held(|held| held.clone())
        .iter()
        .filter_map(|slot| Outside::of(slot, site))
        .collect()
}
