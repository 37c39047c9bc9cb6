//! A pool of worker processes of the same program, for work that must not take this process with it.
//!
//! Threads share one memory: a job that corrupts it, aborts, exceeds it or never ends concerns them all. A worker
//! process can be killed. What that costs is a copy of the request and of the reply, and some tens of microseconds for
//! each job.
//!
//! ```
//! use brigade::process::{Job, Jobs};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Divide(i32, i32);
//!
//! impl Job for Divide {
//!     type Reply = i32;
//!     const NAME: &'static str = "divide";
//!
//!     fn run(self) -> i32 {
//!         self.0 / self.1
//!     }
//! }
//!
//! fn main() {
//!     let jobs = Jobs::new().with::<Divide>();
//!     // A worker is this program once more: there, this call serves the pool and does not return.
//!     jobs.serve_if_worker();
//!
//!     let pool = jobs.pool().workers(2).start().unwrap();
//!     assert_eq!(pool.run(Divide(6, 3)).unwrap(), 2);
//!
//!     // A panic is an error with its text; so would an abort, a signal or an exit be.
//!     let error = pool.run(Divide(6, 0)).unwrap_err();
//!     assert_eq!(error.panic_message(), Some("attempt to divide by zero"));
//!     assert_eq!(pool.run(Divide(9, 3)).unwrap(), 3);
//! }
//! ```
//!
//! # What a worker is
//!
//! The program of this process (`/proc/self/exe`, so the same file even if it was replaced), started once more. It runs
//! `main` up to the registration of the jobs; put that first. Of its parent it has
//!
//! * the environment as it was when the pool was started, and the variable `BRIGADE_PROCESS_WORKER`;
//! * no arguments but [those of the pool](PoolBuilder::arg);
//! * the working directory, user, limits, and other things the kernel hands on;
//! * standard output and standard error, unless the pool says otherwise, and an empty standard input;
//! * descriptor 3, which is the connection to the pool. All other descriptors are closed, marked close-on-exec or not;
//! * no signal handlers, no ignored and no blocked signals.
//!
//! It leads a process group of its own: Ctrl-C at the terminal does not reach it, and what it has started ends with it
//! when the pool kills it or finds it ended. It ends when the pool does, and when the parent does, even if that is killed
//! while the worker computes. (A worker that changes its user gives that up; it still ends when it next waits for a
//! job. What a worker has started and left in the background outlives a parent that is killed.)
//!
//! # When a job fails
//!
//! | the job | its error | the worker |
//! |---|---|---|
//! | panics | [`is_panic`](JobError::is_panic), with the message | goes on |
//! | is ended by a signal, aborts, overflows its stack, is killed for its memory | [`is_crash`](JobError::is_crash), with the [signal](JobError::signal) | is replaced |
//! | exits, with whatever code | [`is_crash`](JobError::is_crash), with the [code](JobError::exit_code) | is replaced |
//! | takes longer than its timeout | [`is_timeout`](JobError::is_timeout) | is killed and replaced |
//! | writes to or closes the connection | [`is_lost`](JobError::is_lost) | is killed and replaced |
//! | or its reply cannot be written, read, or is too large | [`is_codec`](JobError::is_codec) | goes on |
//!
//! Other jobs are not concerned. A job that had not begun when its worker ended goes to another worker.
//!
//! # What it does not do
//!
//! * A process that ignores `SIGCHLD` or reaps any child it finds may take the status of a worker. The job is an error all
//!   the same, without a signal and without a code.
//! * A fork of the process that started a pool cannot use it: submitting there gives errors, and nothing waits.
//! * While a pool lives, a program in which everything waits is not [reported](crate::diag) as a deadlock, because the
//!   pool's own thread could wake somebody. Circles of locks are.
//! * It needs Linux 5.9.

#[doc(inline)]
pub use brigade_process::{
    Job, JobError, JobHandle, JobList, Jobs, PoolBuilder, ProcessPool, Registered, StartError,
    Stats, WorkerStatus,
};
