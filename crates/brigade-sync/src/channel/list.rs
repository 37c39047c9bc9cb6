//! A channel with room for any number of messages: a linked list of blocks of slots.
//!
//! Nothing is allocated before the first message. A block is freed by the last of its readers.
//!
//! # Positions
//!
//! A position counts slots, above one bit; each block has one more position than slots, at which the next block is being
//! put in place. In `tail` the bit says that the channel is disconnected; in `head` it says that the head's block has a
//! successor, so that there are messages and the tail need not be looked at.
//!
//! # States of a slot (bits)
//!
//! | bits | meaning |
//! |---|---|
//! | none | no message yet; who moved `tail` over it is going to write |
//! | `WRITTEN` | has a message; who moved `head` over it reads |
//! | `READ` | its reader is done |
//! | `DOOMED` | the block is to be freed, and its reader is to go on with that |
//!
//! # Invariants
//!
//! 1. Who moves `tail` over a slot writes it, who moves `head` over it reads it: each message is written once and read
//!    once.
//! 2. The block of a position is valid for who has moved an index over one of its slots and has not marked it `READ`
//!    yet (or written it, for a sender: its reader waits for that). `tail.block` changes only while `tail` stands at
//!    the extra position, `head.block` only while `head` does; so a block read after an index belongs to it if the
//!    exchange of the index succeeds.
//! 3. The reader of the last slot frees the block, or leaves that to the first reader who is not done (`DOOMED`).
//! 4. *Wakes.* A sender moves `tail` and then looks for waiting receivers; a receiver that is in the list looks at
//!    `tail` then.
//! 5. Between the move of `tail` and `WRITTEN` nothing foreign runs; others spin.

use core::mem::MaybeUninit;
use core::ptr;

use super::array::Refused;
use super::backoff::Backoff;
use super::counter::Channel;
use super::prim::{AtomicPtr, AtomicUsize, BLOCK_MESSAGES, Ordering, Place, Wait, fence, is_past};
use super::waiter::Waiters;

const CLOSED: usize = 1;
const MORE: usize = 1;
const STEP: usize = 2;
const LAP: usize = BLOCK_MESSAGES + 1;

const WRITTEN: usize = 1;
const READ: usize = 2;
const DOOMED: usize = 4;

const _: () = assert!(LAP.is_power_of_two());

struct Slot<T> {
    state: AtomicUsize,
    message: Place<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    /// Waits until the sender, which has claimed the slot, has written.
    #[inline(always)]
    fn await_written(&self) {
        let mut backoff = Backoff::new();
        // ORDER: Acquire: pairs with the Release in `send`.
        while self.state.load(Ordering::Acquire) & WRITTEN == 0 {
            backoff.unfinished();
        }
    }
}

struct Block<T> {
    next: AtomicPtr<Block<T>>,
    slots: [Slot<T>; BLOCK_MESSAGES],
}

impl<T> Block<T> {
    /// An empty block. It is not made on the stack, which it might not fit.
    #[cold]
    fn new() -> Box<Block<T>> {
        let mut block = Box::<Block<T>>::new_uninit();
        let at = block.as_mut_ptr();
        // SAFETY: the places are those of a block that is being made; messages need no value.
        unsafe {
            (&raw mut (*at).next).write(AtomicPtr::new(ptr::null_mut()));
            for index in 0..BLOCK_MESSAGES {
                (&raw mut (*at).slots[index].state).write(AtomicUsize::new(0));
                (&raw mut (*at).slots[index].message).write(Place::new(MaybeUninit::uninit()));
            }
            block.assume_init()
        }
    }

    fn await_next(&self) -> *mut Block<T> {
        let mut backoff = Backoff::new();
        loop {
            // ORDER: Acquire: pairs with the Release store in `send`; the block's parts come before.
            let next = self.next.load(Ordering::Acquire);
            if !next.is_null() {
                return next;
            }
            backoff.unfinished();
        }
    }

