//! The only door from the experiments to green threads.
//!
//! It holds exactly the calls that the experiments need, so that a change of the runtime's interface
//! ends here. Each arm starts a runtime of its own, in a process of its own.
//!
//! # Invariant
//!
//! An arm that asks for a model never runs under another one: where the machine falls back to one
//! kernel thread per thread, the arm is skipped, because its numbers would be those of kernel
//! threads under the name of green ones.

use std::io;

use brigade::runtime::{Builder, Metrics, Runtime};

use crate::experiment::ArmError;

pub(crate) use brigade::diag::{ThreadInfo, ThreadState};
pub(crate) use brigade::runtime::Model;
pub(crate) use brigade::thread::{JoinHandle, park, sleep_until, yield_now};

/// A runtime for one arm.
pub(crate) struct Green(Runtime);

impl Green {
    /// Starts a runtime of `model` with `workers` processors.
    ///
    /// # Errors
    ///
    /// Skipped if the machine gets another model, failed if the runtime cannot be built.
    pub(crate) fn start(model: Model, workers: usize) -> Result<Self, ArmError> {
        let builder = Builder::new().model(model).workers(workers);
        let runtime = builder.build().map_err(|error| {
            ArmError::Failed(format!("cannot start a runtime for green threads: {error}"))
        })?;
        if runtime.model() == model {
            Ok(Self(runtime))
        } else {
            let reason = "green threads are not active on this machine: see brigade doctor";
            Err(ArmError::Skipped(reason.to_owned()))
        }
    }

    /// Runs `f` on a green thread and waits for it.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.0.run(f)
    }

    /// What the runtime has counted so far.
    pub(crate) fn counts(&self) -> Metrics {
        self.0.metrics()
    }
}

/// Starts a green thread on the runtime of the calling green thread.
///
/// # Errors
///
/// Those of the runtime; they name the limit that was hit.
pub(crate) fn spawn<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    brigade::thread::Builder::new().spawn(f)
}

/// As [`spawn`], with a name if there is one.
pub(crate) fn spawn_named<T: Send + 'static>(
    name: Option<String>,
    f: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = brigade::thread::Builder::new();
    match name {
        Some(name) => builder.name(name),
        None => builder,
    }
    .spawn(f)
}

/// The green threads whose name begins with `name`, as Brigade shows them at this moment.
pub(crate) fn threads_named(name: &str) -> Vec<ThreadInfo> {
    let named = |thread: &ThreadInfo| {
        let own = thread.thread.name.get();
        thread.green && own.is_some_and(|own| own.starts_with(name))
    };
    let threads = brigade::diag::threads().filter(named);
    threads.into_iter().collect()
}
