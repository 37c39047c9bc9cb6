//! rayon's own kernel threads serve calls from green threads.

mod common;

use common::{hop, migrating};
use rayon::prelude::*;

#[test]
fn join_and_parallel_iterators_work_inside_green_threads() {
    migrating(100, |index| {
        for _ in 0..10 {
            let (sum, double) = rayon::join(|| (0..100).sum::<usize>() + index, || index * 2);
            assert_eq!((sum, double), (4950 + index, index * 2));
            hop();
            let sum: usize = (0..50_usize)
                .into_par_iter()
                .map(|number| number + index)
                .sum();
            assert_eq!(sum, 1225 + 50 * index);
            hop();
        }
    });
}

#[test]
fn a_panic_in_a_parallel_iterator_reaches_the_green_thread() {
    migrating(20, |index| {
        let result = std::panic::catch_unwind(|| {
            (0..50_usize).into_par_iter().for_each(|number| {
                if number == 25 {
                    std::panic::resume_unwind(Box::new(index));
                }
            });
        });
        hop();
        let payload = result.expect_err("one item panics");
        assert_eq!(payload.downcast_ref::<usize>(), Some(&index));
    });
}
