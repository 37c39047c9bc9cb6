//! The primitives on the machine.

pub(crate) use brigade_runtime::park::RawLock as Lock;
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use core::sync::atomic::{compiler_fence, fence};
use std::panic::Location;

use brigade_event::{Mode, WaitReason};
use brigade_runtime::park::lot::{self, Parked, Request};
use brigade_runtime::park::{NEVER, Wait, with_current};

use super::Slept;

/// A full fence right after an atomic read-modify-write of this thread. On x86-64 every such instruction is one, so that
/// only the compiler has to be kept from reordering.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    if cfg!(target_arch = "x86_64") {
        // ORDER: SeqCst: the locked instruction before is the fence; the partner is the other side's call.
        compiler_fence(Ordering::SeqCst);
    } else {
        // ORDER: SeqCst: the partner is the other side's call.
        fence(Ordering::SeqCst);
    }
}

/// What a wake says: it is meant for one, or for all.
const ONE: usize = 0;
const ALL: usize = 1;

/// Where threads sleep: an address in the runtime's table of waiters.
pub(crate) struct Bed {
    /// Distinguishes the address from that of a neighbour.
    place: u8,
    reason: WaitReason,
}

impl Bed {
    pub(crate) const fn new(reason: WaitReason) -> Bed {
        Bed { place: 0, reason }
    }

    fn address(&self) -> usize {
        (&raw const self.place).addr()
    }

    /// The current thread sleeps, unless `is_due`, which runs under the lock that [`Bed::wake_one`] takes, too, says
    /// that there is no reason to.
    pub(crate) fn sleep(
        &self,
        site: &'static Location<'static>,
        is_due: impl FnOnce() -> bool,
    ) -> Slept {
        let wait = Wait::new(self.reason, self.address(), site);
        with_current(|current| {
            let request = Request {
                current,
                address: self.address(),
                mode: Mode::Exclusive,
                wait: &wait,
                deadline_ns: NEVER,
                front: false,
            };
            match lot::park(&request, is_due, || None::<()>) {
                Parked::NotDue => Slept::Not,
                Parked::Woken(ALL) => Slept::UntilAll,
                _ => Slept::UntilOne,
            }
        })
    }

    /// Wakes the thread that has slept longest; false if none sleeps.
    pub(crate) fn wake_one(&self) -> bool {
        lot::unpark_one(self.address(), |_| ONE) != 0
    }

    /// Wakes all threads that sleep.
    pub(crate) fn wake_all(&self) {
        lot::unpark_all(self.address(), |_| ALL);
    }
}
