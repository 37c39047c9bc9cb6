//! Stack slots: memory for a stack, its guard and its TLS block.
//!
//! # A slot
//!
//! ```text
//!   base                                                          base + size
//!   | guard 4 KiB | stack, grows down ................ | TLS | descriptor |
//!                 limit                            top    tp
//! ```
//!
//! The size is a power of two and the base is a multiple of it. The thread descriptor is at the very
//! top, so that descriptor, thread-locals and the first frames share one page.
//!
//! Who owns what: a [`Slot`] owns its memory by being moved; slots that nobody holds are in their
//! class's pool (last in, first out), among its cold slots, whose memory went back to the kernel
//! ([`trim`]), or have never been handed out ([`region`]). Address space is never given back.
//!
//! Invariants
//! 1. `reserved <= mapped` slots per class once [`reserve`] returned `Ok`; whoever holds a reservation
//!    finds a slot.
//! 2. The pool and the cold slots have room for every mapped slot, so [`release`] and [`trim`] never allocate.
//! 3. A slot that was handed out has its guard; guards survive [`trim`].
//! 4. A cold slot is not built, and none of its memory is resident.
//!
//! Orderings: `reserved` and `mapped` are counters; the class lock orders everything else.
//!
//! Rejected: shifting the descriptor from slot to slot so that they spread over the cache's sets (a ring of
//! 1000 threads switches in the time of a ring of 2, 13 ns against 9, without); exact sizes (slots could not be found from an address), unmapping slots (a `munmap` per
//! thread costs more than the thread), a lock-free pool (processors keep their own slots in batches).

mod guard;
mod limits;
pub(crate) mod region;
mod trim;

use crate::prim::RawLock;
use crate::tls;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::VecDeque;
use std::io;

pub(crate) use guard::{kind_name as guard_kind, plant_max_map_count, plant_no_guard_install};
pub use trim::{WARM_SLOTS, trim};

/// Bytes of a slot when nothing else is asked for.
pub const DEFAULT_STACK_SIZE: usize = 256 * 1024;
/// The smallest slot.
pub const MIN_STACK_SIZE: usize = 16 * 1024;
/// The largest slot.
pub const MAX_STACK_SIZE: usize = 1 << 30;
/// Bytes of the guard at the low end of a slot.
pub(crate) const GUARD_BYTES: usize = 4096;
/// What a stack has at least, besides guard and TLS block.
const MIN_USABLE_BYTES: usize = 6 * 1024;

/// More slots than any address space has; keeps the counters from overflowing.
const MOST_AT_ONCE: usize = 1 << 40;

const SMALLEST: u32 = MIN_STACK_SIZE.trailing_zeros();
const CLASSES: usize = (MAX_STACK_SIZE.trailing_zeros() - SMALLEST + 1) as usize;

/// Memory for one green thread: guard, stack and TLS block. Moving it moves the ownership.
#[derive(Debug)]
pub struct Slot {
    tp: usize,
    index: u32,
    class: SizeClass,
    pub(crate) built: bool,
}

impl Slot {
    /// The thread pointer of threads on this slot.
    #[inline]
    pub fn tp(&self) -> usize {
        self.tp
    }

    /// The lowest usable address of the stack.
    #[inline]
    pub fn limit(&self) -> usize {
        self.base() + GUARD_BYTES
    }

    /// The highest address of the stack: where the TLS block begins. A multiple of 64.
    #[inline]
    pub fn top(&self) -> usize {
        self.tp - tls::template().below
    }

    /// Bytes of the whole slot.
    #[inline]
    pub fn size(&self) -> usize {
        self.class.slot_bytes()
    }

    /// The addresses that fault.
    #[inline]
    pub fn guard(&self) -> Range<usize> {
        self.base()..self.base() + GUARD_BYTES
    }

    /// The class that the slot came from.
    #[inline]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// Whether the slot's block is in memory and was used before: starting a thread on it is cheap.
    #[inline]
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// A number that no other slot of the process has.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    fn base(&self) -> usize {
        self.tp & !(self.size() - 1)
    }
}

/// A size of slots: a power of two from [`MIN_STACK_SIZE`] to [`MAX_STACK_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass(u8);

impl Default for SizeClass {
    /// The class of [`DEFAULT_STACK_SIZE`].
    fn default() -> SizeClass {
        SizeClass(DEFAULT_STACK_SIZE.trailing_zeros() as u8)
    }
}

