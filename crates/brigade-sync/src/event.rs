//! An event that is set and reset by hand. The protocol is in `signal.rs`.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, Sleeper, deadline_after, deadline_at};

use crate::block::{Blocking, queue};
use crate::prim::AtomicU32;
use crate::signal::{RESET, Signal};

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
    signal: Signal<Sleeper>,
}

impl Event {
    /// An event that is not set.
    #[must_use]
    pub const fn new() -> Event {
        Event {
            signal: Signal {
                word: AtomicU32::new(RESET),
                queue: queue(()),
            },
        }
    }

    /// Sets the event and releases all threads that wait for it. Setting it again does nothing. Does not block.
    #[inline]
    pub fn set(&self) {
        self.signal.set();
    }

    /// Resets the event: waits block again. Does not block.
    #[inline]
    pub fn reset(&self) {
        self.signal.reset();
    }

    /// Whether the event is set. If so, what was done before it was set is seen.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.signal.is_set()
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
        blocking.run(|sleeper, park, is_in_time| self.signal.wait_slow(sleeper, park, is_in_time))
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
