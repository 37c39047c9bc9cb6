//! The roster: an entry for each thread, green or kernel, in memory that is never given back.
//!
//! An [`Entry`] holds what others may ask about a thread at any moment: what it waits for and since when, and which
//! locks it holds. Because the memory is never unmapped, a reader may look at an entry that it found in a lock or in a
//! wait record, even if the thread has ended meanwhile: it sees numbers that no longer fit, never foreign memory.
//!
//! # Who owns what
//!
//! | field | written by |
//! |---|---|
//! | `object`, `site`, `wait`, `held`, `held_len` | the thread itself |
//! | `task` | who starts the thread, and the carrier or kernel thread that ends it |
//!
//! # Invariants
//!
//! 1. An entry belongs to one thread at a time. It is used again only if the thread held no lock at its end: the owner
//!    of a lock (`LockTag::owner`) is therefore the thread that took it, or one that ended without giving it back.
//! 2. The epoch in `wait` changes when a wait begins. If it is the same at two looks, and the record says at both that
//!    the thread waits, the thread has waited all the time in between, for the same thing.
//! 3. A record that an entry points to (`task`) lives while the entry points to it and [`READING`] is held with
//!    `SNAPSHOT` set: who ends a thread clears the pointer, passes a light fence, and looks at `SNAPSHOT`; who reads
//!    sets `SNAPSHOT`, passes the heavy fence, and looks at the pointer.
//!
//! # Time
//!
//! `since` is a clock that costs a load: the last time that somebody in the process asked the real one, in
//! milliseconds. A thread that parks and leaves its processor without work gets the exact time (`sched::run`); while
//! others have work the monitor looks at the clock every half millisecond.
//!
//! # Rejected
//!
//! The wait record in the task: it is freed, so a reader would need a lock for each step of a search. Records on the
//! stack: they move with the size of the thread-local block. Malloc for the memory: a lock inside a global allocator
//! would call itself.

use std::mem::offset_of;
use std::panic::Location;
use std::ptr::{self, NonNull};

use brigade_event::outside::{EPOCH_SHIFT, REASON_MASK, SINCE_SHIFT, TIMED, Word, Words};
use brigade_event::{LockTag, Mode, WaitReason};

use crate::prim::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Lock, Ordering, coarse_ms,
    fence, fence_heavy, fence_light, map_zeroed, now_ns,
};

/// What a thread is about to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Why.
    pub reason: WaitReason,
    /// The object: the address of a lock's tag, of a channel, of the entry of a thread that is joined; the number of a
    /// descriptor; 0 for none.
    pub object: usize,
    /// Where the wait was called; none where only libc knows.
    pub site: Option<&'static Location<'static>>,
}

impl Wait {
    /// A wait for `object`, called at `site`.
    #[inline(always)]
    #[must_use]
    pub fn new(reason: WaitReason, object: usize, site: &'static Location<'static>) -> Wait {
        Wait {
            reason,
            object,
            site: Some(site),
        }
    }

    /// A wait inside a libc function.
    #[inline(always)]
    #[must_use]
    pub fn anonymous(reason: WaitReason, object: usize) -> Wait {
        Wait {
            reason,
            object,
            site: None,
        }
    }
}

/// What a thread waits for, as somebody else saw it.
#[derive(Clone, Copy, Debug)]
pub struct WaitRecord {
    /// What it waits for.
    pub wait: Wait,
    /// Whether the wait has a deadline.
    pub timed: bool,
    /// Since when, in milliseconds of `CLOCK_MONOTONIC`; exact to about a millisecond.
    pub since_ms: u64,
    /// A number that is another one in the thread's next wait.
    pub epoch: u16,
}

/// A lock that a thread holds, as somebody else saw it. The lock itself may be gone.
#[derive(Clone, Copy, Debug)]
pub struct HeldLock {
    /// The address of its tag.
    pub address: usize,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub site: &'static Location<'static>,
    /// The number of its class, or 0 if it was not known when the lock was taken.
    pub class: u16,
    /// Its rank among locks of its class; 0 is none.
    pub rank: u16,
}

