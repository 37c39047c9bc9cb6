//! `rayon`, called from green threads: its pool keeps its own kernel threads, and the callers wait in the futex.

use std::sync::mpsc;

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("kernel threads")
}

#[test]
fn callers_that_wait_for_a_slow_job_overlap() {
    const CALLERS: usize = 40;
    on_two_workers(|runtime| {
        // As many kernel threads of the pool as jobs sleep in it: the callers must need none beside those.
        let pool = std::sync::Arc::new(pool(CALLERS));
        let callers = vec![pool; CALLERS];
        let answers =
            Overlap::of(SLOW)
                .own_kernel_threads(CALLERS)
                .check(runtime, callers, |index, pool| {
                    pool.install(|| {
                        std::thread::sleep(SLOW);
                        index * index
                    })
                });
        let expected: Vec<usize> = (0..CALLERS).map(|index| index * index).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn callers_of_a_busy_pool_wait_together_while_other_green_threads_run() {
    const CALLERS: usize = 40;
    on_two_workers(|runtime| {
        let pool = std::sync::Arc::new(pool(2));
        let (open, closed) = mpsc::channel::<()>();
        let gate = std::sync::Arc::new(std::sync::Mutex::new(closed));
        for _ in 0..2 {
            let gate = std::sync::Arc::clone(&gate);
            pool.spawn(move || {
                // Ends when the sender is gone.
                let _ = gate.lock().expect("no panic").recv();
            });
        }
        // A green thread that runs while the callers wait is what lets them go.
        let opener = runtime.spawn(move || {
            std::thread::sleep(SLOW);
            drop(open);
        });
        let callers = vec![pool; CALLERS];
        let sums =
            Overlap::of(SLOW / 2)
                .own_kernel_threads(2)
                .check(runtime, callers, |index, pool| {
                    pool.install(|| {
                        (0..1000_usize)
                            .into_par_iter()
                            .map(|n| n + index)
                            .sum::<usize>()
                    })
                });
        opener.join().expect("an opener");
        let expected: Vec<usize> = (0..CALLERS).map(|index| 499_500 + 1000 * index).collect();
        assert_eq!(sums, expected);
    });
}

#[test]
fn joins_scopes_and_sorts_are_exact_under_load() {
    on_two_workers(|runtime| {
        on_green_threads(runtime, 64, |index| {
            for round in 0..10 {
                let (sum, product) = rayon::join(
                    || (0..=100).sum::<usize>() + index,
                    || (1..=10).product::<usize>() + round,
                );
                assert_eq!((sum, product), (5050 + index, 3_628_800 + round));
                let mut parts = [0; 8];
                rayon::scope(|scope| {
                    for (at, part) in parts.iter_mut().enumerate() {
                        scope.spawn(move |_| *part = at * index + round);
                    }
                });
                assert!((0..8).all(|at| parts[at] == at * index + round));
                let mut numbers: Vec<usize> = (0..2000).map(|n| n * 7919 % 2003).collect();
                let mut expected = numbers.clone();
                expected.sort_unstable();
                numbers.par_sort_unstable();
                assert_eq!(numbers, expected);
            }
        });
    });
}
