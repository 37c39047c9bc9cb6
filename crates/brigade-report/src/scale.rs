//! Where values are along one direction of a drawing, and which places have a number.
//!
//! A logarithmic scale places the logarithm; everything outside this module sees places only.
//!
//! # Invariants
//!
//! 1. `low < high`, both finite, whatever the values are, none included.
//! 2. Every tick lies within the scale, and there are at most as many as asked for.

use brigade_lab::figure::Axis;
use brigade_lab::units::{Unit, show};

/// From this ratio of the largest to the smallest value on, equal distances mean equal factors where the
/// drawing chooses.
const FACTOR_OF_LOGARITHM: f64 = 30.0;

/// Values further out than this stand at the edge: thirty years in nanoseconds, an exabyte. A document may hold any
/// number, and a scale up to the largest one has no width that is a number.
const FARTHEST: f64 = 1e18;

/// What values become places.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<f64>,
    unit: Unit,
    logarithmic: bool,
}

impl Scale {
    /// The scale of `axis` over `values`, from zero if it is linear and `from_zero`, with at most
    /// `most_ticks` numbers.
    pub(crate) fn new(axis: &Axis, values: &[f64], from_zero: bool, most_ticks: usize) -> Self {
        let fits = |value: &f64| value.is_finite() && (!axis.logarithmic || *value > 0.0);
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for value in values.iter().copied().filter(fits) {
            let value = value.clamp(-FARTHEST, FARTHEST);
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (1.0, 1.0);
        }
        if axis.logarithmic {
            Self::logarithmic(low, high, axis.unit, most_ticks)
        } else {
            let low = if from_zero { low.min(0.0) } else { low };
            let high = if from_zero { high.max(0.0) } else { high };
            Self::linear(low, high, axis.unit, most_ticks)
        }
    }

    /// Whether values spread so far that a logarithmic axis shows them better.
    pub(crate) fn spreads(values: &[f64]) -> bool {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        low > 0.0 && high / low >= FACTOR_OF_LOGARITHM
    }

    fn linear(low: f64, high: f64, unit: Unit, most_ticks: usize) -> Self {
        let width = if high > low {
            high - low
        } else {
            high.abs().max(1.0)
        };
        let at_zero = |edge: f64, moved: f64| if edge == 0.0 { 0.0 } else { moved };
        let (low, high) = (
            at_zero(low, low - 0.04 * width),
            if high > low {
                high + 0.04 * width
            } else {
                low + width
            },
        );
        let step = step(high - low, unit, most_ticks);
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks = (first..=last).take(most_ticks);
        Self {
            low,
            high,
            ticks: ticks.map(|n| n as f64 * step).collect(),
            unit,
            logarithmic: false,
        }
    }

    fn logarithmic(low: f64, high: f64, unit: Unit, most_ticks: usize) -> Self {
        let base: f64 = if unit == Unit::Bytes { 2.0 } else { 10.0 };
        // A scale of one decade at least: less would make noise look like a difference.
        let middle = (low.ln() + high.ln()) / 2.0;
        let half = ((high.ln() - low.ln()) / 2.0 * 1.06).max(10_f64.ln() / 2.0);
        let (low, high) = (middle - half, middle + half);
        let power = |n: i64| n as f64 * base.ln();
        let (first, last) = (
            (low / base.ln()).ceil() as i64,
            (high / base.ln()).floor() as i64,
        );
        let stride = (last - first + 1).max(1).unsigned_abs() as usize;
        let stride = stride.div_ceil(most_ticks.max(1)).max(1);
        let mut ticks: Vec<f64> = (first..=last).step_by(stride).map(power).collect();
        if unit != Unit::Bytes && last - first < 2 && most_ticks >= 6 {
            let parts = (first - 1..=last)
                .flat_map(|n| [1.0_f64, 2.0, 5.0].map(|factor| power(n) + factor.ln()));
            ticks = parts
                .filter(|tick| (low..=high).contains(tick))
                .take(most_ticks)
                .collect();
        }
        Self {
            low,
            high,
            ticks,
            unit,
            logarithmic: true,
        }
    }

