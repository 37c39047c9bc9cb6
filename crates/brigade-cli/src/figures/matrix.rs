//! Words in rows and columns; what does not fit beside goes below.

use brigade_lab::figure::Row;

use super::{INNER, LABEL, ROWS, clean, fit, left_out, widest};

/// Columns between two cells.
const GAP: usize = 2;

/// The narrowest a column may become.
const NARROW: usize = 8;

/// The most lines of a cell.
const CELL_LINES: usize = 4;

/// The rows under the heads of the columns.
pub(super) fn draw(columns: &[String], rows: &[Row]) -> Vec<String> {
    let shown = &rows[..rows.len().min(ROWS)];
    let label = widest(shown.iter().map(|row| row.label.as_str()), LABEL);
    let count = shown.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let count = count.max(columns.len());
    let beside = ((INNER - label) / (NARROW + GAP)).max(1);
    let mut lines = Vec::new();
    for first in (0..count.max(1)).step_by(beside) {
        let part = first..count.min(first + beside);
        lines.extend(block(columns, shown, label, part));
    }
    lines.extend(left_out(shown.len(), rows.len(), "rows"));
    lines
}

/// The columns of `part` beside the labels.
fn block(
    columns: &[String],
    rows: &[Row],
    label: usize,
    part: std::ops::Range<usize>,
) -> Vec<String> {
    let cell = |cells: &[String], column: usize| clean(cells.get(column).map_or("", |c| c));
    let heads: Vec<String> = part.clone().map(|column| cell(columns, column)).collect();
    let bodies: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            part.clone()
                .map(|column| cell(&row.cells, column))
                .collect()
        })
        .collect();
    let natural = |column: usize| {
        let body = bodies.iter().map(|cells| cells[column].as_str());
        widest(body.chain([heads[column].as_str()]), INNER)
    };
    let widths = narrowed((0..heads.len()).map(natural).collect(), INNER - label);
    let mut lines = Vec::new();
    if heads.iter().any(|head| !head.is_empty()) {
        lines.extend(row_lines("", label, &heads, &widths));
    }
    for (row, cells) in rows.iter().zip(&bodies) {
        lines.extend(row_lines(&row.label, label, cells, &widths));
    }
    lines
}

/// `widths`, the widest made narrower until all fit into `room` with their gaps.
fn narrowed(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    while widths.iter().map(|width| width + GAP).sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 1 => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// One row, as high as its highest cell.
fn row_lines(label: &str, width: usize, cells: &[String], widths: &[usize]) -> Vec<String> {
    let wrap = |(cell, width): (&String, &usize)| -> Vec<String> {
        let lines = textwrap::wrap(cell, (*width).max(1)).into_iter();
        let mut lines: Vec<String> = lines.map(|line| fit(&line, *width)).collect();
        if lines.len() > CELL_LINES {
            lines.truncate(CELL_LINES);
            let last = &mut lines[CELL_LINES - 1];
            *last = fit(&format!("{last}{}", " ".repeat(*width)), *width);
        }
        lines
    };
    let cells: Vec<Vec<String>> = cells.iter().zip(widths).map(wrap).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let line = |index: usize| {
        let label = if index == 0 {
            fit(label, width)
        } else {
            String::new()
        };
        let mut line = format!("{label:<width$}");
        for (cell, width) in cells.iter().zip(widths) {
            let text = cell.get(index).map_or("", String::as_str);
            line += &format!("{:GAP$}{text:<width$}", "");
        }
        line
    };
    (0..height).map(line).collect()
}
