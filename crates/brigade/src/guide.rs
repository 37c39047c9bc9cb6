//! The guide's chapters, whose Rust blocks are tests: one item for each, so that a failing test names its chapter.
//!
//! `tests/guide.rs` sees to it that no chapter is left out.

#[doc = include_str!("../../../docs/src/introduction.md")]
struct Introduction;
#[doc = include_str!("../../../docs/src/threads.md")]
struct Threads;
#[doc = include_str!("../../../docs/src/models.md")]
struct Models;
#[doc = include_str!("../../../docs/src/switches.md")]
struct Switches;
#[doc = include_str!("../../../docs/src/scheduler.md")]
struct Scheduler;
#[doc = include_str!("../../../docs/src/races.md")]
struct Races;
#[doc = include_str!("../../../docs/src/locks.md")]
struct Locks;
#[doc = include_str!("../../../docs/src/deadlocks.md")]
struct Deadlocks;
#[doc = include_str!("../../../docs/src/blocking.md")]
struct Blocking;
#[doc = include_str!("../../../docs/src/event-loops.md")]
struct EventLoops;
#[doc = include_str!("../../../docs/src/tasks.md")]
struct Tasks;
#[doc = include_str!("../../../docs/src/pools.md")]
struct Pools;
#[doc = include_str!("../../../docs/src/cancellation.md")]
struct Cancellation;
#[doc = include_str!("../../../docs/src/interpreters.md")]
struct Interpreters;
#[doc = include_str!("../../../docs/src/stalls.md")]
struct Stalls;
#[doc = include_str!("../../../docs/src/choosing.md")]
struct Choosing;
#[doc = include_str!("../../../docs/src/corrections.md")]
struct Corrections;
#[doc = include_str!("../../../docs/src/reports.md")]
struct Reports;
#[doc = include_str!("../../../docs/src/lab-json.md")]
struct LabJson;
#[doc = include_str!("../../../docs/src/experiments.md")]
struct Experiments;
#[doc = include_str!("../../../docs/src/glossary.md")]
struct Glossary;
