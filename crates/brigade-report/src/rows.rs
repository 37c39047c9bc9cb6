//! Drawings with one row per thing: samples as dots, bars, times.
//!
//! Wide drawings have the names at the left and a number at the right; narrow ones have both above
//! each row, so that long names fit.

use brigade_lab::figure::{Axis, Bar, Track};
use brigade_lab::units::{Unit, show};
use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::HPos;

use crate::canvas::{
    Area, Chart, Fault, Ink, Margins, Room, SERIES, Upward, Words, axes, both, fit, pixel,
    width_of, write,
};
use crate::marker::Form;
use crate::scale::Scale;

/// The height of what is below the plot: numbers and a title.
const BELOW: i32 = 46;

/// One row: a name, and a number as text.
struct Head {
    label: String,
    value: String,
}

/// Where rows are.
struct Layout<'a> {
    room: Room,
    heads: &'a [Head],
}

impl Layout<'_> {
    fn row_height(&self) -> i32 {
        match self.room {
            Room::Narrow => 46,
            Room::Wide => 32,
        }
    }

    fn height(&self) -> u32 {
        let rows = i32::try_from(self.heads.len()).unwrap_or(i32::MAX / 64);
        (rows * self.row_height() + BELOW + 8).unsigned_abs()
    }

    fn margins(&self) -> Margins {
        let widest = |text: fn(&Head) -> &str| {
            let widths = self.heads.iter().map(|head| width_of(text(head)));
            widths.max().unwrap_or(0)
        };
        let (left, right) = match self.room {
            Room::Narrow => (18, 24),
            Room::Wide => (
                (widest(|head| &head.label) + 14).clamp(40, 230),
                (widest(|head| &head.value) + 16).clamp(30, 140),
            ),
        };
        Margins {
            left,
            right,
            top: 4,
            bottom: BELOW,
        }
    }

    /// The axes, the names and the numbers.
    fn frame<'a>(&self, area: &Area<'a>, x: &Scale, title: &str) -> Result<Chart<'a>, Fault> {
        let margins = self.margins();
        let chart = axes(area, margins, x, &Upward::Rows(self.heads.len()))?;
        let width = self.room.width().cast_signed();
        for (row, head) in self.heads.iter().enumerate() {
            let (_, y) = self.center(&chart, row);
            let value = width_of(&head.value);
            let (label_at, value_at, most) = match self.room {
                Room::Narrow => ((2, y - 21), (width - 2, y - 21), width - value - 30),
                Room::Wide => ((0, y), (width - 2, y), margins.left - 10),
            };
            write(
                area,
                Ink::Text,
                label_at,
                HPos::Left,
                &fit(&head.label, most),
            )?;
            write(area, Ink::Text, value_at, HPos::Right, &head.value)?;
        }
        let middle = (margins.left + width - margins.right) / 2;
        let bottom = self.height().cast_signed() - 12;
        let title = fit(title, width - 8);
        write(area, Ink::Muted, (middle, bottom), HPos::Center, &title)?;
        Ok(chart)
    }

    /// The left end of the row's middle, in pixels.
    fn center(&self, chart: &Chart<'_>, row: usize) -> (i32, i32) {
        let within = match self.room {
            Room::Narrow => 0.74,
            Room::Wide => 0.5,
        };
        pixel(chart, (chart_low(chart), row as f64 + within))
    }
}

fn chart_low(chart: &Chart<'_>) -> f64 {
    chart.plotting_area().get_x_range().start
}

fn x_of(chart: &Chart<'_>, place: f64) -> i32 {
    pixel(chart, (place, 0.0)).0
}

/// A rectangle at least one pixel wide, `half` pixels to either side of `y`.
fn block(from: i32, to: i32, y: i32, half: i32) -> [(i32, i32); 2] {
    [(from, y - half), (to.max(from + 1), y + half)]
}

/// The samples of one arm.
pub(crate) struct Dots {
    pub(crate) label: String,
    pub(crate) values: Vec<f64>,
    /// The first quartile, the median and the third quartile.
    pub(crate) quartiles: Option<[f64; 3]>,
    pub(crate) form: Form,
    pub(crate) ink: Ink,
}

