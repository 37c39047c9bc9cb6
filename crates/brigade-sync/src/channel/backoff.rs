//! How long a thread looks again at what another one is in the middle of.

use super::prim::{SPINS, spin_loop, yield_now};

/// Looks again and again, ever more slowly, and then lets others run between two looks.
pub(super) struct Backoff(u32);

impl Backoff {
    #[inline(always)]
    pub(super) fn new() -> Backoff {
        Backoff(0)
    }

    /// After losing a race: somebody else has got on.
    #[inline]
    pub(super) fn lost(&mut self) {
        for _ in 0..1_u32 << self.0.min(SPINS) {
            spin_loop();
        }
        self.0 += 1;
    }

    /// Somebody else is between two steps, and may have been preempted there.
    #[inline]
    pub(super) fn unfinished(&mut self) {
        if self.0 <= SPINS {
            self.lost();
        } else {
            yield_now();
        }
    }
}
