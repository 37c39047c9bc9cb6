//! The ways in which the two threads of a [`Pair`](super::pair::Pair) take their two resources.
//!
//! [`opposite`] has all four conditions of a deadlock; each of the cures lacks one:
//!
//! | condition | cure |
//! |---|---|
//! | mutual exclusion: one thread at a time has a resource | [`shared`]: both read at once, and add atomically |
//! | hold and wait: who waits keeps what it has | [`back_off`]: who cannot have the second gives back the first |
//! | no preemption: nothing is taken away | [`preempted`]: the older thread takes from the younger |
//! | circular wait: each waits for what the other has | [`ordered`]: both take the same one first |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::Duration;

use super::pair::{Side, Turn};
use super::wound_wait::Resources;

/// A lock without contents, of std or of Brigade.
pub(super) trait Lock: Send + Sync + 'static {
    type Guard<'a>;

    /// Takes the lock, and waits for it if need be.
    #[track_caller]
    fn take(&self) -> Self::Guard<'_>;
}

impl Lock for Mutex<()> {
    type Guard<'a> = std::sync::MutexGuard<'a, ()>;

    fn take(&self) -> Self::Guard<'_> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lock for brigade::sync::Mutex<()> {
    type Guard<'a> = brigade::sync::MutexGuard<'a, ()>;

    fn take(&self) -> Self::Guard<'_> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each thread takes its own lock first and then the other's.
pub(super) fn opposite<L: Lock>(locks: &[L; 2], turn: &Turn<'_>) {
    let [left, right] = locks;
    match turn.side {
        Side::Left => {
            let _first = left.take();
            turn.meet();
            let _second = right.take();
            turn.work();
        }
        Side::Right => {
            let _first = right.take();
            turn.meet();
            let _second = left.take();
            turn.work();
        }
    }
}

/// As [`opposite`]; a thread that is made to panic as it closes the circle gives back what it has, leaves it to
/// the other and begins again.
pub(super) fn unwound<L: Lock>(locks: &[L; 2], turn: &Turn<'_>) {
    while catch_unwind(AssertUnwindSafe(|| opposite(locks, turn))).is_err() {
        turn.pause();
    }
}

/// Both threads take the left lock first.
pub(super) fn ordered<L: Lock>(locks: &[L; 2], turn: &Turn<'_>) {
    let [left, right] = locks;
    let _first = left.take();
    turn.meet();
    let _second = right.take();
    turn.work();
}

/// Each thread takes its own lock first; both only read, so neither keeps the other out.
pub(super) fn shared(locks: &[RwLock<()>; 2], turn: &Turn<'_>) {
    let [own, other] = in_order_of(turn.side, locks);
    let _first = own.read().unwrap_or_else(PoisonError::into_inner);
    turn.meet();
    let _second = other.read().unwrap_or_else(PoisonError::into_inner);
    turn.work();
}

/// Each thread takes its own lock first and only tries to take the other's; in vain, it gives back its own,
/// waits for a time of its own and begins again.
pub(super) fn back_off(locks: &[Mutex<()>; 2], turn: &Turn<'_>) {
    let [own, other] = in_order_of(turn.side, locks);
    loop {
        let first = own.take();
        turn.meet();
        match other.try_lock() {
            Ok(_second) => return turn.work(),
            Err(TryLockError::Poisoned(_second)) => return turn.work(),
            Err(TryLockError::WouldBlock) => drop(first),
        }
        thread::sleep(Duration::from_micros(fastrand::u64(10..200)));
    }
}

/// Each thread takes its own resource first; the older one takes the other away from the younger, which then
/// begins again.
pub(super) fn preempted(resources: &Resources, turn: &Turn<'_>) {
    let [own, other] = in_order_of(turn.side, &[0, 1]).map(|index| *index);
    loop {
        let taken = resources.take(own, turn.side).and_then(|()| {
            turn.meet();
            resources.take(other, turn.side)
        });
        if taken.is_ok() {
            turn.work();
        }
        resources.give_back(turn.side);
        if taken.is_ok() {
            return;
        }
    }
}

/// One's own first.
fn in_order_of<T>(side: Side, both: &[T; 2]) -> [&T; 2] {
    let [left, right] = both;
    match side {
        Side::Left => [left, right],
        Side::Right => [right, left],
    }
}
