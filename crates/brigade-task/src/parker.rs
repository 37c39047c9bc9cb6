//! How a thread of any kind waits for a future: a word, a place to sleep, and wakers that count references.
//!
//! # States
//!
//! | word | meaning | who leaves it |
//! |---|---|---|
//! | `EMPTY` | the thread runs, nobody has woken it | a waker (to `WOKEN`), the thread (to `ASLEEP`) |
//! | `ASLEEP` | the thread is going to sleep, or sleeps | a waker (to `WOKEN`, then it wakes the thread) |
//! | `WOKEN` | it was woken since it last looked | the thread (to `EMPTY`) |
//!
//! A thread has one parker, which its nested calls of `block_on` share: who leaves an inner one leaves `WOKEN` behind,
//! because a wake that was meant for the outer one may have been used up.

use std::panic::Location;
use std::sync::Arc;
use std::task::Wake;

use brigade_event::WaitReason;

use crate::prim::{AtomicU32, Bed, Ordering};

const EMPTY: u32 = 0;
const ASLEEP: u32 = 1;
const WOKEN: u32 = 2;

/// See the module.
pub(crate) struct Parker {
    word: AtomicU32,
    bed: Bed,
}

impl Parker {
    pub(crate) fn new() -> Parker {
        Parker {
            word: AtomicU32::new(EMPTY),
            bed: Bed::new(WaitReason::BlockOn),
        }
    }

    /// By the thread itself: takes a wake that has come. False: none has.
    pub(crate) fn take(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `wake`: what the waker did is seen by the next poll.
        self.word.swap(EMPTY, Ordering::Acquire) == WOKEN
    }

    /// By the thread itself: sleeps until a wake has come, and takes it.
    pub(crate) fn wait(&self, site: &'static Location<'static>) {
        while !self.take() {
            // Under the lock of the bed, which a waker that finds `ASLEEP` takes after its exchange.
            let fall_asleep = || {
                self.word
                    // ORDER: Relaxed: the exchange that takes the wake acquires.
                    .compare_exchange(EMPTY, ASLEEP, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            };
            self.bed.sleep(site, fall_asleep);
        }
    }

    /// By anybody.
    pub(crate) fn wake(&self) {
        // ORDER: Release: pairs with the Acquire in `take`.
        if self.word.swap(WOKEN, Ordering::Release) == ASLEEP {
            self.bed.wake_one();
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Parker>) {
        Parker::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Parker>) {
        Parker::wake(self);
    }
}
