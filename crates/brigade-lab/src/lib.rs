//! Experiments that measure what is commonly said about threads, on the machine they run on.
//!
//! Each experiment is a type that implements [`Experiment`]: a claim in one sentence, the arms
//! that measure it, at least one control arm, a check of its own premise, and a judgement that is
//! a pure function of the samples. [`run`] carries one out and returns a [`Report`].
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | [`stats`] | median, quartiles, maximum of a set of numbers |
//! | [`units`] | numbers as people read them |
//! | [`sample`] | what one run of one arm measured; all of them together |
//! | [`verdict`] | from samples to one of four verdicts, without touching the machine |
//! | [`experiment`] | the trait |
//! | [`child`] | one run of one arm in a process of its own |
//! | `peer` | the far end of a connection, in a process of its own |
//! | [`driver`] | repeats, random order, progress, cancellation |
//! | [`report`] | what comes out, as data with a schema version |
//! | [`figure`] | what to draw, as data |
//! | [`machine`] | what the machine is and offers |
//! | `account` | what the scheduler has written down about a kernel thread |
//! | `turns` | two sides that take strict turns on one CPU |
//! | `answer` | what a task or a job hands to whoever waits for it |
//! | `channel` | channels of either kind of threads |
//! | `forked` | processes that an arm forks |
//! | `worker` | what worker processes of experiments do |
//! | `python` | the Python interpreters on this machine, as arms |
//! | `compute` | computation of a known length |
//! | `event_loop` | an event loop on one thread, as small as can be |
//! | `pool` | the door to thread pools |
//! | `tasks` | the door to async tasks, whoever runs them |
//! | `shared` | one number that threads share, guarded in different ways |
//! | `cloned` | processes and threads made by `clone` with given flags |
//! | `crowd` | many threads that wait at once |
//! | `kernel_view` | what the kernel shows of the threads of a process |
//! | `together` | threads that begin a loop together, and the CPU time they used |
//! | `echo` | three servers that answer with what they get, and their client |
//! | [`experiments`] | the experiments themselves |
//! | [`theme`] | which experiments belong together, and the order of the tour |
//!
//! # Invariants
//!
//! 1. Nothing in this crate writes to a terminal. Progress goes through [`progress::Progress`].
//! 2. Every run of an arm happens in a child process: no arm sees memory, threads, processor
//!    affinity or a runtime that another arm left behind, and ending the child undoes everything.
//! 3. A verdict depends on samples alone; the same samples give the same verdict anywhere.
//! 4. Green threads are reached through the one private module `green`, async tasks through `tasks`, pools
//!    through `pool`.
//!
//! # Rejected
//!
//! *Arms as closures in a table*: a child process must find an arm by name, and a closure has
//! none. *One process for all arms*: a runtime of an earlier arm keeps its carriers, and freed
//! memory stays in the allocator, so the later arm measures both.

mod account;
mod answer;
mod channel;
pub mod child;
mod cloned;
mod compute;
mod crowd;
pub mod driver;
mod echo;
mod event_loop;
pub mod experiment;
pub mod experiments;
pub mod figure;
mod forked;
mod green;
mod kernel_view;
pub mod machine;
mod peer;
mod pool;
mod probe;
pub mod progress;
mod python;
pub mod report;
pub mod sample;
mod shared;
pub mod stats;
mod tasks;
pub mod theme;
mod ticker;
mod together;
mod turns;
pub mod units;
pub mod verdict;
mod worker;

pub use child::Launcher;
pub use driver::{Context, run};
pub use experiment::{Arm, ArmError, Experiment, Info, Metric, Role, Scale, Show};
pub use experiments::{all, find};
pub use figure::Figure;
pub use progress::{Progress, Silent};
pub use report::{Document, Report, SCHEMA_VERSION};
pub use sample::{Sample, Samples};
pub use theme::{Theme, tour};
pub use verdict::Verdict;
pub use worker::serve_if_worker;
