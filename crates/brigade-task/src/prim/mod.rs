//! What the protocols of this crate are made of: on the machine (`real.rs`), or under the model checker (`model.rs`,
//! with `--cfg loom`), with the same names.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::*;
