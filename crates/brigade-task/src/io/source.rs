//! What an `Async` shares with the driver: who waits for each direction of its descriptor.
//!
//! Each direction has one [`Watch`], armed when the first waits, whatever the number of tasks. When it fires, all are
//! woken; each looks whether something has happened since *its* attempt, and if not waits again.
//!
//! # States of a direction
//!
//! | `armed_at` | the watch | who leaves it |
//! |---|---|---|
//! | none | at our disposal | who waits: arms it |
//! | a driver of this process | in the list of the descriptor's waiters, or it rang | the driver ([`fired`]), or the end of the `Async` |
//! | a driver of a process that forked this one | forgotten with all lists | as none |
//!
//! # Invariants
//!
//! 1. Under the lock of a direction: if `waiting` is not empty the watch is armed. The watch is armed under the lock, and
//!    the driver takes all wakers out under the lock in which it notes that the watch is no longer armed. So whoever
//!    finds the watch armed and leaves a waker is woken by the firing that ends this.
//! 2. Who waits has taken [`Seen`] before its attempt, and under the lock finds that nothing has happened since, or does
//!    not wait. What happens afterwards fires the watch (`fd.rs` of the runtime, invariant 1). One that arms the watch is
//!    compared again under the lock of the descriptor's entry.
//! 3. While the watch is armed a counted reference to the source belongs to the alarm: its token.
//! 4. Wakers are foreign code: none is cloned, called or dropped under a lock.
//! 5. Lock order: a direction, an entry of the runtime's table, the alarms.
//!
//! In the child of a fork a direction whose lock another thread held stays locked, as any lock would.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use brigade_runtime::alarms::{Armed, Watch};
use brigade_runtime::descriptors::{Fd, Interest, Seen};
use brigade_runtime::raw::{RawGuard, RawLock};

use crate::driver::{Driver, driver};

/// Tasks that wait through the poll functions of one direction, at most; the oldest is woken when there are more, and
/// waits again if it is still there.
const POLLERS_MAX: usize = 16;

/// The key of those that wait through the poll functions: nobody takes them out but an event.
const POLLER: u64 = 0;

struct Waiting {
    key: u64,
    waker: Waker,
}

struct State {
    /// The driver whose alarm the watch will ring.
    armed_at: Option<&'static Driver>,
    last_key: u64,
    waiting: Vec<Waiting>,
}

struct Direction {
    state: RawLock<State>,
    watch: Watch,
}

/// See the module.
#[repr(align(8))]
pub(crate) struct Source {
    directions: [Direction; 2],
}

/// The place of a future among those that wait.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<u64>);

impl Direction {
    fn new(interest: Interest) -> Direction {
        Direction {
            state: RawLock::new(State {
                armed_at: None,
                last_key: POLLER,
                waiting: Vec::new(),
            }),
            watch: Watch::new(interest),
        }
    }
}

impl State {
    fn is_armed(&self) -> bool {
        self.armed_at.is_some_and(Driver::is_ours)
    }

    /// The watch is at our disposal again.
    fn note_disarmed(&mut self) {
        if let Some(driver) = self.armed_at.take() {
            driver.note_disarmed();
        }
    }

    /// Leaves a waker; what it displaces must be woken (`true`) or dropped by the caller, after the lock.
    fn leave(&mut self, place: &mut Place, waker: Waker) -> Option<(Waker, bool)> {
        let Some(key) = place.0 else {
            self.last_key += 1;
            let key = self.last_key;
            place.0 = Some(key);
            self.waiting.push(Waiting { key, waker });
            return None;
        };
        if let Some(mine) = self
            .waiting
            .iter_mut()
            .find(|other| other.key == key && (key != POLLER || other.waker.will_wake(&waker)))
        {
            return Some((std::mem::replace(&mut mine.waker, waker), false));
        }
        let oldest = self
            .waiting
            .iter()
            .position(|other| other.key == POLLER)
            .filter(|_| key == POLLER && self.waiting.len() >= POLLERS_MAX);
        let displaced = oldest.map(|index| (self.waiting.remove(index).waker, true));
        self.waiting.push(Waiting { key, waker });
        displaced
    }
}

