//! The lock of an interpreter: one thread at a time runs the code of an engine that was made for one thread.
//!
//! The word is a protocol of its own (`raw/interpreter.rs`). Around it, [`Inner`] keeps what others may know, as the
//! mutex does: the owner in the tag, the list of held locks in the thread's entry; and it keeps the time.
//!
//! # Who owns what
//!
//! A guard and the thread's list ([`held`]) share a [`Slot`](held::Slot), which says whether the thread has the lock at
//! this moment: it has not while it waits for another thread's turn to end, nor inside of `released`.
//!
//! # Invariants
//!
//! 1. A slot is `Held` exactly while its thread owns the lock. Only that thread uses it: slots are not `Send`.
//! 2. Tag and list of held locks never name a thread that has given the lock back: they are cleared before the word
//!    changes, and set after the lock was taken.
//! 3. The counts have one writer at a time, the holder; requests are counted by who asks.
//!
//! # Rejected
//!
//! A list of held locks in the locks themselves: a guard that was forgotten would leave a pointer to a lock that is gone.
//! Counting entries of one thread: `released` could not say what it releases, and a callback that enters again would
//! hold the lock over a wait that it does not know of.

mod held;

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use brigade_event::{LockKind, LockTag, Mode, WaitReason};
use brigade_runtime::park::{self, Entry, Wait, now_ns};

pub use held::InterpreterGuard;

use crate::OnceLock;
use crate::order;
use crate::prim::{AtomicU32, AtomicU64, Ordering, Waiting};
use crate::raw::interpreter::{Clock, RawInterpreterLock};

/// How long a thread keeps the lock while others wait, by default, in nanoseconds.
const INTERVAL_NS: u64 = 5_000_000;

/// A lock for an engine that runs in one thread at a time, such as the interpreter of a language.
///
/// It is what Python calls the GIL. A thread [`enter`](InterpreterLock::enter)s, computes, and now and then says that it
/// is at a good place for a switch ([`InterpreterGuard::tick`], which costs a load). A thread that waits is patient for
/// the *switch interval* (5 ms by default); then it asks for the lock, and the thread inside gives it up at its next
/// tick, and gets it again when it is its turn. A thread that is going to block gives it up by itself
/// ([`InterpreterGuard::released`], [`InterpreterLock::allow_threads`], and `brigade::blocking`).
///
/// It works between green and kernel threads in any mix.
///
/// # Guarantees
///
/// - One thread at a time is inside; what it did is seen by the next one.
/// - Threads get the lock in the order in which they came. Where every thread ticks, one with `n` threads in front waits
///   for at most `n + 1` intervals, and from each request to the next tick.
/// - A panic poisons nothing: the lock is given back as the guard goes away. Whether the engine is still usable is for
///   the engine to know.
///
/// # Behaviour today
///
/// The interval begins with the turn of a thread, or when the first one begins to wait, whichever is later. Where all
/// green threads share one kernel thread (`Model::ManyToOne`) nobody can ask while the holder computes, so it is asked
/// only after it has yielded.
///
/// # Examples
///
/// ```
/// use brigade_sync::InterpreterLock;
///
/// static ENGINE: InterpreterLock = InterpreterLock::new();
///
/// let inside = ENGINE.enter();
/// let mut sum = 0;
/// for n in 0..1000 {
///     sum += n;
///     inside.tick();
/// }
/// let text = inside.released(|| std::fs::read_to_string("/proc/self/comm"));
/// assert!(text.is_ok() && sum == 499_500);
/// ```
///
/// A thread that is inside cannot enter again:
///
/// ```should_panic
/// let engine = brigade_sync::InterpreterLock::new();
/// let _inside = engine.enter();
/// engine.enter();
/// ```
pub struct InterpreterLock {
    /// Made at the first entry. Guards that were forgotten keep it alive.
    inner: OnceLock<Arc<Inner>>,
    interval_ns: u64,
    name: Option<&'static str>,
    created: &'static Location<'static>,
}

impl UnwindSafe for InterpreterLock {}
impl RefUnwindSafe for InterpreterLock {}

/// What an [`InterpreterLock`] has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterpreterLockStats {
    /// How often the lock went to another thread than the one that had it before.
    pub switches: u64,
    /// How often a tick gave the lock to another thread.
    pub forced_switches: u64,
    /// How often a thread that waited asked for the lock.
    pub requests: u64,
}

impl InterpreterLock {
    /// A lock that nobody holds, with a switch interval of 5 ms.
    #[must_use]
    #[track_caller]
    pub const fn new() -> InterpreterLock {
        InterpreterLock {
            inner: OnceLock::new(),
            interval_ns: INTERVAL_NS,
            name: None,
            created: Location::caller(),
        }
    }

