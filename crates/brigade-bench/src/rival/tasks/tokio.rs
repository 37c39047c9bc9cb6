//! tokio's multi-thread runtime.

use std::future::Future;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use super::Executor;

/// See the module.
pub(crate) struct Tokio(Runtime);

impl Executor for Tokio {
    fn start(workers: usize) -> Result<Tokio, String> {
        Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .map(Tokio)
            .map_err(|e| format!("building tokio's runtime: {e}"))
    }

    fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let task = self.0.spawn(future);
        self.0.block_on(task).map_err(|e| e.to_string())
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let task = tokio::spawn(future);
        async { task.await.expect("a workload panicked") }
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send {
        tokio::time::sleep_until(time.into())
    }
}
