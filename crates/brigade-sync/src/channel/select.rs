//! Waiting for several channel operations at once, of which one is done.
//!
//! The thread looks at the operations in a random order and takes the first that is ready. If none is, it puts a waiter
//! into the list of each channel (`waiter.rs`), looks again, and parks. Who wakes it names the operation, which it tries
//! first, because the wake may have been the only one for what made it ready; if somebody was faster it starts again.
//!
//! An operation is chosen first and completed later: `Handle::choose` claims what is needed (a slot of a ring, the
//! message of a list, a thread of the other side), so that completing cannot fail for want of it, and the message to be
//! sent is made only then. What is claimed and not completed, because making the message panicked, is given up: nothing
//! is lost, and nobody waits for it.
//!
//! # Invariants
//!
//! 1. A [`Token`] is completed or given up exactly once, by the handle that made it.
//! 2. When a wait ends, none of its waiters is in a list.
//!
//! # Rejected
//!
//! Making the messages of all sends beforehand, as Go does: all but one would be dropped, and a value could stand in
//! one arm only.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::{Duration, Instant};

use brigade_event::WaitReason;

use super::array::{self, Refused};
use super::error::{RecvError, SelectTimeoutError, SendError, TrySelectError};
use super::handle::{Receiver, ReceiverKind, Sender, SenderKind};
use super::list;
use super::prim::{NEVER, Wait, deadline_after, deadline_at, is_past, random, with_current};
use super::waiter::{Seen, Selection, Waiter};
use super::zero::{Chosen, Side};

/// What an operation that was chosen needs to be completed.
#[derive(Debug)]
pub struct Token(Claimed);

#[derive(Debug)]
enum Claimed {
    /// The other side is gone.
    Disconnected,
    /// Nothing: there always is room.
    Nothing,
    Slot(array::Claim),
    Cell((*mut (), usize)),
    Meeting(Chosen),
    Moment(Instant),
}

/// One side of a channel, as an operation of a select.
///
/// # Safety
///
/// `enqueue` puts the waiter into one list at most, from which `leave` takes it.
pub unsafe trait Handle {
    /// Claims what the operation needs, if it is there.
    #[doc(hidden)]
    fn choose(&self) -> Option<Token>;

    /// When the operation becomes ready by itself.
    #[doc(hidden)]
    fn due_ns(&self) -> u64 {
        NEVER
    }

    /// Puts the waiter into the list of the channel. True: the operation may be ready, and it need not be there.
    ///
    /// # Safety
    ///
    /// The waiter is bound and in no list, and stays until `leave`, or until it has seen `Released`.
    #[doc(hidden)]
    unsafe fn enqueue(&self, waiter: &Spot) -> bool;

    /// Takes the waiter out of the list if it is in, and passes the list's lock.
    #[doc(hidden)]
    fn leave(&self, waiter: &Spot);

    /// The waiter was woken: claims what the operation needs, if it is still there.
    #[doc(hidden)]
    fn accept(&self, waiter: &Spot) -> Option<Token>;

    /// Gives up what was claimed.
    ///
    /// # Safety
    ///
    /// The token is of this handle.
    #[doc(hidden)]
    unsafe fn give_up(&self, token: Token);
}

/// A waiter of a select.
#[doc(hidden)]
pub struct Spot(Waiter);

fn token_of(claimed: Result<Claimed, Refused>) -> Option<Token> {
    match claimed {
        Ok(claimed) => Some(Token(claimed)),
        Err(Refused::Disconnected) => Some(Token(Claimed::Disconnected)),
        Err(Refused::NotReady) => None,
    }
}

// SAFETY: each kind of channel has one list for its senders, if any.
unsafe impl<T> Handle for Sender<T> {
    fn choose(&self) -> Option<Token> {
        token_of(match &self.kind {
            SenderKind::Array(array) => array.channel().claim_to_send().map(|claim| {
                array.channel().postpone(claim);
                Claimed::Slot(claim)
            }),
            SenderKind::List(_) => Ok(Claimed::Nothing),
            SenderKind::Zero(zero) => zero.channel().choose(Side::Send).map(Claimed::Meeting),
        })
    }

