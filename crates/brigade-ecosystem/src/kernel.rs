//! Counting the kernel threads of this process.

/// Kernel threads that are there whatever is going on: main, those of the test harness (one for each test of a file,
/// at most seven), the watch, two carriers, the monitor.
const ALWAYS: usize = 12;

/// Carriers that a runtime with two workers keeps for the next call that must be handed off; a busy machine has it
/// start some. They wait for work and hold no operation.
const SPARES: usize = 16;

/// The most kernel threads that are few: well below the number of operations that the tests have in flight.
const FEW: usize = ALWAYS + SPARES;

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
