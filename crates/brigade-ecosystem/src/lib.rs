//! Blocking crates of others on green threads, unchanged: what their tests share.
//!
//! `tests` has one file per crate. Each proves three things on a runtime with two workers: that many slow operations
//! overlap, that they hold no kernel thread each, and that many small ones give exact results. The crates are
//! dependencies of the tests only; nothing that ships depends on them.
//!
//! | module | holds |
//! |---|---|
//! | [`rig`] | the runtime of a test, one test at a time, none that hangs |
//! | [`overlap`] | many slow operations: they overlap, and hold no kernel threads |
//! | [`kernel`] | counting kernel threads |
//! | [`http`] | a small HTTP server in plain blocking code, for the clients to talk to |
//! | [`server`] | real servers on loopback, with a data directory of their own |
//! | [`payload`], [`count`] | bytes that can be checked, a counter |

pub mod count;
pub mod http;
pub mod kernel;
pub mod overlap;
pub mod payload;
pub mod rig;
pub mod server;
