//! Guards at the low end of each slot.
//!
//! Where the kernel has it (6.13), `MADV_GUARD_INSTALL`: it makes no mapping of its own, so a million
//! stacks stay one. Elsewhere `mprotect`, which splits the mapping twice per slot; the budget under
//! `vm.max_map_count` is then checked before address space is promised.
//!
//! New slots come in batches, and so does the advice: `process_madvise` on the process itself takes about
//! 0.3 µs per guard instead of 0.5, and 1.2 µs per first page instead of a fault of 1.7.
//!
//! Invariant: once one way was chosen it stays, so every slot has the same kind.

use super::GUARD_BYTES;
use super::limits::{self, Refusal};
use crate::prim::sys;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

const MADV_GUARD_INSTALL: i32 = 102;
const MADV_POPULATE_WRITE: i32 = 23;
const PAGE_BYTES: usize = 4096;
/// Mappings that the rest of the process may need.
const MAPPINGS_LEFT_FREE: usize = 1000;
/// Mappings that one guarded slot costs with `mprotect`.
const MAPPINGS_PER_SLOT: usize = 2;

const UNKNOWN: u8 = 0;
const BY_ADVICE: u8 = 1;
const BY_PROTECTION: u8 = 2;
static KIND: AtomicU8 = AtomicU8::new(UNKNOWN);
/// Whether the kernel takes advice for many ranges at once; until it refuses.
static BATCHES: AtomicBool = AtomicBool::new(true);
static PLANTED_LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Test aid: behave as on a kernel without guard advice.
pub(crate) fn plant_no_guard_install() {
    // ORDER: Relaxed: a flag of its own, set before any slot exists.
    KIND.store(BY_PROTECTION, Ordering::Relaxed);
}

/// Test aid: behave as if `vm.max_map_count` were `limit`.
pub(crate) fn plant_max_map_count(limit: usize) {
    // ORDER: Relaxed: a number of its own.
    PLANTED_LIMIT.store(limit, Ordering::Relaxed);
}

fn kind() -> u8 {
    // ORDER: Relaxed: a flag of its own; a race finds the same answer twice.
    match KIND.load(Ordering::Relaxed) {
        UNKNOWN => find_kind(),
        known => known,
    }
}

#[cold]
fn find_kind() -> u8 {
    // A guard of no bytes: only an unknown advice is refused.
    // SAFETY: an empty range.
    let known = unsafe { sys::madvise(0, 0, MADV_GUARD_INSTALL) }.is_ok();
    let kind = if known { BY_ADVICE } else { BY_PROTECTION };
    // ORDER: Relaxed: as in `kind`.
    KIND.store(kind, Ordering::Relaxed);
    kind
}

/// How guards are made here, for reports.
pub(crate) fn kind_name() -> &'static str {
    if kind() == BY_ADVICE {
        "MADV_GUARD_INSTALL"
    } else {
        "mprotect"
    }
}

fn budget_slots() -> usize {
    // ORDER: Relaxed: a number of its own.
    let limit = match PLANTED_LIMIT.load(Ordering::Relaxed) {
        0 => limits::max_map_count(),
        planted => planted,
    };
    limit.saturating_sub(MAPPINGS_LEFT_FREE.min(limit / 2)) / MAPPINGS_PER_SLOT
}

/// Refuses `slots` slots in all when their guards would not fit under `vm.max_map_count`.
pub(super) fn check_budget(slots: usize) -> Result<(), Refusal> {
    if kind() == BY_ADVICE {
        return Ok(());
    }
    let most = budget_slots();
    if slots > most {
        Err(Refusal::MapCount { most })
    } else {
        Ok(())
    }
}

/// Cuts a wish for `more` slots on top of `mapped` to what the budget allows.
pub(super) fn within_budget(mapped: usize, more: usize) -> usize {
    if kind() == BY_ADVICE {
        more
    } else {
        more.min(budget_slots().saturating_sub(mapped))
    }
}

/// Installs the guard of every slot in `range`.
pub(super) fn install(range: Range<usize>, slot_bytes: usize) -> Result<(), Refusal> {
    if kind() != BY_ADVICE {
        return protect(range, slot_bytes);
    }
    let lows = range.clone().step_by(slot_bytes);
    // ORDER: Relaxed: a flag of its own.
    if BATCHES.load(Ordering::Relaxed) {
        // SAFETY: the slots are new and their lowest page is never used.
        if unsafe { sys::madvise_each(lows.clone(), GUARD_BYTES, MADV_GUARD_INSTALL) }.is_ok() {
            fill_top_pages(lows, slot_bytes);
            return Ok(());
        }
        // ORDER: Relaxed: a flag of its own.
        BATCHES.store(false, Ordering::Relaxed);
    }
    for low in lows {
        // SAFETY: the slots are new and their lowest page is never used; a guard may be installed twice.
        unsafe { sys::madvise(low, GUARD_BYTES, MADV_GUARD_INSTALL) }.map_err(Refusal::Guard)?;
    }
    Ok(())
}

fn protect(range: Range<usize>, slot_bytes: usize) -> Result<(), Refusal> {
    for low in range.step_by(slot_bytes) {
        // SAFETY: the slots are new and their lowest page is never used.
        let r = unsafe { libc::mprotect(low as *mut _, GUARD_BYTES, libc::PROT_NONE) };
        if r != 0 {
            return Err(Refusal::MapCount {
                most: budget_slots(),
            });
        }
    }
    Ok(())
}

/// Asks for the page that every thread touches first, for all slots in one call: cheaper than a fault
/// each. A refusal changes nothing: the page then comes by a fault.
pub(super) fn fill_top_pages(lows: impl Iterator<Item = usize>, slot_bytes: usize) {
    // ORDER: Relaxed: a flag of its own.
    if kind() != BY_ADVICE || !BATCHES.load(Ordering::Relaxed) {
        return;
    }
    let tops = lows.map(|low| low + slot_bytes - PAGE_BYTES);
    // SAFETY: the pages are mapped and the caller's; filling a page changes no content.
    let _ = unsafe { sys::madvise_each(tops, PAGE_BYTES, MADV_POPULATE_WRITE) };
}
