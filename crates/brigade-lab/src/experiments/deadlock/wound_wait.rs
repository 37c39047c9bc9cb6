//! Two resources that can be taken away from a thread that waits: *wound-wait*.
//!
//! Of two threads one is the older. When the older one wants what the younger one has, the younger one is
//! *wounded*: as soon as it has to wait for something itself, it is told to give back everything and to begin
//! again. A thread never waits for an older one that waits for it, because then it has been wounded.

use std::sync::{Condvar, Mutex, PoisonError};

use super::pair::Side;

/// Two resources and who has them.
#[derive(Default)]
pub(super) struct Resources {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holders: [Option<Side>; 2],
    /// Whether the younger thread is to give back what it has.
    wounded: bool,
}

/// The thread must give back what it has and begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wounded;

/// The thread that wounds and is never wounded.
const OLDER: Side = Side::Left;

impl Resources {
    /// Takes the resource of that index for `side`, and waits for it if need be.
    pub(super) fn take(&self, index: usize, side: Side) -> Result<(), Wounded> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.holders[index].is_some() {
            if side == OLDER {
                state.wounded = true;
                self.changed.notify_all();
            } else if state.wounded {
                return Err(Wounded);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.holders[index] = Some(side);
        Ok(())
    }

    /// Gives back everything that `side` has.
    pub(super) fn give_back(&self, side: Side) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for holder in &mut state.holders {
            if *holder == Some(side) {
                *holder = None;
            }
        }
        if side != OLDER {
            state.wounded = false;
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_thread_takes_from_the_younger_one_and_never_the_other_way_round() {
        let resources = Resources::default();
        std::thread::scope(|scope| {
            assert_eq!(resources.take(0, Side::Right), Ok(()));
            assert_eq!(resources.take(1, Side::Left), Ok(()));
            let older = scope.spawn(|| resources.take(0, Side::Left));
            assert_eq!(resources.take(1, Side::Right), Err(Wounded));
            resources.give_back(Side::Right);
            assert_eq!(older.join().unwrap(), Ok(()));
            let younger = scope.spawn(|| resources.take(0, Side::Right));
            resources.give_back(Side::Left);
            assert_eq!(younger.join().unwrap(), Ok(()), "its wound has healed");
        });
    }
}