impl SizeClass {
    /// The class whose slots are at least `bytes` large. The guard (4 KiB) and the TLS block (about
    /// 3 KiB) are part of the slot, as with kernel threads the TLS block is part of the stack.
    ///
    /// # Errors
    /// `InvalidInput` when `bytes` is 0 or above [`MAX_STACK_SIZE`].
    pub fn for_stack(bytes: usize) -> io::Result<SizeClass> {
        if bytes == 0 || bytes > MAX_STACK_SIZE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a stack of {bytes} bytes cannot be made; choose 1 to {MAX_STACK_SIZE} bytes (1 GiB)"
                ),
            ));
        }
        let least = tls::template_if_any()
            .map_or(0, |t| GUARD_BYTES + MIN_USABLE_BYTES + t.below + t.above);
        let size = bytes.max(least).max(MIN_STACK_SIZE).next_power_of_two();
        Ok(SizeClass(size.trailing_zeros() as u8))
    }

    /// Bytes of one slot.
    #[inline]
    pub fn slot_bytes(self) -> usize {
        1 << self.0
    }

    fn shelf(self) -> &'static Shelf {
        &SHELVES[usize::from(self.0) - SMALLEST as usize]
    }
}

/// Everything about one class.
struct Shelf {
    reserved: AtomicUsize,
    mapped: AtomicUsize,
    stock: RawLock<Stock>,
}

struct Stock {
    /// The least recently used slot first.
    pool: VecDeque<Slot>,
    cold: Vec<Slot>,
    /// Mapped addresses that were never handed out, lowest first.
    fresh: Vec<Fresh>,
}

struct Fresh {
    region: usize,
    next: usize,
    end: usize,
}

static SHELVES: [Shelf; CLASSES] = [const {
    Shelf {
        reserved: AtomicUsize::new(0),
        mapped: AtomicUsize::new(0),
        stock: RawLock::new(Stock {
            pool: VecDeque::new(),
            cold: Vec::new(),
            fresh: Vec::new(),
        }),
    }
}; CLASSES];

/// Reserves the right to hold `n` slots of the class at once. Grows the mapping where needed; without
/// that it is one atomic addition.
///
/// # Errors
/// `OutOfMemory`, and the text names the limit that was hit: the address space (RLIMIT_AS), strict
/// overcommit, `vm.max_map_count`, or memory. Nothing stays reserved then.
#[inline]
pub fn reserve(class: SizeClass, n: usize) -> io::Result<()> {
    if n > MOST_AT_ONCE {
        return Err(limits::Refusal::TooManySlots.into_error(class.slot_bytes()));
    }
    let shelf = class.shelf();
    // ORDER: Relaxed: counters only; slots themselves are handed over under the stock lock.
    let reserved = shelf.reserved.fetch_add(n, Ordering::Relaxed) + n;
    // ORDER: Relaxed: as above.
    if reserved <= shelf.mapped.load(Ordering::Relaxed) {
        return Ok(());
    }
    reserve_slow(class, n)
}

#[cold]
fn reserve_slow(class: SizeClass, n: usize) -> io::Result<()> {
    let shelf = class.shelf();
    let grown = {
        let mut stock = shelf.stock.lock();
        // ORDER: Relaxed: `mapped` changes only under the lock; `reserved` is a counter.
        let (reserved, mapped) = (
            shelf.reserved.load(Ordering::Relaxed),
            shelf.mapped.load(Ordering::Relaxed),
        );
        if reserved <= mapped {
            return Ok(());
        }
        grow(class, &mut stock, mapped, reserved - mapped)
    };
    // The text is made without the lock: it reads files.
    grown.map_err(|refusal| {
        unreserve(class, n);
        refusal.into_error(class.slot_bytes())
    })
}

fn grow(
    class: SizeClass,
    stock: &mut Stock,
    mapped: usize,
    missing: usize,
) -> Result<(), limits::Refusal> {
    let slots = region::slots_to_map(class.slot_bytes(), mapped, missing);
    guard::check_budget(mapped + missing)?;
    let all = mapped + slots;
    stock
        .pool
        .try_reserve_exact(all - stock.pool.len())
        .and_then(|()| stock.cold.try_reserve_exact(all - stock.cold.len()))
        .and_then(|()| stock.fresh.try_reserve(1))
        .map_err(|_| limits::Refusal::Memory)?;
    let slots = guard::within_budget(mapped, slots);
    let region = region::map(class.slot_bytes(), slots).or_else(|refusal| {
        // The generous size was refused; the bare need may still be granted.
        if slots > missing {
            region::map(class.slot_bytes(), missing)
        } else {
            Err(refusal)
        }
    })?;
    stock.fresh.push(Fresh {
        region: region.number,
        next: region.base,
        end: region.end,
    });
    let count = (region.end - region.base) / class.slot_bytes();
    // ORDER: Relaxed: a counter; see `reserve`.
    class.shelf().mapped.fetch_add(count, Ordering::Relaxed);
    Ok(())
}

/// Gives back the right to hold `n` slots.
#[inline]
pub fn unreserve(class: SizeClass, n: usize) {
    // ORDER: Relaxed: a counter; see `reserve`.
    let before = class.shelf().reserved.fetch_sub(n, Ordering::Relaxed);
    debug_assert!(before >= n, "unreserve of more than was reserved");
}

