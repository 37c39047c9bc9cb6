//! Brigade: green threads.

use std::time::Duration;

use brigade::runtime;
use brigade::thread;

use super::threads::Threads;

/// Green threads.
pub(super) struct Brigade;

impl Threads for Brigade {
    type Handle<T: Send + 'static> = thread::JoinHandle<T>;

    fn run<T, F>(workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let runtime = runtime::Builder::new()
            .workers(workers)
            .build()
            .map_err(|e| format!("building Brigade's runtime: {e}"))?;
        match runtime.model() {
            runtime::Model::ManyToMany => Ok(runtime.run(body)),
            other => Err(format!("this machine falls back to the model {other:?}")),
        }
    }

    fn spawn<T, F>(body: F) -> Self::Handle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        thread::spawn(body)
    }

    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("a workload panicked")
    }

    fn yield_now() {
        thread::yield_now();
    }

    fn park() {
        thread::park();
    }

    fn sleep(time: Duration) {
        thread::sleep(time);
    }
}
