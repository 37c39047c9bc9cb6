//! The memory of a channel and who holds it.
//!
//! The last sender and the last receiver each disconnect the channel; whichever is done last frees it. Two counts and a
//! flag take less than an `Arc` and two counts.

use core::ptr::NonNull;

use super::prim::{AtomicBool, AtomicUsize, Ordering};

/// What happens to a channel when one side has gone.
pub(super) trait Channel {
    /// The last sender is gone.
    fn disconnect_senders(&self);

    /// The last receiver is gone.
    fn disconnect_receivers(&self);
}

struct Counted<C> {
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// One side has gone and is done.
    is_half_gone: AtomicBool,
    channel: C,
}

impl<C> Counted<C> {
    /// One side is done with the channel.
    ///
    /// # Safety
    ///
    /// Once for each side, after which that side does not touch the channel.
    unsafe fn side_gone(this: NonNull<Counted<C>>) {
        // ORDER: AcqRel: Release publishes what this side did; Acquire sees what the other one did before the memory goes.
        // SAFETY: this side has not gone before, so the memory is there.
        if unsafe { this.as_ref() }
            .is_half_gone
            .swap(true, Ordering::AcqRel)
        {
            // SAFETY: made by `Box::leak` in `new`, and both sides are gone.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }
}

/// Lets a side go when it goes out of scope, even by a panic of a message.
struct SideGone<C>(NonNull<Counted<C>>);

impl<C> Drop for SideGone<C> {
    fn drop(&mut self) {
        // SAFETY: made by the last handle of a side.
        unsafe { Counted::side_gone(self.0) };
    }
}

/// The right to send.
pub(super) struct SenderRef<C: Channel>(NonNull<Counted<C>>);

/// The right to receive.
pub(super) struct ReceiverRef<C: Channel>(NonNull<Counted<C>>);

/// Puts a channel into memory of its own.
pub(super) fn new<C: Channel>(channel: C) -> (SenderRef<C>, ReceiverRef<C>) {
    let counted = NonNull::from(Box::leak(Box::new(Counted {
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        is_half_gone: AtomicBool::new(false),
        channel,
    })));
    (SenderRef(counted), ReceiverRef(counted))
}

/// One more holder. Handles that are forgotten in a loop must not overflow the count.
fn acquire(count: &AtomicUsize) {
    // ORDER: Relaxed: the holder that is copied keeps the channel.
    if count.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
        std::process::abort();
    }
}

impl<C: Channel> SenderRef<C> {
    #[inline(always)]
    pub(super) fn channel(&self) -> &C {
        // SAFETY: the memory stays while a side holds it.
        unsafe { &self.0.as_ref().channel }
    }

    /// The identity of the channel.
    #[inline(always)]
    pub(super) fn address(&self) -> usize {
        self.0.addr().get()
    }
}

impl<C: Channel> ReceiverRef<C> {
    #[inline(always)]
    pub(super) fn channel(&self) -> &C {
        // SAFETY: the memory stays while a side holds it.
        unsafe { &self.0.as_ref().channel }
    }

    /// The identity of the channel.
    #[inline(always)]
    pub(super) fn address(&self) -> usize {
        self.0.addr().get()
    }
}

impl<C: Channel> Clone for SenderRef<C> {
    fn clone(&self) -> SenderRef<C> {
        // SAFETY: the memory stays while a side holds it.
        acquire(&unsafe { self.0.as_ref() }.senders);
        SenderRef(self.0)
    }
}

impl<C: Channel> Clone for ReceiverRef<C> {
    fn clone(&self) -> ReceiverRef<C> {
        // SAFETY: the memory stays while a side holds it.
        acquire(&unsafe { self.0.as_ref() }.receivers);
        ReceiverRef(self.0)
    }
}

impl<C: Channel> Drop for SenderRef<C> {
    fn drop(&mut self) {
        // SAFETY: the memory stays while a side holds it.
        let counted = unsafe { self.0.as_ref() };
        // ORDER: AcqRel: what the other senders did comes before the end of the side.
        if counted.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _gone = SideGone(self.0);
            counted.channel.disconnect_senders();
        }
    }
}

impl<C: Channel> Drop for ReceiverRef<C> {
    fn drop(&mut self) {
        // SAFETY: the memory stays while a side holds it.
        let counted = unsafe { self.0.as_ref() };
        // ORDER: AcqRel: what the other receivers did comes before the end of the side.
        if counted.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _gone = SideGone(self.0);
            counted.channel.disconnect_receivers();
        }
    }
}
