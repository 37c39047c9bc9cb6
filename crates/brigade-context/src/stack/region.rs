//! The table of mapped regions: which address belongs to which slot.
//!
//! The table only grows. It is read without a lock by the SIGSEGV handler and by walks over all blocks.
//!
//! Invariants
//! 1. Entries below `COUNT` are complete and never change, but for `used`, which only grows.
//! 2. Slots below `used` may exist; above it nothing was ever handed out.

use super::limits::Refusal;
use super::{GUARD_BYTES, SizeClass, Slot};
use crate::prim::{RawLock, sys};
use crate::tls;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Address space that stacks leave to the rest of the process: a carrier's kernel stack and signal stack, and
/// memory for the program to handle the error with.
const HEADROOM_BYTES: usize = 16 << 20;

const MAX_REGIONS: usize = 2048;
const SMALLEST_REGION_BYTES: usize = 16 << 20;
const LARGEST_REGION_BYTES: usize = 1 << 30;

struct Entry {
    base: AtomicUsize,
    end: AtomicUsize,
    used: AtomicUsize,
    slot_bytes: AtomicUsize,
    first_index: AtomicU32,
}

static TABLE: [Entry; MAX_REGIONS] = [const {
    Entry {
        base: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        used: AtomicUsize::new(0),
        slot_bytes: AtomicUsize::new(0),
        first_index: AtomicU32::new(0),
    }
}; MAX_REGIONS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The lock under which the table grows; its value is the next slot index.
static GROWTH: RawLock<u32> = RawLock::new(0);

/// A newly mapped region.
pub(super) struct Region {
    pub(super) number: usize,
    pub(super) base: usize,
    pub(super) end: usize,
}

/// How many slots the next region should have: as many as there are already, within bounds, and at
/// least what is missing.
pub(super) fn slots_to_map(slot_bytes: usize, mapped: usize, missing: usize) -> usize {
    let double = (mapped * slot_bytes).clamp(SMALLEST_REGION_BYTES, LARGEST_REGION_BYTES);
    (double / slot_bytes).max(missing).max(1)
}

/// Maps a region of `slots` slots and enters it into the table.
pub(super) fn map(slot_bytes: usize, slots: usize) -> Result<Region, Refusal> {
    let bytes = slots
        .checked_mul(slot_bytes)
        .ok_or(Refusal::AddressSpace { bytes: usize::MAX })?;
    let mut next_index = GROWTH.lock();
    // ORDER: Relaxed: `COUNT` changes only under the lock held here.
    let number = COUNT.load(Ordering::Relaxed);
    let indices = u32::try_from(slots)
        .ok()
        .and_then(|n| next_index.checked_add(n));
    let Some(after) = indices.filter(|n| *n < (1 << 29) && number < MAX_REGIONS) else {
        return Err(Refusal::TooManySlots);
    };
    let base = map_aligned(bytes, slot_bytes)
        .filter(|base| leaves_headroom(*base, bytes))
        .ok_or(Refusal::AddressSpace { bytes })?;
    // SAFETY: the mapping is new and ours. A huge page would make one thread pay for eight.
    let _ = unsafe { sys::madvise(base, bytes, libc::MADV_NOHUGEPAGE) };
    let entry = &TABLE[number];
    // ORDER: Relaxed: published by the Release store of COUNT below.
    entry.base.store(base, Ordering::Relaxed);
    entry.end.store(base + bytes, Ordering::Relaxed); // ORDER: as above.
    entry.used.store(base, Ordering::Relaxed); // ORDER: as above.
    entry.slot_bytes.store(slot_bytes, Ordering::Relaxed); // ORDER: as above.
    entry.first_index.store(*next_index, Ordering::Relaxed); // ORDER: as above.
    *next_index = after;
    // ORDER: Release pairs with the Acquire loads of COUNT in `find` and `each_used_block`.
    COUNT.store(number + 1, Ordering::Release);
    Ok(Region {
        number,
        base,
        end: base + bytes,
    })
}

/// Whether the address space has room for [`HEADROOM_BYTES`] beside the new mapping; if not, unmaps it.
fn leaves_headroom(base: usize, bytes: usize) -> bool {
    match map_raw(HEADROOM_BYTES) {
        Some(probe) => {
            // SAFETY: mapped just now, used by nobody.
            unsafe { libc::munmap(probe as *mut _, HEADROOM_BYTES) };
            true
        }
        None => {
            // SAFETY: mapped by the caller just now, used by nobody.
            unsafe { libc::munmap(base as *mut _, bytes) };
            false
        }
    }
}

fn map_aligned(bytes: usize, align: usize) -> Option<usize> {
    let exact = map_raw(bytes)?;
    if exact % align == 0 {
        return Some(exact);
    }
    // SAFETY: mapped just now, used by nobody.
    unsafe { libc::munmap(exact as *mut _, bytes) };
    let wide = map_raw(bytes.checked_add(align)?)?;
    let base = wide.next_multiple_of(align);
    let (before, after) = (base - wide, wide + align - base);
    // SAFETY: only the parts outside `[base, base + bytes)` of our own mapping go.
    unsafe {
        if before != 0 {
            libc::munmap(wide as *mut _, before);
        }
        if after != 0 {
            libc::munmap((base + bytes) as *mut _, after);
        }
    }
    Some(base)
}

fn map_raw(bytes: usize) -> Option<usize> {
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let memory = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    (memory != libc::MAP_FAILED).then_some(memory as usize)
}

/// Notes that slots below `end` of the region may exist from now on.
pub(super) fn set_used(region: usize, end: usize) {
    // A maximum: addresses that were put back come again.
    // ORDER: Release pairs with the Acquire loads of `used` in `find` and `each_used_block`.
    TABLE[region].used.fetch_max(end, Ordering::Release);
}

/// The slots of `range`, which lies in the region.
pub(super) fn slots(
    region: usize,
    range: Range<usize>,
    class: SizeClass,
) -> impl Iterator<Item = Slot> {
    let entry = &TABLE[region];
    // ORDER: Relaxed: the region was entered under a lock that this thread held since.
    let (base, first) = (
        entry.base.load(Ordering::Relaxed),
        entry.first_index.load(Ordering::Relaxed),
    );
    let size = class.slot_bytes();
    range.step_by(size).map(move |low| {
        let index = first + ((low - base) / size) as u32;
        Slot {
            tp: thread_pointer(low, size),
            index,
            class,
            built: false,
        }
    })
}

/// Where the thread pointer of a slot lies.
fn thread_pointer(low: usize, size: usize) -> usize {
    low + size - tls::template().above
}

/// The slot that an address belongs to. Async-signal-safe.
pub(crate) struct Place {
    pub(crate) base: usize,
    pub(crate) size: usize,
}

impl Place {
    pub(crate) fn in_guard(&self, address: usize) -> bool {
        address < self.base + GUARD_BYTES
    }
}

/// Finds the slot around `address`, if it may ever have been handed out. Async-signal-safe.
pub(crate) fn find(address: usize) -> Option<Place> {
    // ORDER: Acquire pairs with the Release store in `map`.
    let count = COUNT.load(Ordering::Acquire);
    TABLE[..count].iter().find_map(|entry| {
        // ORDER: Relaxed: constant since `map` published the entry.
        let base = entry.base.load(Ordering::Relaxed);
        // ORDER: Acquire pairs with the Release store in `set_used`.
        let used = entry.used.load(Ordering::Acquire);
        // ORDER: Relaxed: constant since `map` published the entry.
        let size = entry.slot_bytes.load(Ordering::Relaxed);
        (base..used).contains(&address).then(|| Place {
            base: address & !(size - 1),
            size,
        })
    })
}

/// Calls `f` with the thread pointer of every slot that may have been handed out.
pub(crate) fn each_used_block(mut f: impl FnMut(usize)) {
    // ORDER: Acquire pairs with the Release store in `map`.
    let count = COUNT.load(Ordering::Acquire);
    for entry in &TABLE[..count] {
        // ORDER: Relaxed: constant since `map` published the entry.
        let (base, size) = (
            entry.base.load(Ordering::Relaxed),
            entry.slot_bytes.load(Ordering::Relaxed),
        );
        // ORDER: Acquire pairs with the Release store in `set_used`.
        let used = entry.used.load(Ordering::Acquire);
        for low in (base..used).step_by(size) {
            f(thread_pointer(low, size));
        }
    }
}

/// Takes the growth lock, for fork.
pub(super) fn lock() {
    GROWTH.acquire();
}

/// Gives the growth lock back.
///
/// # Safety
/// The caller took it with [`lock`].
pub(super) unsafe fn unlock() {
    // SAFETY: the caller's contract.
    unsafe { GROWTH.release() };
}
