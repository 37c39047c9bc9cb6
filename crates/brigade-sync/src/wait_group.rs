//! A group of handles; threads wait until all are gone. The protocol is in `members.rs`.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, Sleeper, deadline_after, deadline_at};

use crate::block::{Blocking, queue};
use crate::members::Members;
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
    group: Arc<Members<Sleeper>>,
}

impl WaitGroup {
    /// The first handle of a new group.
    #[must_use]
    pub fn new() -> WaitGroup {
        WaitGroup {
            group: Arc::new(Members {
                number: AtomicUsize::new(1),
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
        let is_over =
            blocking.run(|sleeper, park, is_in_time| group.wait(sleeper, park, is_in_time));
        if is_over {
            Ok(())
        } else {
            Err(WaitGroup { group })
        }
    }

    /// What the handle points to; the handle itself still counts.
    fn into_group(self) -> Arc<Members<Sleeper>> {
        let handle = ManuallyDrop::new(self);
        // SAFETY: the handle is not dropped, so the pointer in it is moved out once.
        unsafe { std::ptr::read(&raw const handle.group) }
    }
}

impl Clone for WaitGroup {
    /// Another handle of the same group.
    fn clone(&self) -> WaitGroup {
        self.group.add();
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
        let handles = self.group.number.load(Ordering::Relaxed);
        f.debug_struct("WaitGroup")
            .field("handles", &handles)
            .finish_non_exhaustive()
    }
}
