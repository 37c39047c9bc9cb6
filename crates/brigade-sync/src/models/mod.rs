//! The protocols under loom, for `RUSTFLAGS="--cfg loom" cargo test -p brigade-sync --lib`.
//!
//! Beside the models that must hold stand planted faults that the checker must find.

mod green;
mod once_word;
mod permits;
mod raw;
mod wait_queue;
