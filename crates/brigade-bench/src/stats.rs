//! Order statistics over a handful of repeats.

use serde::Serialize;

/// Median, quartiles and extremes of one metric over the repeats.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    /// Middle value (mean of the two middle ones for an even count).
    pub(crate) median: f64,
    /// First quartile.
    pub(crate) q1: f64,
    /// Third quartile.
    pub(crate) q3: f64,
    /// Smallest.
    pub(crate) min: f64,
    /// Largest.
    pub(crate) max: f64,
    /// How many values.
    pub(crate) count: usize,
}

impl Summary {
    /// Summarises `values`; `None` when there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        Some(Self {
            median: quantile(&sorted, 0.5),
            q1: quantile(&sorted, 0.25),
            q3: quantile(&sorted, 0.75),
            min: *sorted.first()?,
            max: *sorted.last()?,
            count: sorted.len(),
        })
    }

    /// Distance between the quartiles.
    pub(crate) fn iqr(&self) -> f64 {
        self.q3 - self.q1
    }
}

/// The median of `values`.
///
/// # Panics
///
/// When `values` is empty.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    v
}

/// Linear interpolation between the closest ranks of a sorted slice.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = p * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn quartiles_do_not_depend_on_the_order_of_the_values() {
        let a = Summary::of(&[1.0, 2.0, 3.0, 4.0, 100.0]).unwrap();
        let b = Summary::of(&[100.0, 4.0, 3.0, 2.0, 1.0]).unwrap();
        assert_eq!((a.q1, a.median, a.q3, a.max), (2.0, 3.0, 4.0, 100.0));
        assert_eq!((a.q1, a.median, a.q3, a.max), (b.q1, b.median, b.q3, b.max));
    }

    #[test]
    fn no_values_give_no_summary() {
        assert!(Summary::of(&[]).is_none());
    }
}