/// Every sample as a mark, the median as a stroke, the middle half as a band.
pub(crate) fn dots(title: &str, label: &str, unit: Unit, rows: &[Dots]) -> Result<String, Fault> {
    let all: Vec<f64> = rows.iter().flat_map(|row| row.values.clone()).collect();
    let axis = Axis {
        label: label.to_owned(),
        unit,
        logarithmic: Scale::spreads(&all),
    };
    let heads: Vec<Head> = rows
        .iter()
        .map(|row| Head {
            label: row.label.clone(),
            value: row.quartiles.map_or_else(
                || "no sample".to_owned(),
                |[_, median, _]| show(median, unit),
            ),
        })
        .collect();
    let parts: Vec<String> = rows.iter().map(|row| told(row, unit)).collect();
    let words = Words {
        title,
        description: &format!("{}. {}", label, parts.join("; ")),
    };
    let layout = |room| Layout {
        room,
        heads: &heads,
    };
    both(
        &words,
        |room| layout(room).height(),
        |area, room| {
            let layout = layout(room);
            let scale = Scale::new(&axis, &all, true, room.most_ticks());
            let chart = layout.frame(area, &scale, &scale.title(label))?;
            for (index, row) in rows.iter().enumerate() {
                let (_, y) = layout.center(&chart, index);
                one_of_dots(area, &chart, &scale, row, y)?;
            }
            Ok(())
        },
    )
}

fn told(row: &Dots, unit: Unit) -> String {
    match row.quartiles {
        None => format!("{}: no sample", row.label),
        Some([q1, median, q3]) => format!(
            "{}: median {}, middle half {} to {}",
            row.label,
            show(median, unit),
            show(q1, unit),
            show(q3, unit)
        ),
    }
}

fn one_of_dots(
    area: &Area<'_>,
    chart: &Chart<'_>,
    scale: &Scale,
    row: &Dots,
    y: i32,
) -> Result<(), Fault> {
    let x = |value: f64| scale.place(value).map(|place| x_of(chart, place));
    if let Some([q1, median, q3]) = row.quartiles {
        if let (Some(low), Some(high)) = (x(q1), x(q3)) {
            let points = block(low - 1, high + 1, y, 9);
            area.draw(&Rectangle::new(points, row.ink.faint()))?;
        }
        if let Some(middle) = x(median) {
            let points = block(middle - 1, middle + 2, y, 11);
            area.draw(&Rectangle::new(points, row.ink.filled()))?;
        }
    }
    for place in row.values.iter().copied().filter_map(x) {
        row.form.draw(area, row.ink, (place, y))?;
    }
    Ok(())
}

/// Bars of values with their middle halves.
pub(crate) fn bars(title: &str, axis: &Axis, bars: &[Bar]) -> Result<String, Fault> {
    let all: Vec<f64> = bars
        .iter()
        .flat_map(|bar| [bar.value, bar.low, bar.high])
        .collect();
    let heads: Vec<Head> = bars
        .iter()
        .map(|bar| Head {
            label: bar.label.clone(),
            value: show(bar.value, axis.unit),
        })
        .collect();
    let parts: Vec<String> = heads
        .iter()
        .map(|head| format!("{}: {}", head.label, head.value))
        .collect();
    let words = Words {
        title,
        description: &format!("{}. {}", axis.label, parts.join("; ")),
    };
    let layout = |room| Layout {
        room,
        heads: &heads,
    };
    both(
        &words,
        |room| layout(room).height(),
        |area, room| {
            let layout = layout(room);
            let scale = Scale::new(axis, &all, true, room.most_ticks());
            let chart = layout.frame(area, &scale, &scale.title(&axis.label))?;
            for (index, bar) in bars.iter().enumerate() {
                let (_, y) = layout.center(&chart, index);
                one_bar(area, &chart, &scale, bar, y)?;
            }
            Ok(())
        },
    )
}