    /// The same with another switch interval: how long a thread keeps the lock while others wait. Shorter than a
    /// nanosecond is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::InterpreterLock;
    /// use std::time::Duration;
    ///
    /// static ENGINE: InterpreterLock =
    ///     InterpreterLock::new().with_switch_interval(Duration::from_millis(1));
    /// assert_eq!(ENGINE.switch_interval(), Duration::from_millis(1));
    /// ```
    #[must_use]
    pub const fn with_switch_interval(mut self, interval: Duration) -> InterpreterLock {
        self.interval_ns = saturating_ns(interval);
        self
    }

    /// The same with a name, in reports and as a class of locks: locks of one name are one class.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> InterpreterLock {
        self.name = Some(name);
        self
    }

    /// How long a thread keeps the lock while others wait.
    #[must_use]
    pub const fn switch_interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns)
    }

    /// Enters: takes the lock, and waits for its turn if others are inside or waiting.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or an ordinary kernel thread as such.
    ///
    /// # Panics
    ///
    /// If the thread has entered already and is not inside of [`released`](InterpreterGuard::released); if waiting would
    /// close a circle of threads that wait for each other's locks, and the handler of deadlocks chose to panic.
    #[track_caller]
    pub fn enter(&self) -> InterpreterGuard<'_> {
        let site = Location::caller();
        let inner = self.inner();
        inner.assert_not_inside();
        inner.acquire(site);
        InterpreterGuard::new(Arc::clone(inner))
    }

    /// Enters if nobody is inside or waiting. Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// let engine = brigade_sync::InterpreterLock::new();
    /// let inside = engine.try_enter();
    /// assert!(inside.is_some());
    /// assert!(engine.try_enter().is_none());
    /// ```
    #[track_caller]
    pub fn try_enter(&self) -> Option<InterpreterGuard<'_>> {
        let inner = self.inner();
        if order::is_on() {
            order::before_try(&inner.tag);
        }
        inner.raw.enter_now().then(|| {
            inner.taken(park::me(), Location::caller());
            InterpreterGuard::new(Arc::clone(inner))
        })
    }

    /// Whether the calling thread is inside.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.inner.get().is_some_and(|inner| inner.is_mine())
    }

    /// What the lock has counted so far.
    #[must_use]
    pub fn stats(&self) -> InterpreterLockStats {
        let Some(inner) = self.inner.get() else {
            return InterpreterLockStats::default();
        };
        // ORDER: Relaxed: each count stands for itself, here and below.
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        InterpreterLockStats {
            switches: read(&inner.switches),
            forced_switches: read(&inner.forced_switches),
            requests: read(&inner.requests),
        }
    }

    /// Runs `f` outside: gives up each interpreter lock that the calling thread holds, and takes them again, in the order
    /// in which they were entered, when `f` returns or unwinds. Without any it just calls `f`.
    ///
    /// `brigade::blocking` does this by itself.
    ///
    /// # Blocking
    ///
    /// As `f` does, and then as [`enter`](InterpreterLock::enter) does.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, and as [`enter`](InterpreterLock::enter).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_sync::InterpreterLock;
    ///
    /// static ENGINE: InterpreterLock = InterpreterLock::new();
    ///
    /// let _inside = ENGINE.enter();
    /// // Another thread can be inside meanwhile; else this would never end.
    /// let other = InterpreterLock::allow_threads(|| {
    ///     std::thread::spawn(|| ENGINE.enter().tick()).join()
    /// });
    /// assert!(other.is_ok() && ENGINE.is_inside());
    /// ```
    #[inline]
    #[track_caller]
    pub fn allow_threads<R>(f: impl FnOnce() -> R) -> R {
        let _outside = held::leave_all(Location::caller());
        f()
    }

    fn inner(&self) -> &Arc<Inner> {
        self.inner.get_or_init(|| Arc::new(Inner::new(self)))
    }
}

const fn saturating_ns(time: Duration) -> u64 {
    let ns = time.as_nanos();
    if ns == 0 {
        1
    } else if ns > u64::MAX as u128 / 4 {
        u64::MAX / 4
    } else {
        ns as u64
    }
}

impl Default for InterpreterLock {
    /// As [`InterpreterLock::new`].
    #[track_caller]
    fn default() -> InterpreterLock {
        InterpreterLock::new()
    }
}

impl fmt::Debug for InterpreterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterpreterLock")
            .field("name", &self.name)
            .field("switch_interval", &self.switch_interval())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The lock, at an address that stays.