    /// Where `value` is; `None` if it has no place, as zero has none on a logarithmic scale.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let place = if self.logarithmic { value.ln() } else { value };
        place.is_finite().then(|| place.clamp(self.low, self.high))
    }

    /// Where a bar begins: at zero, or at the edge where there is no zero.
    pub(crate) fn base(&self) -> f64 {
        if self.logarithmic {
            self.low
        } else {
            0_f64.clamp(self.low, self.high)
        }
    }

    /// The number at a place.
    pub(crate) fn label(&self, place: f64) -> String {
        let value = if self.logarithmic { place.exp() } else { place };
        // A power computed through its logarithm is off by a rounding error.
        let rounded = if self.logarithmic && value >= 1.0 {
            (value * 1e6).round() / 1e6
        } else {
            value
        };
        show(rounded, self.unit)
    }

    /// What the axis says about itself.
    pub(crate) fn title(&self, label: &str) -> String {
        if self.logarithmic {
            format!("{label} (logarithmic)")
        } else {
            label.to_owned()
        }
    }
}

/// The distance of numbers on a linear scale: 1, 2 or 5 times a power of ten, or a power of two of bytes.
fn step(width: f64, unit: Unit, most_ticks: usize) -> f64 {
    let least = width / most_ticks.saturating_sub(1).max(1) as f64;
    if unit == Unit::Bytes {
        return 2_f64.powi(least.log2().ceil().max(0.0) as i32);
    }
    let power = 10_f64.powf(least.log10().floor());
    let fits = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= least * (1.0 - 1e-9));
    fits.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn linear_numbers_are_round_and_start_at_zero() {
        let axis = Axis::linear("time", Unit::Nanoseconds);
        let scale = Scale::new(&axis, &[310.0, 1900.0], true, 6);
        assert_eq!(labels(&scale), ["0 ns", "500 ns", "1 µs", "1.50 µs"]);
        assert_eq!(scale.base(), 0.0);
    }

    #[test]
    fn bytes_have_powers_of_two_on_either_scale() {
        let linear = Scale::new(&Axis::linear("memory", Unit::Bytes), &[0.0, 9.0e6], true, 6);
        assert_eq!(labels(&linear)[1], "2.0 MiB");
        let axis = Axis::logarithmic("size", Unit::Bytes);
        let scale = Scale::new(&axis, &[4096.0, 67_108_864.0], false, 8);
        assert!(
            labels(&scale).contains(&"4.0 KiB".to_owned()),
            "{:?}",
            labels(&scale)
        );
        assert!(scale.ticks.len() <= 8);
    }

    #[test]
    fn a_logarithmic_scale_has_no_place_for_zero_and_orders_the_rest() {
        let axis = Axis::logarithmic("time", Unit::Nanoseconds);
        let scale = Scale::new(&axis, &[0.0, 10.0, 1.0e6], false, 6);
        assert_eq!(scale.place(0.0), None);
        assert!(scale.place(10.0) < scale.place(1000.0));
        assert!(labels(&scale).contains(&"1 ms".to_owned()));
    }

    #[test]
    fn every_scale_has_a_width_and_no_more_ticks_than_asked_for() {
        let wild: [&[f64]; 12] = [
            &[],
            &[0.0],
            &[5.0, 5.0],
            &[-3.0, -3.0],
            &[1e-9, 1e12],
            &[f64::NAN, f64::INFINITY],
            &[f64::MIN_POSITIVE],
            &[f64::from_bits(1)],
            &[f64::MAX],
            &[-f64::MAX, f64::MAX],
            &[1e17, 1e17 + 16.0],
            &[-f64::MAX, 0.0, 1.0],
        ];
        for values in wild {
            for logarithmic in [false, true] {
                for unit in [Unit::Nanoseconds, Unit::Bytes, Unit::Count, Unit::Share] {
                    for most in [1, 4, 8] {
                        let axis = Axis {
                            label: String::new(),
                            unit,
                            logarithmic,
                        };
                        let scale = Scale::new(&axis, values, true, most);
                        let what = format!("{values:?} {axis:?} {scale:?}");
                        assert!(scale.low < scale.high && scale.low.is_finite(), "{what}");
                        assert!(
                            scale.high.is_finite() && scale.ticks.len() <= most,
                            "{what}"
                        );
                        let inside = |tick: &f64| (scale.low..=scale.high).contains(tick);
                        assert!(scale.ticks.iter().all(inside), "{what}");
                        let short = |tick: &f64| scale.label(*tick).chars().count() <= 32;
                        assert!(scale.ticks.iter().all(short), "{what}");
                    }
                }
            }
        }
    }
}