impl Source {
    pub(crate) fn new() -> Arc<Source> {
        Arc::new(Source {
            directions: [Interest::Read, Interest::Write].map(Direction::new),
        })
    }

    /// Pending: the task will be woken when something has happened to `fd` since `seen` was taken. `trusted` as for
    /// [`Watch::arm`].
    pub(crate) fn poll(
        self: &Arc<Source>,
        fd: Fd,
        (interest, seen): (Interest, Seen),
        trusted: bool,
        place: &mut Place,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the lock: it may start a thread.
        let driver = driver()?;
        let waker = cx.waker().clone();
        let direction = &self.directions[interest as usize];
        let mut state = direction.state.lock();
        if !fd.is_still(interest, seen) {
            return Poll::Ready(Ok(()));
        }
        if !state.is_armed() {
            match self.arm(driver, &mut state, fd, (interest, seen), trusted) {
                Ok(Armed::Waits) => {}
                Ok(Armed::Again) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let displaced = state.leave(place, waker);
        drop(state);
        match displaced {
            Some((waker, true)) => waker.wake(),
            Some((waker, false)) => drop(waker),
            None => {}
        }
        Poll::Pending
    }

    /// As [`Source::poll`], for the poll functions: the waker stays until something happens.
    pub(crate) fn poll_placeless(
        self: &Arc<Source>,
        fd: Fd,
        what: (Interest, Seen),
        trusted: bool,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(fd, what, trusted, &mut Place(Some(POLLER)), cx)
    }

    fn arm(
        self: &Arc<Source>,
        driver: &'static Driver,
        state: &mut RawGuard<'_, State>,
        fd: Fd,
        (interest, seen): (Interest, Seen),
        trusted: bool,
    ) -> io::Result<Armed> {
        let owned = Arc::into_raw(Arc::clone(self));
        let token = owned.expose_provenance() | interest as usize;
        let watch = &self.directions[interest as usize].watch;
        // SAFETY: by `armed_at` the watch is at our disposal; it lives in an `Arc` of which a reference goes with the
        // token, and all calls for it are made under the lock that the caller holds.
        let armed = unsafe { watch.arm(fd, seen, trusted, &driver.alarms, token) };
        if let Ok(Armed::Waits) = armed {
            state.armed_at = Some(driver);
            driver.note_armed();
        } else {
            // SAFETY: the watch is not armed, so the reference is ours again. It is not the last: `self` is one.
            drop(unsafe { Arc::from_raw(owned) });
        }
        armed.map_err(io::Error::from_raw_os_error)
    }

    /// A future waits no longer.
    pub(crate) fn leave(&self, interest: Interest, place: &Place) {
        let Some(key) = place.0 else { return };
        let mut state = self.directions[interest as usize].state.lock();
        let index = state.waiting.iter().position(|other| other.key == key);
        let mine = index.map(|index| state.waiting.swap_remove(index));
        drop(state);
        drop(mine);
    }

    /// The descriptor's owner goes away: nobody waits any more.
    pub(crate) fn close(self: &Arc<Source>) {
        for direction in &self.directions {
            let mut state = direction.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            let disarmed = state.is_armed() && direction.watch.disarm();
            if disarmed {
                state.note_disarmed();
            }
            drop(state);
            if disarmed {
                // SAFETY: the watch was armed and has not fired, so the token's reference is ours again. It is not the
                // last: `self` is one.
                unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
            }
            drop(waiting);
        }
    }
}

/// By the driver: the watch with this token has fired. Adds the wakers of all who waited.
///
/// # Safety
///
/// The token must be one that [`Source::arm`] passed, handed out by the alarms for the first time.
pub(crate) unsafe fn fired(token: usize, wakers: &mut Vec<Waker>) {
    let place = ptr::with_exposed_provenance::<Source>(token & !1);
    // SAFETY: the reference that went with the token.
    let source = unsafe { Arc::from_raw(place) };
    let mut state = source.directions[token & 1].state.lock();
    state.note_disarmed();
    wakers.extend(state.waiting.drain(..).map(|waiting| waiting.waker));
}
