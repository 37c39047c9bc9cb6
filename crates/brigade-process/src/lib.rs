//! A pool of worker processes of the same program.
//!
//! This crate is an implementation detail of the `brigade` crate, which is the only stable interface.

mod error;
mod exec;
mod frame;
mod handle;
mod job;
mod link;
mod marker;
mod member;
mod pool;
mod process;
mod shared;
mod stats;
mod supervisor;
mod tail;
mod worker;

pub use error::{JobError, StartError};
pub use handle::JobHandle;
pub use job::{Here, Job, JobList, Jobs, Registered, There};
pub use pool::{PoolBuilder, ProcessPool};
pub use stats::{Stats, WorkerStatus};

/// The message of a panic; drops its payload, which may panic too.
fn panic_text(payload: Box<dyn std::any::Any + Send>) -> String {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    };
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(payload)));
    if let Err(another) = dropped {
        std::mem::forget(another);
    }
    text
}