/// Held locks in one block.
const BLOCK_SLOTS: usize = 7;
/// Entries mapped at a time, at first; each further time twice as many.
const FIRST_CHUNK: usize = 1024;
const CHUNKS: usize = 32;
/// Entries looked at under one taking of `READING`.
pub(crate) const READ_BATCH: usize = 256;
/// Entries that a processor fetches at a time.
pub(crate) const ENTRY_BATCH: usize = 64;

/// The public part of a thread's state; see the module.
#[repr(C, align(64))]
pub struct Entry {
    /// The record of the thread; null while the entry is free, or the thread has none.
    task: AtomicPtr<()>,
    object: AtomicUsize,
    site: AtomicPtr<Location<'static>>,
    /// Reason (7 bits), whether there is a deadline (1), epoch (16), since (40, in milliseconds).
    wait: AtomicU64,
    held: AtomicPtr<HeldBlock>,
    held_len: AtomicU32,
    /// Locks taken, modulo 256.
    locks: AtomicU8,
    /// Of the next free entry; only while this one is free.
    next_free: AtomicPtr<Entry>,
}

/// Some of the locks that a thread holds.
#[repr(C)]
struct HeldBlock {
    slots: [HeldSlot; BLOCK_SLOTS],
    next: AtomicPtr<HeldBlock>,
}

/// What a report or a check needs to know of the lock is here, because the lock itself may be gone: a guard can be
/// forgotten. Addresses have 48 bits; numbers of 16 stand above them.
#[repr(C)]
struct HeldSlot {
    /// Address of the tag, with the mode in the lowest bit and the rank in the highest 16.
    tag: AtomicUsize,
    /// The site, with the class in the highest 16 bits.
    site: AtomicPtr<Location<'static>>,
}

const ADDRESS_BITS: u32 = 48;
const ADDRESS_MASK: usize = (1 << ADDRESS_BITS) - 1;

/// The entry of threads for which there was no memory, or that are past their end. Nothing is remembered in it.
static NOBODY: Entry = Entry::new();

