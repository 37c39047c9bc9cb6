//! Something that is done once, by one thread while others wait.
//!
//! The protocol is in `once_word.rs`. The thread that initialises owns the once as one owns a lock: it is in the tag and
//! in the thread's list of held locks, and those who wait are in the runtime's lot, at the address of the tag. So a cycle
//! through an initialiser is found like one through a mutex.
//!
//! In the order of locks it takes part like a mutex, with one exception: inside the function of one, another one of the
//! same class may be initialised. Values that are made from others of their kind (nodes of a graph, say) do that, and
//! have no ranks; two that need each other are found when they wait.
//!
//! # Invariants
//!
//! 1. The tag names an owner exactly while that thread runs the initialiser: set after the step to `RUNNING`, cleared
//!    before the step out of it (`LockTag`, invariant 1).
//! 2. A thread finds the once among the locks it holds only if it is inside the initialiser itself: then waiting would
//!    never end, and it panics instead.
//! 3. After the swap that ends the initialisation the once is not touched again, only its address is used.

use std::fmt;
use std::panic::Location;
use std::ptr;

use brigade_event::{LockKind, LockTag, Mode, WaitReason};
use brigade_runtime::park::lot::unpark_all;
use brigade_runtime::park::{Entry, NEVER, Wait, me, with_current};

use crate::once_word::{Begin, OnceWord, Until};
use crate::order;
use crate::prim::{AtomicU32, Parked, Waiting};

/// Runs a function once for all threads; the others wait until it is done.
///
/// As [`std::sync::Once`], poisoning included: if the function panics, later calls panic too, except
/// [`call_once_force`](Once::call_once_force).
///
/// # Blocking
///
/// While another thread runs the function, blocks the calling green thread, or an ordinary kernel thread as such; both
/// kinds may share a `Once`. When it is done, a call costs a load.
///
/// # Deadlocks
///
/// A function that calls the same `Once` again on its own thread panics with the two places. A cycle over several
/// threads is reported like one of mutexes: the thread that runs the function is the owner.
///
/// # Examples
///
/// ```
/// use brigade_sync::Once;
///
/// static START: Once = Once::new();
///
/// let mut runs = 0;
/// for _ in 0..3 {
///     START.call_once(|| runs += 1);
/// }
/// assert_eq!(runs, 1);
/// assert!(START.is_completed());
/// ```
///
/// A function that panics poisons it:
///
/// ```
/// use std::panic::{AssertUnwindSafe, catch_unwind};
///
/// let once = brigade_sync::Once::new();
/// assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("no luck")))).is_err());
/// assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| ()))).is_err());
/// once.call_once_force(|state| assert!(state.is_poisoned()));
/// assert!(once.is_completed());
/// ```
pub struct Once {
    word: OnceWord,
    tag: LockTag,
}

impl Once {
    /// Nothing is done yet.
    #[must_use]
    #[track_caller]
    pub const fn new() -> Once {
        Once {
            word: OnceWord(AtomicU32::new(OnceWord::NEW)),
            tag: LockTag::new(LockKind::Once),
        }
    }

