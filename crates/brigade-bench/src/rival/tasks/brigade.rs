//! Tasks on Brigade's processors.

use std::future::Future;
use std::time::Instant;

use brigade::runtime::{Builder, Runtime};
use brigade::task;

use super::Executor;

/// See the module.
pub(crate) struct BrigadeTasks(Runtime);

impl Executor for BrigadeTasks {
    fn start(workers: usize) -> Result<BrigadeTasks, String> {
        Builder::new()
            .workers(workers)
            .build()
            .map(BrigadeTasks)
            .map_err(|e| format!("building a runtime: {e}"))
    }

    fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let task = self
            .0
            .handle()
            .spawn_task(future)
            .map_err(|e| e.to_string())?;
        task.join().map_err(|e| e.to_string())
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let task = task::spawn(future);
        async { task.await.expect("a workload panicked") }
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        task::yield_now()
    }

    fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send {
        task::sleep_until(time)
    }
}