    /// Frees the block, of which the slots before `from` were read, or leaves it to a reader that is not done.
    ///
    /// # Safety
    ///
    /// The last slot was read. The caller read a slot and has not touched the block since, and is the one to go on
    /// (invariant 3).
    unsafe fn free(this: *mut Block<T>, from: usize) {
        for index in from..BLOCK_MESSAGES - 1 {
            // SAFETY: nobody else frees the block before the slot is read and doomed.
            let slot = unsafe { &(*this).slots[index] };
            // ORDER: Acquire: pairs with the Release in `read`; what the reader did comes before the block goes.
            let is_read = slot.state.load(Ordering::Acquire) & READ != 0;
            // ORDER: AcqRel: as above, and hands what this thread knows to the reader that goes on.
            if !is_read && slot.state.fetch_or(DOOMED, Ordering::AcqRel) & READ == 0 {
                return;
            }
        }
        // SAFETY: all slots were read, so nobody uses the block any more.
        drop(unsafe { Box::from_raw(this) });
    }
}

/// One end of the list.
struct End<T> {
    index: AtomicUsize,
    block: AtomicPtr<Block<T>>,
}

impl<T> End<T> {
    fn new() -> End<T> {
        End {
            index: AtomicUsize::new(0),
            block: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// A channel with a list; see the module.
pub(super) struct List<T> {
    head: End<T>,
    tail: End<T>,
    pub(super) receivers: Waiters,
}

// SAFETY: messages go from one thread to another, and are never shared (invariant 1).
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as for `Send`: a shared channel gives away messages, and never references to them.
unsafe impl<T: Send> Sync for List<T> {}

/// A slot whose message belongs to the holder.
#[derive(Debug)]
pub(super) struct Claim<T> {
    block: *mut Block<T>,
    offset: usize,
}

impl<T> Claim<T> {
    /// As numbers, for a token without a type.
    pub(super) fn into_raw(self) -> (*mut (), usize) {
        (self.block.cast(), self.offset)
    }

    /// # Safety
    ///
    /// The numbers come from `into_raw` of a claim of the same type, and are used once.
    pub(super) unsafe fn from_raw((block, offset): (*mut (), usize)) -> Claim<T> {
        Claim {
            block: block.cast(),
            offset,
        }
    }
}

const fn offset_of(index: usize) -> usize {
    (index / STEP) % LAP
}

/// How many messages come before a position.
const fn count_before(index: usize) -> usize {
    (index / STEP / LAP) * BLOCK_MESSAGES + offset_of(index)
}

impl<T> List<T> {
    pub(super) fn new() -> List<T> {
        List {
            head: End::new(),
            tail: End::new(),
            receivers: Waiters::new(),
        }
    }

    /// Appends a message; gives it back when no receiver is left.
    #[inline]
    pub(super) fn send(&self, message: T) -> Result<(), T> {
        let mut backoff = Backoff::new();
        let mut spare = None;
        loop {
            // ORDER: Acquire: pairs with the Release of who puts a block in place: the block is not older.
            let tail = self.tail.index.load(Ordering::Acquire);
            // ORDER: Acquire: the parts of the block come before.
            let block = self.tail.block.load(Ordering::Acquire);
            if tail & CLOSED != 0 {
                return Err(message);
            }
            let offset = offset_of(tail);
            if offset == BLOCK_MESSAGES {
                backoff.unfinished();
                continue;
            }
            let is_last = offset + 1 == BLOCK_MESSAGES;
            if is_last && spare.is_none() {
                spare = Some(Block::new());
            }
            if block.is_null() {
                self.start(&mut spare);
                continue;
            }
            // ORDER: SeqCst on success: before the look for waiting receivers (invariant 4). Relaxed: looks again.
            let moved = self.tail.index.compare_exchange_weak(
                tail,
                tail + STEP,
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            if moved.is_err() {
                backoff.lost();
                continue;
            }
            // SAFETY: the slot is ours, hence the block valid (invariant 2), here and below.
            let block = unsafe { &*block };
            if is_last && let Some(next) = spare.take() {
                self.append(block, next);
            }
            let slot = &block.slots[offset];
            // SAFETY: the slot is ours and has no message.
            slot.message
                .with(|place| unsafe { (*place).write(message) });
            // ORDER: Release: publishes the message; the reader acquires in `await_written`.
            slot.state.fetch_or(WRITTEN, Ordering::Release);
            self.receivers.wake_one();
            return Ok(());
        }
    }

    /// Puts the first block in place, if nobody else has.
    #[cold]
    fn start(&self, spare: &mut Option<Box<Block<T>>>) {
        let first = Box::into_raw(spare.take().unwrap_or_else(Block::new));
        // ORDER: Release on success: publishes the parts of the block. Relaxed on failure: nothing is read.
        let placed = self.tail.block.compare_exchange(
            ptr::null_mut(),
            first,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if placed.is_ok() {
            // ORDER: Release: as above, for the receivers.
            self.head.block.store(first, Ordering::Release);
        } else {
            // SAFETY: nobody else has seen the block.
            *spare = Some(unsafe { Box::from_raw(first) });
        }
    }

    /// By who has moved the tail to the extra position: the next block.
    fn append(&self, block: &Block<T>, next: Box<Block<T>>) {
        let next = Box::into_raw(next);
        // ORDER: Release: publishes the parts of the block.
        self.tail.block.store(next, Ordering::Release);
        // ORDER: Release: who sees the new position sees the new block. An addition: the channel may become closed.
        self.tail.index.fetch_add(STEP, Ordering::Release);
        // ORDER: Release: publishes the parts of the block to `await_next`.
        block.next.store(next, Ordering::Release);
    }

    /// Claims the oldest message.
    #[inline]
    pub(super) fn claim_to_recv(&self) -> Result<Claim<T>, Refused> {
        let mut backoff = Backoff::new();
        loop {
            // ORDER: Acquire: pairs with the Release of who moved the head to its block: the block is not older.
            let head = self.head.index.load(Ordering::Acquire);
            // ORDER: Acquire: the parts of the block come before.
            let block = self.head.block.load(Ordering::Acquire);
            let offset = offset_of(head);
            if offset == BLOCK_MESSAGES {
                backoff.unfinished();
                continue;
            }
            let mut next = head + STEP;
            if head & MORE == 0 {
                // ORDER: SeqCst: the tail that is read next is not older than the head that was read.
                fence(Ordering::SeqCst);
                // ORDER: Relaxed: ordered by the fence.
                let tail = self.tail.index.load(Ordering::Relaxed);
                if head / STEP == tail / STEP {
                    return Err(if tail & CLOSED == 0 {
                        Refused::NotReady
                    } else {
                        Refused::Disconnected
                    });
                }
                if head / STEP / LAP != tail / STEP / LAP {
                    next |= MORE;
                }
            }
            if block.is_null() {
                // The first sender is between its two stores.
                backoff.unfinished();
                continue;
            }
            // ORDER: Acquire on success: what the last reader of this place did. Relaxed: looks again.
            let moved = self.head.index.compare_exchange_weak(
                head,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if moved.is_err() {
                backoff.lost();
                continue;
            }
            if offset + 1 == BLOCK_MESSAGES {
                // SAFETY: the slot is ours, hence the block valid (invariant 2).
                self.advance(unsafe { &*block }, next);
            }
            return Ok(Claim { block, offset });
        }
    }

    /// By who has moved the head to the extra position: on to the next block.
    fn advance(&self, block: &Block<T>, head: usize) {
        let next = block.await_next();
        let mut index = (head & !MORE) + STEP;
        // ORDER: Relaxed: only whether there is one.
        // SAFETY: the head has not moved over the block's slots yet, so it is valid.
        if !unsafe { &*next }.next.load(Ordering::Relaxed).is_null() {
            index |= MORE;
        }
        // ORDER: Release: publishes the parts of the block.
        self.head.block.store(next, Ordering::Release);
        // ORDER: Release: who sees the new position sees the new block.
        self.head.index.store(index, Ordering::Release);
    }

    /// Reads the message of a claimed slot.
    ///
    /// # Safety
    ///
    /// The claim comes from this channel.
    #[inline(always)]
    pub(super) unsafe fn read(&self, claim: Claim<T>) -> T {
        let Claim { block, offset } = claim;
        // SAFETY: the slot is ours, hence the block valid (invariant 2).
        let slot = unsafe { &(*block).slots[offset] };
        slot.await_written();
        // SAFETY: the slot is ours and has a message.
        let message = slot
            .message
            .with(|place| unsafe { (*place).assume_init_read() });
        if offset + 1 == BLOCK_MESSAGES {
            // SAFETY: the last slot was read, just now.
            unsafe { Block::free(block, 0) };
        // ORDER: AcqRel: the message was read before the block goes; sees what the others read if it goes now.
        } else if slot.state.fetch_or(READ, Ordering::AcqRel) & DOOMED != 0 {
            // SAFETY: the reader of the last slot has come to this one and left the rest to us.
            unsafe { Block::free(block, offset + 1) };
        }
        message
    }

    /// Receives, and waits for a message until the deadline, or not at all if that is 0.
    #[inline]
    pub(super) fn recv(&self, wait: Wait, deadline_ns: u64) -> Result<T, Refused> {
        loop {
            match self.claim_to_recv() {
                // SAFETY: the claim is one of this channel, and used here only.
                Ok(claim) => return Ok(unsafe { self.read(claim) }),
                Err(Refused::NotReady) if !is_past(deadline_ns) => {
                    self.receivers
                        .wait(&wait, deadline_ns, || self.must_receivers_wait())
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Whether a receiver that is in the list of waiters must wait.
    pub(super) fn must_receivers_wait(&self) -> bool {
        // ORDER: SeqCst: after the entry into the list (invariant 4), here and below.
        let head = self.head.index.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        let tail = self.tail.index.load(Ordering::SeqCst);
        tail & CLOSED == 0 && head / STEP == tail / STEP
    }

    pub(super) fn len(&self) -> usize {
        loop {
            // ORDER: SeqCst: two equal looks at the tail around one at the head belong to one moment.
            let tail = self.tail.index.load(Ordering::SeqCst);
            // ORDER: SeqCst: as above.
            let head = self.head.index.load(Ordering::SeqCst);
            // ORDER: SeqCst: as above.
            if self.tail.index.load(Ordering::SeqCst) == tail {
                return count_before(tail) - count_before(head);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // ORDER: SeqCst: the head before the tail, so that a list that seems empty was empty.
        let head = self.head.index.load(Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        head / STEP == self.tail.index.load(Ordering::SeqCst) / STEP
    }

    /// Drops all messages.
    fn discard(&self) {
        while let Ok(claim) = self.claim_to_recv() {
            // SAFETY: the claim is one of this channel, and used here only.
            drop(unsafe { self.read(claim) });
        }
    }
}

impl<T> Channel for List<T> {
    fn disconnect_senders(&self) {
        // ORDER: SeqCst: before the look for waiting receivers (invariant 4).
        self.tail.index.fetch_or(CLOSED, Ordering::SeqCst);
        self.receivers.wake(usize::MAX);
    }

    fn disconnect_receivers(&self) {
        // ORDER: SeqCst: partner of the exchanges in `send`, of which none succeeds from here on.
        self.tail.index.fetch_or(CLOSED, Ordering::SeqCst);
        self.discard();
    }
}

/// Drops the rest of the messages even if one of them panics, and the last block.
struct Rest<'a, T>(&'a List<T>);

impl<T> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        self.0.discard();
        // ORDER: Relaxed: nobody else holds the channel.
        let block = self.0.head.block.load(Ordering::Relaxed);
        if !block.is_null() {
            // SAFETY: nobody else holds the channel, and all messages were read: head and tail stand in this block.
            drop(unsafe { Box::from_raw(block) });
        }
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        // Nobody else holds the channel, so no slot is claimed.
        let rest = Rest(self);
        rest.0.discard();
    }
}
