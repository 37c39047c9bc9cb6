//! Models of the protocols of this crate, with planted faults.

mod gate;
mod parker;
mod waiters;
