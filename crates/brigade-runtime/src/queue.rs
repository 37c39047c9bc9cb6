//! Run queues: the ring of a processor, its `run_next` slot, and lists of tasks.
//!
//! # The ring
//!
//! A bounded single-producer, multi-consumer ring (the shape of Go's `runq`, proc.go `runqput`/`runqgrab`).
//! The owner pushes at `tail`; owner and thieves take at `head` by compare-exchange.
//!
//! Invariants:
//! 1. Only the owner writes `tail` and the cells `[tail, head + RING_SLOTS)`.
//! 2. A cell is read before the compare-exchange that takes it; the value counts only if the exchange
//!    succeeds. `head` only grows (modulo 2^32), and a thief that slept through 2^32 takes between its load
//!    and its exchange is not defended against.
//! 3. A task that leaves the ring was pushed before: `tail` is stored with Release and read with Acquire.
//!
//! # `run_next`
//!
//! The thread that the running thread woke last runs next, before the ring, so that two threads that talk to
//! each other stay on one processor with a warm cache. Thieves leave it alone while the owner makes progress.
//!
//! # Waking
//!
//! [`LocalQueue::push`] and [`LocalQueue::push_next`] end with a sequentially consistent store, so that a
//! pusher that then looks for idle carriers (`idle.rs`) and a carrier that goes idle and then looks into the
//! queues cannot miss each other.

use std::marker::PhantomData;
use std::ptr;

use crate::prim::{AtomicPtr, AtomicU32, Ordering, RING_SLOTS};

/// Something that can be queued: it holds the link to the next one of a list.
///
/// # Safety
///
/// The link of an element must be used by no one else while the element is in a [`List`].
pub(crate) unsafe trait Link {
    /// The element after `this`.
    unsafe fn next(this: *mut Self) -> *mut Self;
    /// Makes `next` the element after `this`.
    unsafe fn set_next(this: *mut Self, next: *mut Self);
}

/// A first-in, first-out list through the elements' own links.
pub(crate) struct List<T: Link> {
    first: *mut T,
    last: *mut T,
    len: usize,
    marker: PhantomData<*mut T>,
}

// SAFETY: a list is a set of raw pointers; those who take them out answer for their use.
unsafe impl<T: Link> Send for List<T> {}

impl<T: Link> Default for List<T> {
    fn default() -> List<T> {
        List::new()
    }
}