    unsafe fn enqueue(&self, waiter: &Spot) -> bool {
        // SAFETY: the caller's contract.
        unsafe {
            match &self.kind {
                SenderKind::Array(array) => {
                    array.channel().senders.enqueue(&waiter.0);
                    !array.channel().must_senders_wait()
                }
                SenderKind::List(_) => true,
                SenderKind::Zero(zero) => zero.channel().enqueue(Side::Send, &waiter.0),
            }
        }
    }

    fn leave(&self, waiter: &Spot) {
        match &self.kind {
            SenderKind::Array(array) => array.channel().senders.leave(&waiter.0),
            SenderKind::List(_) => {}
            SenderKind::Zero(zero) => zero.channel().leave(Side::Send, &waiter.0),
        }
    }

    fn accept(&self, waiter: &Spot) -> Option<Token> {
        match &self.kind {
            SenderKind::Zero(_) => met(waiter),
            _ => self.choose(),
        }
    }

    unsafe fn give_up(&self, token: Token) {
        match (&self.kind, token.0) {
            (SenderKind::Array(array), Claimed::Slot(claim)) => array.channel().void(claim),
            // SAFETY: the caller's contract.
            (SenderKind::Zero(zero), Claimed::Meeting(chosen)) => unsafe {
                zero.channel().give_up(chosen);
            },
            _ => {}
        }
    }
}

// SAFETY: each kind of channel has one list for its receivers, if any.
unsafe impl<T> Handle for Receiver<T> {
    fn choose(&self) -> Option<Token> {
        token_of(match &self.kind {
            ReceiverKind::Array(array) => array.channel().claim_to_recv().map(|claim| {
                array.channel().postpone(claim);
                Claimed::Slot(claim)
            }),
            ReceiverKind::List(list) => list
                .channel()
                .claim_to_recv()
                .map(|claim| Claimed::Cell(claim.into_raw())),
            ReceiverKind::Zero(zero) => zero.channel().choose(Side::Recv).map(Claimed::Meeting),
            ReceiverKind::Timer(timer) => {
                return timer.take().map(|moment| Token(Claimed::Moment(moment)));
            }
            ReceiverKind::Never => Err(Refused::NotReady),
        })
    }

    fn due_ns(&self) -> u64 {
        match &self.kind {
            ReceiverKind::Timer(timer) => timer.due_ns(),
            _ => NEVER,
        }
    }

    unsafe fn enqueue(&self, waiter: &Spot) -> bool {
        // SAFETY: the caller's contract.
        unsafe {
            match &self.kind {
                ReceiverKind::Array(array) => {
                    array.channel().receivers.enqueue(&waiter.0);
                    !array.channel().must_receivers_wait()
                }
                ReceiverKind::List(list) => {
                    list.channel().receivers.enqueue(&waiter.0);
                    !list.channel().must_receivers_wait()
                }
                ReceiverKind::Zero(zero) => zero.channel().enqueue(Side::Recv, &waiter.0),
                ReceiverKind::Timer(_) | ReceiverKind::Never => false,
            }
        }
    }

    fn leave(&self, waiter: &Spot) {
        match &self.kind {
            ReceiverKind::Array(array) => array.channel().receivers.leave(&waiter.0),
            ReceiverKind::List(list) => list.channel().receivers.leave(&waiter.0),
            ReceiverKind::Zero(zero) => zero.channel().leave(Side::Recv, &waiter.0),
            ReceiverKind::Timer(_) | ReceiverKind::Never => {}
        }
    }

    fn accept(&self, waiter: &Spot) -> Option<Token> {
        match &self.kind {
            ReceiverKind::Zero(_) => met(waiter),
            _ => self.choose(),
        }
    }

    unsafe fn give_up(&self, token: Token) {
        match (&self.kind, token.0) {
            (ReceiverKind::Array(array), Claimed::Slot(claim)) => {
                // SAFETY: claimed and postponed by `choose`; the message has been claimed, so it is dropped here.
                drop(unsafe { array.channel().read_late(claim) });
            }
            (ReceiverKind::List(list), Claimed::Cell(raw)) => {
                // SAFETY: made by `choose`.
                drop(unsafe { list.channel().read(list::Claim::from_raw(raw)) });
            }
            // SAFETY: the caller's contract.
            (ReceiverKind::Zero(zero), Claimed::Meeting(chosen)) => unsafe {
                zero.channel().give_up(chosen);
            },
            _ => {}
        }
    }
}

