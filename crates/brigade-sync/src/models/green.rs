//! A green thread, as far as a list of waiters sees it.

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::wait_queue::Sleep;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// The park word of the runtime. The model never frees it, so that a late look is found and not undefined.
pub(super) struct Green {
    word: AtomicU32,
    scheduled: Notify,
    ended: AtomicBool,
}

impl Green {
    pub(super) fn new() -> &'static Green {
        Box::leak(Box::new(Green {
            word: AtomicU32::new(RUNNING),
            scheduled: Notify::new(),
            ended: AtomicBool::new(false),
        }))
    }

    /// Parks once; returns when it was notified or, unless it was notified, at once if `gives_up`.
    pub(super) fn park(&self, gives_up: bool) {
        let next = if gives_up { RUNNING } else { PARKED };
        // ORDER: AcqRel: the runtime's park word has its own proof.
        let parked = self
            .word
            .compare_exchange(RUNNING, next, Ordering::AcqRel, Ordering::Acquire);
        if parked.is_err() {
            // ORDER: AcqRel: as above; takes the notification.
            self.word.swap(RUNNING, Ordering::AcqRel);
            return;
        }
        // ORDER: Acquire: pairs with `schedule`.
        while !gives_up && self.word.load(Ordering::Acquire) != RUNNING {
            self.scheduled.wait();
        }
    }

    /// The thread returns from its wait, and may be gone.
    pub(super) fn end(&self) {
        // ORDER: Release: pairs with the Acquire in `notify`.
        self.ended.store(true, Ordering::Release);
    }
}

/// A thread in a list of waiters.
#[derive(Clone, Copy)]
pub(super) struct Sleeper(pub(super) &'static Green);

impl Sleep for Sleeper {
    type Woken = Vec<&'static Green>;

    unsafe fn notify(self, woken: &mut Vec<&'static Green>) -> bool {
        // ORDER: Acquire: pairs with the Release in `end`.
        let ended = self.0.ended.load(Ordering::Acquire);
        assert!(!ended, "touched after its end");
        // ORDER: AcqRel: as in the runtime's park word.
        let was_parked = self.0.word.fetch_or(NOTIFIED, Ordering::AcqRel) == PARKED;
        if was_parked {
            woken.push(self.0);
        }
        was_parked
    }

    fn schedule(woken: Vec<&'static Green>) {
        for green in woken {
            // ORDER: Release: pairs with the Acquire in `park`.
            green.word.store(RUNNING, Ordering::Release);
            green.scheduled.notify();
        }
    }
}
