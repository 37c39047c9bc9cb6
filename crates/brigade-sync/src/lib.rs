//! Locks, channels and select of Brigade: they park green threads and block kernel threads, in any mix.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface. Of the runtime it
//! sees `brigade_runtime::park` alone.

pub mod channel;
pub mod order;