fn one_bar(
    area: &Area<'_>,
    chart: &Chart<'_>,
    scale: &Scale,
    bar: &Bar,
    y: i32,
) -> Result<(), Fault> {
    let x = |value: f64| scale.place(value).map(|place| x_of(chart, place));
    let base = x_of(chart, scale.base());
    if let Some(end) = x(bar.value) {
        let points = block(base.min(end), base.max(end), y, 9);
        area.draw(&Rectangle::new(points, Ink::Series(0).filled()))?;
    }
    let (Some(low), Some(high)) = (x(bar.low), x(bar.high)) else {
        return Ok(());
    };
    if high <= low {
        return Ok(());
    }
    // Seen on the bar and beside it: a line in the text's colour between two of the background's.
    for (ink, pixels) in [(Ink::Card, 4), (Ink::Text, 2)] {
        let stroke = |from, to| area.draw(&PathElement::new([from, to], ink.line(pixels)));
        stroke((low, y), (high, y))?;
        stroke((low, y - 5), (low, y + 5))?;
        stroke((high, y - 5), (high, y + 5))?;
    }
    Ok(())
}

/// The words of all spans in the order of their first appearance: what the colours mean.
pub(crate) fn kinds(tracks: &[Track]) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for span in tracks.iter().flat_map(|track| &track.spans) {
        if !kinds.contains(&span.what.as_str()) {
            kinds.push(&span.what);
        }
    }
    kinds
}

/// The letter that stands for a word in a span.
pub(crate) fn letter(what: &str) -> String {
    what.chars().take(1).collect()
}

/// Who did what when, one row per track.
pub(crate) fn timeline(title: &str, tracks: &[Track]) -> Result<String, Fault> {
    let heads: Vec<Head> = tracks
        .iter()
        .map(|track| Head {
            label: track.label.clone(),
            value: String::new(),
        })
        .collect();
    let ends: Vec<f64> = tracks
        .iter()
        .flat_map(|track| {
            track
                .spans
                .iter()
                .flat_map(|span| [span.from_ns, span.to_ns])
        })
        .collect();
    let kinds = kinds(tracks);
    let axis = Axis::linear("time", Unit::Nanoseconds);
    let words = Words {
        title,
        description: &told_of(tracks, &kinds),
    };
    let layout = |room| Layout {
        room,
        heads: &heads,
    };
    both(
        &words,
        |room| layout(room).height(),
        |area, room| {
            let layout = layout(room);
            let scale = Scale::new(&axis, &ends, true, room.most_ticks());
            let chart = layout.frame(area, &scale, &axis.label)?;
            for (row, track) in tracks.iter().enumerate() {
                let (_, y) = layout.center(&chart, row);
                one_track(area, &chart, &scale, track, &kinds, y)?;
            }
            Ok(())
        },
    )
}

/// How long each track did what.
fn told_of(tracks: &[Track], kinds: &[&str]) -> String {
    let of_track = |track: &Track| {
        let sums = kinds.iter().filter_map(|kind| {
            let spans = track.spans.iter().filter(|span| span.what == *kind);
            let sum: f64 = spans.map(|span| span.to_ns - span.from_ns).sum();
            (sum > 0.0).then(|| format!("{} of {kind}", show(sum, Unit::Nanoseconds)))
        });
        format!("{}: {}", track.label, sums.collect::<Vec<_>>().join(", "))
    };
    tracks.iter().map(of_track).collect::<Vec<_>>().join("; ")
}

