//! Pictures of what an experiment measured, as data.
//!
//! An experiment says what to draw and not how: [`Figure`]s are part of the report, so that the
//! terminal, a page and whoever reads the JSON draw the same numbers. Values are in the base units
//! of their [`Axis`] (nanoseconds, bytes, plain counts).
//!
//! # Invariants
//!
//! 1. A figure is computed from samples alone, by [`Experiment::figures`]; the same samples give
//!    the same figure.
//! 2. Every number in a figure is finite: what was not measured is left out, by the constructors
//!    here.
//!
//! # Rejected
//!
//! *Drawings made by the experiments*: a terminal of 80 columns, a phone and a printed page need
//! different ones, and the samples would have to be read back from the drawing.
//!
//! [`Experiment::figures`]: crate::experiment::Experiment::figures

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Summary;
use crate::units::Unit;

/// One picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What is seen, in one sentence.
    pub title: String,
    /// What is drawn.
    pub content: Content,
}

/// What a figure consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Content {
    /// Values side by side, each with its middle half.
    Bars {
        /// What the length of a bar means.
        axis: Axis,
        /// From top to bottom.
        bars: Vec<Bar>,
    },
    /// Values that depend on another value.
    Lines {
        /// To the right.
        x: Axis,
        /// Upwards.
        y: Axis,
        /// One line each.
        lines: Vec<Line>,
        /// Places on the x axis that have a name, such as the size of a cache.
        marks: Vec<Mark>,
    },
    /// How often values were seen.
    Histogram {
        /// What the values are; bins are equally wide on it (in the logarithm if it is logarithmic).
        axis: Axis,
        /// One distribution each, drawn under each other over the same bins.
        groups: Vec<Group>,
    },
    /// Who did what when.
    Timeline {
        /// One row each, from top to bottom.
        tracks: Vec<Track>,
    },
    /// Words in rows and columns.
    Matrix {
        /// The heads of the columns, without that of the row's names.
        columns: Vec<String>,
        /// The rows.
        rows: Vec<Row>,
    },
}

/// What the places along one direction of a figure mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Axis {
    /// What is counted, in a few words.
    pub label: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Whether equal distances mean equal factors.
    pub logarithmic: bool,
}

/// One value with its spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bar {
    /// Whose value it is.
    pub label: String,
    /// The value; of several, their median.
    pub value: f64,
    /// The first quartile.
    pub low: f64,
    /// The third quartile.
    pub high: f64,
}

/// Points to be joined, in ascending order of x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// What it shows.
    pub label: String,
    /// Pairs of x and y.
    pub points: Vec<[f64; 2]>,
}

/// A named place on the x axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// What is there.
    pub label: String,
    /// Where.
    pub x: f64,
}

/// The values of one distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Whose values they are.
    pub label: String,
    /// The values, in any order.
    pub values: Vec<f64>,
}

/// One row of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// Whose row it is.
    pub label: String,
    /// What happened, in ascending order and without overlap.
    pub spans: Vec<Span>,
}

/// A time during which one thing went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// When it began, in nanoseconds from the begin of the timeline.
    pub from_ns: f64,
    /// When it ended, in nanoseconds from the begin of the timeline.
    pub to_ns: f64,
    /// What went on; equal words are drawn alike. Its first letter stands for it in text.
    pub what: String,
}

/// One row of words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The name of the row.
    pub label: String,
    /// One word or short phrase for each column.
    pub cells: Vec<String>,
}

impl Axis {
    /// An axis on which equal distances are equal differences.
    #[must_use]
    pub fn linear(label: &str, unit: Unit) -> Self {
        Self {
            label: label.to_owned(),
            unit,
            logarithmic: false,
        }
    }

    /// An axis on which equal distances are equal factors; values of zero and below have no place on it.
    #[must_use]
    pub fn logarithmic(label: &str, unit: Unit) -> Self {
        Self {
            logarithmic: true,
            ..Self::linear(label, unit)
        }
    }
}

impl Bar {
    /// The median and the middle half of `summary`; none if nothing was measured.
    #[must_use]
    pub fn of(label: &str, summary: &Summary) -> Option<Self> {
        (summary.count > 0).then(|| Self {
            label: label.to_owned(),
            value: summary.median,
            low: summary.q1,
            high: summary.q3,
        })
    }
}

impl Line {
    /// The points whose numbers are finite, by x.
    #[must_use]
    pub fn new(label: &str, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        let finite = |point: &[f64; 2]| point.iter().all(|number| number.is_finite());
        let mut points: Vec<[f64; 2]> = points.into_iter().filter(finite).collect();
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        Self {
            label: label.to_owned(),
            points,
        }
    }
}

impl Group {
    /// The values that are finite.
    #[must_use]
    pub fn new(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            label: label.to_owned(),
            values: values
                .into_iter()
                .filter(|value| value.is_finite())
                .collect(),
        }
    }
}

impl Track {
    /// A row of `spans`, each `(from, to, what)` in nanoseconds, put in order; one whose ends are not finite
    /// or the wrong way round is left out.
    #[must_use]
    pub fn new<'a>(label: &str, spans: impl IntoIterator<Item = (f64, f64, &'a str)>) -> Self {
        let sound =
            |(from, to, _): &(f64, f64, &str)| from.is_finite() && to.is_finite() && from <= to;
        let mut spans: Vec<Span> = spans
            .into_iter()
            .filter(sound)
            .map(|(from_ns, to_ns, what)| Span {
                from_ns,
                to_ns,
                what: what.to_owned(),
            })
            .collect();
        spans.sort_by(|a, b| a.from_ns.total_cmp(&b.from_ns));
        Self {
            label: label.to_owned(),
            spans,
        }
    }
}

impl Row {
    /// A row of words.
    #[must_use]
    pub fn new<'a>(label: &str, cells: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            label: label.to_owned(),
            cells: cells.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Figure {
    /// A figure of `content` under `title`.
    #[must_use]
    pub fn new(title: impl Into<String>, content: Content) -> Self {
        Self {
            title: title.into(),
            content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_left_out() {
        assert_eq!(Bar::of("a", &Summary::EMPTY), None);
        assert_eq!(
            Line::new("a", [[2.0, 1.0], [f64::NAN, 1.0], [1.0, 5.0]]).points,
            [[1.0, 5.0], [2.0, 1.0]]
        );
        assert_eq!(Group::new("a", [1.0, f64::INFINITY]).values, [1.0]);
        let track = Track::new("a", [(5.0, 9.0, "x"), (3.0, 1.0, "y"), (0.0, 2.0, "z")]);
        assert_eq!(track.spans.len(), 2);
        assert_eq!(track.spans[0].what, "z");
    }

    #[test]
    fn a_figure_survives_the_way_through_json() {
        let tracks = vec![Track::new("CPU 0", [(0.0, 2.5, "chef")])];
        let figure = Figure::new("one", Content::Timeline { tracks });
        let text = serde_json::to_string(&figure).unwrap();
        assert!(text.contains(r#""kind":"timeline""#), "{text}");
        assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), figure);
    }
}
