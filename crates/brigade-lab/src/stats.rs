//! Summaries of small sets of measurements.
//!
//! Measurements of a running machine have heavy tails: one interrupted run is ten times the
//! others. So the centre is the median, the spread is the interquartile range, and the maximum
//! stands beside them because the tail is often what matters. No mean and no standard deviation:
//! both follow the worst sample.
//!
//! # Invariants
//!
//! 1. `min <= q1 <= median <= q3 <= max` for every summary with `count > 0`.
//! 2. The summary of nothing holds NaN everywhere, and every comparison with it is undecided.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Five numbers that describe a set of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// How many measurements there were.
    pub count: usize,
    /// The smallest.
    pub min: f64,
    /// The first quartile.
    pub q1: f64,
    /// The median.
    pub median: f64,
    /// The third quartile.
    pub q3: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// The summary of no measurements at all.
    pub const EMPTY: Self = Self {
        count: 0,
        min: f64::NAN,
        q1: f64::NAN,
        median: f64::NAN,
        q3: f64::NAN,
        max: f64::NAN,
    };

    /// Summarises `values`, in any order; values that are not finite are left out.
    ///
    /// ```
    /// let s = brigade_lab::stats::Summary::of([4.0, 1.0, 3.0, 2.0, 5.0]);
    /// assert_eq!((s.min, s.median, s.max, s.iqr()), (1.0, 3.0, 5.0, 2.0));
    /// ```
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        if sorted.is_empty() {
            return Self::EMPTY;
        }
        sorted.sort_by(f64::total_cmp);
        Self {
            count: sorted.len(),
            min: sorted[0],
            q1: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            q3: quantile(&sorted, 0.75),
            max: sorted[sorted.len() - 1],
        }
    }

    /// The interquartile range: the width of the middle half.
    #[must_use]
    pub fn iqr(&self) -> f64 {
        self.q3 - self.q1
    }
}

/// The `q` quantile of `sorted` (ascending, not empty) with linear interpolation between the two
/// neighbours, as most statistics programs do by default.
///
/// # Panics
///
/// If `sorted` is empty.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    assert!(!sorted.is_empty(), "a quantile needs at least one value");
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let share = position - below as f64;
    sorted[below] + (sorted[above] - sorted[below]) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_does_not_depend_on_the_order_of_the_values() {
        let up = Summary::of((1..=9).map(f64::from));
        let down = Summary::of((1..=9).rev().map(f64::from));
        assert_eq!(up, down);
        assert_eq!((up.q1, up.median, up.q3), (3.0, 5.0, 7.0));
    }

    #[test]
    fn one_wild_value_moves_the_maximum_and_leaves_the_median() {
        let calm = Summary::of([1.0, 1.0, 1.0, 1.0, 1.0]);
        let wild = Summary::of([1.0, 1.0, 1.0, 1.0, 1000.0]);
        assert_eq!(calm.median, wild.median);
        assert_eq!(calm.q3, wild.q3);
        assert_eq!(wild.max, 1000.0);
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn summary_of_nothing_is_not_a_number_and_infinite_values_are_left_out() {
        assert!(Summary::of([]).median.is_nan());
        assert_eq!(Summary::of([f64::INFINITY, 2.0]).count, 1);
    }
}
