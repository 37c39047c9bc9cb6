//! Many slow operations at once: together they take about as long as one, and hold no kernel thread each.
//!
//! What is asserted, with `n` operations that take `each` alone:
//!
//! 1. There was a time when all `n` had begun and none had ended.
//! 2. Together they took at least `each` (they are slow) and less than half of `n * each` (they are not serial). The
//!    factor is generous; 1 is the proof that needs no clock.
//! 3. While all were in flight, there were few kernel threads: the median of the samples, so that neither the
//!    beginning, when not all of them wait yet, nor a short call that is being handed off decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Runtime;
use brigade::thread::JoinHandle;

use crate::count::Count;
use crate::kernel::{assert_few_kernel_threads, kernel_threads};

/// How long a slow operation takes: much longer than starting all of them on a busy machine.
pub const SLOW: Duration = Duration::from_millis(400);

/// The pause between two samples of the number of kernel threads.
const SAMPLE_EVERY: Duration = Duration::from_millis(1);

/// A claim about operations that take long; see the [module](self).
#[derive(Clone, Copy, Debug)]
#[must_use = "a claim is checked by `check`"]
pub struct Overlap {
    each: Duration,
    /// `None` if operations hold kernel threads by design.
    own_kernel_threads: Option<usize>,
}

/// What the threads of a check share with the one that watches them.
#[derive(Debug, Default)]
struct Flight {
    begun: Count,
    ended: Count,
    /// Went up when the last operation began before one had ended.
    full: Count,
}

impl Flight {
    /// Counts an operation of `count` as begun, and as ended when the result is dropped, also by a panic.
    fn begin(&self, count: usize) -> Ending<'_> {
        if self.begun.up() + 1 == count && self.ended.get() == 0 {
            self.full.up();
        }
        Ending(self)
    }
}

/// An operation that has not ended.
struct Ending<'a>(&'a Flight);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.up();
    }
}

impl Overlap {
    /// Operations that take `each` when they are alone.
    pub fn of(each: Duration) -> Overlap {
        Overlap {
            each,
            own_kernel_threads: Some(0),
        }
    }

    /// How many kernel threads the crate starts for itself.
    pub fn own_kernel_threads(mut self, threads: usize) -> Overlap {
        self.own_kernel_threads = Some(threads);
        self
    }

    /// The operations hold kernel threads by design, ours or the crate's, so that no number of them is asserted.
    pub fn any_kernel_threads(mut self) -> Overlap {
        self.own_kernel_threads = None;
        self
    }

    /// Runs `operation` once per element of `prepared`, each on a green thread of its own, and checks the claim.
    /// Returns what the operations return, in order.
    ///
    /// # Panics
    ///
    /// If the claim does not hold or an operation panics.
    #[track_caller]
    pub fn check<S, T>(
        self,
        runtime: &Runtime,
        prepared: Vec<S>,
        operation: impl Fn(usize, S) -> T + Send + Sync + 'static,
    ) -> Vec<T>
    where
        S: Send + 'static,
        T: Send + 'static,
    {
        let count = prepared.len();
        let flight = Arc::new(Flight::default());
        let operation = Arc::new(operation);
        let begin = Instant::now();
        let handles: Vec<JoinHandle<T>> = prepared
            .into_iter()
            .enumerate()
            .map(|(index, state)| {
                let (flight, operation) = (Arc::clone(&flight), Arc::clone(&operation));
                runtime.spawn(move || {
                    let _ending = flight.begin(count);
                    operation(index, state)
                })
            })
            .collect();
        let samples = sample(&flight, count);
        let took = begin.elapsed();
        let results: Vec<T> = handles.into_iter().flat_map(JoinHandle::join).collect();
        assert_eq!(results.len(), count, "an operation panicked");
        assert!(
            flight.full.get() == 1,
            "the {count} operations were never all in flight; they took {took:?}"
        );
        self.assert_overlapped(count, took, samples);
        results
    }

    /// The three assertions of the module.
    #[track_caller]
    fn assert_overlapped(self, count: usize, took: Duration, mut samples: Vec<usize>) {
        let serial = self.each * u32::try_from(count).expect("a small number");
        assert!(
            !samples.is_empty(),
            "the machine is too busy: in {took:?} there was no time to count kernel threads"
        );
        samples.sort_unstable();
        let median = samples[samples.len() / 2];
        eprintln!(
            "{count} operations of {:?} took {took:?}; kernel threads meanwhile: {} to {}, median {median}",
            self.each,
            samples[0],
            samples[samples.len() - 1]
        );
        assert!(
            took >= self.each,
            "{count} operations took {took:?}, so none took {:?}: this run proves nothing",
            self.each
        );
        assert!(
            took < serial / 2,
            "{count} operations of {:?} took {took:?}, which is not much less than one after the other ({serial:?})",
            self.each
        );
        if let Some(own) = self.own_kernel_threads {
            assert_few_kernel_threads(median, own);
        }
    }
}

/// Counts kernel threads as long as all operations are in flight; returns when all have ended.
fn sample(flight: &Flight, count: usize) -> Vec<usize> {
    let mut samples = Vec::new();
    while flight.ended.get() < count {
        let all_begun = flight.begun.get() == count;
        let seen = kernel_threads();
        // Asked last, so that a sample is from a time when none had ended.
        if all_begun && flight.ended.get() == 0 {
            samples.push(seen);
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
    samples
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::rig::on_two_workers;

    const EACH: Duration = Duration::from_millis(100);

    #[test]
    fn results_come_in_order() {
        on_two_workers(|runtime| {
            let results = Overlap::of(SLOW).check(runtime, vec!["a", "b", "c"], |index, state| {
                brigade::thread::sleep(SLOW);
                (index, state)
            });
            assert_eq!(results, [(0, "a"), (1, "b"), (2, "c")]);
        });
    }

    #[test]
    #[should_panic = "not much less than one after the other"]
    fn serial_operations_are_found() {
        on_two_workers(|runtime| {
            let turn = Mutex::new(());
            Overlap::of(EACH).check(runtime, vec![(); 10], move |_, ()| {
                let _turn = turn.lock().expect("no panic");
                brigade::thread::sleep(EACH);
            });
        });
    }

    #[test]
    #[should_panic = "were never all in flight"]
    fn operations_that_end_before_others_begin_are_found() {
        on_two_workers(|runtime| {
            Overlap::of(EACH).check(runtime, vec![(); 10], |index, ()| {
                brigade::thread::sleep(EACH * u32::from(index == 0));
            });
        });
    }

    #[test]
    #[should_panic = "this run proves nothing"]
    fn operations_that_are_not_slow_are_found() {
        on_two_workers(|runtime| {
            Overlap::of(10 * EACH).check(runtime, vec![(); 10], |_, ()| {
                brigade::thread::sleep(EACH);
            });
        });
    }

    #[test]
    #[should_panic = "operations in flight hold kernel threads"]
    fn operations_that_hold_a_kernel_thread_each_are_found() {
        on_two_workers(|runtime| {
            Overlap::of(SLOW).check(runtime, vec![(); 40], |_, ()| {
                let request = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: SLOW.subsec_nanos().into(),
                };
                // The system call itself, which no hook of libc's sleeping functions sees.
                // SAFETY: nanosleep reads a valid timespec and writes nothing when the second address is null.
                let code = unsafe {
                    libc::syscall(
                        libc::SYS_nanosleep,
                        &request,
                        std::ptr::null::<libc::timespec>(),
                    )
                };
                assert_eq!(code, 0);
            });
        });
    }
}
