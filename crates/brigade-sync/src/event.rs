//! An event that is set and reset by hand.
//!
//! # The word
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | `RESET` | nobody waits | `set` (to `SET`); a waiter under the lock (to `WAITERS`) |
//! | `SET` | waits return at once | `reset` (to `RESET`) |
//! | `WAITERS` | not set, and threads wait | under the lock only: `set` (to `SET`), the last waiter whose time is up (to `RESET`) |
//!
//! # Invariants
//!
//! 1. The queue holds waiters exactly while the word is `WAITERS`, as seen under the lock.
//! 2. `set` takes all waiters out in the critical section in which it sets the word. So all of them return, even if
//!    the event is reset at once, and nobody who began to wait after that reset.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, deadline_after, deadline_at};

use crate::block::{Blocking, Queue, queue};
use crate::prim::{AtomicU32, Ordering};
use crate::wait_queue::Waited;

const RESET: u32 = 0;
const SET: u32 = 1;
const WAITERS: u32 = 2;

/// A flag that threads wait for: set by hand, reset by hand.
///
/// [`set`](Event::set) releases all threads that wait and lets later waits return at once, until
/// [`reset`](Event::reset). A thread that waited when the event was set is released even if it is reset right
/// afterwards. What a thread did before `set` is seen by those whose wait returned because of it.
///
/// # Blocking
///
/// Waiting blocks the calling green thread, or an ordinary kernel thread as such; both kinds may share an event. `set`
/// and `reset` do not block.
///
/// # Examples
///
/// ```
/// use brigade_sync::Event;
///
/// static READY: Event = Event::new();
///
/// let waiter = std::thread::spawn(|| READY.wait());
/// READY.set();
/// waiter.join().unwrap();
/// assert!(READY.is_set());
/// ```
///
/// A wait for an event that is not set times out:
///
/// ```
/// use std::time::Duration;
///
/// let event = brigade_sync::Event::new();
/// assert!(!event.wait_timeout(Duration::from_millis(1)));
/// ```
pub struct Event {
    word: AtomicU32,
    queue: Queue,
}

impl Event {
    /// An event that is not set.
    #[must_use]
    pub const fn new() -> Event {
        Event {
            word: AtomicU32::new(RESET),
            queue: queue(()),
        }
    }

    /// Sets the event and releases all threads that wait for it. Setting it again does nothing. Does not block.
    pub fn set(&self) {
        // ORDER: Release: pairs with the Acquire of waits that return. One that finds the event set already must publish
        // too, and does so in the slow path.
        let set = self
            .word
            .compare_exchange(RESET, SET, Ordering::Release, Ordering::Relaxed);
        if set.is_err() {
            self.set_slow();
        }
    }

    #[cold]
    fn set_slow(&self) {
        self.queue.with(|locked| {
            // ORDER: Release: as in `set`. Under the lock nobody else leaves `WAITERS`.
            if self.word.swap(SET, Ordering::Release) == WAITERS {
                locked.wake_all();
            }
        });
    }

    /// Resets the event: waits block again. Does not block.
    pub fn reset(&self) {
        // ORDER: Relaxed: a reset publishes nothing.
        let _ = self
            .word
            .compare_exchange(SET, RESET, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the event is set. If so, what was done before it was set is seen.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `set`.
        self.word.load(Ordering::Acquire) == SET
    }

    /// Blocks until the event is set.
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        if !self.is_set() {
            self.wait_slow(NEVER);
        }
    }

    /// Blocks until the event is set, but for at most `timeout`. True if it was set, false if the time was up.
    #[inline]
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_slow(deadline_after(timeout))
    }

    /// Blocks until the event is set, or until `deadline`. True if it was set, false if the time was up.
    #[inline]
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.is_set() || self.wait_slow(deadline_at(deadline))
    }

    #[cold]
    #[track_caller]
    fn wait_slow(&self, deadline_ns: u64) -> bool {
        let blocking = Blocking {
            reason: WaitReason::Event,
            object: (&raw const *self).addr(),
            site: Location::caller(),
            deadline_ns,
        };
        let waited = blocking.wait(
            &self.queue,
            |_| self.must_wait(),
            |locked| {
                if locked.is_empty() {
                    // ORDER: Relaxed: nothing is published. Under the lock nobody else leaves `WAITERS`.
                    self.word.store(RESET, Ordering::Relaxed);
                }
            },
        );
        waited != Waited::TimedOut
    }

    /// By a waiter under the lock.
    fn must_wait(&self) -> bool {
        // ORDER: Acquire on failure: pairs with the Release in `set`. On success nothing was published yet.
        let waiting =
            self.word
                .compare_exchange(RESET, WAITERS, Ordering::Relaxed, Ordering::Acquire);
        waiting != Err(SET)
    }
}

impl Default for Event {
    /// An event that is not set.
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish_non_exhaustive()
    }
}
