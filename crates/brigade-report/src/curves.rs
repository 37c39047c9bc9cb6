//! Drawings with two axes: lines, and how often values were seen.

use brigade_lab::figure::{Axis, Group, Line, Mark};
use brigade_lab::units::{Unit, show};
use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::HPos;

use crate::canvas::{
    Area, Chart, Fault, Ink, Margins, Room, Upward, Words, axes, both, fit, pixel, width_of, write,
};
use crate::marker::Form;
use crate::scale::Scale;

/// The height of a plot of lines.
const PLOT: i32 = 250;

/// The height of one distribution.
const PANEL: i32 = 84;

/// The height of what is below a plot: numbers and a title.
const BELOW: i32 = 46;

/// How many bins a histogram has.
const BINS: usize = 32;

/// A line per series, a mark per point, and named places on the x axis.
pub(crate) fn lines(
    title: &str,
    (x_axis, y_axis): (&Axis, &Axis),
    lines: &[Line],
    marks: &[Mark],
) -> Result<String, Fault> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let xs: Vec<f64> = points().map(|point| point[0]).collect();
    let ys: Vec<f64> = points().map(|point| point[1]).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| told(line, x_axis, y_axis))
        .collect();
    let words = Words {
        title,
        description: &format!("{} by {}. {}", y_axis.label, x_axis.label, told.join("; ")),
    };
    let rows = lanes(marks.len());
    let top = 26 + rows * 16;
    both(
        &words,
        |_| (top + PLOT + BELOW).unsigned_abs(),
        |area, room| {
            let x = Scale::new(x_axis, &xs, false, room.most_ticks());
            let y = Scale::new(y_axis, &ys, true, 6);
            let widest = y.ticks.iter().map(|tick| width_of(&y.label(*tick))).max();
            let margins = Margins {
                left: widest.unwrap_or(0) + 12,
                right: 26,
                top,
                bottom: BELOW,
            };
            let chart = axes(area, margins, &x, &Upward::Values(&y))?;
            let width = room.width().cast_signed();
            let y_title = fit(&y.title(&y_axis.label), width - 8);
            write(area, Ink::Muted, (2, 9), HPos::Left, &y_title)?;
            let middle = (margins.left + width - margins.right) / 2;
            let x_title = fit(&x.title(&x_axis.label), width - 8);
            let bottom = top + PLOT + BELOW - 12;
            write(area, Ink::Muted, (middle, bottom), HPos::Center, &x_title)?;
            draw_marks(area, &chart, (&x, &y), marks, width)?;
            for (index, line) in lines.iter().enumerate() {
                draw_line(area, &chart, (&x, &y), line, index)?;
            }
            Ok(())
        },
    )
}

/// How many rows the names of marks are spread over, so that neighbours do not cover each other.
fn lanes(marks: usize) -> i32 {
    i32::try_from(marks.min(3)).unwrap_or(3)
}

fn told(line: &Line, x: &Axis, y: &Axis) -> String {
    let point =
        |point: &[f64; 2]| format!("{} at {}", show(point[1], y.unit), show(point[0], x.unit));
    match (line.points.first(), line.points.last()) {
        (Some(first), Some(last)) => {
            format!("{}: from {} to {}", line.label, point(first), point(last))
        }
        _ => format!("{}: no point", line.label),
    }
}

fn draw_marks(
    area: &Area<'_>,
    chart: &Chart<'_>,
    (x, y): (&Scale, &Scale),
    marks: &[Mark],
    width: i32,
) -> Result<(), Fault> {
    for (index, mark) in marks.iter().enumerate() {
        let Some(place) = x.place(mark.x) else {
            continue;
        };
        let (at, bottom) = pixel(chart, (place, y.low));
        let (_, top) = pixel(chart, (place, y.high));
        let lane = 27 + (index % 3) as i32 * 16;
        for dash in (lane + 8..bottom).step_by(8) {
            let end = (dash + 4).min(bottom);
            area.draw(&PathElement::new(
                [(at, dash), (at, end)],
                Ink::Plain.line(1),
            ))?;
        }
        debug_assert!(top <= bottom);
        let text = fit(&mark.label, width - 8);
        let half = width_of(&text) / 2;
        let center = at.clamp(half.min(width / 2), (width - half).max(width / 2));
        write(area, Ink::Muted, (center, lane), HPos::Center, &text)?;
    }
    Ok(())
}

fn draw_line(
    area: &Area<'_>,
    chart: &Chart<'_>,
    (x, y): (&Scale, &Scale),
    line: &Line,
    index: usize,
) -> Result<(), Fault> {
    let ink = Ink::Series(index);
    let place = |point: &[f64; 2]| Some(pixel(chart, (x.place(point[0])?, y.place(point[1])?)));
    let pixels: Vec<(i32, i32)> = line.points.iter().filter_map(place).collect();
    area.draw(&PathElement::new(pixels.clone(), ink.line(2)))?;
    // A mark on each point, or as many as can be told apart.
    let stride = pixels.len().div_ceil(24).max(1);
    for pixel in pixels.iter().step_by(stride) {
        Form::of(index).draw(area, ink, *pixel)?;
    }
    Ok(())
}

