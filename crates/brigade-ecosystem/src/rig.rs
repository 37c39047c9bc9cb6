//! The runtime of a test: two workers, one test at a time, none that hangs.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brigade::runtime::{Builder, Model, Runtime};

/// How long a test may take before it counts as hung, in seconds: far above any honest duration.
const HANG_AFTER_SECONDS: u64 = 240;

/// How long the threads of a test may take to end once it has joined those it waits for, in seconds.
const SHUT_DOWN_SECONDS: u64 = 30;

/// One test at a time: tests count the kernel threads of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `test` with a runtime of two workers of its own; the test runs on the calling kernel thread.
///
/// # Panics
///
/// With the panic of `test`, and if threads of the runtime are alive after it. A test that hangs aborts the process.
#[track_caller]
pub fn on_two_workers(test: impl FnOnce(&Runtime)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = Watch::new();
    let runtime = Builder::new()
        .workers(2)
        .build()
        .expect("a runtime with two workers");
    assert_eq!(
        runtime.model(),
        Model::ManyToMany,
        "this machine cannot run green threads; see `brigade doctor`"
    );
    test(&runtime);
    runtime
        .shutdown_timeout(Duration::from_secs(SHUT_DOWN_SECONDS))
        .expect("every thread of the test ends");
}

/// Runs `body(0)`, ..., `body(threads - 1)`, each on a green thread of its own, and returns what they return.
///
/// # Panics
///
/// If one of them panics.
#[track_caller]
pub fn on_green_threads<T: Send + 'static>(
    runtime: &Runtime,
    threads: usize,
    body: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let body = Arc::new(body);
    let handles: Vec<_> = (0..threads)
        .map(|index| {
            let body = Arc::clone(&body);
            runtime.spawn(move || body(index))
        })
        .collect();
    let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
    let ended: Vec<T> = results.into_iter().flatten().collect();
    assert_eq!(
        ended.len(),
        threads,
        "{} of {threads} green threads panicked",
        threads - ended.len()
    );
    ended
}

/// Aborts the process if it is not dropped in time.
struct Watch {
    done: Option<mpsc::Sender<()>>,
}

impl Watch {
    fn new() -> Watch {
        let (done, ended) = mpsc::channel();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            let limit = Duration::from_secs(HANG_AFTER_SECONDS);
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} did not end within {HANG_AFTER_SECONDS} s: it hangs");
                std::process::abort();
            }
        });
        Watch { done: Some(done) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.done.take());
    }
}
