//! rayon: its fork/join pool, for `fib` only.

use crate::line::{Line, Work, fib_spawns, fib_value};
use crate::sample::Sample;

/// Runs `work` in a pool of its own.
///
/// # Errors
///
/// For a line that is not fork/join, when the pool cannot be built, or a wrong result.
pub(super) fn run(work: &Work) -> Result<Sample, String> {
    if work.line != Line::Fib {
        return Err(format!("rayon has no threads to run {}", work.line.name()));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(work.workers)
        .build()
        .map_err(|e| format!("building rayon's pool: {e}"))?;
    let n = work.n;
    pool.install(|| {
        Sample::of_passes(work.passes, || match fib(n) {
            got if got == fib_value(n) => Ok(fib_spawns(n)),
            got => Err(format!("fib is {got}, must be {}", fib_value(n))),
        })
    })
}

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}
