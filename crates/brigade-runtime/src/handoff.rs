//! The hand-off word: how the monitor takes the processor from a stuck carrier.
//!
//! A carrier that runs a green thread may touch its processor only *inside the runtime*, between
//! [`Handoff::enter`] and [`Handoff::exit`]. The monitor may take the processor only while the carrier is
//! outside. Entering must cost a plain store and a load, because every yield, wake and spawn enters.
//!
//! # States of `word`
//!
//! | word | meaning | who leaves it |
//! |---|---|---|
//! | `OWNED` | the carrier has its processor | the monitor (to `REQUESTED`), the carrier inside the runtime (to `TAKEN`: it gives the processor away itself) |
//! | `REQUESTED` | the monitor wants the processor and is finding out whether the carrier is inside | the monitor, at once, to `OWNED` or `TAKEN` |
//! | `TAKEN` | the carrier has no processor | the carrier, when it has got one again |
//!
//! # The race and its proof
//!
//! Carrier: `inside = 1; light fence; read word`. Monitor: `word = REQUESTED; heavy fence; read inside`.
//! By the two fences at least one of the two sees the other's store.
//!
//! 1. The monitor sees `inside == 1`: it gives up (`OWNED`). The carrier either saw `OWNED` all along, or saw
//!    `REQUESTED` and waits until the monitor has decided.
//! 2. The monitor sees `inside == 0`: it sets `TAKEN`. A carrier that enters later reads `REQUESTED` (and
//!    waits for `TAKEN`) or `TAKEN`; it cannot read `OWNED`, because then its store to `inside` would have
//!    been visible to the monitor.
//!
//! # Invariants
//!
//! 1. Only one thread at a time makes requests to a carrier: the monitor.
//! 2. Between `REQUESTED` and its decision the monitor makes no system call but the fence, so the carrier's
//!    wait is short.
//! 3. What the carrier wrote to the processor before `exit` is visible to the monitor that then sees
//!    `inside == 0`: `exit` is Release, the monitor's read is Acquire.
//!
//! # Rejected
//!
//! A compare-exchange on entry and exit (Go's system-call brackets): two locked instructions, about 15 ns, on
//! every yield. Suspending the carrier with a signal: it may hold malloc's lock.

use crate::prim::{AtomicU32, Ordering, fence_heavy, fence_light, spin_loop};

const OWNED: u32 = 0;
const REQUESTED: u32 = 1;
const TAKEN: u32 = 2;

/// The two words of the hand-off protocol of one carrier.
#[repr(align(64))]
pub(crate) struct Handoff {
    inside: AtomicU32,
    word: AtomicU32,
}

impl Handoff {
    /// The words of a carrier that is inside the runtime and has no processor.
    pub(crate) fn new() -> Handoff {
        Handoff {
            inside: AtomicU32::new(1),
            word: AtomicU32::new(TAKEN),
        }
    }

    /// Back to the words of [`Handoff::new`], for a new carrier with an old record.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self) {
        // ORDER: Relaxed: published by the start of the carrier; the monitor leaves TAKEN alone.
        self.word.store(TAKEN, Ordering::Relaxed);
        // ORDER: Relaxed: as for `word`, published by the start of the carrier.
        self.inside.store(1, Ordering::Relaxed);
    }

    /// Enters the runtime. True: the carrier holds its processor until [`Handoff::exit`]. False: it has none.
    #[inline(always)]
    #[must_use]
    pub(crate) fn enter(&self) -> bool {
        // ORDER: Relaxed: ordered against the load of `word` by the light fence below, whose partner is the
        // heavy fence in `retake`.
        self.inside.store(1, Ordering::Relaxed);
        fence_light();
        // ORDER: Relaxed: OWNED was stored by this carrier or restored by the monitor without touching the
        // processor, so there is nothing to acquire.
        if self.word.load(Ordering::Relaxed) == OWNED {
            return true;
        }
        self.enter_slow()
    }

    #[cold]
    fn enter_slow(&self) -> bool {
        loop {
            // ORDER: Acquire: pairs with the Release stores of `retake`.
            match self.word.load(Ordering::Acquire) {
                OWNED => return true,
                TAKEN => return false,
                _ => relax(),
            }
        }
    }

    /// Leaves the runtime.
    #[inline(always)]
    pub(crate) fn exit(&self) {
        // ORDER: Release: what was written to the processor is visible to the monitor that reads 0
        // (invariant 3).
        self.inside.store(0, Ordering::Release);
    }

    /// By the carrier: is it inside the runtime?
    #[inline(always)]
    pub(crate) fn is_inside(&self) -> bool {
        // ORDER: Relaxed: only the carrier itself writes it.
        self.inside.load(Ordering::Relaxed) != 0
    }

    /// By the carrier, inside the runtime and with a processor: it gives the processor away. Afterwards no
    /// request of the monitor can succeed, nor one under way overwrite this decision.
    pub(crate) fn give_up(&self) {
        loop {
            // ORDER: Relaxed: the new owner of the processor synchronises through the lock or the futex by
            // which it gets it. A request under way finds the carrier inside and restores OWNED soon.
            let done =
                self.word
                    .compare_exchange(OWNED, TAKEN, Ordering::Relaxed, Ordering::Relaxed);
            if done.is_ok() {
                return;
            }
            relax();
        }
    }

    /// By the carrier, inside the runtime: it holds a processor again.
    pub(crate) fn take_up(&self) {
        // ORDER: Relaxed: as in `give_up`; the monitor never leaves TAKEN, so a store is enough.
        self.word.store(OWNED, Ordering::Relaxed);
    }

    /// By the monitor: tries to take the processor. `still_stuck` is asked after the carrier is known to be
    /// outside, and before the decision; it must be short. True: the processor is the caller's.
    #[must_use]
    pub(crate) fn retake(&self, still_stuck: impl FnOnce() -> bool) -> bool {
        // ORDER: Relaxed: a hint; a carrier inside the runtime is not stuck.
        if self.inside.load(Ordering::Relaxed) != 0 {
            return false;
        }
        // ORDER: Relaxed on both sides: the exchange only claims the word; `fence_heavy` orders it.
        let claimed =
            self.word
                .compare_exchange(OWNED, REQUESTED, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return false;
        }
        fence_heavy();
        // ORDER: Acquire: pairs with the Release of `exit` (invariant 3).
        let outside = self.inside.load(Ordering::Acquire) == 0;
        if outside && still_stuck() {
            // ORDER: Release: pairs with the Acquire in `enter_slow`.
            self.word.store(TAKEN, Ordering::Release);
            true
        } else {
            // ORDER: Release: pairs with the Acquire in `enter_slow`.
            self.word.store(OWNED, Ordering::Release);
            false
        }
    }
}

/// The monitor is between two instructions or has been preempted there.
fn relax() {
    spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    brigade_context::prim::sys::sched_yield();
}
