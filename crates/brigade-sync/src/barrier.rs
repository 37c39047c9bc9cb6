//! A barrier: threads wait until so many have arrived.
//!
//! # Invariants
//!
//! 1. Under the lock, the number of those that have arrived is the number of waiters in the queue. The one that would
//!    make it complete takes all of them out and waits for nobody; so rounds do not mix, and no round is numbered.
//! 2. A waiter whose time is up leaves the queue and lowers the number in one critical section: its arrival counts for
//!    nothing.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;
use brigade_runtime::park::{NEVER, deadline_after, deadline_at};

use crate::block::{Blocking, Queue, queue};
use crate::wait_queue::Waited;

/// A place where threads wait until so many of them have arrived; it can be used again and again.
///
/// What a thread did before it arrived is seen by all that leave in the same round.
///
/// # Blocking
///
/// Waiting blocks the calling green thread, or an ordinary kernel thread as such; both kinds may share a barrier.
///
/// # Examples
///
/// ```
/// use brigade_sync::Barrier;
///
/// static ALL: Barrier = Barrier::new(3);
///
/// let leaders = std::thread::scope(|scope| {
///     let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| ALL.wait().is_leader())).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).filter(|led| *led).count()
/// });
/// assert_eq!(leaders, 1);
/// ```
///
/// A thread that gives up has not arrived:
///
/// ```
/// use std::time::Duration;
///
/// let both = brigade_sync::Barrier::new(2);
/// assert!(both.wait_timeout(Duration::from_millis(1)).is_none());
/// assert!(both.wait_timeout(Duration::from_millis(1)).is_none());
/// ```
pub struct Barrier {
    /// How many threads make a round.
    size: usize,
    /// With the number of threads that have arrived.
    queue: Queue<usize>,
}

impl Barrier {
    /// A barrier for so many threads; 0 is as 1.
    #[must_use]
    pub const fn new(n: usize) -> Barrier {
        Barrier {
            size: n,
            queue: queue(0),
        }
    }

    /// Blocks until as many threads as the barrier is for have arrived. One of them is told that it is the leader.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let result = self.arrive(NEVER);
        result.unwrap_or(BarrierWaitResult { is_leader: false })
    }

    /// As [`wait`](Barrier::wait), but for at most `timeout`. `None` if the time was up before the others had arrived;
    /// then it is as if the thread had not come.
    #[must_use = "the thread may not have passed the barrier"]
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.arrive(deadline_after(timeout))
    }

    /// As [`wait`](Barrier::wait), but until `deadline` at most. `None` if the time was up before the others had
    /// arrived; then it is as if the thread had not come.
    #[must_use = "the thread may not have passed the barrier"]
    #[track_caller]
    pub fn wait_deadline(&self, deadline: Instant) -> Option<BarrierWaitResult> {
        self.arrive(deadline_at(deadline))
    }

    #[track_caller]
    fn arrive(&self, deadline_ns: u64) -> Option<BarrierWaitResult> {
        let blocking = Blocking {
            reason: WaitReason::Barrier,
            object: (&raw const *self).addr(),
            site: Location::caller(),
            deadline_ns,
        };
        let waited = blocking.wait(
            &self.queue,
            |locked| {
                *locked.data() += 1;
                let waits = *locked.data() < self.size;
                if !waits {
                    *locked.data() = 0;
                    locked.wake_all();
                }
                waits
            },
            |locked| *locked.data() -= 1,
        );
        let is_leader = waited == Waited::NotDue;
        (waited != Waited::TimedOut).then_some(BarrierWaitResult { is_leader })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// What a thread is told that has passed a [`Barrier`].
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether this thread is the one of its round that is told so: today, the last to arrive.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader)
            .finish()
    }
}