    /// The same with a name, for reports.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> Once {
        self.tag.set_name(name);
        self
    }

    /// Makes it one in which nothing is done.
    pub(crate) fn reset(&mut self) {
        *self.word.0.get_mut() = OnceWord::NEW;
    }

    /// Calls `f` unless that was done before; blocks while another thread is at it.
    ///
    /// What `f` did is seen by everybody whose call has returned.
    ///
    /// # Panics
    ///
    /// With the panic of `f`; if an earlier function panicked; and if `f` itself calls the same `Once`.
    #[inline]
    #[track_caller]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call_slow(false, &mut |_| {
                if let Some(f) = f.take() {
                    f();
                }
            });
        }
    }

    /// As [`call_once`](Once::call_once), also if an earlier function panicked; `f` is told.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, and if `f` itself calls the same `Once`.
    #[inline]
    #[track_caller]
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call_slow(true, &mut |state| {
                if let Some(f) = f.take() {
                    f(state);
                }
            });
        }
    }

    /// Whether a function has been called and has returned. If so, what it did is seen.
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.word.is_complete()
    }

    /// Blocks until some thread has completed it.
    ///
    /// # Panics
    ///
    /// If a function panics or has panicked, and if it is called inside the function.
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        if !self.is_completed() {
            self.wait_slow(false);
        }
    }

    /// Blocks until some thread has completed it, however many panic before that.
    ///
    /// # Panics
    ///
    /// If it is called inside the function.
    #[inline]
    #[track_caller]
    pub fn wait_force(&self) {
        if !self.is_completed() {
            self.wait_slow(true);
        }
    }

    #[cold]
    #[track_caller]
    fn wait_slow(&self, forced: bool) {
        self.assert_not_inside();
        self.tell_order(me(), Location::caller());
        let until = if forced {
            Until::Complete
        } else {
            Until::Settled
        };
        while !self.is_completed() {
            if !forced && self.word.is_poisoned() {
                self.panic_poisoned();
            }
            self.block(until, WaitReason::OnceWait);
        }
    }

    #[cold]
    #[track_caller]
    fn call_slow(&self, forced: bool, f: &mut dyn FnMut(&OnceState)) {
        let (me, site) = (me(), Location::caller());
        self.tell_order(me, site);
        loop {
            match self.word.begin(forced) {
                Begin::Done => return,
                Begin::Poisoned => self.panic_poisoned(),
                Begin::Run { was_poisoned } => return self.run(me, site, was_poisoned, f),
                Begin::Wait => {
                    self.assert_not_inside();
                    self.block(Until::NotRunning, WaitReason::Once);
                }
            }
        }
    }

    fn run(
        &self,
        me: &'static Entry,
        site: &'static Location<'static>,
        is_poisoned: bool,
        f: &mut dyn FnMut(&OnceState),
    ) {
        self.tag.set_owner(me);
        me.lock_taken(&self.tag, Mode::Exclusive, site);
        let mut ends = Ends {
            once: self,
            me,
            is_complete: false,
        };
        f(&OnceState { is_poisoned });
        ends.is_complete = true;
    }

    /// The order of locks, of which the once is one as long as it is not complete (see the module).
    fn tell_order(&self, me: &'static Entry, site: &'static Location<'static>) {
        if !order::is_on() {
            return;
        }
        order::before_try(&self.tag);
        let class = self.tag.class();
        let mut is_nested = false;
        me.for_each_held(|held| is_nested |= class != 0 && u32::from(held.class) == class);
        if !is_nested {
            order::before_lock(me, &self.tag, Mode::Exclusive, site);
        }
    }

    /// Waits once, unless what the thread waits for has come; the caller looks again.
    #[track_caller]
    fn block(&self, until: Until, reason: WaitReason) {
        let address = self.tag.address();
        let wait = Wait::new(reason, address, Location::caller());
        let parked = with_current(|current| {
            let waiting = Waiting {
                current,
                wait: &wait,
                deadline_ns: NEVER,
            };
            waiting.park_owned(address, Mode::Exclusive, false, || {
                self.word.must_wait(until)
            })
        });
        if let Parked::Refused(reason) = parked {
            panic!("{reason}");
        }
    }

    #[track_caller]
    fn assert_not_inside(&self) {
        let mut inside = None;
        me().for_each_held(|held| {
            let is_mine = ptr::eq(self.tag.owner(), ptr::from_ref(me()).cast());
            if is_mine && held.address == self.tag.address() {
                inside = Some(held.site);
            }
        });
        if let Some(site) = inside {
            panic!(
                "deadlock: this thread initialises the Once made at {} (since {site}) and would wait for itself",
                self.tag.created()
            );
        }
    }

    #[cold]
    #[track_caller]
    fn panic_poisoned(&self) -> ! {
        panic!(
            "the Once made at {} is poisoned: the function that was to complete it panicked",
            self.tag.created()
        );
    }
}

/// Ends the initialisation, also when it unwinds.
struct Ends<'a> {
    once: &'a Once,
    me: &'static Entry,
    is_complete: bool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let once = self.once;
        self.me.lock_released(&once.tag, Mode::Exclusive);
        once.tag.clear_owner();
        let address = once.tag.address();
        if once.word.end(self.is_complete) {
            unpark_all(address, |_| 0);
        }
    }
}

impl Default for Once {
    /// Nothing is done yet.
    #[track_caller]
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

/// What the function given to [`Once::call_once_force`] is told.
pub struct OnceState {
    is_poisoned: bool,
}

impl OnceState {
    /// Whether an earlier function panicked.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("is_poisoned", &self.is_poisoned)
            .finish()
    }
}
