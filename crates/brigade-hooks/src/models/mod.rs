//! The protocol of `bucket.rs` under loom, for `RUSTFLAGS="--cfg loom" cargo test -p brigade-hooks --lib`.
//!
//! Beside the models that must hold stand planted faults that the checker must find.

mod bucket;
