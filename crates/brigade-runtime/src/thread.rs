//! A thread as the public interface shows it.

use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;

use crate::current::{self, unpark};
use crate::task::TaskRef;

/// A handle to a thread, green or not. See [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread(pub(crate) TaskRef);

impl Thread {
    /// The current thread.
    pub(crate) fn current() -> Thread {
        Thread(current::current())
    }

    /// Gives the thread its park token and wakes it if it is parked. Does not block.
    pub fn unpark(&self) {
        if self.0.put_token() {
            unpark(&self.0);
            current::yield_if_overdue();
        }
    }

    /// The thread's unique identifier.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        ThreadId(self.0.id)
    }

    /// The thread's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// Where the thread was spawned. For a kernel thread: where it first used Brigade.
    #[must_use]
    pub fn spawn_site(&self) -> &'static Location<'static> {
        self.0.site()
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// A number that no other thread of the process ever has. See [`std::thread::ThreadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(NonZeroU64);

impl ThreadId {
    /// The number itself.
    #[must_use]
    pub fn as_u64(self) -> NonZeroU64 {
        self.0
    }
}

/// A handle to the current thread, green or not. See [`std::thread::current`].
///
/// On a kernel thread that Brigade did not start, the handle is made at the first call.
#[must_use]
pub fn current() -> Thread {
    Thread::current()
}
