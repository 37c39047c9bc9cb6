//! may: stackful coroutines, `may::coroutine` and `may::sync::Mutex`.

use std::time::Duration;

use may::coroutine;
use may::sync::Mutex;

use super::threads::Threads;

/// may coroutines.
pub(super) struct May;

impl Threads for May {
    type Handle<T: Send + 'static> = coroutine::JoinHandle<T>;
    type Mutex = Mutex<u64>;

    fn run<T, F>(workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        may::config().set_workers(workers);
        Self::spawn(body)
            .join()
            .map_err(|_| "the first coroutine panicked".to_owned())
    }

    fn spawn<T, F>(body: F) -> Self::Handle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // SAFETY: may asks that the coroutine use no thread-local across a yield and stay within
        // its stack; the workloads touch no thread-local of their own and use little stack.
        unsafe { coroutine::spawn(body) }
    }

    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T {
        handle.join().expect("a workload panicked")
    }

    fn yield_now() {
        coroutine::yield_now();
    }

    fn park() {
        coroutine::park();
    }

    fn sleep(time: Duration) {
        coroutine::sleep(time);
    }

    fn mutex() -> Self::Mutex {
        Mutex::new(0)
    }

    fn add(mutex: &Self::Mutex) -> u64 {
        let mut value = mutex.lock().expect("a workload panicked");
        *value += 1;
        *value
    }
}
