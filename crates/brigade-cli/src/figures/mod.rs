//! Figures as text, at most [`WIDTH`] columns wide.
//!
//! One file draws one kind. The drawings are text, without colour: what stands for what is told by letters, signs
//! and a legend. They use a few block characters, which [`crate::output`] replaces one for one where
//! only ASCII is written.
//!
//! # Invariants
//!
//! 1. No line is wider than [`WIDTH`] columns, whatever the labels and the numbers are.
//! 2. Nothing panics: no values, one value, equal values, huge ones and such that are not finite are drawn, or said
//!    to be left out.
//! 3. A label cannot write to the terminal: control characters are replaced.
//!
//! # Rejected
//!
//! *A crate for plots in terminals*: those that draw well draw with braille dots, which no log, no printer and no ASCII
//! terminal shows, and none keeps to a width.

mod axis;
mod bars;
mod histogram;
mod lines;
mod matrix;
mod timeline;

use brigade_lab::Figure;
use brigade_lab::figure::Content;

use crate::render::WIDTH;

pub(crate) use bars::{Bars, bar};

/// Columns left free at the left.
const INDENT: usize = 2;

/// The widest label of a row.
const LABEL: usize = 26;

/// The most rows that are drawn; what is left out is counted.
const ROWS: usize = 32;

/// `figure` under its title.
pub(crate) fn draw(figure: &Figure) -> String {
    let mut text = crate::render::paragraph("", INDENT, &clean(&figure.title));
    text += &content(&figure.content);
    text
}

/// What `content` looks like, line by line.
pub(crate) fn content(content: &Content) -> String {
    let lines = match content {
        Content::Bars { axis, bars } => bars::draw(axis, bars),
        Content::Lines { x, y, lines, marks } => lines::draw(x, y, lines, marks),
        Content::Histogram { axis, groups } => histogram::draw(axis, groups),
        Content::Timeline { tracks } => timeline::draw(tracks),
        Content::Matrix { columns, rows } => matrix::draw(columns, rows),
    };
    let mut text = String::new();
    for line in lines {
        text += &" ".repeat(INDENT);
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Columns inside the indentation.
const INNER: usize = WIDTH - INDENT;

/// `text` on one line without control characters.
fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

/// `text` in at most `width` columns; one that is cut ends with a sign for that.
fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain("…".chars()).take(width).collect()
}

/// The width of the widest of `texts`, at most `limit`.
fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, limit: usize) -> usize {
    let widths = texts.into_iter().map(|text| text.chars().count());
    widths.max().unwrap_or(0).min(limit)
}

/// Text in lines of at most [`INNER`] columns.
fn wrapped(text: &str) -> Vec<String> {
    let lines = textwrap::wrap(text, INNER).into_iter();
    lines.map(|line| line.into_owned()).collect()
}

/// The line that counts what was left out, if something was.
fn left_out(shown: usize, of: usize, what: &str) -> Option<String> {
    (of > shown).then(|| format!("… and {} more {what}", of - shown))
}

/// What is drawn where there is nothing to draw.
fn nothing() -> Vec<String> {
    vec!["(no values)".to_owned()]
}

#[cfg(test)]
mod tests;
