//! Kernel threads: `std::thread`.

use std::thread;
use std::time::Duration;

use super::threads::Threads;

/// Kernel threads.
pub(super) struct Kernel;

impl Threads for Kernel {
    type Handle<T: Send + 'static> = thread::JoinHandle<T>;

    fn run<T, F>(_workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Ok(body())
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

/// Keeps this process on the first `workers` CPUs it may use, so that kernel threads get as many
/// as the runtimes have workers.
///
/// # Errors
///
/// When the kernel refuses the affinity.
pub(crate) fn pin_to(workers: usize) -> Result<(), String> {
    // SAFETY: cpu_set_t is a plain bit array, for which all zeroes is the empty set.
    let (mut have, mut want) = unsafe { std::mem::zeroed::<(libc::cpu_set_t, libc::cpu_set_t)>() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: pid 0 is this process; `have` is live and `size` is its size.
    let got = unsafe { libc::sched_getaffinity(0, size, &raw mut have) };
    // SAFETY: CPU_ISSET and CPU_SET index the array within its own bounds: cpu < CPU_SETSIZE.
    let mut cpus =
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &have) });
    for cpu in cpus.by_ref().take(workers) {
        // SAFETY: `cpu` came from the range below CPU_SETSIZE, so it indexes within the array.
        unsafe { libc::CPU_SET(cpu, &mut want) };
    }
    if got != 0 || cpus.next().is_none() {
        return Ok(());
    }
    // SAFETY: pid 0 is this process; `want` is live and `size` is its size.
    if unsafe { libc::sched_setaffinity(0, size, &raw const want) } != 0 {
        return Err(format!(
            "sched_setaffinity: {}",
            std::io::Error::last_os_error()
        ));
    }
    Ok(())
}
