//! A channel with room for a fixed number of messages: a ring of slots with stamps.
//!
//! The ring is Dmitry Vyukov's bounded queue for many producers and consumers
//! (<https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue>). New are the two stamps of a
//! select, which claims a slot long before it writes or reads it, and may not do it at all.
//!
//! # Positions and stamps
//!
//! A position is a lap and an index, above two bits that are 0: the index is multiplied by 4, a lap by the next power
//! of two above all indices. In `tail` the lowest bit says that the channel is disconnected. The stamp of a slot is
//!
//! | stamp | the slot | who changes it |
//! |---|---|---|
//! | `pos` | is free for the message at `pos`, or that is being written | the sender at `pos` |
//! | `pos + FULL` | holds the message at `pos`, or that is being read | the receiver at `pos` |
//! | `pos + LATE` | is claimed by a select, which has not yet written or read the message at `pos` | the select |
//! | `pos + VOID` | holds nothing: the select that claimed it for the message at `pos` gave up | who skips it |
//!
//! After `pos` comes `pos + lap`.
//!
//! # Invariants
//!
//! 1. A slot belongs to who moved `tail` (for writing) or `head` (for reading) over its position, until he stores the
//!    next stamp. So each message is written once and read once.
//! 2. Between `tail`'s move and the store of the stamp a plain operation runs nothing foreign, and others spin. What a
//!    select has claimed may take for ever; others see `LATE`, take the channel for full or empty, and park.
//! 3. *Wakes.* A sender moves `tail` and then looks for waiting receivers; a receiver that is in the list looks at
//!    `tail` then. A select stores the stamp with sequential consistency before it looks, and a waiter that saw `LATE`
//!    looks at the stamp again. Since wakes of the messages behind a `LATE` slot may have been spent on receivers that
//!    parked again, the select wakes as many as there are messages.
//! 4. `tail` does not change once it says disconnected.

use core::mem::MaybeUninit;

use super::backoff::Backoff;
use super::counter::Channel;
use super::prim::{AtomicUsize, Ordering, Place, Wait, fence, is_past, total_order};
use super::waiter::Waiters;

const CLOSED: usize = 1;
const FULL: usize = 1;
const LATE: usize = 2;
const VOID: usize = 3;
const TAGS: usize = 3;
const STEP: usize = 4;

/// The largest capacity.
const MAX_CAPACITY: usize = usize::MAX / 64;

struct Slot<T> {
    stamp: AtomicUsize,
    message: Place<MaybeUninit<T>>,
}

/// Keeps what is before it and what is behind it on different cache lines, wherever the channel lies.
struct Gap<const BYTES: usize>([MaybeUninit<u8>; BYTES]);

impl<const BYTES: usize> Gap<BYTES> {
    const fn new() -> Gap<BYTES> {
        Gap([MaybeUninit::uninit(); BYTES])
    }
}

/// A channel with a ring; see the module. Senders write `tail` and look for receivers, receivers write `head` and look
/// for senders, and all read the rest: three places 64 bytes apart. Whole lines for each would take more than a small
/// channel may.
#[repr(C)]
pub(super) struct Array<T> {
    head: AtomicUsize,
    pub(super) senders: Waiters,
    _behind_head: Gap<24>,
    slots: Box<[Slot<T>]>,
    lap: usize,
    _before_tail: Gap<40>,
    tail: AtomicUsize,
    pub(super) receivers: Waiters,
}

// SAFETY: messages go from one thread to another, and are never shared (invariant 1).
unsafe impl<T: Send> Send for Array<T> {}
// SAFETY: as for `Send`: a shared channel gives away messages, and never references to them.
unsafe impl<T: Send> Sync for Array<T> {}

/// A slot that belongs to the holder (invariant 1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim(usize);

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No room, or no message.
    NotReady,
    /// The other side is gone; for a receiver, and nothing is left.
    Disconnected,
}