impl<T: Link> List<T> {
    pub(crate) const fn new() -> List<T> {
        List {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            len: 0,
            marker: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends `item`, whose link must be free.
    pub(crate) fn push(&mut self, item: *mut T) {
        // SAFETY: the caller hands the element over; its link is ours until it is popped.
        unsafe { T::set_next(item, ptr::null_mut()) };
        if self.last.is_null() {
            self.first = item;
        } else {
            // SAFETY: `last` is in the list, so its link is ours.
            unsafe { T::set_next(self.last, item) };
        }
        self.last = item;
        self.len += 1;
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: List<T>) {
        if other.first.is_null() {
            return;
        }
        if self.last.is_null() {
            self.first = other.first;
        } else {
            // SAFETY: `last` is in the list, so its link is ours.
            unsafe { T::set_next(self.last, other.first) };
        }
        self.last = other.last;
        self.len += other.len;
    }

    /// Takes the first element, or null.
    pub(crate) fn pop(&mut self) -> *mut T {
        let item = self.first;
        if !item.is_null() {
            // SAFETY: `first` is in the list, so its link is ours.
            self.first = unsafe { T::next(item) };
            if self.first.is_null() {
                self.last = ptr::null_mut();
            }
            self.len -= 1;
        }
        item
    }
}

/// The run queue of a processor; see the module.
pub(crate) struct LocalQueue<T> {
    head: AtomicU32,
    tail: AtomicU32,
    next: AtomicPtr<T>,
    ring: Box<[AtomicPtr<T>]>,
}

// SAFETY: the queue hands raw pointers from one thread to another; those who take them out answer for their
// use. All shared state is atomic.
unsafe impl<T> Sync for LocalQueue<T> {}
// SAFETY: as for `Sync`.
unsafe impl<T> Send for LocalQueue<T> {}

const MASK: u32 = RING_SLOTS as u32 - 1;
const _: () = assert!(RING_SLOTS.is_power_of_two());

impl<T: Link> LocalQueue<T> {
    pub(crate) fn new() -> LocalQueue<T> {
        LocalQueue {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            ring: (0..RING_SLOTS)
                .map(|_| AtomicPtr::new(ptr::null_mut()))
                .collect(),
        }
    }

    #[inline(always)]
    fn cell(&self, index: u32) -> &AtomicPtr<T> {
        // SAFETY: the mask keeps the index below RING_SLOTS, the length of the ring.
        unsafe { self.ring.get_unchecked((index & MASK) as usize) }
    }

    /// By the owner: makes `item` the next to run. Returns what was there before, which the caller must push.
    #[inline(always)]
    #[must_use]
    pub(crate) fn push_next(&self, item: *mut T) -> *mut T {
        // ORDER: SeqCst: Release publishes the item to the thief that takes it, Acquire takes over what a
        // thief published; the total order is for the look at the idle carriers that follows (see "Waking").
        self.next.swap(item, Ordering::SeqCst)
    }

    /// By the owner: takes what runs next, or null.
    #[inline(always)]
    pub(crate) fn pop_next(&self) -> *mut T {
        // ORDER: Relaxed: only decides whether the swap is worth it.
        if self.next.load(Ordering::Relaxed).is_null() {
            return ptr::null_mut();
        }
        // ORDER: Acquire: the item may have been put here before this carrier got the processor.
        self.next.swap(ptr::null_mut(), Ordering::Acquire)
    }

    /// By the owner: appends `item`. When the ring is full, half of it and `item` go to `overflow`.
    #[inline(always)]
    pub(crate) fn push(&self, item: *mut T, overflow: &mut dyn FnMut(List<T>)) {
        // ORDER: Acquire: the cells that thieves took are free for writing only after their reads.
        let head = self.head.load(Ordering::Acquire);
        // ORDER: Relaxed: only the owner writes `tail`.
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) < RING_SLOTS as u32 {
            // ORDER: Relaxed: published by the store to `tail`.
            self.cell(tail).store(item, Ordering::Relaxed);
            // ORDER: SeqCst: Release pairs with the Acquire of thieves (invariant 3); the total order is for
            // the look at the idle carriers that follows (see "Waking").
            self.tail.store(tail.wrapping_add(1), Ordering::SeqCst);
            return;
        }
        self.push_slow(item, overflow);
    }

    /// By the owner: appends `item` without being seen by a carrier that is just going idle: only for an
    /// item that leaves nobody waiting, like a thread that yields.
    #[inline(always)]
    pub(crate) fn push_quiet(&self, item: *mut T, overflow: &mut dyn FnMut(List<T>)) {
        // ORDER: Acquire: as in `push`.
        let head = self.head.load(Ordering::Acquire);
        // ORDER: Relaxed: only the owner writes `tail`.
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) < RING_SLOTS as u32 {
            // ORDER: Relaxed: published by the store to `tail`.
            self.cell(tail).store(item, Ordering::Relaxed);
            // ORDER: Release: pairs with the Acquire of thieves (invariant 3).
            self.tail.store(tail.wrapping_add(1), Ordering::Release);
            return;
        }
        self.push_slow(item, overflow);
    }

    #[cold]
    #[inline(never)]
    fn push_slow(&self, item: *mut T, overflow: &mut dyn FnMut(List<T>)) {
        let mut list = List::new();
        for _ in 0..RING_SLOTS / 2 {
            let taken = self.pop();
            if taken.is_null() {
                break;
            }
            list.push(taken);
        }
        list.push(item);
        overflow(list);
    }

