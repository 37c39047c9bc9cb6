//! A channel without memory: a message goes from the stack of the sender to that of the receiver.
//!
//! Both sides wait in lists behind one lock. Whoever comes second finds the other one waiting, exchanges the message and
//! wakes him; an operation takes the lock once.
//!
//! # Who has memory for the message
//!
//! A thread in `send` or `recv` has a [`Peer`] on its stack: what it has to give (a message, or nothing), to be exchanged
//! for what it wants. A thread in a select has none: its message is made, or the place for it known, only when the
//! operation was chosen. So:
//!
//! | waits | comes | what happens |
//! |---|---|---|
//! | peer | peer | the second exchanges, under the lock |
//! | peer | select | the select claims the peer, and exchanges when it completes the operation |
//! | select | peer | the peer gives its address to the select, wakes it, and waits until it has exchanged |
//! | select | select | the second claims the first; when it completes the operation it is a peer, as in the row above |
//!
//! # Invariants
//!
//! 1. All is done under the lock; who is claimed stays where it is (`waiter.rs`, invariant 2).
//! 2. A peer that wakes and still has what it had was not served: the channel is disconnected, or a select has given its
//!    operation up. It tries again. So a message is always in exactly one place, and is dropped by who has it.
//! 3. A select that wakes and was given no peer tries again.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr;

use super::array::Refused;
use super::counter::Channel;
use super::prim::{Current, Lock, NEVER, Place, Runnables, Wait, with_current, yield_if_overdue};
use super::waiter::{List, Seen, Selection, Waiter};

/// Which side of the channel a thread is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Send,
    Recv,
}

impl Side {
    /// Whether a thread on this side that now has `message` was served.
    #[inline(always)]
    fn is_served<T>(self, message: &Option<T>) -> bool {
        message.is_some() == (self == Side::Recv)
    }
}

/// Both lists, and whether a side is gone.
struct State {
    senders: List,
    receivers: List,
    is_disconnected: bool,
}

impl State {
    #[inline(always)]
    fn own(&mut self, side: Side) -> &mut List {
        match side {
            Side::Send => &mut self.senders,
            Side::Recv => &mut self.receivers,
        }
    }

    #[inline(always)]
    fn other(&mut self, side: Side) -> &mut List {
        match side {
            Side::Send => &mut self.receivers,
            Side::Recv => &mut self.senders,
        }
    }
}

/// A thread with memory for a message; see the module.
struct Peer<T> {
    selection: Selection,
    message: Place<Option<T>>,
}

/// A channel without memory; see the module.
pub(super) struct Zero<T> {
    state: Lock<State>,
    messages: PhantomData<Cell<T>>,
}

// SAFETY: messages go from one thread to another, and are never shared (invariant 1).
unsafe impl<T: Send> Send for Zero<T> {}
// SAFETY: as for `Send`: a shared channel gives away messages, and never references to them.
unsafe impl<T: Send> Sync for Zero<T> {}

/// Whom a select has chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chosen {
    /// A peer, which waits.
    Peer(*const ()),
    /// A select, which waits.
    Select(*const Waiter),
}

/// What was to be exchanged comes back when it was not.
type Exchanged<T> = Result<Option<T>, (Refused, Option<T>)>;

impl<T> Zero<T> {
    pub(super) fn new() -> Zero<T> {
        Zero {
            state: Lock::new(State {
                senders: List::new(),
                receivers: List::new(),
                is_disconnected: false,
            }),
            messages: PhantomData,
        }
    }

    /// Exchanges `message`, a message or none according to the side, with a thread of the other side; waits for one
    /// until the deadline, or not at all if that is 0.
    #[inline]
    pub(super) fn exchange(
        &self,
        side: Side,
        mut message: Option<T>,
        wait: &Wait,
        deadline_ns: u64,
    ) -> Exchanged<T> {
        with_current(|me| {
            loop {
                let mut state = self.state.lock();
                if let Some(waiter) = state.other(side).claim() {
                    let peer = waiter.peer.get().cast::<Peer<T>>();
                    if peer.is_null() {
                        drop(state);
                        message = self.be_peer(me, waiter, message, wait);
                        if side.is_served(&message) {
                            return Ok(message);
                        }
                        continue;
                    }
                    // SAFETY: just claimed, so the peer waits; under the lock.
                    let runnable = unsafe {
                        (*peer)
                            .message
                            .with(|theirs| ptr::swap(theirs, &mut message));
                        (*peer).selection.finish(0)
                    };
                    drop(state);
                    if let Some(runnable) = runnable {
                        runnable.schedule();
                        yield_if_overdue();
                    }
                    return Ok(message);
                }
                if state.is_disconnected {
                    return Err((Refused::Disconnected, message));
                }
                if deadline_ns == 0 {
                    return Err((Refused::NotReady, message));
                }
                let peer = Peer {
                    selection: Selection::new(me.sleeper()),
                    message: Place::new(message),
                };
                let waiter = Waiter::new(&peer.selection, 0);
                waiter.peer.set((&raw const peer).cast());
                // SAFETY: new, and stays until the end of the wait below.
                unsafe { state.own(side).push(&waiter) };
                drop(state);
                let expire = || self.state.lock().own(side).expire(&waiter);
                let seen = peer.selection.wait(me, wait, deadline_ns, expire);
                if matches!(seen, Seen::Taken(_)) {
                    drop(self.state.lock());
                }
                message = peer.message.into_inner();
                if side.is_served(&message) {
                    return Ok(message);
                }
                if seen == Seen::Aborted {
                    return Err((Refused::NotReady, message));
                }
            }
        })
    }

