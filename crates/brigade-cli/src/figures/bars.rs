//! Values side by side, as bars.

use brigade_lab::figure::{Axis, Bar};
use brigade_lab::units::Unit;

use super::axis::{Range, number};
use super::{INNER, LABEL, ROWS, fit, left_out, nothing, widest, wrapped};

/// Columns of the longest bar.
const LENGTH: usize = 36;

/// One row each: label, a bar up to the value with its middle half shaded, the value.
pub(super) fn draw(axis: &Axis, bars: &[Bar]) -> Vec<String> {
    let values = |bar: &Bar| [bar.value, bar.low, bar.high];
    let Some(range) = Range::of(axis, bars.iter().flat_map(values)) else {
        return nothing();
    };
    let range = range.with_zero().with_decade();
    let shown = &bars[..bars.len().min(ROWS)];
    let width = widest(shown.iter().map(|bar| bar.label.as_str()), LABEL);
    let row = |bar: &Bar| {
        let label = fit(&bar.label, width);
        let bar_text = shaded(&range, bar);
        let value = number(bar.value, axis.unit);
        format!("{label:<width$}  {bar_text:<LENGTH$}  {value}")
    };
    let mut lines: Vec<String> = shown.iter().map(row).collect();
    lines.extend(left_out(shown.len(), bars.len(), "bars"));
    lines.extend(wrapped(&legend(axis, &range, bars)));
    lines
}

/// Full to the first quartile, shaded to the third, with at least one sign for a value that has a length.
fn shaded(range: &Range, bar: &Bar) -> String {
    let columns = |value: f64| (range.place(value) * LENGTH as f64).round() as usize;
    let or_value = |end: f64| if end.is_finite() { end } else { bar.value };
    let low = columns(or_value(bar.low)).min(LENGTH);
    let high = columns(or_value(bar.high)).clamp(low, LENGTH);
    let mut text = "█".repeat(low);
    text += &"▒".repeat(high - low);
    if text.is_empty() && range.place(bar.value) > 0.0 {
        text.push('▏');
    }
    text
}

fn legend(axis: &Axis, range: &Range, bars: &[Bar]) -> String {
    let mut text = fit(&axis.label, INNER / 2);
    let ends = [range.low(), range.high()].map(|end| number(end, axis.unit));
    text += &format!(", {} to {}", ends[0], ends[1]);
    if axis.logarithmic {
        text += ", each step the same factor";
    }
    if bars.iter().any(|bar| bar.low < bar.high) {
        text += "; ▒ the middle half";
    }
    text
}

/// How long the bars of some values are.
pub(crate) struct Bars {
    /// Whether equal lengths mean equal factors.
    pub(crate) logarithmic: bool,
    /// From 0 to 1 for each value.
    pub(crate) places: Vec<f64>,
}

impl Bars {
    /// The values differ more than this where a bar of the smallest would not be seen.
    const WIDE: f64 = 60.0;

    /// The lengths for `values`, where those that are not finite have none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let sizes = || values.iter().copied().filter(|value| *value > 0.0);
        let (least, most) = sizes().fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let negative = values.iter().any(|value| *value < 0.0);
        let axis = Axis {
            label: String::new(),
            unit: Unit::Count,
            logarithmic: !negative && most / least > Self::WIDE,
        };
        let range = Range::of(&axis, values.iter().copied());
        let range = range.map(|range| range.with_zero().with_decade());
        let place = |value: &f64| range.map_or(0.0, |range| range.place(*value));
        Self {
            logarithmic: axis.logarithmic,
            places: values.iter().map(place).collect(),
        }
    }
}

/// A bar of `place` times `columns` columns, exact to an eighth of a column; any length above 0 is seen.
pub(crate) fn bar(place: f64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let place = if place.is_finite() {
        place.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = (place * columns as f64 * 8.0).round() as usize;
    let mut text = "█".repeat((eighths / 8).min(columns));
    text += EIGHTHS[eighths % 8];
    if text.is_empty() && place > 0.0 {
        text.push('▏');
    }
    text
}
