//! Those who wait for one direction of a descriptor, behind one watch: no event is lost, and a firing wakes all.
//!
//! The watch is armed when the first waits, whatever the number of tasks. When it fires, all are woken; each looks whether
//! something has happened since *its* attempt, and if not waits again.
//!
//! # States
//!
//! | `armed_at` | the watch | who leaves it |
//! |---|---|---|
//! | none | at the owner's disposal | who waits: arms it ([`Waiters::wait`]) |
//! | something that is of now | in the list of the descriptor's waiters, or it rang | who answers ([`Waiters::fired`]), or the end of the object ([`Waiters::close`]) |
//! | somewhere else: another file | as before | who waits: disarms it, and arms it |
//! | something that is no more (of a process that forked this one) | forgotten with all lists | as none |
//!
//! # Invariants
//!
//! 1. Under the lock: if `waiting` is not empty, the watch is armed. It is armed under the lock, and who answers takes
//!    all wakers out under the lock in which it notes that the watch is no longer armed. So whoever finds the watch armed
//!    and leaves a waker is woken by the firing that ends this.
//! 2. Who waits has taken the tick of the direction before its attempt, and under the lock finds that it is still the
//!    same, or does not wait. An event moves the tick first and then fires the watch. So an event that comes after this
//!    look fires a watch that is armed; one that comes before the watch is armed is seen by who arms it, who compares
//!    the tick again under the lock of the list of waiters.
//! 3. Wakers are foreign code: none is cloned, called or dropped under the lock.
//!
//! `models/waiters.rs` has the model.

use std::task::{Poll, Waker};

use crate::prim::Lock;

/// Tasks that wait through the poll functions of one direction, at most; the oldest is woken when there are more, and
/// waits again if it is still there.
const POLLERS_MAX: usize = 16;

/// The key of those that wait through the poll functions: nobody takes them out but an event.
const POLLER: u64 = 0;

struct Waiting {
    key: u64,
    waker: Waker,
}

struct State<D> {
    armed_at: Option<D>,
    last_key: u64,
    waiting: Vec<Waiting>,
}

/// See the module. `D` says where the watch is armed.
pub(crate) struct Waiters<D> {
    state: Lock<State<D>>,
}

/// The place of a future among those that wait.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<u64>);

impl Place {
    /// The place of those who never give it up: the tasks of the poll functions.
    pub(crate) fn of_pollers() -> Place {
        Place(Some(POLLER))
    }
}

impl<D> State<D> {
    /// Leaves a waker; what it displaces must be woken (`true`) or dropped by the caller, after the lock.
    fn leave(&mut self, place: &mut Place, waker: Waker) -> Option<(Waker, bool)> {
        let Some(key) = place.0 else {
            self.last_key += 1;
            let key = self.last_key;
            place.0 = Some(key);
            self.waiting.push(Waiting { key, waker });
            return None;
        };
        let is_mine = |other: &&mut Waiting| {
            other.key == key && (key != POLLER || other.waker.will_wake(&waker))
        };
        if let Some(mine) = self.waiting.iter_mut().find(is_mine) {
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

impl<D: Copy> Waiters<D> {
    pub(crate) fn new() -> Waiters<D> {
        Waiters {
            state: Lock::new(State {
                armed_at: None,
                last_key: POLLER,
                waiting: Vec::new(),
            }),
        }
    }

    /// Pending: `waker` will be called after an event. `is_still`: none has come since the attempt. `is_now`: a watch that
    /// was armed there will tell. Else `arm` arms it, is told where it was armed before, and says where it is now, or none
    /// if an event has come. It may leave it where it was if it has fired.
    pub(crate) fn wait<E>(
        &self,
        place: &mut Place,
        waker: Waker,
        is_still: impl FnOnce() -> bool,
        is_now: impl FnOnce(D) -> bool,
        arm: impl FnOnce(Option<D>) -> Result<Option<D>, E>,
    ) -> Poll<Result<(), E>> {
        let mut state = self.state.lock();
        if !is_still() {
            return Poll::Ready(Ok(()));
        }
        if !state.armed_at.is_some_and(is_now) {
            let armed = arm(state.armed_at.take());
            match armed {
                Ok(Some(at)) => state.armed_at = Some(at),
                Ok(None) => return Poll::Ready(Ok(())),
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

    /// A future waits no longer.
    pub(crate) fn leave(&self, place: &Place) {
        let Some(key) = place.0 else { return };
        let mut state = self.state.lock();
        let index = state.waiting.iter().position(|other| other.key == key);
        let mine = index.map(|index| state.waiting.swap_remove(index));
        drop(state);
        drop(mine);
    }

    /// By who answers: the watch has fired. Adds the wakers of all who waited, and says where it was armed.
    pub(crate) fn fired(&self, wakers: &mut Vec<Waker>) -> Option<D> {
        let mut state = self.state.lock();
        wakers.extend(state.waiting.drain(..).map(|waiting| waiting.waker));
        state.armed_at.take()
    }

    /// The object goes away: nobody waits any more. `disarm` takes the watch back unless it has fired. Returns where it
    /// was armed if it was taken back.
    pub(crate) fn close(
        &self,
        is_now: impl FnOnce(D) -> bool,
        disarm: impl FnOnce() -> bool,
    ) -> Option<D> {
        let mut state = self.state.lock();
        let waiting = std::mem::take(&mut state.waiting);
        let armed_at = state.armed_at.filter(|&at| is_now(at));
        let disarmed_at = armed_at.filter(|_| disarm());
        if disarmed_at.is_some() {
            state.armed_at = None;
        }
        drop(state);
        drop(waiting);
        disarmed_at
    }
}

#[cfg(all(loom, test))]
impl<D: Copy> Waiters<D> {
    /// A fault: takes the wakers out and leaves the watch armed.
    pub(crate) fn plant_early_drain(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        wakers.extend(state.waiting.drain(..).map(|waiting| waiting.waker));
    }
}
