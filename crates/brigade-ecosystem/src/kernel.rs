//! Counting the kernel threads of this process.

/// Kernel threads that are there whatever is going on: main, the test harness and its test, the watch, two carriers,
/// the monitor, and some carriers that have been started for short calls and wait to be used again.
const FEW: usize = 12;

/// How many kernel threads this process has, as the kernel counts them.
///
/// # Panics
///
/// If `/proc` is not mounted.
#[must_use]
pub fn kernel_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("/proc is mounted")
        .count()
}

/// Fails if more kernel threads were `seen` than a runtime with two workers needs, the crate's `own` aside.
///
/// # Panics
///
/// If there were more.
#[track_caller]
pub fn assert_few_kernel_threads(seen: usize, own: usize) {
    assert!(
        seen <= FEW + own,
        "{seen} kernel threads, at most {FEW} and {own} of the crate's own are needed: \
         operations in flight hold kernel threads"
    );
}
