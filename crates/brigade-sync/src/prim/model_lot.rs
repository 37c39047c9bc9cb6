//! A lot for the model checker. It does what the runtime's promises, with nothing of how: the runtime has models of its
//! own.

use std::sync::Arc;

use brigade_event::Mode;
use loom::sync::{Mutex, Notify};

use super::model::{AtomicUsize, Ordering};

/// A thread that is going to wait.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    /// Whether its time is up, or its alarm rings, at once.
    pub(crate) gives_up: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parked<R> {
    NotDue,
    Woken(usize),
    TimedOut,
    Refused(R),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Take,
    Skip,
    Stop,
}

pub(crate) struct Turn(bool);

impl Turn {
    pub(crate) fn take(&mut self) -> bool {
        self.0
    }
}

pub(crate) struct Found {
    pub(crate) taken: usize,
    pub(crate) left: bool,
    pub(crate) turn: Turn,
}

/// A waiting thread. The token is one more than what the waker said.
struct Node {
    address: usize,
    mode: Mode,
    token: AtomicUsize,
    notify: Notify,
}

struct Lot {
    waiters: Vec<Arc<Node>>,
    /// What a model chose with [`always_in_turn`].
    is_turn: bool,
}

loom::lazy_static! {
    static ref LOT: Mutex<Lot> = Mutex::new(Lot {
        waiters: Vec::new(),
        is_turn: false,
    });
}

/// Every wake of this run of the model is one in turn.
pub(crate) fn always_in_turn() {
    LOT.lock().unwrap().is_turn = true;
}

/// How many threads wait.
pub(crate) fn waiting() -> usize {
    LOT.lock().unwrap().waiters.len()
}

pub(crate) fn are_woken_alive() -> bool {
    true
}

impl Waiting {
    pub(crate) fn park_owned(
        &self,
        address: usize,
        mode: Mode,
        front: bool,
        is_due: impl FnOnce() -> bool,
    ) -> Parked<String> {
        self.wait(address, mode, front, is_due, || None)
    }

    pub(crate) fn park_owned_with_alarm(
        &self,
        address: usize,
        mode: Mode,
        mut on_alarm: impl FnMut() -> u64,
        is_due: impl FnOnce() -> bool,
    ) -> Parked<String> {
        let never = Waiting { gives_up: false };
        never.wait(address, mode, false, is_due, || {
            if self.gives_up {
                on_alarm();
            }
            None
        })
    }

    pub(crate) fn park<R>(
        &self,
        address: usize,
        mode: Mode,
        is_due: impl FnOnce() -> bool,
        queued: impl FnOnce() -> Option<R>,
    ) -> Parked<R> {
        self.wait(address, mode, false, is_due, queued)
    }

    fn wait<R>(
        &self,
        address: usize,
        mode: Mode,
        front: bool,
        is_due: impl FnOnce() -> bool,
        queued: impl FnOnce() -> Option<R>,
    ) -> Parked<R> {
        let node = Arc::new(Node {
            address,
            mode,
            token: AtomicUsize::new(0),
            notify: Notify::new(),
        });
        {
            let mut lot = LOT.lock().unwrap();
            if !is_due() {
                return Parked::NotDue;
            }
            let at = if front { 0 } else { lot.waiters.len() };
            lot.waiters.insert(at, Arc::clone(&node));
        }
        if let Some(refusal) = queued()
            && leave(&node)
        {
            return Parked::Refused(refusal);
        }
        if self.gives_up && leave(&node) {
            return Parked::TimedOut;
        }
        loop {
            // ORDER: Acquire: pairs with the Release in `unpark_each`.
            match node.token.load(Ordering::Acquire) {
                0 => node.notify.wait(),
                token => return Parked::Woken(token - 1),
            }
        }
    }
}

/// Takes the node out of the lot; false: somebody has.
fn leave(node: &Arc<Node>) -> bool {
    let mut lot = LOT.lock().unwrap();
    let before = lot.waiters.len();
    lot.waiters.retain(|waiter| !Arc::ptr_eq(waiter, node));
    lot.waiters.len() < before
}

pub(crate) fn unpark_each(
    address: usize,
    mut choose: impl FnMut(Mode, &mut Turn) -> Choice,
    answer: impl FnOnce(&mut Found) -> usize,
) -> usize {
    let mut taken = Vec::new();
    {
        let mut lot = LOT.lock().unwrap();
        let is_turn = lot.is_turn;
        let (mut left, mut stopped) = (false, false);
        lot.waiters.retain(|waiter| {
            if waiter.address != address {
                return true;
            }
            if !stopped {
                match choose(waiter.mode, &mut Turn(is_turn)) {
                    Choice::Take => {
                        taken.push(Arc::clone(waiter));
                        return false;
                    }
                    Choice::Skip => {}
                    Choice::Stop => stopped = true,
                }
            }
            left = true;
            true
        });
        let token = answer(&mut Found {
            taken: taken.len(),
            left,
            turn: Turn(is_turn),
        });
        for waiter in &taken {
            // ORDER: Release: pairs with the Acquire in `wait`.
            waiter.token.store(token + 1, Ordering::Release);
        }
    }
    taken.iter().for_each(|waiter| waiter.notify.notify());
    taken.len()
}

pub(crate) fn unpark_one(address: usize, answer: impl FnOnce(&mut Found) -> usize) -> usize {
    let mut is_first = true;
    let choose = |_, _: &mut Turn| {
        if std::mem::take(&mut is_first) {
            Choice::Take
        } else {
            Choice::Stop
        }
    };
    unpark_each(address, choose, answer)
}

pub(crate) fn unpark_all(address: usize, answer: impl FnOnce(&mut Found) -> usize) -> usize {
    unpark_each(address, |_, _| Choice::Take, answer)
}