fn one_track(
    area: &Area<'_>,
    chart: &Chart<'_>,
    scale: &Scale,
    track: &Track,
    kinds: &[&str],
    y: i32,
) -> Result<(), Fault> {
    for span in &track.spans {
        let (Some(from), Some(to)) = (scale.place(span.from_ns), scale.place(span.to_ns)) else {
            continue;
        };
        let kind = kinds.iter().position(|kind| *kind == span.what);
        let ink = Ink::Series(kind.unwrap_or(0) % SERIES);
        let (left, right) = (x_of(chart, from), x_of(chart, to));
        // A gap of one pixel shows where one span ends and the next begins.
        let end = if right - left > 3 { right - 1 } else { right };
        area.draw(&Rectangle::new(block(left, end, y, 10), ink.filled()))?;
        if right - left >= 14 {
            let middle = left.midpoint(right);
            write(
                area,
                Ink::Card,
                (middle, y),
                HPos::Center,
                &letter(&span.what),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, values: &[f64]) -> Dots {
        let summary = brigade_lab::stats::Summary::of(values.iter().copied());
        Dots {
            label: label.to_owned(),
            values: values.to_vec(),
            quartiles: (summary.count > 0).then_some([summary.q1, summary.median, summary.q3]),
            form: Form::Disc,
            ink: Ink::Series(0),
        }
    }

    #[test]
    fn every_sample_is_a_mark_in_both_drawings_and_an_arm_without_any_says_so() {
        let rows = [row("one", &[1.0, 2.0, 3.0]), row("none", &[])];
        let svg = dots("title", "time", Unit::Nanoseconds, &rows).unwrap();
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
        assert_eq!(svg.matches(">\nno sample\n<").count(), 2, "{svg}");
        assert!(svg.contains("one: median 2 ns, middle half 1.50 ns to 2.50 ns; none: no sample"));
    }

    #[test]
    fn a_span_too_short_to_be_seen_is_drawn_one_pixel_wide() {
        let spans = [(0.0, 1.0, "run"), (5.0e8, 1.0e9, "wait")];
        let svg = timeline("title", &[Track::new("CPU 0", spans)]).unwrap();
        assert!(svg.contains("width=\"1\""), "{svg}");
        assert!(svg.contains("CPU 0: 1 ns of run, 500 ms of wait"), "{svg}");
        assert!(!svg.contains("width=\"0\""), "{svg}");
    }

    #[test]
    fn bars_begin_at_zero_and_longer_values_are_longer() {
        let bar = |value: f64| Bar {
            label: format!("{value}"),
            value,
            low: value,
            high: value,
        };
        let axis = Axis::linear("things", Unit::Count);
        let svg = bars("title", &axis, &[bar(1.0), bar(2.0)]).unwrap();
        let widths: Vec<f64> = svg
            .split("<rect ")
            .filter(|rect| rect.contains("var(--c0)"))
            .filter_map(|rect| {
                rect.split("width=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert_eq!(widths.len(), 4, "{svg}");
        for pair in widths.chunks(2) {
            assert!((pair[1] / pair[0] - 2.0).abs() < 0.1, "{widths:?}");
        }
    }

    #[test]
    fn whatever_the_numbers_are_a_drawing_is_made_and_stays_within_its_room() {
        let wild = [
            f64::MAX,
            -f64::MAX,
            1e300,
            f64::from_bits(1),
            0.0,
            f64::NAN,
            f64::INFINITY,
        ];
        let bar = |value: f64| Bar {
            label: "a".to_owned(),
            value,
            low: -value,
            high: value,
        };
        for unit in [Unit::Nanoseconds, Unit::Bytes, Unit::Count, Unit::Share] {
            for logarithmic in [false, true] {
                let axis = Axis {
                    label: "x".to_owned(),
                    unit,
                    logarithmic,
                };
                let spans = wild.map(|to| (0.0, to, "run"));
                for svg in [
                    dots("t", "x", unit, &[row("a", &wild), row("b", &wild[..1])]),
                    bars("t", &axis, &wild.map(bar)),
                    timeline("t", &[Track::new("CPU 0", spans)]),
                    crate::curves::lines(
                        "t",
                        (&axis, &axis),
                        &[brigade_lab::figure::Line::new("l", wild.map(|v| [v, v]))],
                        &[],
                    ),
                    crate::curves::histogram(
                        "t",
                        &axis,
                        &[brigade_lab::figure::Group {
                            label: "g".to_owned(),
                            values: wild.to_vec(),
                        }],
                    ),
                ] {
                    let svg = svg.unwrap();
                    assert_eq!(svg.matches("</svg>").count(), 2);
                    assert!(svg.len() < 100_000, "{} bytes", svg.len());
                    assert!(!svg.contains("NaN") || svg.contains("NaN of"), "{svg}");
                }
            }
        }
    }

    #[test]
    fn nothing_at_all_can_be_drawn() {
        for svg in [
            dots("t", "x", Unit::Count, &[]),
            bars("t", &Axis::logarithmic("x", Unit::Bytes), &[]),
            timeline("t", &[]),
        ] {
            assert_eq!(svg.unwrap().matches("</svg>").count(), 2);
        }
    }
}
