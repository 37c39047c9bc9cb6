//! What the protocols of this crate are made of: on the machine, or under the model checker (`--cfg loom`).

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::*;
