//! What a task or a job hands to whoever waits for it: one value, once.
//!
//! Every runtime has its own handle for this. The experiments use the one here with all of them, so that the arms
//! differ in who runs the tasks and in nothing else.
//!
//! # Invariant
//!
//! An [`Answer`] always ends: with the value, or as lost when the [`Giver`] was dropped without giving one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::experiment::ArmError;

/// A place for one value, with its two ends.
pub(crate) fn answer<T>() -> (Giver<T>, Answer<T>) {
    let place = Arc::new(Mutex::new(Place::Empty(None)));
    (Giver(Arc::clone(&place)), Answer(place))
}

enum Place<T> {
    /// Nothing yet; who waits for it.
    Empty(Option<Waker>),
    Given(T),
    /// Nothing will come, or it was taken.
    Over,
}

type Shared<T> = Arc<Mutex<Place<T>>>;

fn lock<T>(place: &Shared<T>) -> MutexGuard<'_, Place<T>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end that gives.
pub(crate) struct Giver<T>(Shared<T>);

impl<T> Giver<T> {
    /// Gives `value` and wakes who waits for it.
    pub(crate) fn give(self, value: T) {
        self.leave(Place::Given(value));
    }

    fn leave(&self, place: Place<T>) {
        let mut now = lock(&self.0);
        if let Place::Empty(waiting) = &mut *now {
            let waiting = waiting.take();
            *now = place;
            drop(now);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.leave(Place::Over);
    }
}

/// The end that waits.
pub(crate) struct Answer<T>(Shared<T>);

impl<T> Answer<T> {
    /// The value, if it is there.
    pub(crate) fn take(&self) -> Option<Result<T, ArmError>> {
        let mut now = lock(&self.0);
        match std::mem::replace(&mut *now, Place::Over) {
            Place::Given(value) => Some(Ok(value)),
            Place::Over => Some(Err(ArmError::Failed("a task ended early".into()))),
            empty @ Place::Empty(_) => {
                *now = empty;
                None
            }
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, ArmError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Place::Empty(waiting) = &mut *lock(&self.0) {
            *waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_given() {
        let (giver, answer) = answer();
        assert!(answer.take().is_none());
        giver.give(7);
        assert_eq!(answer.take(), Some(Ok(7)));
    }

    #[test]
    fn an_answer_that_nobody_gives_ends_as_an_error() {
        let (giver, answer) = answer::<u8>();
        drop(giver);
        assert!(matches!(answer.take(), Some(Err(ArmError::Failed(_)))));
    }
}