    /// By the owner: takes the first of the ring, or null.
    #[inline(always)]
    pub(crate) fn pop(&self) -> *mut T {
        loop {
            // ORDER: Relaxed: the exchange below checks it.
            let head = self.head.load(Ordering::Relaxed);
            // ORDER: Relaxed: only the owner writes `tail`.
            if head == self.tail.load(Ordering::Relaxed) {
                return ptr::null_mut();
            }
            // ORDER: Relaxed: the owner wrote the cell itself, or got the processor with it.
            let item = self.cell(head).load(Ordering::Relaxed);
            if self.advance(head, 1) {
                return item;
            }
        }
    }

    #[inline(always)]
    fn advance(&self, head: u32, by: u32) -> bool {
        let to = head.wrapping_add(by);
        // ORDER: Release on success: orders our reads of the cells before the owner's later writes to them
        // (its Acquire load of `head`). Relaxed on failure: nothing was taken.
        self.head
            .compare_exchange(head, to, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// True when ring and `run_next` were empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ring_is_empty() && self.next_item().is_null()
    }

    /// True when the ring was empty.
    #[inline(always)]
    pub(crate) fn ring_is_empty(&self) -> bool {
        // ORDER: SeqCst: the total order with the pusher's store and the idle count (see "Waking").
        let tail = self.tail.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above; a stale head only makes the queue look fuller.
        self.head.load(Ordering::SeqCst) == tail
    }

    /// How much was pushed to the ring so far, modulo 2^32.
    #[cfg(not(loom))]
    pub(crate) fn pushes(&self) -> u32 {
        // ORDER: Relaxed: a statistic.
        self.tail.load(Ordering::Relaxed)
    }

    /// What runs next, for a thief that wants to see whether the owner makes progress.
    pub(crate) fn next_item(&self) -> *mut T {
        // ORDER: SeqCst: the total order with `push_next` and the idle count (see "Waking").
        self.next.load(Ordering::SeqCst)
    }

    /// By a thief: takes half of the ring into the thief's own, empty-enough ring `into`. Returns one of the
    /// taken tasks to run, or null, and how many were taken.
    pub(crate) fn steal_into(&self, into: &LocalQueue<T>) -> (*mut T, u32) {
        loop {
            // ORDER: Acquire: the tail read next is at least as new as this head.
            let head = self.head.load(Ordering::Acquire);
            // ORDER: Acquire: pairs with the store in `push` (invariant 3).
            let tail = self.tail.load(Ordering::Acquire);
            let available = tail.wrapping_sub(head);
            let wanted = available - available / 2;
            if wanted == 0 {
                return (ptr::null_mut(), 0);
            }
            if wanted > RING_SLOTS as u32 / 2 {
                continue; // head and tail belong to different moments
            }
            // ORDER: Relaxed: only the owner of `into`, the caller, writes its tail.
            let own_tail = into.tail.load(Ordering::Relaxed);
            // ORDER: Acquire: as in `push`, for the cells about to be written.
            let own_head = into.head.load(Ordering::Acquire);
            let room = RING_SLOTS as u32 - own_tail.wrapping_sub(own_head);
            let count = wanted.min(room + 1);
            for index in 1..count {
                // ORDER: Relaxed: invariant 2; the values count only if the exchange succeeds.
                let item = self.cell(head.wrapping_add(index)).load(Ordering::Relaxed);
                // ORDER: Relaxed: published by the store to `into.tail`.
                into.cell(own_tail.wrapping_add(index - 1))
                    .store(item, Ordering::Relaxed);
            }
            // ORDER: Relaxed: invariant 2.
            let first = self.cell(head).load(Ordering::Relaxed);
            if self.advance(head, count) {
                // ORDER: Release: pairs with the Acquire of other thieves (invariant 3).
                into.tail
                    .store(own_tail.wrapping_add(count - 1), Ordering::Release);
                return (first, count);
            }
        }
    }

    /// By a thief: takes what runs next, if it is still `expected`.
    pub(crate) fn steal_next(&self, expected: *mut T) -> *mut T {
        // ORDER: Acquire on success: pairs with the swap in `push_next`. Relaxed on failure: nothing taken.
        let taken = self.next.compare_exchange(
            expected,
            ptr::null_mut(),
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        taken.unwrap_or(ptr::null_mut())
    }
}
