//! How often values were seen: bins of a power of two on a logarithmic axis, of a round width on a linear one.
//!
//! One or two groups are drawn bin by bin; more of them one row each, so that they can be compared.

use brigade_lab::figure::{Axis, Group};

use super::axis::{Range, number};
use super::bars::bar;
use super::{INNER, LABEL, ROWS, fit, left_out, nothing, widest, wrapped};

/// The most bins of a group that is drawn bin by bin.
const BINS: usize = 20;

/// Columns of the longest bar.
const LENGTH: usize = 32;

/// The most groups that are drawn bin by bin.
const TALL: usize = 2;

/// Columns of a group that takes one row.
const STRIP: usize = 40;

/// The distributions, under each other over the same bins.
pub(super) fn draw(axis: &Axis, groups: &[Group]) -> Vec<String> {
    let values = groups.iter().flat_map(|group| group.values.iter().copied());
    let Some(range) = Range::of(axis, values) else {
        return nothing();
    };
    let mut lines = if groups.len() > TALL {
        strips(axis, groups, range)
    } else {
        tall(axis, groups, range)
    };
    let without = groups.iter().flat_map(|group| &group.values);
    let without = without.filter(|value| !has_place(axis, **value)).count();
    if without > 0 {
        lines.push(format!("{without} values have no place on this axis"));
    }
    lines
}

fn has_place(axis: &Axis, value: f64) -> bool {
    value.is_finite() && (!axis.logarithmic || value > 0.0)
}

/// The ends of the bins, one more than there are bins, ascending.
fn edges(axis: &Axis, range: Range) -> Vec<f64> {
    let (low, high) = (range.low(), range.high());
    if low == high {
        return vec![low, high];
    }
    if axis.logarithmic && high / low > 16.0 {
        return powers(low, high);
    }
    round_steps(low, high).unwrap_or_else(|| vec![low, high])
}

/// Powers of two, or of a power of two where there would be too many.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log2().floor(), (high.log2() + f64::EPSILON).ceil());
    let step = ((last - first) / BINS as f64).ceil().max(1.0);
    let count = ((last - first) / step).ceil().max(1.0) as usize;
    let mut edges: Vec<f64> = (0..=count)
        .map(|i| (first + step * i as f64).exp2().min(f64::MAX))
        .collect();
    // The largest value may be a power of two itself and needs a bin that contains it.
    if edges.last().is_some_and(|last| *last <= high) {
        edges.push((first + step * (count + 1) as f64).exp2().min(f64::MAX));
    }
    edges
}

/// About ten steps of 1, 2 or 5 times a power of ten; none if numbers cannot tell them apart.
fn round_steps(low: f64, high: f64) -> Option<Vec<f64>> {
    let rough = high / 10.0 - low / 10.0;
    let ten = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * ten)
        .into_iter()
        .find(|step| *step >= rough)?;
    let first = (low / step).floor();
    let count = ((high / step).floor() - first + 1.0) as usize;
    let edges: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
    let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
    (ascending && count <= BINS && edges.iter().all(|edge| edge.is_finite())).then_some(edges)
}

/// How many of `values` lie in each bin; the last bin contains its upper end.
fn counts(edges: &[f64], values: impl Iterator<Item = f64>) -> Vec<usize> {
    let bins = edges.len() - 1;
    let mut counts = vec![0; bins];
    for value in values {
        let above = edges.partition_point(|edge| *edge <= value);
        counts[above.saturating_sub(1).min(bins - 1)] += 1;
    }
    counts
}

fn tall(axis: &Axis, groups: &[Group], range: Range) -> Vec<String> {
    let edges = edges(axis, range);
    let all: Vec<Vec<usize>> = groups
        .iter()
        .map(|group| {
            let values = group.values.iter().copied();
            counts(&edges, values.filter(|value| has_place(axis, *value)))
        })
        .collect();
    let most = all.iter().flatten().copied().max().unwrap_or(0).max(1);
    let name = |edge: &f64| number(*edge, axis.unit);
    let width = edges.iter().map(|e| name(e).chars().count()).max();
    let width = width.unwrap_or(0);
    let mut lines = Vec::new();
    for (group, counts) in groups.iter().zip(&all) {
        if groups.len() > 1 || !group.label.is_empty() {
            let label = fit(&group.label, INNER - 20);
            lines.push(format!("{label} ({})", group.values.len()));
        }
        for (bin, count) in counts.iter().enumerate() {
            let (from, to) = (name(&edges[bin]), name(&edges[bin + 1]));
            let length = bar(*count as f64 / most as f64, LENGTH);
            lines.push(format!(
                "{from:>width$} - {to:>width$} │{length:<LENGTH$}│ {count}"
            ));
        }
    }
    lines.push(fit(&axis.label, INNER));
    lines
}

/// One row for each group, whose signs are the higher the more values lie there.
fn strips(axis: &Axis, groups: &[Group], range: Range) -> Vec<String> {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &groups[..groups.len().min(ROWS)];
    let width = widest(shown.iter().map(|group| group.label.as_str()), LABEL);
    let row = |group: &Group| {
        let mut columns = [0_usize; STRIP];
        let placed = group.values.iter().filter(|value| has_place(axis, **value));
        for value in placed {
            columns[range.column(*value, STRIP)] += 1;
        }
        let most = columns.iter().copied().max().unwrap_or(0).max(1);
        let sign = |count: &usize| match *count {
            0 => ' ',
            count => {
                HEIGHTS[(count * HEIGHTS.len())
                    .div_ceil(most)
                    .saturating_sub(1)
                    .min(7)]
            }
        };
        let strip: String = columns.iter().map(sign).collect();
        let label = fit(&group.label, width);
        format!("{label:<width$} │{strip}│ {}", group.values.len())
    };
    let mut lines: Vec<String> = shown.iter().map(row).collect();
    lines.extend(left_out(shown.len(), groups.len(), "groups"));
    let ends = [range.low(), range.high()].map(|end| number(end, axis.unit));
    let gap = STRIP.saturating_sub(ends[0].chars().count());
    lines.push(format!("{:width$}  {}{:>gap$}", "", ends[0], ends[1]));
    let each = if axis.logarithmic {
        ", each step the same factor"
    } else {
        ""
    };
    lines.extend(wrapped(&format!("{}{each}", fit(&axis.label, INNER / 2))));
    lines
}