/// The peer that has come to a waiter; none if it was woken for another reason.
fn met(waiter: &Spot) -> Option<Token> {
    let peer = waiter.0.peer.get();
    (!peer.is_null()).then_some(Token(Claimed::Meeting(Chosen::Peer(peer))))
}

impl<T> Sender<T> {
    /// Completes an operation that was chosen.
    ///
    /// # Safety
    ///
    /// The token is of this handle.
    unsafe fn complete(
        &self,
        token: Token,
        message: T,
        site: &'static Location<'static>,
    ) -> Result<(), SendError<T>> {
        match (&self.kind, token.0) {
            (SenderKind::Array(array), Claimed::Slot(claim)) => {
                // SAFETY: claimed and postponed by `choose`.
                unsafe { array.channel().write_late(claim, message) };
                Ok(())
            }
            (SenderKind::Zero(zero), Claimed::Meeting(chosen)) => {
                let wait = Wait::new(WaitReason::Send, zero.address(), site);
                // SAFETY: the caller's contract.
                let exchanged = unsafe {
                    zero.channel()
                        .complete(chosen, Side::Send, Some(message), &wait)
                };
                match exchanged {
                    Err((_, Some(message))) => Err(SendError(message)),
                    _ => Ok(()),
                }
            }
            (SenderKind::List(list), Claimed::Nothing) => {
                list.channel().send(message).map_err(SendError)
            }
            _ => Err(SendError(message)),
        }
    }
}

impl<T> Receiver<T> {
    /// Completes an operation that was chosen.
    ///
    /// # Safety
    ///
    /// The token is of this handle.
    unsafe fn complete(
        &self,
        token: Token,
        site: &'static Location<'static>,
    ) -> Result<T, RecvError> {
        match (&self.kind, token.0) {
            (ReceiverKind::Array(array), Claimed::Slot(claim)) => {
                // SAFETY: claimed and postponed by `choose`.
                Ok(unsafe { array.channel().read_late(claim) })
            }
            (ReceiverKind::List(list), Claimed::Cell(raw)) => {
                // SAFETY: made by `choose`.
                Ok(unsafe { list.channel().read(list::Claim::from_raw(raw)) })
            }
            (ReceiverKind::Zero(zero), Claimed::Meeting(chosen)) => {
                let wait = Wait::new(WaitReason::Recv, zero.address(), site);
                // SAFETY: the caller's contract.
                let exchanged = unsafe { zero.channel().complete(chosen, Side::Recv, None, &wait) };
                match exchanged {
                    Ok(Some(message)) => Ok(message),
                    _ => Err(RecvError),
                }
            }
            (ReceiverKind::Timer(timer), Claimed::Moment(moment)) => Ok(timer.message(moment)),
            _ => Err(RecvError),
        }
    }
}

/// An operation of a select.
struct Arm<'a> {
    handle: &'a dyn Handle,
    index: usize,
    waiter: Spot,
}