/// Moves up to `max` slots into `out`: pooled ones first, then cold ones, then new ones. The caller holds
/// reservations for them.
///
/// # Errors
/// When the kernel refuses the guard of a new slot, or address space where others hold more slots than they
/// reserved; slots moved before that stay in `out`.
pub fn acquire(class: SizeClass, out: &mut Vec<Slot>, max: usize) -> io::Result<()> {
    out.try_reserve(max)
        .map_err(|_| limits::Refusal::Memory.into_error(class.slot_bytes()))?;
    let mut grown = Ok(());
    let (cold, fresh) = {
        let mut stock = class.shelf().stock.lock();
        let pooled = stock.pool.len().min(max);
        let keep = stock.pool.len() - pooled;
        out.extend(stock.pool.drain(keep..));
        if pooled == 0 && stock.cold.is_empty() && stock.fresh.is_empty() && max != 0 {
            // Somebody caches more slots than it has reservations for, perhaps the parent of this process.
            // ORDER: Relaxed: `mapped` changes only under the lock held here.
            let mapped = class.shelf().mapped.load(Ordering::Relaxed);
            grown = grow(class, &mut stock, mapped, 1);
        }
        let cold = stock.cold.len().min(max - pooled);
        let keep = stock.cold.len() - cold;
        out.extend(stock.cold.drain(keep..));
        (cold, take_fresh(&mut stock, class, max - pooled - cold))
    };
    grown.map_err(|refusal| refusal.into_error(class.slot_bytes()))?;
    if cold != 0 {
        guard::fill_top_pages(
            out[out.len() - cold..].iter().map(Slot::base),
            class.slot_bytes(),
        );
    }
    let Some((region, range)) = fresh else {
        return Ok(());
    };
    if let Err(refusal) = guard::install(range.clone(), class.slot_bytes()) {
        put_back(class, region, range);
        return Err(refusal.into_error(class.slot_bytes()));
    }
    out.extend(region::slots(region, range, class));
    Ok(())
}

/// Cuts up to `max` slots off the never used addresses of one region.
fn take_fresh(stock: &mut Stock, class: SizeClass, max: usize) -> Option<(usize, Range<usize>)> {
    if max == 0 {
        return None;
    }
    let fresh = stock.fresh.first_mut()?;
    let bytes = (fresh.end - fresh.next).min(max.saturating_mul(class.slot_bytes()));
    let range = fresh.next..fresh.next + bytes;
    let region = fresh.region;
    fresh.next = range.end;
    if fresh.next == fresh.end {
        stock.fresh.remove(0);
    }
    region::set_used(region, range.end);
    Some((region, range))
}

/// Returns addresses whose guard was refused, for a later try.
#[cold]
fn put_back(class: SizeClass, region: usize, range: Range<usize>) {
    let mut stock = class.shelf().stock.lock();
    // Without room in the list the addresses are lost, not the memory: nothing was touched.
    if stock.fresh.try_reserve(1).is_ok() {
        stock.fresh.push(Fresh {
            region,
            next: range.start,
            end: range.end,
        });
    }
}

/// Gives slots back to the pool of their class.
pub fn release(class: SizeClass, slots: impl Iterator<Item = Slot>) {
    let mut stock = class.shelf().stock.lock();
    for slot in slots {
        debug_assert_eq!(slot.class, class, "slot released to another class");
        stock.pool.push_back(slot);
    }
}

/// What the pools hold, summed over all classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Slots that address space exists for.
    pub mapped: usize,
    /// Slots that somebody holds a reservation for.
    pub reserved: usize,
    /// Slots in the pools, the cold ones among them.
    pub pooled: usize,
    /// Bytes of address space.
    pub mapped_bytes: usize,
}

/// What the pools hold now.
pub fn stats() -> PoolStats {
    let mut sum = PoolStats::default();
    for (i, shelf) in SHELVES.iter().enumerate() {
        // ORDER: Relaxed: a report; nothing depends on the counters agreeing.
        let mapped = shelf.mapped.load(Ordering::Relaxed);
        sum.mapped += mapped;
        // ORDER: Relaxed: as above.
        sum.reserved += shelf.reserved.load(Ordering::Relaxed);
        let stock = shelf.stock.lock();
        sum.pooled += stock.pool.len() + stock.cold.len();
        sum.mapped_bytes += mapped << (i as u32 + SMALLEST);
    }
    sum
}

/// Takes all locks of this module, in order, for fork.
pub(crate) fn lock_all() {
    for shelf in &SHELVES {
        shelf.stock.acquire();
    }
    region::lock();
}

/// Gives back what [`lock_all`] took.
///
/// # Safety
/// The caller called [`lock_all`] before, once.
pub(crate) unsafe fn unlock_all() {
    // SAFETY: the caller holds all of them.
    unsafe {
        region::unlock();
        for shelf in &SHELVES {
            shelf.stock.release();
        }
    }
}