/// Locks of the module; see `invariant 3` for `READING`.
static READING: Lock<()> = Lock::new(());
static SNAPSHOT: AtomicBool = AtomicBool::new(false);
static STORE: Lock<Store> = Lock::new(Store {
    free: None,
    fresh: 0,
    mapped: 0,
});
static CHUNK_TABLE: [AtomicPtr<Entry>; CHUNKS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// Entries that were ever given out.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Free entries.
struct Store {
    free: Option<&'static Entry>,
    fresh: usize,
    mapped: usize,
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            task: AtomicPtr::new(ptr::null_mut()),
            object: AtomicUsize::new(0),
            site: AtomicPtr::new(ptr::null_mut()),
            wait: AtomicU64::new(0),
            held: AtomicPtr::new(ptr::null_mut()),
            held_len: AtomicU32::new(0),
            locks: AtomicU8::new(0),
            next_free: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The address, which is the identity of the thread as long as it lives.
    #[inline(always)]
    #[must_use]
    pub fn address(&self) -> usize {
        ptr::from_ref(self).expose_provenance()
    }

    #[inline]
    pub(crate) fn is_nobody(&self) -> bool {
        ptr::eq(self, &raw const NOBODY)
    }

    /// By the thread itself: it is going to wait.
    #[inline(always)]
    pub(crate) fn begin_wait(&self, wait: &Wait, timed: bool, now_ms: u64) {
        // ORDER: Relaxed: this thread is the only writer.
        let epoch = (self.wait.load(Ordering::Relaxed) >> EPOCH_SHIFT) as u16;
        let word = u64::from(wait.reason as u8) & REASON_MASK
            | if timed { TIMED } else { 0 }
            | u64::from(epoch.wrapping_add(1)) << EPOCH_SHIFT
            | now_ms << SINCE_SHIFT;
        // ORDER: Release: who sees the new object sees that the wait before has ended; pairs with the Acquire loads in
        // `wait_record`.
        fence(Ordering::Release);
        // ORDER: Relaxed: published by the Release below.
        self.object.store(wait.object, Ordering::Relaxed);
        let site = wait.site.map_or(ptr::null(), ptr::from_ref);
        // ORDER: Relaxed: as above.
        self.site.store(site.cast_mut(), Ordering::Relaxed);
        // ORDER: Release: pairs with the Acquire in `wait_record`: object and site are those of this wait or later ones.
        self.wait.store(word, Ordering::Release);
    }

    /// By the thread itself: it waits no longer.
    #[inline(always)]
    pub(crate) fn end_wait(&self) {
        // ORDER: Relaxed: this thread is the only writer.
        let word = self.wait.load(Ordering::Relaxed);
        // ORDER: Release: what the thread did while it waited comes before.
        self.wait.store(word & !REASON_MASK, Ordering::Release);
    }

    /// By the carrier that parks the thread, before anybody may wake it: it waits since `now_ms`.
    pub(crate) fn restamp(&self, now_ms: u64) {
        // ORDER: Relaxed: the thread is in the caller's hands.
        let word = self.wait.load(Ordering::Relaxed);
        if word & REASON_MASK != 0 {
            let since = word & ((1 << SINCE_SHIFT) - 1) | now_ms << SINCE_SHIFT;
            // ORDER: Release: as in `begin_wait`.
            self.wait.store(since, Ordering::Release);
        }
    }

    /// What the thread waits for; none while it does not wait.
    #[must_use]
    pub fn wait_record(&self) -> Option<WaitRecord> {
        loop {
            // ORDER: Acquire: pairs with the Release stores of the writer.
            let word = self.wait.load(Ordering::Acquire);
            let reason = WaitReason::from_u8((word & REASON_MASK) as u8);
            if reason == WaitReason::None {
                return None;
            }
            // ORDER: Acquire: the second look at the word comes after these.
            let object = self.object.load(Ordering::Acquire);
            // ORDER: Acquire: as above.
            let site = self.site.load(Ordering::Acquire);
            // ORDER: Relaxed: ordered after the loads above by their Acquire.
            let again = self.wait.load(Ordering::Relaxed);
            let mask = (1 << SINCE_SHIFT) - 1;
            if again & mask == word & mask {
                return Some(WaitRecord {
                    wait: Wait {
                        reason,
                        object,
                        // SAFETY: only references to constants are stored, or null.
                        site: unsafe { site.as_ref() },
                    },
                    timed: word & TIMED != 0,
                    since_ms: again >> SINCE_SHIFT,
                    epoch: (word >> EPOCH_SHIFT) as u16,
                });
            }
        }
    }

    /// Whether the thread waits for something. Of others, a guess.
    #[inline(always)]
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        // ORDER: Relaxed: a guess.
        self.wait.load(Ordering::Relaxed) & REASON_MASK != 0
    }

    /// By the thread itself: counts a lock that it is going to take. True once in 256 times: it is to call
    /// `checkpoint_rarely`, because a thread that takes free locks all the time never parks.
    #[inline(always)]
    #[must_use]
    pub fn count_lock(&self) -> bool {
        // ORDER: Relaxed: this thread is the only writer.
        let locks = self.locks.load(Ordering::Relaxed).wrapping_add(1);
        // ORDER: Relaxed: as above.
        self.locks.store(locks, Ordering::Relaxed);
        locks == 0
    }

    /// By the thread itself: it has taken a lock.
    #[inline(always)]
    pub fn lock_taken(&self, tag: &LockTag, mode: Mode, site: &'static Location<'static>) {
        // ORDER: Relaxed: this thread is the only writer.
        let len = self.held_len.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        let block = self.held.load(Ordering::Relaxed);
        // SAFETY: blocks are never freed.
        match unsafe { block.as_ref() } {
            Some(block) if (len as usize) < BLOCK_SLOTS => {
                block.slots[len as usize].set(tag, mode, site);
                // ORDER: Release: pairs with the Acquire in `for_each_held`.
                self.held_len.store(len + 1, Ordering::Release);
            }
            _ => self.lock_taken_slow(tag, mode, site),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_taken_slow(&self, tag: &LockTag, mode: Mode, site: &'static Location<'static>) {
        if self.is_nobody() {
            return;
        }
        // ORDER: Relaxed: this thread is the only writer.
        let len = self.held_len.load(Ordering::Relaxed);
        let mut link = &self.held;
        for _ in 0..len as usize / BLOCK_SLOTS {
            // SAFETY: so many locks are held, so the blocks exist; they are never freed.
            link = unsafe { &(*link.load(Ordering::Relaxed)).next }; // ORDER: Relaxed: as above.
        }
        // ORDER: Relaxed: as above.
        if link.load(Ordering::Relaxed).is_null() {
            let Some(block) = new_block() else {
                return; // the release finds nothing, and does nothing
            };
            // ORDER: Release: pairs with the Acquire in `for_each_held`; the block is zeroed.
            link.store(block.as_ptr(), Ordering::Release);
        }
        // SAFETY: just seen or stored; never freed.
        let block = unsafe { &*link.load(Ordering::Relaxed) }; // ORDER: Relaxed: as above.
        block.slots[len as usize % BLOCK_SLOTS].set(tag, mode, site);
        // ORDER: Release: as in `lock_taken`.
        self.held_len.store(len + 1, Ordering::Release);
    }

    /// By the thread itself: it gives a lock back.
    #[inline(always)]
    pub fn lock_released(&self, tag: &LockTag, mode: Mode) {
        // ORDER: Relaxed: this thread is the only writer.
        let len = self.held_len.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        let block = self.held.load(Ordering::Relaxed);
        // SAFETY: blocks are never freed.
        if let Some(block) = unsafe { block.as_ref() }
            && let Some(slot) = block.slots.get((len as usize).wrapping_sub(1))
            && slot.is(tag, mode)
        {
            // ORDER: Release: what stands above the new length no longer counts.
            self.held_len.store(len - 1, Ordering::Release);
            return;
        }
        self.lock_released_slow(tag, mode);
    }

    #[cold]
    #[inline(never)]
    fn lock_released_slow(&self, tag: &LockTag, mode: Mode) {
        // ORDER: Relaxed: this thread is the only writer.
        let len = self.held_len.load(Ordering::Relaxed) as usize;
        let Some(found) = (0..len)
            .rev()
            .find(|&index| self.slot(index).is_some_and(|slot| slot.is(tag, mode)))
        else {
            return; // taken where there was no memory to remember it
        };
        for index in found + 1..len {
            if let (Some(to), Some(from)) = (self.slot(index - 1), self.slot(index)) {
                to.copy(from);
            }
        }
        // ORDER: Release: as in `lock_released`.
        self.held_len.store(len as u32 - 1, Ordering::Release);
    }

    #[inline]
    fn slot(&self, index: usize) -> Option<&HeldSlot> {
        // ORDER: Acquire: pairs with the Release that made the block known.
        let mut block = self.held.load(Ordering::Acquire);
        for _ in 0..index / BLOCK_SLOTS {
            // SAFETY: blocks are never freed.
            block = unsafe { block.as_ref() }?.next.load(Ordering::Acquire); // ORDER: Acquire: as above.
        }
        // SAFETY: blocks are never freed.
        Some(unsafe { &block.as_ref()?.slots[index % BLOCK_SLOTS] })
    }

    /// Whether the thread holds a lock. By the thread itself, or of one that is stopped.
    #[inline(always)]
    #[must_use]
    pub fn holds_any(&self) -> bool {
        // ORDER: Acquire: pairs with the writer's Release.
        self.held_len.load(Ordering::Acquire) != 0
    }

    /// Calls `f` with each lock that the thread holds, oldest first. Exact for the thread itself and for one that is
    /// stopped; of others, a guess.
    #[inline]
    pub fn for_each_held(&self, mut f: impl FnMut(HeldLock)) {
        // ORDER: Acquire: pairs with the writer's Release.
        let len = self.held_len.load(Ordering::Acquire) as usize;
        for index in 0..len {
            if let Some(held) = self.slot(index).and_then(HeldSlot::get) {
                f(held);
            }
        }
    }

    /// The record of the thread, which may be freed at any moment unless the caller knows better.
    pub(crate) fn task(&self) -> *mut () {
        // ORDER: Acquire: pairs with `bind`.
        self.task.load(Ordering::Acquire)
    }

    /// By who starts the thread: `task` is its record.
    #[inline(always)]
    pub(crate) fn bind(&self, task: *mut ()) {
        if !self.is_nobody() {
            // ORDER: Release: pairs with the Acquire in `task`.
            self.task.store(task, Ordering::Release);
        }
    }

    /// By who ends the thread, before the record may be freed (invariant 3).
    #[inline(always)]
    pub(crate) fn unbind(&self) {
        // ORDER: Relaxed: the fence below orders it.
        self.task.store(ptr::null_mut(), Ordering::Relaxed);
        fence_light();
        // ORDER: Relaxed: the other side of invariant 3.
        if SNAPSHOT.load(Ordering::Relaxed) {
            drop(READING.lock());
        }
    }

    /// As [`Entry::unbind`], if the entry still belongs to `task`.
    pub(crate) fn unbind_from(&self, task: *mut ()) {
        // ORDER: Relaxed: a comparison; `unbind` orders what follows.
        if self.task.load(Ordering::Relaxed) == task {
            self.unbind();
        }
    }

    /// May the entry be used for another thread (invariant 1)?
    #[inline(always)]
    pub(crate) fn is_reusable(&self) -> bool {
        // ORDER: Relaxed: the thread has ended.
        self.held_len.load(Ordering::Relaxed) == 0 && !self.is_nobody()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("wait", &self.wait_record())
            .finish_non_exhaustive()
    }
}

impl HeldSlot {
    #[inline(always)]
    fn word(tag: &LockTag, mode: Mode) -> usize {
        tag.address() | mode as usize | usize::from(tag.rank()) << ADDRESS_BITS
    }

    #[inline(always)]
    fn set(&self, tag: &LockTag, mode: Mode, site: &'static Location<'static>) {
        let class = (tag.class() as usize) << ADDRESS_BITS;
        let site = ptr::from_ref(site).map_addr(|address| address | class);
        // ORDER: Relaxed: published by the length.
        self.tag.store(HeldSlot::word(tag, mode), Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.site.store(site.cast_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn is(&self, tag: &LockTag, mode: Mode) -> bool {
        // ORDER: Relaxed: asked by the writer.
        self.tag.load(Ordering::Relaxed) == HeldSlot::word(tag, mode)
    }

    fn copy(&self, from: &HeldSlot) {
        // ORDER: Relaxed: this thread is the only writer; others guess meanwhile.
        self.tag
            .store(from.tag.load(Ordering::Relaxed), Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.site
            .store(from.site.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> Option<HeldLock> {
        // ORDER: Relaxed: published by the length.
        let tag = self.tag.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        let site = self.site.load(Ordering::Relaxed);
        // SAFETY: without the class, only references to constants are stored, or null.
        let at = unsafe { site.map_addr(|address| address & ADDRESS_MASK).as_ref() }?;
        let mode = if tag & 1 == 0 {
            Mode::Exclusive
        } else {
            Mode::Shared
        };
        Some(HeldLock {
            address: tag & ADDRESS_MASK & !1,
            mode,
            site: at,
            class: (site.addr() >> ADDRESS_BITS) as u16,
            rank: (tag >> ADDRESS_BITS) as u16,
        })
    }
}

/// The entry in which nothing is remembered.
pub(crate) fn nobody() -> &'static Entry {
    &NOBODY
}

/// Puts `count` free entries where the caller keeps them; fewer when there is no memory.
#[cold]
pub(crate) fn fetch(count: usize, into: &mut Vec<&'static Entry>) {
    let mut store = STORE.lock();
    into.extend(std::iter::from_fn(|| store.take()).take(count));
}

/// One free entry, or [`nobody`].
pub(crate) fn fetch_one() -> &'static Entry {
    STORE.lock().take().unwrap_or(nobody())
}

/// Gives entries back that were never bound, or that are unbound and reusable.
pub(crate) fn give_back(entries: impl Iterator<Item = &'static Entry>) {
    let mut store = STORE.lock();
    for entry in entries {
        store.put(entry);
    }
}

impl Store {
    fn take(&mut self) -> Option<&'static Entry> {
        if let Some(entry) = self.free {
            // SAFETY: only entries that were given back are in the list; they live for ever.
            // ORDER: Relaxed: under the lock.
            self.free = unsafe { entry.next_free.load(Ordering::Relaxed).as_ref() };
            return Some(entry);
        }
        if self.fresh == self.mapped && !self.map_more() {
            return None;
        }
        let entry = entry_at(self.fresh);
        self.fresh += 1;
        // ORDER: Release: pairs with the Acquire in `for_each_task`.
        USED.store(self.fresh, Ordering::Release);
        entry
    }

    fn put(&mut self, entry: &'static Entry) {
        let next = self.free.map_or(ptr::null(), ptr::from_ref);
        // ORDER: Relaxed: under the lock.
        entry.next_free.store(next.cast_mut(), Ordering::Relaxed);
        self.free = Some(entry);
    }

    fn map_more(&mut self) -> bool {
        let (chunk, _) = locate(self.mapped);
        let count = FIRST_CHUNK << chunk;
        if chunk == CHUNKS {
            return false;
        }
        let Some(memory) = map_zeroed(count * size_of::<Entry>()) else {
            return false;
        };
        // ORDER: Release: pairs with the Acquire in `entry_at`. Zeroes are free entries.
        CHUNK_TABLE[chunk].store(memory.as_ptr().cast(), Ordering::Release);
        self.mapped += count;
        true
    }
}

/// The chunk and the place in it of the entry with this number: chunk k holds `FIRST_CHUNK << k` entries.
fn locate(number: usize) -> (usize, usize) {
    let scaled = number / FIRST_CHUNK + 1;
    let chunk = scaled.ilog2() as usize;
    (chunk, number - FIRST_CHUNK * ((1 << chunk) - 1))
}

fn entry_at(number: usize) -> Option<&'static Entry> {
    let (chunk, place) = locate(number);
    // ORDER: Acquire: pairs with the Release in `map_more`.
    let memory = CHUNK_TABLE[chunk].load(Ordering::Acquire);
    // SAFETY: a chunk that is mapped has that many entries, all zero at first, which is a valid entry, and is never
    // unmapped.
    unsafe { memory.add(place).as_ref() }.filter(|_| !memory.is_null())
}

/// Memory for held locks: what is left of the last page, from a place on.
static REST: Lock<(usize, usize)> = Lock::new((0, 0));

/// Memory for held locks. Never given back; an entry keeps its blocks.
fn new_block() -> Option<NonNull<HeldBlock>> {
    const PAGE: usize = 64 * 1024;
    let mut rest = REST.lock();
    if rest.1 < size_of::<HeldBlock>() {
        *rest = (map_zeroed(PAGE)?.as_ptr().expose_provenance(), PAGE);
    }
    let block = ptr::with_exposed_provenance_mut(rest.0);
    rest.0 += size_of::<HeldBlock>();
    rest.1 -= size_of::<HeldBlock>();
    NonNull::new(block)
}

/// Calls `f` with the record of each thread that has one, under invariant 3: `f` must be short, and neither allocate nor
/// end a thread. `between` is called again and again in between, and may do both.
pub(crate) fn for_each_task(mut f: impl FnMut(*mut ()), mut between: impl FnMut()) {
    // ORDER: Acquire: pairs with the Release in `take`.
    let used = USED.load(Ordering::Acquire);
    for first in (0..used).step_by(READ_BATCH) {
        {
            let _reading = READING.lock();
            // ORDER: Relaxed: the fence below orders it.
            SNAPSHOT.store(true, Ordering::Relaxed);
            fence_heavy();
            for number in first..used.min(first + READ_BATCH) {
                let task = entry_at(number).map_or(ptr::null_mut(), Entry::task);
                if !task.is_null() {
                    f(task);
                }
            }
            // ORDER: Relaxed: who still sees it set waits for the lock in vain, no more.
            SNAPSHOT.store(false, Ordering::Relaxed);
        }
        between();
    }
}

/// Calls `f` with the record of the thread whose entry is at this address, if there is one, as [`for_each_task`].
pub(crate) fn with_task_of(address: usize, f: impl FnOnce(NonNull<()>)) {
    let _reading = READING.lock();
    // ORDER: Relaxed: the fence below orders it.
    SNAPSHOT.store(true, Ordering::Relaxed);
    fence_heavy();
    // SAFETY: the caller has the address from a wait record, which names entries; they live for ever.
    let entry = unsafe { &*ptr::with_exposed_provenance::<Entry>(address) };
    if let Some(task) = NonNull::new(entry.task()) {
        f(task);
    }
    // ORDER: Relaxed: as in `for_each_task`.
    SNAPSHOT.store(false, Ordering::Relaxed);
}

/// Calls `f` with each entry that was ever used.
pub(crate) fn for_each_entry(mut f: impl FnMut(&'static Entry)) {
    // ORDER: Acquire: pairs with the Release in `take`.
    let used = USED.load(Ordering::Acquire);
    (0..used).filter_map(entry_at).for_each(&mut f);
}

/// Where the entries and their fields are, for readers outside the process.
pub(crate) const fn describe(words: Words) -> Words {
    words
        .address(Word::ChunkTable, &raw const CHUNK_TABLE)
        .number(Word::Chunks, CHUNKS)
        .number(Word::FirstChunk, FIRST_CHUNK)
        .address(Word::Used, &raw const USED)
        .number(Word::EntrySize, size_of::<Entry>())
        .number(Word::EntryTask, offset_of!(Entry, task))
        .number(Word::EntryObject, offset_of!(Entry, object))
        .number(Word::EntrySite, offset_of!(Entry, site))
        .number(Word::EntryWait, offset_of!(Entry, wait))
}

/// Milliseconds of the cheap clock; see "Time" in the module.
#[inline(always)]
pub(crate) fn cheap_now_ms() -> u64 {
    coarse_ms()
}

/// Milliseconds of the real clock.
pub(crate) fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Before a fork: no thread of the child is in the middle of something.
pub(crate) fn lock_for_fork() {
    READING.acquire();
    STORE.acquire();
    REST.acquire();
}

/// After a fork, in the parent.
///
/// # Safety
///
/// The caller has called [`lock_for_fork`].
pub(crate) unsafe fn unlock_after_fork() {
    // SAFETY: the caller's contract.
    unsafe {
        REST.release();
        STORE.release();
        READING.release();
    }
}

/// After a fork, in the child: `mine` is the entry of the only thread there is.
///
/// # Safety
///
/// As [`unlock_after_fork`].
pub(crate) unsafe fn unlock_in_child(mine: *const Entry) {
    // SAFETY: the caller's contract.
    unsafe { unlock_after_fork() };
    for_each_entry(|entry| {
        if !ptr::eq(entry, mine) {
            // ORDER: Relaxed: one thread exists.
            entry.task.store(ptr::null_mut(), Ordering::Relaxed);
        }
    });
}
