//! What the channels use of the machine and of the runtime, in two forms with the same names: the real one
//! (`real.rs`), and the one for the model checker (`model.rs`, with `--cfg loom`), in which atomics, locks and parking
//! are loom's.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::*;