impl<'a> Arm<'a> {
    fn new(handle: &'a dyn Handle, index: usize) -> Arm<'a> {
        Arm {
            handle,
            index,
            waiter: Spot(Waiter::unbound()),
        }
    }
}

/// Waits until one of the operations is ready, and claims what it needs; none if the deadline passes before.
fn choose(
    arms: &mut [Arm<'_>],
    deadline_ns: u64,
    site: &'static Location<'static>,
) -> Option<(usize, Token)> {
    let wait = Wait::new(WaitReason::Select, 0, site);
    loop {
        shuffle(arms);
        let ready = arms
            .iter()
            .find_map(|arm| Some((arm.index, arm.handle.choose()?)));
        if ready.is_some() {
            return ready;
        }
        if is_past(deadline_ns) {
            return None;
        }
        if let Some((position, token)) = block(arms, &wait, deadline_ns) {
            return Some((arms[position].index, token));
        }
    }
}

/// Waits until one of the operations may be ready; claims what it needs if a waker has named it.
#[cold]
#[inline(never)]
fn block(arms: &[Arm<'_>], wait: &Wait, deadline_ns: u64) -> Option<(usize, Token)> {
    with_current(|me| {
        let selection = Selection::new_shared(me.sleeper());
        let mut limit_ns = deadline_ns;
        let mut enqueued = 0;
        for arm in arms {
            limit_ns = limit_ns.min(arm.handle.due_ns());
            arm.waiter.0.bind(&selection, enqueued);
            enqueued += 1;
            // SAFETY: just bound, and in no list (invariant 2); it leaves below.
            if unsafe { arm.handle.enqueue(&arm.waiter) } {
                selection.abort();
            }
            if !selection.is_waiting() {
                break;
            }
        }
        let seen = selection.wait(me, wait, limit_ns, || selection.abort());
        for (position, arm) in arms[..enqueued].iter().enumerate() {
            if seen != Seen::Released(position) {
                arm.handle.leave(&arm.waiter);
            }
        }
        let (Seen::Taken(position) | Seen::Released(position)) = seen else {
            return None;
        };
        let token = arms[position].handle.accept(&arms[position].waiter)?;
        Some((position, token))
    })
}

/// Waits for one of several operations, of which there may be any number. [`select!`](crate::select) is shorter where
/// they are known beforehand.
///
/// # Examples
///
/// ```
/// use brigade_sync::channel::{Select, unbounded};
///
/// let (one, from_one) = unbounded();
/// let (_two, from_two) = unbounded::<i32>();
/// one.send(1).unwrap();
///
/// let mut select = Select::new();
/// let first = select.recv(&from_one);
/// let second = select.recv(&from_two);
/// let operation = select.select();
/// assert_eq!(operation.index(), first);
/// assert_eq!(operation.recv(&from_one), Ok(1));
/// assert!(select.try_select().is_err());
/// # let _ = second;
/// ```
pub struct Select<'a> {
    arms: Vec<Arm<'a>>,
    next: usize,
}

// SAFETY: the waiters are in no list between two calls; the handles are references to what is `Sync`, because their
// messages are `Send` (`Select::send`, `Select::recv`): an operation that is not completed drops the message that it has
// claimed, on whichever thread the select is.
unsafe impl Send for Select<'_> {}
// SAFETY: as above; shared, a `Select` does nothing.
unsafe impl Sync for Select<'_> {}

impl<'a> Select<'a> {
    /// No operations.
    #[must_use]
    pub fn new() -> Select<'a> {
        Select {
            arms: Vec::new(),
            next: 0,
        }
    }

    fn add(&mut self, handle: &'a dyn Handle) -> usize {
        let index = self.next;
        self.next += 1;
        self.arms.push(Arm::new(handle, index));
        index
    }

    /// Adds sending on `sender`; returns the number of the operation.
    pub fn send<T: Send>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender)
    }

    /// Adds receiving from `receiver`; returns the number of the operation.
    pub fn recv<T: Send>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver)
    }

    /// Removes an operation, for example because its channel is disconnected.
    ///
    /// # Panics
    ///
    /// If there is no operation of that number.
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        let place = self.arms.iter().position(|arm| arm.index == index);
        let place = place.expect("brigade: no operation of that number in the select");
        self.arms.swap_remove(place);
    }

    /// Waits until one of the operations is ready. It must be completed.
    ///
    /// # Blocking
    ///
    /// Blocks the calling green thread, or the kernel thread where there is none.
    ///
    /// # Panics
    ///
    /// If there are no operations.
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(
            !self.arms.is_empty(),
            "brigade: a select without operations would wait for ever"
        );
        let site = Location::caller();
        loop {
            if let Some(chosen) = self.choose(NEVER, site) {
                return chosen;
            }
        }
    }

    /// One of the operations, if one is ready. It must be completed.
    ///
    /// # Errors
    ///
    /// When none is ready.
    #[track_caller]
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.choose(0, Location::caller()).ok_or(TrySelectError)
    }

    /// As [`Select::select`], for at most `timeout`.
    ///
    /// # Blocking
    ///
    /// As [`Select::select`].
    ///
    /// # Errors
    ///
    /// When none was ready in time.
    #[track_caller]
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(deadline_after(timeout), Location::caller())
            .ok_or(SelectTimeoutError)
    }

    /// As [`Select::select`], until `deadline`.
    ///
    /// # Blocking
    ///
    /// As [`Select::select`].
    ///
    /// # Errors
    ///
    /// When none was ready in time.
    #[track_caller]
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(deadline_at(deadline), Location::caller())
            .ok_or(SelectTimeoutError)
    }

    fn choose(
        &mut self,
        deadline_ns: u64,
        site: &'static Location<'static>,
    ) -> Option<SelectedOperation<'a>> {
        let (index, token) = choose(&mut self.arms, deadline_ns, site)?;
        let handle = self.arms.iter().find(|arm| arm.index == index)?.handle;
        Some(SelectedOperation {
            handle,
            index,
            token: Some(token),
            not_send: PhantomData,
        })
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Select::new()
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        let arms = self.arms.iter();
        Select {
            arms: arms.map(|arm| Arm::new(arm.handle, arm.index)).collect(),
            next: self.next,
        }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select { .. }")
    }
}

