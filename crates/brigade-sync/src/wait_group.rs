//! A group of handles; threads wait until all are gone.
//!
//! # Invariants
//!
//! 1. The number counts the handles that exist outside `wait`. At 0 it stays: only a handle can be cloned, and a wait
//!    whose time is up takes its own handle back only while the number is not 0.
//! 2. *No lost wake.* Whoever brings the number to 0 then takes the lock and wakes all; a waiter looks at the number
//!    under the lock before it enters the queue.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, deadline_after, deadline_at};

use crate::block::{Blocking, Queue, queue};
use crate::prim::{AtomicUsize, Ordering};

/// A handle of a group: a thread waits until all other handles of the group are gone.
///
/// Each thread gets a clone and drops it when its work is done, on a panic too; [`wait`](WaitGroup::wait) gives the
/// own one up and blocks until none is left. What the others did before they dropped theirs is then seen. Several
/// threads may wait.
///
/// # Blocking
///
/// Waiting blocks the calling green thread, or an ordinary kernel thread as such. Cloning and dropping do not block.
///
/// # Examples
///
/// ```
/// use brigade_sync::WaitGroup;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let (group, done) = (WaitGroup::new(), Arc::new(AtomicU32::new(0)));
/// for _ in 0..4 {
///     let (member, done) = (group.clone(), Arc::clone(&done));
///     std::thread::spawn(move || {
///         done.fetch_add(1, Ordering::Relaxed);
///         drop(member);
///     });
/// }
/// group.wait();
/// assert_eq!(done.load(Ordering::Relaxed), 4);
/// ```
///
/// With another handle in one's own hands the wait would never end; one with a limit gives the handle back:
///
/// ```
/// use std::time::Duration;
///
/// let group = brigade_sync::WaitGroup::new();
/// let member = group.clone();
/// let group = group.wait_timeout(Duration::from_millis(1)).unwrap_err();
/// drop(member);
/// group.wait();
/// ```
pub struct WaitGroup {
    group: Arc<Group>,
}

struct Group {
    handles: AtomicUsize,
    queue: Queue,
}

impl WaitGroup {
    /// The first handle of a new group.
    #[must_use]
    pub fn new() -> WaitGroup {
        WaitGroup {
            group: Arc::new(Group {
                handles: AtomicUsize::new(1),
                queue: queue(()),
            }),
        }
    }

    /// Drops this handle and blocks until all others are gone.
    #[track_caller]
    pub fn wait(self) {
        // Without a deadline the wait ends with the group.
        let _ = self.wait_until(NEVER);
    }

    /// Drops this handle and blocks until all others are gone, but for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The handle, if the time was up first. It belongs to the group as before.
    #[track_caller]
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), WaitGroup> {
        self.wait_until(deadline_after(timeout))
    }

    /// Drops this handle and blocks until all others are gone, or until `deadline`.
    ///
    /// # Errors
    ///
    /// The handle, if the time was up first. It belongs to the group as before.
    #[track_caller]
    pub fn wait_deadline(self, deadline: Instant) -> Result<(), WaitGroup> {
        self.wait_until(deadline_at(deadline))
    }

    #[track_caller]
    fn wait_until(self, deadline_ns: u64) -> Result<(), WaitGroup> {
        let group = self.into_group();
        if group.remove() {
            return Ok(());
        }
        let blocking = Blocking {
            reason: WaitReason::WaitGroup,
            object: Arc::as_ptr(&group).addr(),
            site: Location::caller(),
            deadline_ns,
        };
        let mut is_member = false;
        blocking.wait(
            &group.queue,
            |_| !group.is_over(),
            |_| is_member = group.add_unless_over(),
        );
        if is_member {
            Err(WaitGroup { group })
        } else {
            Ok(())
        }
    }

    /// What the handle points to; the handle itself still counts.
    fn into_group(self) -> Arc<Group> {
        let handle = ManuallyDrop::new(self);
        // SAFETY: the handle is not dropped, so the pointer in it is moved out once.
        unsafe { std::ptr::read(&raw const handle.group) }
    }
}

impl Group {
    fn is_over(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `remove`.
        self.handles.load(Ordering::Acquire) == 0
    }

    /// A handle is gone. True if it was the last one; then all that wait were woken.
    fn remove(&self) -> bool {
        // ORDER: AcqRel: Release pairs with the Acquire of those that see 0, this one included.
        let is_over = self.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_over {
            self.queue.with(|locked| locked.wake_all());
        }
        is_over
    }

    /// Adds a handle, unless there is none any more.
    fn add_unless_over(&self) -> bool {
        // ORDER: Acquire on failure: as in `is_over`. Relaxed on success: a handle more publishes nothing.
        self.handles
            .fetch_update(Ordering::Relaxed, Ordering::Acquire, |handles| {
                (handles > 0).then_some(handles + 1)
            })
            .is_ok()
    }
}

impl Clone for WaitGroup {
    /// Another handle of the same group.
    fn clone(&self) -> WaitGroup {
        // ORDER: Relaxed: this handle keeps the number above 0.
        self.group.handles.fetch_add(1, Ordering::Relaxed);
        WaitGroup {
            group: Arc::clone(&self.group),
        }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        self.group.remove();
    }
}

impl Default for WaitGroup {
    /// The first handle of a new group.
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ORDER: Relaxed: a number to show.
        let handles = self.group.handles.load(Ordering::Relaxed);
        f.debug_struct("WaitGroup")
            .field("handles", &handles)
            .finish_non_exhaustive()
    }
}
