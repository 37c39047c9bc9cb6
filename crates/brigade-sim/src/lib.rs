//! A simulator of schedulers: what becomes of a set of tasks under FIFO, round robin, CFS and EEVDF, and
//! under green threads above them.
//!
//! A [`TaskSet`] says what each task does (computes, waits, blocks its kernel thread), [`simulate`] plays
//! it under a [`Scheduler`], and the [`Run`] says who ran where and when, and how long each waited.
//!
//! ```
//! use brigade_sim::{Scheduler, TaskSet, simulate};
//!
//! let set = TaskSet::parse(
//!     r#"
//!     switch_cost = "0"
//!
//!     [[task]]
//!     name = "long"
//!     steps = ["compute 10ms"]
//!
//!     [[task]]
//!     name = "short"
//!     arrival = "1ms"
//!     steps = ["compute 1ms"]
//!     "#,
//! )?;
//! let run = simulate(&set, &Scheduler::FIFO, 1)?;
//! assert_eq!(run.tasks[1].waiting_ns, 9_000_000);
//!
//! let wrong = TaskSet::parse("[[task]]\nname = 1\n").unwrap_err();
//! assert_eq!(wrong.line(), Some(2));
//! # Ok::<(), brigade_sim::Error>(())
//! ```
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | [`task`] | what tasks do, and on what machine; the steps of one run, drawn by the seed |
//! | `format` | task sets as text |
//! | [`builtin`] | task sets that come with the program |
//! | [`scheduler`] | the names: kernel policy and thread model |
//! | `policy` | which kernel thread next: one policy, one file |
//! | `model` | which task on which kernel thread |
//! | `engine` | the events in their order |
//! | [`run`] | what comes out |
//!
//! # Invariants
//!
//! 1. Nothing here reads a clock, starts a thread, or reads or writes a file: the same set, scheduler and
//!    seed give the same [`Run`], anywhere.
//! 2. The steps of tasks are drawn before the first event, so every scheduler gets the same work.
//! 3. Time is whole nanoseconds and virtual time is a fixed-point number: nothing depends on how a processor
//!    rounds.
//!
//! # Rejected
//!
//! *Steps of a fixed length of time*: they are either too coarse for switches or too many. *A copy of the
//! kernel's load balancer*: most of it is about caches and topology; a core that has nothing to do takes
//! work from another, and that is all.

pub mod builtin;
mod engine;
mod error;
mod format;
mod model;
mod policy;
pub mod run;
pub mod scheduler;
pub mod task;

pub use engine::simulate;
pub use error::Error;
pub use policy::weight_of;
pub use run::Run;
pub use scheduler::{Kernel, Model, Scheduler};
pub use task::TaskSet;
