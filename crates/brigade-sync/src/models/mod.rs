//! The protocols under loom, for `RUSTFLAGS="--cfg loom" cargo test -p brigade-sync --lib`.
//!
//! Beside the models that must hold stand planted faults that the checker must find.

mod channel;
mod green;
mod members;
mod once_word;
mod permits;
mod raw;
mod signal;
mod wait_queue;