struct Inner {
    raw: RawInterpreterLock,
    tag: LockTag,
    interval_ns: u64,
    /// When the lock was last handed over.
    handed_over_ns: AtomicU64,
    /// The number of the thread that took the lock last, 0 for none.
    last_holder: AtomicU64,
    switches: AtomicU64,
    forced_switches: AtomicU64,
    requests: AtomicU64,
}

impl Inner {
    fn new(lock: &InterpreterLock) -> Inner {
        let mut tag = LockTag::made_at(LockKind::InterpreterLock, lock.created);
        if let Some(name) = lock.name {
            tag.set_name(name);
        }
        Inner {
            raw: RawInterpreterLock {
                state: AtomicU32::new(0),
                newest: AtomicU32::new(0),
            },
            tag,
            interval_ns: lock.interval_ns,
            handed_over_ns: AtomicU64::new(0),
            last_holder: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            forced_switches: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    fn is_mine(&self) -> bool {
        ptr::eq(self.tag.owner(), ptr::from_ref(park::me()).cast())
    }

    #[track_caller]
    fn assert_not_inside(&self) {
        assert!(
            !self.is_mine(),
            "deadlock: this thread has entered the InterpreterLock made at {} already, and would wait for itself",
            self.tag.created()
        );
    }

    /// Takes the lock, for a call at `site`.
    #[inline]
    #[track_caller]
    fn acquire(&self, site: &'static Location<'static>) {
        let me = park::me();
        if me.count_lock() {
            park::checkpoint_rarely();
        }
        if order::is_on() {
            order::before_lock(me, &self.tag, Mode::Exclusive, site);
        }
        if !self.raw.enter_now() {
            self.acquire_slow(site);
        }
        self.taken(me, site);
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_slow(&self, site: &'static Location<'static>) {
        let begun_ns = now_ns();
        let clock = || {
            // ORDER: Relaxed: an old time only makes a request come early.
            let since_ns = self.handed_over_ns.load(Ordering::Relaxed).max(begun_ns);
            let (now_ns, over_ns) = (now_ns(), since_ns + self.interval_ns);
            let is_over = now_ns >= over_ns;
            Clock {
                is_over,
                next_ns: if is_over {
                    now_ns + self.interval_ns
                } else {
                    over_ns
                },
            }
        };
        let requested = || {
            // ORDER: Relaxed: a statistic.
            self.requests.fetch_add(1, Ordering::Relaxed);
        };
        let address = self.tag.address();
        let wait = Wait::new(WaitReason::InterpreterLock, address, site);
        let entered = park::with_current(|current| {
            let waiting = Waiting {
                current,
                wait: &wait,
                deadline_ns: begun_ns + self.interval_ns,
            };
            self.raw.enter_parking(address, &waiting, clock, requested)
        });
        if let Err(reason) = entered {
            panic!("{reason}");
        }
    }

    fn taken(&self, me: &'static Entry, site: &'static Location<'static>) {
        self.tag.set_owner(me);
        me.lock_taken(&self.tag, Mode::Exclusive, site);
        // ORDER: Relaxed: written by the holder, who is this thread; the lock orders it.
        let last = self.last_holder.load(Ordering::Relaxed);
        let this = held::number_of_thread();
        if last != this {
            // ORDER: Relaxed: as above.
            self.last_holder.store(this, Ordering::Relaxed);
            if last != 0 {
                bump(&self.switches);
            }
        }
    }

    /// Before the word changes: forgets the holder.
    fn forget_owner(&self) {
        park::me().lock_released(&self.tag, Mode::Exclusive);
        self.tag.clear_owner();
    }

    /// Before another thread has the lock.
    fn note_hand_over(&self) {
        // ORDER: Relaxed: see `acquire_slow`.
        self.handed_over_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// Gives the lock back. The current thread holds it.
    fn release(&self) {
        self.forget_owner();
        self.raw.leave(self.tag.address(), || self.note_hand_over());
    }

    /// By the holder, which was asked for the lock: lets the first in line have it. False: there was nobody, and it
    /// keeps the lock. After true it has to be acquired again.
    fn pass(&self, site: &'static Location<'static>) -> bool {
        self.forget_owner();
        let is_passed = self.raw.pass(self.tag.address(), || {
            self.note_hand_over();
            bump(&self.forced_switches);
        });
        if !is_passed {
            self.taken(park::me(), site);
        }
        is_passed
    }
}

/// Adds one to a count of which the holder is the only writer.
fn bump(count: &AtomicU64) {
    // ORDER: Relaxed: a statistic; the lock orders its writers, here and below.
    let value = count.load(Ordering::Relaxed);
    count.store(value + 1, Ordering::Relaxed); // ORDER: Relaxed: as above.
}