/// How often values were seen: one panel per group, all over the same bins.
pub(crate) fn histogram(title: &str, axis: &Axis, groups: &[Group]) -> Result<String, Fault> {
    let all: Vec<f64> = groups
        .iter()
        .flat_map(|group| group.values.clone())
        .collect();
    let told: Vec<String> = groups
        .iter()
        .map(|group| {
            let summary = brigade_lab::stats::Summary::of(group.values.iter().copied());
            let number = |value| show(value, axis.unit);
            format!(
                "{}: {} values, median {}, largest {}",
                group.label,
                summary.count,
                number(summary.median),
                number(summary.max)
            )
        })
        .collect();
    let words = Words {
        title,
        description: &format!("{}. {}", axis.label, told.join("; ")),
    };
    let panels = i32::try_from(groups.len()).unwrap_or(i32::MAX / 256);
    let height = panels * PANEL + BELOW + 4;
    both(
        &words,
        |_| height.unsigned_abs(),
        |area, room| {
            let scale = Scale::new(axis, &all, false, room.most_ticks());
            let margins = Margins {
                left: 18,
                right: 24,
                top: 2,
                bottom: BELOW,
            };
            let chart = axes(area, margins, &scale, &Upward::Rows(groups.len().max(1)))?;
            let width = room.width().cast_signed();
            for (index, group) in groups.iter().enumerate() {
                panel(area, &chart, &scale, group, index, room)?;
            }
            let title = fit(&scale.title(&axis.label), width - 8);
            write(
                area,
                Ink::Muted,
                (width / 2, height - 12),
                HPos::Center,
                &title,
            )
        },
    )
}

/// How many values fall into each bin; those without a place, such as zero on a logarithmic axis, into none.
fn bins(scale: &Scale, values: &[f64]) -> Vec<usize> {
    let mut counts = vec![0; BINS];
    for place in values.iter().filter_map(|value| scale.place(*value)) {
        let share = (place - scale.low) / (scale.high - scale.low);
        counts[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    counts
}

fn panel(
    area: &Area<'_>,
    chart: &Chart<'_>,
    scale: &Scale,
    group: &Group,
    index: usize,
    room: Room,
) -> Result<(), Fault> {
    let counts = bins(scale, &group.values);
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let row = index as f64;
    let (left, top) = pixel(chart, (scale.low, row));
    let (right, bottom) = pixel(chart, (scale.high, row + 1.0));
    let (floor, ceiling) = (bottom - 2, top + 22);
    let edge = |bin: usize| left + (right - left) * bin as i32 / BINS as i32;
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let share = *count as f64 / most as f64;
        // One value among thousands is still seen.
        let height = (share * f64::from(floor - ceiling)).round().max(2.0) as i32;
        let points = [(edge(bin), floor - height), (edge(bin + 1) - 1, floor)];
        area.draw(&Rectangle::new(points, Ink::Series(index).filled()))?;
    }
    area.draw(&PathElement::new(
        [(left, floor), (right, floor)],
        Ink::Muted.line(1),
    ))?;
    let note = format!(
        "{} values, at most {} in a bin",
        show(group.values.len() as f64, Unit::Count),
        show(most as f64, Unit::Count)
    );
    let (note, width) = match room {
        Room::Wide => (note, room.width().cast_signed()),
        Room::Narrow => (
            format!("{} values", show(group.values.len() as f64, Unit::Count)),
            room.width().cast_signed(),
        ),
    };
    let most = width - width_of(&note) - 16;
    write(
        area,
        Ink::Text,
        (2, top + 11),
        HPos::Left,
        &fit(&group.label, most),
    )?;
    write(area, Ink::Muted, (width - 2, top + 11), HPos::Right, &note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_with_a_place_falls_into_one_bin() {
        let axis = Axis::logarithmic("time", Unit::Nanoseconds);
        let values = [0.0, 1.0, 10.0, 100.0, 1e6, 1e6];
        let scale = Scale::new(&axis, &values, false, 5);
        let counts = bins(&scale, &values);
        assert_eq!(counts.iter().sum::<usize>(), 5);
        assert_eq!(counts.iter().max(), Some(&2));
    }

    #[test]
    fn lines_are_told_apart_by_their_marks_and_places_have_their_names() {
        let axis = Axis::logarithmic("size", Unit::Bytes);
        let y = Axis::linear("time", Unit::Nanoseconds);
        let line = |label: &str, factor: f64| {
            Line::new(label, [[1024.0, factor], [65_536.0, 3.0 * factor]])
        };
        let mark = Mark {
            label: "L1 cache".to_owned(),
            x: 32_768.0,
        };
        let svg = lines("t", (&axis, &y), &[line("a", 1.0), line("b", 2.0)], &[mark]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 4, "discs of the first line");
        assert!(svg.contains("L1 cache"));
        assert!(
            svg.contains("a: from 1 ns at 1.0 KiB to 3 ns at 64.0 KiB"),
            "{svg}"
        );
    }

    #[test]
    fn nothing_at_all_can_be_drawn() {
        let axis = Axis::linear("x", Unit::Count);
        for svg in [
            histogram("t", &axis, &[]),
            lines("t", (&axis, &axis), &[Line::new("a", [])], &[]),
        ] {
            assert_eq!(svg.unwrap().matches("</svg>").count(), 2);
        }
    }
}
