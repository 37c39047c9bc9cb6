//! Models of the lock-free protocols, for `RUSTFLAGS="--cfg loom" cargo test -p brigade-runtime --lib`.
//!
//! Each protocol's own code runs under loom, with the constants of `prim/model.rs`. Beside the models that must hold
//! stand planted faults that the checker must find, so that a silent checker is noticed.

mod cancel;
mod handoff;
mod idle;
mod lot;
mod park;
mod queue;
mod readiness;