/// An operation that was chosen by a [`Select`], and must be completed by `send` or `recv` on the handle that was added.
#[must_use = "an operation that was chosen must be completed"]
pub struct SelectedOperation<'a> {
    handle: &'a dyn Handle,
    index: usize,
    token: Option<Token>,
    not_send: PhantomData<*const ()>,
}

impl SelectedOperation<'_> {
    /// The number of the operation.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send.
    ///
    /// # Blocking
    ///
    /// With capacity 0 and another select at the other end, until that has completed its operation.
    ///
    /// # Errors
    ///
    /// When no receiver is left.
    ///
    /// # Panics
    ///
    /// If it was another operation that was chosen.
    #[track_caller]
    pub fn send<T>(mut self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        let token = self.token_for((&raw const *sender).cast());
        // SAFETY: the handle was chosen: it is the same one.
        unsafe { sender.complete(token, message, Location::caller()) }
    }

    /// Completes a receive.
    ///
    /// # Blocking
    ///
    /// With capacity 0 and another select at the other end, until that has completed its operation.
    ///
    /// # Errors
    ///
    /// When the channel is empty and no sender is left.
    ///
    /// # Panics
    ///
    /// If it was another operation that was chosen.
    #[track_caller]
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let token = self.token_for((&raw const *receiver).cast());
        // SAFETY: the handle was chosen: it is the same one.
        unsafe { receiver.complete(token, Location::caller()) }
    }

    #[track_caller]
    fn token_for(&mut self, handle: *const ()) -> Token {
        let chosen: *const () = (&raw const *self.handle).cast();
        assert!(
            handle == chosen,
            "brigade: the operation was chosen for another handle"
        );
        self.token
            .take()
            .expect("brigade: the operation was completed before")
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectedOperation { .. }")
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            // SAFETY: the token is of the handle.
            unsafe { self.handle.give_up(token) };
            assert!(
                std::thread::panicking(),
                "brigade: an operation that was chosen was not completed"
            );
        }
    }
}

/// What the macro expands to. Not for use by hand.
#[doc(hidden)]
pub mod internal {
    use super::*;

    /// How long a `select!` waits.
    #[derive(Clone, Copy, Debug)]
    pub enum Limit {
        /// Not at all.
        Now,
        /// So long.
        After(Duration),
        /// For ever.
        Never,
    }

    /// A chosen operation.
    #[derive(Debug)]
    pub struct Picked {
        token: Token,
        handle: *const (),
    }

    /// Waits for one of the operations; its number.
    #[track_caller]
    #[inline]
    pub fn pick<const N: usize>(
        handles: [&dyn Handle; N],
        limit: Limit,
    ) -> Option<(usize, Picked)> {
        let deadline_ns = match limit {
            Limit::Now => 0,
            Limit::After(duration) => deadline_after(duration),
            Limit::Never => NEVER,
        };
        let mut index = 0;
        let mut arms = handles.map(|handle| {
            index += 1;
            Arm::new(handle, index - 1)
        });
        let site = Location::caller();
        let (index, token) = choose(&mut arms, deadline_ns, site)?;
        let handle = (&raw const *handles[index]).cast();
        Some((index, Picked { token, handle }))
    }

