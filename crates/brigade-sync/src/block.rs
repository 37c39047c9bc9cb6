//! Waiting in a [`WaitQueue`] as the current thread, green or kernel.

use std::panic::Location;

use brigade_event::WaitReason;
use brigade_runtime::park::{Runnables, Sleeper, Wait, is_in_time, with_current};

use crate::wait_queue::{Inner, Locked, Sleep, WaitQueue, Waited};

impl Sleep for Sleeper {
    type Woken = Runnables;

    #[inline(always)]
    unsafe fn notify(self, woken: &mut Runnables) -> bool {
        // SAFETY: the caller's contract is the same.
        let runnable = unsafe { Sleeper::notify(self) };
        let was_parked = runnable.is_some();
        if let Some(runnable) = runnable {
            woken.push(runnable);
        }
        was_parked
    }

    #[inline(always)]
    fn schedule(woken: Runnables) {
        woken.schedule();
    }
}

/// The waiters of a primitive of this crate.
pub(crate) type Queue<D = ()> = WaitQueue<Sleeper, D>;

/// A queue in which nobody waits.
pub(crate) const fn queue<D>(data: D) -> Queue<D> {
    WaitQueue {
        inner: brigade_runtime::park::RawLock::new(Inner::new(data)),
    }
}

/// A wait of the current thread: why, for what, called where, and until when.
#[derive(Clone, Copy)]
pub(crate) struct Blocking {
    pub(crate) reason: WaitReason,
    pub(crate) object: usize,
    pub(crate) site: &'static Location<'static>,
    pub(crate) deadline_ns: u64,
}

impl Blocking {
    /// Calls `wait` with the current thread, how it parks, and whether it may go on parking; see [`WaitQueue::wait`].
    #[inline]
    pub(crate) fn run<R>(
        self,
        wait: impl FnOnce(Sleeper, &mut dyn FnMut(), &mut dyn FnMut() -> bool) -> R,
    ) -> R {
        let record = Wait::new(self.reason, self.object, self.site);
        with_current(|me| {
            wait(
                me.sleeper(),
                &mut || me.park(&record, self.deadline_ns),
                &mut || is_in_time(self.deadline_ns),
            )
        })
    }

    /// Waits in `queue`; see [`WaitQueue::wait`].
    #[inline]
    pub(crate) fn wait<D>(
        self,
        queue: &Queue<D>,
        enter: impl FnOnce(&mut Locked<'_, Sleeper, D>) -> bool,
        leave: impl FnOnce(&mut Locked<'_, Sleeper, D>),
    ) -> Waited {
        self.run(|sleeper, park, is_in_time| {
            queue.wait((sleeper, 0), enter, park, is_in_time, leave)
        })
    }
}
