//! Gives the memory of stacks that nobody uses back to the kernel.
//!
//! A program that goes idle between two bursts should not fault all its stacks in again, so the most
//! recently used [`WARM_SLOTS`] of each class stay as they are.
//!
//! Invariants
//! 1. A slot that is being trimmed is in its class's stock, which is locked: whoever holds a reservation
//!    finds it.
//! 2. The lock is held for at most [`BATCH_SLOTS`] slots, so a burst that begins meanwhile waits for
//!    a fraction of a millisecond.
//! 3. With nothing to do, no system call is made, and classes without slots are not even locked.

use super::{SHELVES, Shelf, Stock};
use crate::prim::sys;
use crate::tls::block;
use core::sync::atomic::Ordering;

/// Pooled slots of each class that [`trim`] leaves in memory; fewer of classes above 256 KiB, whose
/// slots together would be larger than 64 MiB.
pub const WARM_SLOTS: usize = 256;
const MOST_WARM_BYTES: usize = 64 << 20;
/// Slots that are trimmed under one hold of the lock.
const BATCH_SLOTS: usize = 256;

/// Gives the memory of pooled slots back to the kernel, but for the last used [`WARM_SLOTS`] of each
/// class; the slots stay usable. Cheap when there is nothing to give back.
pub fn trim() {
    for shelf in &SHELVES {
        // ORDER: Relaxed: a class that gets its first slots now has nothing to trim yet.
        if shelf.mapped.load(Ordering::Relaxed) != 0 {
            while trim_batch(shelf) {}
        }
    }
}

/// True: there may be more to do.
fn trim_batch(shelf: &Shelf) -> bool {
    let mut stock = shelf.stock.lock();
    let Stock { pool, cold, .. } = &mut *stock;
    let Some(slot_bytes) = pool.front().map(super::Slot::size) else {
        return false;
    };
    let warm = WARM_SLOTS.min(MOST_WARM_BYTES / slot_bytes);
    let count = pool.len().saturating_sub(warm).min(BATCH_SLOTS);
    let first = cold.len();
    cold.extend(pool.drain(..count));
    let batch = &mut cold[first..];
    for slot in batch.iter_mut().filter(|slot| slot.built) {
        // SAFETY: pooled slots have no thread, and `built` says the block is complete.
        unsafe { block::dismantle(slot.tp) };
        slot.built = false;
    }
    // Neighbours are given back by one call. The lowest comes last, since cold slots are used from the end.
    batch.sort_unstable_by_key(|slot| core::cmp::Reverse(slot.tp));
    for run in batch.chunk_by(|high, low| low.base() + slot_bytes == high.base()) {
        let start = run[run.len() - 1].base();
        // SAFETY: all slots of the range are in the stock, which is locked; unbuilt blocks may have any
        // content, and guards survive this advice.
        let _ = unsafe { sys::madvise(start, run.len() * slot_bytes, libc::MADV_DONTNEED) };
    }
    count == BATCH_SLOTS
}
