//! What the protocols of this crate are made of: on the machine (`real.rs`), or under the model checker (`model.rs`,
//! with `--cfg loom`), with the same names.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
mod real_lot;
#[cfg(not(loom))]
pub(crate) use {real::*, real_lot::*};

#[cfg(loom)]
mod model;
#[cfg(loom)]
mod model_lot;
#[cfg(loom)]
pub(crate) use {model::*, model_lot::*};