    /// Completes a receive.
    #[track_caller]
    #[inline]
    pub fn recv<T>(receiver: &Receiver<T>, picked: Picked) -> Result<T, RecvError> {
        assert!(picked.handle == (&raw const *receiver).cast());
        // SAFETY: the handle was chosen: it is the same one.
        unsafe { receiver.complete(picked.token, Location::caller()) }
    }

    /// A send whose message is being made.
    #[derive(Debug)]
    pub struct Sending<'a, T> {
        sender: &'a Sender<T>,
        token: Option<Token>,
    }

    impl<'a, T> Sending<'a, T> {
        /// Begins to complete a send.
        #[inline]
        pub fn new(sender: &'a Sender<T>, picked: Picked) -> Sending<'a, T> {
            assert!(picked.handle == (&raw const *sender).cast());
            Sending {
                sender,
                token: Some(picked.token),
            }
        }

        /// Completes it.
        #[track_caller]
        #[inline]
        pub fn send(mut self, message: T) -> Result<(), SendError<T>> {
            match self.token.take() {
                // SAFETY: the handle was chosen: it is the same one.
                Some(token) => unsafe { self.sender.complete(token, message, Location::caller()) },
                None => Err(SendError(message)),
            }
        }
    }

    impl<T> Drop for Sending<'_, T> {
        fn drop(&mut self) {
            if let Some(token) = self.token.take() {
                // SAFETY: the token is of the handle.
                unsafe { self.sender.give_up(token) };
            }
        }
    }

    /// What no arm matched.
    #[cold]
    pub fn unreachable() -> ! {
        unreachable!("a select that waits for ever has chosen an operation")
    }
}

/// Puts the operations into a random order.
#[inline]
fn shuffle<T>(items: &mut [T]) {
    for end in 2..=items.len() {
        let at = (u64::from(random()) * end as u64) >> 32;
        items.swap(end - 1, at as usize);
    }
}

/// Waits for several channel operations and does one of them.
///
/// The arms are `recv(receiver) -> result => body` and `send(sender, message) -> result => body`; one `default => body`
/// runs if nothing is ready, `default(duration) => body` if nothing was ready for so long. If several operations are
/// ready, one of them is chosen at random. A disconnected channel is ready; its result is an error.
///
/// Receivers, senders and the duration are evaluated once, in the order of the arms. The message of a send is evaluated
/// when the operation was chosen; if it panics or returns, nothing is sent, and the channel is as before.
///
/// # Blocking
///
/// Without `default`, blocks the calling green thread, or the kernel thread where there is none, until an operation is
/// ready; with `default(duration)` at most that long.
///
/// # Examples
///
/// ```
/// use brigade_sync::{channel, select};
/// use std::time::Duration;
///
/// let (sender, receiver) = channel::bounded(1);
/// let (full, _keep) = channel::bounded(0);
/// sender.send(1).unwrap();
/// let got = select! {
///     recv(receiver) -> message => message.unwrap(),
///     send(full, 2) -> _ => unreachable!(),
///     default(Duration::from_secs(60)) => unreachable!(),
/// };
/// assert_eq!(got, 1);
///
/// // Nothing is ready.
/// let got = select! {
///     recv(receiver) -> message => message.unwrap(),
///     default => 0,
/// };
/// assert_eq!(got, 0);
/// ```
#[macro_export]
macro_rules! select {
    () => {
        ::core::compile_error!("a select! needs an arm")
    };
    ($($tokens:tt)+) => {
        $crate::__select!(@parse [] [] $($tokens)+)
    };
}