impl<T> Array<T> {
    /// A ring of `capacity` slots, at least one.
    ///
    /// # Panics
    ///
    /// If the capacity is too large for positions.
    pub(super) fn new(capacity: usize) -> Array<T> {
        assert!(
            (1..=MAX_CAPACITY).contains(&capacity),
            "brigade: a bounded channel for {capacity} messages: the most is {MAX_CAPACITY}"
        );
        let slots = (0..capacity)
            .map(|index| Slot {
                stamp: AtomicUsize::new(index * STEP),
                message: Place::new(MaybeUninit::uninit()),
            })
            .collect();
        Array {
            head: AtomicUsize::new(0),
            senders: Waiters::new(),
            _behind_head: Gap::new(),
            slots,
            lap: (capacity * STEP).next_power_of_two(),
            _before_tail: Gap::new(),
            tail: AtomicUsize::new(0),
            receivers: Waiters::new(),
        }
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        let index = (position & (self.lap - 1)) / STEP;
        debug_assert!(index < self.slots.len());
        // SAFETY: positions are made by `next` alone, which keeps the index below the capacity.
        unsafe { self.slots.get_unchecked(index) }
    }

    #[inline(always)]
    fn next(&self, position: usize) -> usize {
        let index = (position & (self.lap - 1)) / STEP;
        if index + 1 < self.slots.len() {
            position + STEP
        } else {
            (position & !(self.lap - 1)).wrapping_add(self.lap)
        }
    }

    /// Claims the slot for the next message.
    #[inline]
    pub(super) fn claim_to_send(&self) -> Result<Claim, Refused> {
        let mut backoff = Backoff::new();
        // ORDER: Relaxed: a stale position fails the exchange, or does not fit the stamp.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(Refused::Disconnected);
            }
            // ORDER: Acquire: pairs with the Release store of who read the last message of the slot.
            let stamp = self.slot(tail).stamp.load(Ordering::Acquire);
            if stamp == tail {
                // ORDER: SeqCst on success: before the look for waiting receivers (invariant 3). Relaxed: as above.
                match self.tail.compare_exchange_weak(
                    tail,
                    self.next(tail),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Ok(Claim(tail)),
                    Err(newer) => tail = newer,
                }
                backoff.lost();
                continue;
            }
            if (stamp & !TAGS).wrapping_add(self.lap) == tail {
                // ORDER: SeqCst: the head that is read next is not older than the tail that was read.
                fence(Ordering::SeqCst);
                // ORDER: Relaxed: ordered by the fence.
                let head = self.head.load(Ordering::Relaxed);
                if stamp & TAGS == LATE || head.wrapping_add(self.lap) == tail {
                    return Err(Refused::NotReady);
                }
                backoff.unfinished();
            } else {
                backoff.lost();
            }
            // ORDER: Relaxed: as above.
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    /// Writes the message of a claimed slot.
    ///
    /// # Safety
    ///
    /// The claim is one to send, not yet used, and not shown to others as late.
    #[inline(always)]
    pub(super) unsafe fn write(&self, claim: Claim, message: T) {
        let slot = self.slot(claim.0);
        // SAFETY: the slot is ours and holds no message (invariant 1).
        slot.message
            .with(|place| unsafe { (*place).write(message) });
        // ORDER: Release: publishes the message to the receiver's load of the stamp.
        slot.stamp.store(claim.0 | FULL, Ordering::Release);
        self.receivers.wake_one();
    }

