//! The protocols of the locks, without what they protect and without what is told about them.

pub(crate) mod condvar;
pub(crate) mod interpreter;
pub(crate) mod mutex;
pub(crate) mod rwlock;

/// Why a lock was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its time was up.
    TimedOut,
    /// It would never be.
    Deadlock(String),
}
