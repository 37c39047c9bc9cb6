//! Values that depend on another value: points marked with letters, joined by dots.

use brigade_lab::figure::{Axis, Line, Mark};

use super::axis::{Range, number};
use super::{INNER, fit, left_out, nothing, wrapped};

/// Columns of the numbers at the left.
const LEFT: usize = 12;

/// Columns of the plot.
const COLUMNS: usize = INNER - LEFT - 2;

/// Rows of the plot.
const HEIGHT: usize = 13;

/// The lines' letters; more lines than these are left out.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// Where two lines have a point.
const BOTH: char = '*';

/// The plot, its axes and its legend.
pub(super) fn draw(x: &Axis, y: &Axis, lines: &[Line], marks: &[Mark]) -> Vec<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let xs = points().map(|point| point[0]);
    let (Some(across), Some(up)) = (
        Range::of(x, xs.chain(marks.iter().map(|mark| mark.x))),
        Range::of(y, points().map(|point| point[1])),
    ) else {
        return nothing();
    };
    let up = up.with_zero();
    let mut canvas = vec![[' '; COLUMNS]; HEIGHT];
    let shown = &lines[..lines.len().min(LETTERS.len())];
    let placed = |line: &Line| places(x, y, across, up, line);
    for line in shown {
        join(&mut canvas, &placed(line));
    }
    for (line, letter) in shown.iter().zip(LETTERS.chars()) {
        for (column, row) in placed(line) {
            let cell = &mut canvas[row][column];
            *cell = match *cell {
                ' ' | '·' => letter,
                known if known == letter => letter,
                _ => BOTH,
            };
        }
    }
    let mut text = vec![fit(&y.label, INNER)];
    text.extend(canvas.iter().enumerate().map(|(row, cells)| {
        let line: String = cells.iter().collect();
        format!("{:>LEFT$} │{line}", row_name(y, up, row))
    }));
    text.extend(foot(x, across, marks));
    text.extend(legend(&canvas, shown));
    text.extend(left_out(shown.len(), lines.len(), "lines"));
    text
}

/// The cells of a line's points, as (column, row from the top).
fn places(x: &Axis, y: &Axis, across: Range, up: Range, line: &Line) -> Vec<(usize, usize)> {
    let fits = |axis: &Axis, value: f64| value.is_finite() && (!axis.logarithmic || value > 0.0);
    let points = line.points.iter();
    points
        .filter(|point| fits(x, point[0]) && fits(y, point[1]))
        .map(|point| {
            let row = HEIGHT - 1 - up.column(point[1], HEIGHT);
            (across.column(point[0], COLUMNS), row)
        })
        .collect()
}

/// Dots between each place and the next.
fn join(canvas: &mut [[char; COLUMNS]], places: &[(usize, usize)]) {
    for pair in places.windows(2) {
        let [(from, top), (to, bottom)] = [pair[0], pair[1]];
        let at = |column: usize| {
            let way = (column - from) as f64 / (to - from) as f64;
            let row = top as f64 + (bottom as f64 - top as f64) * way;
            (column, row.round() as usize)
        };
        for (column, row) in (from + 1..to).map(at) {
            let cell = &mut canvas[row.min(HEIGHT - 1)][column];
            if *cell == ' ' {
                *cell = '·';
            }
        }
    }
}

/// The number beside a row: at the top, in the middle and at the bottom.
fn row_name(y: &Axis, up: Range, row: usize) -> String {
    let last = HEIGHT - 1;
    if row.is_multiple_of(last / 2) {
        number(up.value(1.0 - row as f64 / last as f64), y.unit)
    } else {
        String::new()
    }
}

/// The x axis: its line, its ends, and the named places.
fn foot(x: &Axis, across: Range, marks: &[Mark]) -> Vec<String> {
    let margin = " ".repeat(LEFT);
    let mut rule = ['─'; COLUMNS];
    for mark in marks {
        rule[across.column(mark.x, COLUMNS)] = '┼';
    }
    let rule: String = rule.into_iter().collect();
    let ends = [across.low(), across.high()].map(|end| number(end, x.unit));
    let middle = fit(&x.label, COLUMNS - 2 * LEFT - 2);
    let rest = COLUMNS - ends[0].chars().count() - ends[1].chars().count();
    let mut text = vec![
        format!("{margin} └{rule}"),
        format!("{margin}  {}{middle:^rest$}{}", ends[0], ends[1]),
    ];
    if !marks.is_empty() {
        let name = |mark: &Mark| format!("{} {}", fit(&mark.label, LEFT), number(mark.x, x.unit));
        let names: Vec<String> = marks.iter().take(LETTERS.len()).map(name).collect();
        text.extend(wrapped(&format!("┼ {}", names.join(", "))));
    }
    text
}

fn legend(canvas: &[[char; COLUMNS]], lines: &[Line]) -> Vec<String> {
    let name = |(line, letter): (&Line, char)| format!("{letter} {}", fit(&line.label, INNER / 2));
    let mut names: Vec<String> = lines.iter().zip(LETTERS.chars()).map(name).collect();
    if canvas.iter().flatten().any(|cell| *cell == BOTH) {
        names.push(format!("{BOTH} more than one"));
    }
    wrapped(&names.join("   "))
}