    /// Claims the oldest message.
    #[inline]
    pub(super) fn claim_to_recv(&self) -> Result<Claim, Refused> {
        let mut backoff = Backoff::new();
        // ORDER: Relaxed: a stale position fails the exchange, or does not fit the stamp.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // ORDER: Acquire: pairs with the Release store in `write`.
            let stamp = self.slot(head).stamp.load(Ordering::Acquire);
            if stamp == head | FULL || stamp == head | VOID {
                // ORDER: SeqCst on success: before the look for waiting senders (invariant 3). Relaxed: as above.
                match self.head.compare_exchange_weak(
                    head,
                    self.next(head),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) if stamp & TAGS == FULL => return Ok(Claim(head)),
                    Ok(_) => {
                        self.free(Claim(head));
                        head = self.next(head);
                        continue;
                    }
                    Err(newer) => head = newer,
                }
                backoff.lost();
                continue;
            }
            if stamp == head | LATE {
                return Err(Refused::NotReady);
            }
            if stamp == head {
                // ORDER: SeqCst: the tail that is read next is not older than the head that was read.
                fence(Ordering::SeqCst);
                // ORDER: Relaxed: ordered by the fence.
                let tail = self.tail.load(Ordering::Relaxed);
                if tail & !TAGS == head {
                    return Err(if tail & CLOSED == 0 {
                        Refused::NotReady
                    } else {
                        Refused::Disconnected
                    });
                }
                backoff.unfinished();
            } else {
                backoff.lost();
            }
            // ORDER: Relaxed: as above.
            head = self.head.load(Ordering::Relaxed);
        }
    }

    /// Reads the message of a claimed slot.
    ///
    /// # Safety
    ///
    /// The claim is one to receive, not yet used, and not shown to others as late.
    #[inline(always)]
    pub(super) unsafe fn read(&self, claim: Claim) -> T {
        let slot = self.slot(claim.0);
        // SAFETY: the slot is ours and holds a message (invariant 1).
        let message = slot
            .message
            .with(|place| unsafe { (*place).assume_init_read() });
        self.free(claim);
        message
    }

    /// Gives a slot that holds nothing any more to the senders.
    #[inline(always)]
    fn free(&self, claim: Claim) {
        let next = claim.0.wrapping_add(self.lap);
        // ORDER: Release: what was read is read before the next sender writes.
        self.slot(claim.0).stamp.store(next, Ordering::Release);
        self.senders.wake_one();
    }

    /// Sends, and waits for room until the deadline, or not at all if that is 0.
    #[inline]
    pub(super) fn send(
        &self,
        message: T,
        wait: Wait,
        deadline_ns: u64,
    ) -> Result<(), (Refused, T)> {
        loop {
            match self.claim_to_send() {
                Ok(claim) => {
                    // SAFETY: the claim to send is new, and used here only.
                    unsafe { self.write(claim, message) };
                    return Ok(());
                }
                Err(Refused::NotReady) if !is_past(deadline_ns) => {
                    self.senders
                        .wait(&wait, deadline_ns, || self.must_senders_wait())
                }
                Err(refused) => return Err((refused, message)),
            }
        }
    }

    /// Receives, and waits for a message until the deadline, or not at all if that is 0.
    #[inline]
    pub(super) fn recv(&self, wait: Wait, deadline_ns: u64) -> Result<T, Refused> {
        loop {
            match self.claim_to_recv() {
                // SAFETY: the claim to receive is new, and used here only.
                Ok(claim) => return Ok(unsafe { self.read(claim) }),
                Err(Refused::NotReady) if !is_past(deadline_ns) => {
                    self.receivers
                        .wait(&wait, deadline_ns, || self.must_receivers_wait())
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Shows others that a claimed slot will be used later, if at all.
    pub(super) fn postpone(&self, claim: Claim) {
        let late = claim.0 | LATE;
        // ORDER: Release: keeps the order of what the last user of the slot did for the next one.
        self.slot(claim.0).stamp.store(late, Ordering::Release);
    }

    /// Writes the message of a slot that was postponed.
    ///
    /// # Safety
    ///
    /// The claim is one to send, postponed, and not yet used.
    pub(super) unsafe fn write_late(&self, claim: Claim, message: T) {
        let slot = self.slot(claim.0);
        // SAFETY: the slot is ours and holds no message (invariant 1).
        slot.message
            .with(|place| unsafe { (*place).write(message) });
        self.settle_send(claim, FULL);
    }

    /// Reads the message of a slot that was postponed.
    ///
    /// # Safety
    ///
    /// The claim is one to receive, postponed, and not yet used.
    pub(super) unsafe fn read_late(&self, claim: Claim) -> T {
        let slot = self.slot(claim.0);
        // SAFETY: the slot is ours and holds a message (invariant 1).
        let message = slot
            .message
            .with(|place| unsafe { (*place).assume_init_read() });
        let next = claim.0.wrapping_add(self.lap);
        // ORDER: SeqCst: as `free`, and before the look for waiting senders (invariant 3).
        slot.stamp.store(next, Ordering::SeqCst);
        total_order();
        self.senders
            .wake(self.slots.len() - self.len().min(self.slots.len() - 1));
        message
    }

    /// Gives a postponed slot for a message up.
    pub(super) fn void(&self, claim: Claim) {
        self.settle_send(claim, VOID);
    }

    fn settle_send(&self, claim: Claim, tag: usize) {
        // ORDER: SeqCst: as in `write`, and before the look for waiting receivers (invariant 3).
        self.slot(claim.0)
            .stamp
            .store(claim.0 | tag, Ordering::SeqCst);
        total_order();
        // ORDER: SeqCst: pairs with the closing of the last receiver, which may not have seen the stamp.
        if self.tail.load(Ordering::SeqCst) & CLOSED != 0 {
            self.discard();
        }
        self.receivers.wake(self.len().max(1));
        if tag == VOID {
            // A full ring of which the oldest slot is void has room, if somebody takes the slot out of the way.
            self.skip_void();
        }
    }

    /// Frees the oldest slot while it is void.
    fn skip_void(&self) {
        // ORDER: Relaxed: a stale position fails the exchange, or does not fit the stamp.
        let mut head = self.head.load(Ordering::Relaxed);
        // ORDER: Acquire: pairs with the store of the stamp.
        while self.slot(head).stamp.load(Ordering::Acquire) == head | VOID {
            let next = self.next(head);
            // ORDER: SeqCst, Relaxed: as in `claim_to_recv`.
            match self
                .head
                .compare_exchange(head, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.free(Claim(head));
                    head = next;
                }
                Err(newer) => head = newer,
            }
        }
    }

    /// Whether a sender that is in the list of waiters must wait.
    pub(super) fn must_senders_wait(&self) -> bool {
        // ORDER: SeqCst: after the entry into the list (invariant 3), here and below; the tail before the head, so that
        // a ring that seems full was full.
        let tail = self.tail.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        let head = self.head.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        let stamp = self.slot(tail & !TAGS).stamp.load(Ordering::SeqCst);
        let is_late = stamp & TAGS == LATE && (stamp & !TAGS).wrapping_add(self.lap) == tail;
        tail & CLOSED == 0 && (head.wrapping_add(self.lap) == tail || is_late)
    }

    /// Whether a receiver that is in the list of waiters must wait.
    pub(super) fn must_receivers_wait(&self) -> bool {
        // ORDER: SeqCst: as in `must_senders_wait`; the head before the tail, so that a ring that seems empty was empty.
        let head = self.head.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        let tail = self.tail.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        let stamp = self.slot(head).stamp.load(Ordering::SeqCst);
        tail == head || stamp == head | LATE
    }

    /// Messages in the ring, with those that a select is going to write.
    pub(super) fn len(&self) -> usize {
        loop {
            // ORDER: SeqCst: two equal looks at the tail around one at the head belong to one moment.
            let tail = self.tail.load(Ordering::SeqCst);
            // ORDER: SeqCst: as above.
            let head = self.head.load(Ordering::SeqCst);
            // ORDER: SeqCst: as above.
            if self.tail.load(Ordering::SeqCst) == tail {
                return self.distance(head, tail & !TAGS);
            }
        }
    }

    fn distance(&self, head: usize, tail: usize) -> usize {
        let index = |position: usize| (position & (self.lap - 1)) / STEP;
        match (index(head), index(tail)) {
            (head, tail) if head < tail => tail - head,
            (head, tail) if head > tail => self.slots.len() - head + tail,
            _ if head == tail => 0,
            _ => self.slots.len(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        // ORDER: SeqCst: the head before the tail, so that a ring that seems empty was empty.
        let head = self.head.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        self.tail.load(Ordering::SeqCst) & !TAGS == head
    }

    pub(super) fn is_full(&self) -> bool {
        // ORDER: SeqCst: the tail before the head, so that a ring that seems full was full.
        let tail = self.tail.load(Ordering::SeqCst) & !TAGS;
        // ORDER: SeqCst: as above.
        self.head.load(Ordering::SeqCst).wrapping_add(self.lap) == tail
    }

    /// Drops the messages that can be claimed.
    fn discard(&self) {
        while let Ok(claim) = self.claim_to_recv() {
            // SAFETY: the claim to receive is new, and used here only.
            drop(unsafe { self.read(claim) });
        }
    }
}

impl<T> Channel for Array<T> {
    fn disconnect_senders(&self) {
        // ORDER: SeqCst: before the look for waiting receivers (invariant 3).
        self.tail.fetch_or(CLOSED, Ordering::SeqCst);
        self.receivers.wake(usize::MAX);
    }

    fn disconnect_receivers(&self) {
        // ORDER: SeqCst: before the look for waiting senders (invariant 3).
        self.tail.fetch_or(CLOSED, Ordering::SeqCst);
        self.senders.wake(usize::MAX);
        total_order();
        self.discard();
    }
}

/// Drops the rest of the messages even if one of them panics.
struct Rest<'a, T>(&'a Array<T>);

impl<T> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        self.0.discard();
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        // Nobody else holds the channel, so no slot is claimed.
        let rest = Rest(self);
        rest.0.discard();
    }
}
