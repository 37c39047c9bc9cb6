//! The one place where the runtime touches atomics, locks, clocks and the kernel.
//!
//! Everything the protocols use comes in two forms with the same names: the real one (`real.rs`) and the
//! one for the model checker (`model.rs`, with `--cfg loom`), in which the atomics are loom's, the constants
//! are small, and the asymmetric fence is a sequentially consistent fence on both sides. The modules that
//! hold a protocol (`queue`, `park`, `handoff`, `idle`) import only from here, so the code that is checked is
//! the code that runs.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub(crate) use real::*;
#[cfg(not(loom))]
pub use real::{NEVER, deadline_after, deadline_at, now_ns};

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::*;
