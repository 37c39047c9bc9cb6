//! What the protocols of this crate are made of: on the machine (`real.rs`), or under the model checker (`model.rs`,
//! with `--cfg loom`), with the same names.

/// How a sleep in a `Bed` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// There was no reason to.
    Not,
    /// Until it was woken as the one.
    UntilOne,
    /// Until all were woken.
    UntilAll,
}

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::*;
