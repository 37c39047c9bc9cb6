//! Where a value lies along an axis, and how its ends are called.

use brigade_lab::figure::Axis;
use brigade_lab::units::{Unit, show};

/// The widest number that is written out; a wider one takes an exponent.
const NUMBER: usize = 12;

/// `value` as people read it, in at most a dozen columns.
pub(crate) fn number(value: f64, unit: Unit) -> String {
    let text = show(value, unit);
    if text.chars().count() <= NUMBER {
        return text;
    }
    let unit = match unit {
        Unit::Nanoseconds => " ns",
        Unit::Bytes => " B",
        Unit::Count | Unit::Share => "",
    };
    format!("{value:.2e}{unit}")
}

/// The part of an axis that is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Range {
    /// From the smallest to the largest of `values`; none if no value has a place on the axis.
    pub(super) fn of(axis: &Axis, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let placed = |value: &f64| value.is_finite() && (!axis.logarithmic || *value > 0.0);
        let mut range: Option<Self> = None;
        for value in values.into_iter().filter(placed) {
            let known = range.get_or_insert(Self {
                low: value,
                high: value,
                logarithmic: axis.logarithmic,
            });
            known.low = known.low.min(value);
            known.high = known.high.max(value);
        }
        range
    }

    /// The same range, down (or up) to zero where the axis has one.
    pub(super) fn with_zero(self) -> Self {
        if self.logarithmic {
            return self;
        }
        Self {
            low: self.low.min(0.0),
            high: self.high.max(0.0),
            ..self
        }
    }

    /// The same range, down to the next power of ten below the smallest value: the length of a bar needs a begin.
    pub(super) fn with_decade(self) -> Self {
        let below = 10_f64.powf(self.low.log10().floor());
        if !self.logarithmic || below <= 0.0 || !below.is_finite() {
            return self;
        }
        let low = if below < self.low {
            below
        } else {
            below / 10.0
        };
        Self {
            low: if low > 0.0 { low } else { below },
            ..self
        }
    }

    /// How far along `value` lies: 0 at the begin, 1 at the end, and never outside.
    pub(super) fn place(self, value: f64) -> f64 {
        let (value, low, high) = if self.logarithmic {
            (value.ln(), self.low.ln(), self.high.ln())
        } else {
            // Halved, so that no difference of two numbers overflows.
            (value / 2.0, self.low / 2.0, self.high / 2.0)
        };
        let place = (value - low) / (high - low);
        if place.is_nan() {
            // A range of one value: it is its own end. Or no number: it has no length.
            return if high == low && value >= high {
                1.0
            } else {
                0.0
            };
        }
        place.clamp(0.0, 1.0)
    }

    /// The column of `value` among `columns`, from 0.
    pub(super) fn column(self, value: f64, columns: usize) -> usize {
        let last = columns.saturating_sub(1);
        ((self.place(value) * last as f64).round() as usize).min(last)
    }

    /// The value at `place`, from 0 to 1.
    pub(super) fn value(self, place: f64) -> f64 {
        if self.logarithmic {
            (self.low.ln() * (1.0 - place) + self.high.ln() * place).exp()
        } else {
            self.low * (1.0 - place) + self.high * place
        }
    }

    pub(super) fn low(self) -> f64 {
        self.low
    }

    pub(super) fn high(self) -> f64 {
        self.high
    }
}
