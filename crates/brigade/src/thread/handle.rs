//! Handles: [`JoinHandle`], [`Thread`], [`ThreadId`].

use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;

use brigade_runtime::{Join, ThreadRef};

use super::Result;

/// The right to join a thread. Dropping it detaches the thread. See [`std::thread::JoinHandle`].
pub struct JoinHandle<T> {
    join: Join<T>,
    thread: Thread,
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(crate) fn new(join: Join<T>) -> JoinHandle<T> {
        let thread = Thread {
            inner: join.thread(),
        };
        JoinHandle { join, thread }
    }

    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits until the thread has ended, its thread-local destructors included, and returns its value.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only. A thread that joins itself never wakes.
    ///
    /// # Errors
    ///
    /// The payload of the thread's panic.
    ///
    /// # Examples
    ///
    /// ```
    /// let thread = brigade::thread::spawn(|| 42);
    /// assert_eq!(thread.join().unwrap(), 42);
    ///
    /// let thread = brigade::thread::spawn(|| std::panic::panic_any("why"));
    /// assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&"why"));
    /// ```
    pub fn join(self) -> Result<T> {
        self.join.join()
    }

    /// Whether the thread has ended. Does not block.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// A handle to a thread. See [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread {
    inner: ThreadRef,
}

impl Thread {
    #[inline]
    pub(crate) fn from_ref(inner: ThreadRef) -> Thread {
        Thread { inner }
    }

    /// Gives the thread its park token and wakes it if it is parked. Does not block.
    pub fn unpark(&self) {
        self.inner.unpark();
    }

    /// The thread's unique identifier.
    #[must_use]
    pub fn id(&self) -> ThreadId {
        ThreadId(self.inner.id())
    }

    /// The thread's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    /// Where the thread was spawned. For a kernel thread: where it first used Brigade.
    #[must_use]
    pub fn spawn_site(&self) -> &'static Location<'static> {
        self.inner.spawn_site()
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
/// # Examples
///
/// ```
/// use brigade::thread;
/// let thread = thread::Builder::new().name("worker".into()).spawn(|| {
///     thread::current().name().map(String::from)
/// })?;
/// assert_eq!(thread.join().unwrap().as_deref(), Some("worker"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn current() -> Thread {
    Thread {
        inner: ThreadRef::current(),
    }
}