/// The steps of `select!`: `@parse` collects the arms, `@bind` evaluates the handles, `@do` completes what was chosen.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@parse $arms:tt $default:tt) => {
        $crate::__select!(@bind [] (0_usize) $arms $default)
    };
    (@parse [$($arms:tt)*] $default:tt recv($handle:expr $(,)?) -> $result:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* {recv ($handle) () ($result) ($body)}] $default $($rest)*)
    };
    (@parse [$($arms:tt)*] $default:tt recv($handle:expr $(,)?) -> $result:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* {recv ($handle) () ($result) ($body)}] $default $($rest)*)
    };
    (@parse [$($arms:tt)*] $default:tt recv($handle:expr $(,)?) -> $result:pat => $body:expr) => {
        $crate::__select!(@parse [$($arms)* {recv ($handle) () ($result) ($body)}] $default)
    };
    (@parse [$($arms:tt)*] $default:tt send($handle:expr, $message:expr $(,)?) -> $result:pat => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* {send ($handle) ($message) ($result) ($body)}] $default $($rest)*)
    };
    (@parse [$($arms:tt)*] $default:tt send($handle:expr, $message:expr $(,)?) -> $result:pat => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse [$($arms)* {send ($handle) ($message) ($result) ($body)}] $default $($rest)*)
    };
    (@parse [$($arms:tt)*] $default:tt send($handle:expr, $message:expr $(,)?) -> $result:pat => $body:expr) => {
        $crate::__select!(@parse [$($arms)* {send ($handle) ($message) ($result) ($body)}] $default)
    };
    (@parse $arms:tt [] default $(())? => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::Now) ($body)] $($rest)*)
    };
    (@parse $arms:tt [] default $(())? => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::Now) ($body)] $($rest)*)
    };
    (@parse $arms:tt [] default $(())? => $body:expr) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::Now) ($body)])
    };
    (@parse $arms:tt [] default($after:expr $(,)?) => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::After($after)) ($body)] $($rest)*)
    };
    (@parse $arms:tt [] default($after:expr $(,)?) => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::After($after)) ($body)] $($rest)*)
    };
    (@parse $arms:tt [] default($after:expr $(,)?) => $body:expr) => {
        $crate::__select!(@parse $arms [($crate::channel::internal::Limit::After($after)) ($body)])
    };
    (@parse $arms:tt [$($default:tt)+] default $($rest:tt)*) => {
        ::core::compile_error!("a select! has one default arm at most")
    };
    (@parse $arms:tt $default:tt $($rest:tt)+) => {
        ::core::compile_error!(
            "an arm of select! is `recv(receiver) -> result => body`, `send(sender, message) -> result => body`, \
             `default => body` or `default(duration) => body`"
        )
    };

    (@bind [$($bound:tt)*] ($index:expr) [{recv ($handle:expr) $($arm:tt)*} $($rest:tt)*] $default:tt) => {
        match &$handle {
            handle => {
                let handle: &$crate::channel::Receiver<_> = handle;
                $crate::__select!(@bind [$($bound)* {recv handle ($index) $($arm)*}] ($index + 1) [$($rest)*] $default)
            }
        }
    };
    (@bind [$($bound:tt)*] ($index:expr) [{send ($handle:expr) $($arm:tt)*} $($rest:tt)*] $default:tt) => {
        match &$handle {
            handle => {
                let handle: &$crate::channel::Sender<_> = handle;
                $crate::__select!(@bind [$($bound)* {send handle ($index) $($arm)*}] ($index + 1) [$($rest)*] $default)
            }
        }
    };
    (@bind $bound:tt $index:tt [] []) => {
        $crate::__select!(@bind $bound $index [] [
            ($crate::channel::internal::Limit::Never) ($crate::channel::internal::unreachable())
        ])
    };
    (@bind [$({$kind:ident $handle:ident $($arm:tt)*})*] $index:tt [] [($limit:expr) ($body:expr)]) => {
        match $crate::channel::internal::pick([$($handle),*], $limit) {
            ::core::option::Option::None => $body,
            ::core::option::Option::Some((index, picked)) => {
                $crate::__select!(@do index picked [$({$kind $handle $($arm)*})*])
            }
        }
    };

    (@do $index:ident $picked:ident []) => {{
        let _ = ($index, $picked);
        $crate::channel::internal::unreachable()
    }};
    (@do $index:ident $picked:ident [{recv $handle:ident ($at:expr) () ($result:pat) ($body:expr)} $($rest:tt)*]) => {
        if $index == $at {
            let $result = $crate::channel::internal::recv($handle, $picked);
            $body
        } else {
            $crate::__select!(@do $index $picked [$($rest)*])
        }
    };
    (@do $index:ident $picked:ident [{send $handle:ident ($at:expr) ($message:expr) ($result:pat) ($body:expr)} $($rest:tt)*]) => {
        if $index == $at {
            let $result = $crate::channel::internal::Sending::new($handle, $picked).send($message);
            $body
        } else {
            $crate::__select!(@do $index $picked [$($rest)*])
        }
    };
}