    /// Lets a select, which was claimed, have `message`, and waits until it has completed its operation.
    #[cold]
    fn be_peer(&self, me: &Current, select: &Waiter, message: Option<T>, wait: &Wait) -> Option<T> {
        let peer = Peer {
            selection: Selection::new_claimed(me.sleeper()),
            message: Place::new(message),
        };
        let state = self.state.lock();
        select.peer.set((&raw const peer).cast());
        // SAFETY: claimed by this thread, and under the lock.
        let runnable = unsafe { select.selection().finish(select.arm()) };
        drop(state);
        if let Some(runnable) = runnable {
            runnable.schedule();
        }
        if !matches!(
            peer.selection.wait(me, wait, NEVER, || {}),
            Seen::Released(_)
        ) {
            drop(self.state.lock());
        }
        peer.message.into_inner()
    }

    /// By a select: claims somebody of the other side.
    pub(super) fn choose(&self, side: Side) -> Result<Chosen, Refused> {
        let mut state = self.state.lock();
        match state.other(side).claim() {
            Some(waiter) => {
                // SAFETY: just claimed; under the lock.
                unsafe { waiter.selection() }.keep();
                Ok(match waiter.peer.get() {
                    peer if peer.is_null() => Chosen::Select(waiter),
                    peer => Chosen::Peer(peer),
                })
            }
            None if state.is_disconnected => Err(Refused::Disconnected),
            None => Err(Refused::NotReady),
        }
    }

    /// By a select: puts its waiter into the list, unless there is somebody to be chosen. True: there is.
    ///
    /// # Safety
    ///
    /// The waiter is bound and in no list, and stays until `leave`.
    pub(super) unsafe fn enqueue(&self, side: Side, waiter: &Waiter) -> bool {
        let mut state = self.state.lock();
        // SAFETY: bound, by the caller's contract.
        let own = unsafe { waiter.selection() };
        if state.is_disconnected || state.other(side).has_waiting(own) {
            return true;
        }
        // SAFETY: the caller's contract.
        unsafe { state.own(side).push(waiter) };
        false
    }

    /// By a select: takes its waiter out if it is in, and passes the lock in any case.
    pub(super) fn leave(&self, side: Side, waiter: &Waiter) {
        self.state.lock().own(side).unlink(waiter);
    }

    /// By a select: completes what it has chosen.
    ///
    /// # Safety
    ///
    /// Chosen on this channel and side, and neither completed nor given up.
    pub(super) unsafe fn complete(
        &self,
        chosen: Chosen,
        side: Side,
        mut message: Option<T>,
        wait: &Wait,
    ) -> Exchanged<T> {
        match chosen {
            Chosen::Peer(peer) => {
                let peer = peer.cast::<Peer<T>>();
                let state = self.state.lock();
                // SAFETY: the caller's contract: the peer waits for this; under the lock.
                let runnable = unsafe {
                    (*peer)
                        .message
                        .with(|theirs| ptr::swap(theirs, &mut message));
                    (*peer).selection.finish(0)
                };
                drop(state);
                if let Some(runnable) = runnable {
                    runnable.schedule();
                }
                Ok(message)
            }
            Chosen::Select(waiter) => {
                // SAFETY: the caller's contract: the other select waits for this.
                let waiter = unsafe { &*waiter };
                let message = with_current(|me| self.be_peer(me, waiter, message, wait));
                if side.is_served(&message) {
                    return Ok(message);
                }
                self.exchange(side, message, wait, NEVER)
            }
        }
    }

    /// By a select: gives up what it has chosen; the other one tries again.
    ///
    /// # Safety
    ///
    /// As for `complete`.
    pub(super) unsafe fn give_up(&self, chosen: Chosen) {
        let state = self.state.lock();
        // SAFETY: the caller's contract: who was chosen waits for this; under the lock.
        let runnable = unsafe {
            match chosen {
                Chosen::Peer(peer) => (*peer.cast::<Peer<T>>()).selection.finish(0),
                Chosen::Select(waiter) => (*waiter).selection().finish((*waiter).arm()),
            }
        };
        drop(state);
        if let Some(runnable) = runnable {
            runnable.schedule();
        }
    }

    fn disconnect(&self) {
        let mut runnables = Runnables::new();
        let mut state = self.state.lock();
        state.is_disconnected = true;
        for side in [Side::Send, Side::Recv] {
            while let Some(waiter) = state.own(side).claim() {
                // SAFETY: just claimed; under the lock.
                if let Some(runnable) = unsafe { waiter.selection().finish(waiter.arm()) } {
                    runnables.push(runnable);
                }
            }
        }
        drop(state);
        runnables.schedule();
    }
}

impl<T> Channel for Zero<T> {
    fn disconnect_senders(&self) {
        self.disconnect();
    }

    fn disconnect_receivers(&self) {
        self.disconnect();
    }
}
