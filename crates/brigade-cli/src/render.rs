//! Reports as text in 80 columns.
//!
//! Colour only repeats what a word says already, so nothing is lost without it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use brigade_lab::experiment::Show;
use brigade_lab::figure::{Axis, Bar, Content, Figure, Group};
use brigade_lab::report::{ArmReport, MetricReport};
use brigade_lab::units::show;
use brigade_lab::verdict::Tendency;
use brigade_lab::{Document, Report, Role, Theme, Verdict};

use crate::figures;

/// The width every text keeps to.
pub(crate) const WIDTH: usize = 80;

/// Width of the words at the left of a report.
pub(crate) const MARGIN: usize = 9;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// The style of a verdict's word.
pub(crate) fn style_of(verdict: &Verdict) -> Style {
    let color = match verdict {
        Verdict::Confirmed => AnsiColor::Green,
        Verdict::NotHere => AnsiColor::Red,
        Verdict::Inconclusive(_) | Verdict::Skipped(_) => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(color.into()))
}

pub(crate) fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` in lines of at most [`WIDTH`] columns: the first begins with `head`, the others are
/// indented by the width of `margin`.
pub(crate) fn paragraph(head: &str, margin: usize, text: &str) -> String {
    let indent = " ".repeat(margin);
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(&indent)
        .subsequent_indent(&indent);
    let filled = textwrap::fill(text, options);
    format!("{head:<margin$}{}\n", &filled[margin.min(filled.len())..])
}

/// What is written before the first report.
pub(crate) fn head(document: &Document, experiments: usize) -> String {
    let mut text = paragraph("Machine", MARGIN, &document.environment.line());
    let what = format!(
        "{experiments} experiment{}, {} scale, {} repeats in random order, seed {}",
        if experiments == 1 { "" } else { "s" },
        document.scale.name(),
        document.scale.repeats(),
        document.seed
    );
    text += &paragraph("Run", MARGIN, &what);
    if document.environment.debug_build {
        let warning = "This is a debug build: its numbers say little. Use cargo run --release.";
        text += &paragraph("Note", MARGIN, warning);
    }
    text
}

/// `name`, a rule, and `end`, in one line.
pub(crate) fn heading(name: &str, end: &str, rule: char) -> String {
    let taken = name.chars().count() + 1 + end.chars().count();
    let rule = rule.to_string().repeat(WIDTH.saturating_sub(taken));
    format!("\n{} {}\n", styled(name, BOLD), styled(&(rule + end), DIM))
}

/// Where a report stands among the others.
pub(crate) struct Place {
    /// From 1.
    pub(crate) index: usize,
    pub(crate) of: usize,
    /// Whether the one before has another theme.
    pub(crate) begins_theme: bool,
}

/// What a report begins with: its theme, if that is new, and its name.
pub(crate) fn begin(report: &Report, place: &Place) -> String {
    let mut text = String::new();
    if place.begins_theme && place.of > 1 {
        text += &heading(Theme::of(&report.name).title(), "", '=');
    }
    text + &heading(&report.name, &format!(" {}/{}", place.index, place.of), '-')
}

/// One report, whole.
pub(crate) fn report(report: &Report, place: &Place) -> String {
    let mut text = begin(report, place);
    text += &paragraph("Claim", MARGIN, &report.claim);
    text += &paragraph("Said in", MARGIN, &report.said_in);
    text += &paragraph("Done", MARGIN, &report.method);
    text += &paragraph("Control", MARGIN, &report.control);
    text.push('\n');
    text += &table(report);
    for figure in std::iter::once(main_figure(report)).flatten() {
        text += &format!("\n{}", figures::draw(&figure));
    }
    for figure in &report.figures {
        text += &format!("\n{}", figures::draw(figure));
    }
    text.push('\n');
    text += &premises(report);
    text += &verdict(report);
    text + &paragraph("Next", MARGIN, &format!("brigade lab run {}", report.next))
}

/// The main number of each arm with its middle half.
fn main_figure(report: &Report) -> Option<Figure> {
    let metric = Columns::of(report).main?;
    let of = |arm: &ArmReport| {
        let summary = arm.summaries.get(&metric.key)?;
        Bar::of(&arm.label, summary)
    };
    let bars: Vec<Bar> = report.arms.iter().filter_map(of).collect();
    let axis = axis(metric, bars.iter().map(|bar| bar.value));
    let title = "Each arm, with its middle half";
    (!bars.is_empty()).then(|| Figure::new(title, Content::Bars { axis, bars }))
}

/// The axis of `metric`, logarithmic where the values differ so much that the small ones would not be seen.
fn axis(metric: &MetricReport, values: impl Iterator<Item = f64>) -> Axis {
    let values: Vec<f64> = values.collect();
    if figures::Bars::of(&values).logarithmic {
        Axis::logarithmic(&metric.label, metric.unit)
    } else {
        Axis::linear(&metric.label, metric.unit)
    }
}

/// Every sample of the main number, arm by arm, and every premise.
pub(crate) fn samples(report: &Report) -> String {
    let Some(metric) = Columns::of(report).main else {
        return String::new();
    };
    let group =
        |arm: &ArmReport| Group::new(&arm.label, arm.samples.iter().map(|s| s.get(&metric.key)));
    let groups: Vec<Group> = report.arms.iter().map(group).collect();
    let axis = axis(metric, groups.iter().flat_map(|group| group.values.clone()));
    let title = "Each arm in every repeat";
    let figure = Figure::new(title, Content::Histogram { axis, groups });
    let mut text = format!("\n{}\n", figures::draw(&figure));
    for premise in &report.premises {
        let held = if premise.held {
            "holds"
        } else {
            "does not hold"
        };
        text += &paragraph("Premise", MARGIN, &format!("{held}: {}", premise.text));
    }
    for part in &report.parts {
        let tendency = match part.tendency {
            Tendency::Holds => "holds",
            Tendency::Fails => "fails",
            Tendency::Unclear => "unclear",
        };
        text += &paragraph("Part", MARGIN, &format!("{tendency}: {}", part.text));
    }
    text
}

fn premises(report: &Report) -> String {
    if report.premises.is_empty() {
        return String::new();
    }
    let held = report
        .premises
        .iter()
        .filter(|premise| premise.held)
        .count();
    let mut text = paragraph(
        "Premises",
        MARGIN,
        &format!("{held} of {} hold", report.premises.len()),
    );
    for premise in report.premises.iter().filter(|premise| !premise.held) {
        text += &paragraph("", MARGIN, &format!("does not hold: {}", premise.text));
    }
    text
}

fn verdict(report: &Report) -> String {
    let verdict = &report.verdict;
    let texts = |wanted: &dyn Fn(Tendency) -> bool| {
        let parts = report.parts.iter().filter(|part| wanted(part.tendency));
        parts
            .map(|part| part.text.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut why = match verdict {
        Verdict::Confirmed => texts(&|_| true),
        Verdict::NotHere => texts(&|tendency| tendency == Tendency::Fails),
        Verdict::Inconclusive(reason) | Verdict::Skipped(reason) => reason.clone(),
    };
    let holds = texts(&|tendency| tendency == Tendency::Holds);
    if *verdict == Verdict::NotHere && !holds.is_empty() {
        why += &format!(". The rest of the claim holds: {holds}");
    }
    verdict_line(verdict, &why)
}

/// A verdict and why.
pub(crate) fn verdict_line(verdict: &Verdict, why: &str) -> String {
    let word = verdict.word();
    let plain = paragraph("Verdict", MARGIN, &format!("{word}: {why}"));
    plain.replacen(word, &styled(word, style_of(verdict)), 1)
}

/// The columns of a report's table.
pub(crate) struct Columns<'a> {
    pub(crate) main: Option<&'a MetricReport>,
    aside: Vec<&'a MetricReport>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(report: &'a Report) -> Self {
        let shown = |show| {
            report
                .metrics
                .iter()
                .filter(move |metric| metric.show == show)
        };
        Self {
            main: shown(Show::Spread).next(),
            aside: shown(Show::Median).collect(),
        }
    }

    fn header(&self) -> Vec<String> {
        let mut cells = vec![
            self.main
                .map_or_else(String::new, |metric| metric.label.clone()),
        ];
        cells.extend(["median", "IQR", "max"].map(str::to_owned));
        cells.extend(self.aside.iter().map(|metric| metric.label.clone()));
        cells
    }

    fn row(&self, arm: &ArmReport) -> Vec<String> {
        let mark = if arm.role == Role::Control { "*" } else { "" };
        let mut cells = vec![format!("{}{mark}", arm.label)];
        let summary = |metric: &MetricReport| arm.summaries.get(&metric.key);
        match self
            .main
            .and_then(|metric| summary(metric).map(|s| (s, metric.unit)))
        {
            Some((s, unit)) => {
                cells.extend([s.median, s.iqr(), s.max].map(|value| show(value, unit)));
            }
            None => cells.extend(["-", "-", "-"].map(str::to_owned)),
        }
        cells.extend(self.aside.iter().map(|metric| {
            summary(metric).map_or_else(|| "-".to_owned(), |s| show(s.median, metric.unit))
        }));
        cells
    }
}

impl Columns<'_> {
    /// The median of the main number; NaN if there is none.
    pub(crate) fn median(&self, arm: &ArmReport) -> f64 {
        let summary = self.main.and_then(|metric| arm.summaries.get(&metric.key));
        summary.map_or(f64::NAN, |summary| summary.median)
    }

    /// The heads without spread and maximum.
    pub(crate) fn short_header(&self) -> Vec<String> {
        let header = self.header().into_iter().enumerate();
        header
            .filter(|(i, _)| !SPREAD.contains(i))
            .map(|(_, cell)| cell)
            .collect()
    }

    /// The row of `arm` without spread and maximum.
    pub(crate) fn short_row(&self, arm: &ArmReport) -> Vec<String> {
        let row = self.row(arm).into_iter().enumerate();
        row.filter(|(i, _)| !SPREAD.contains(i))
            .map(|(_, cell)| cell)
            .collect()
    }
}

/// The columns of the spread and the maximum.
const SPREAD: std::ops::RangeInclusive<usize> = 2..=3;

/// The width of each column.
pub(crate) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    (0..rows[0].len()).map(|c| width(c).unwrap_or(0)).collect()
}

fn table(report: &Report) -> String {
    let columns = Columns::of(report);
    let mut rows = vec![columns.header()];
    rows.extend(report.arms.iter().map(|arm| columns.row(arm)));
    let widths = widths(&rows);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {cell:>width$}");
        }
        text += &if index == 0 {
            styled(line.trim_end(), DIM)
        } else {
            line
        };
        text.push('\n');
    }
    text + &below_table(report)
}

/// What a table's signs mean, and why rows are empty.
pub(crate) fn below_table(report: &Report) -> String {
    let mut text = String::new();
    if report.arms.iter().any(|arm| arm.role == Role::Control) {
        text += "  * control\n";
    }
    for arm in &report.arms {
        if let Some(problem) = &arm.problem {
            text += &paragraph("", 2, &format!("{}: {}", arm.label, problem.reason()));
        }
    }
    text
}

/// A line of facts: a mark, a name, a value.
pub(crate) fn fact(ok: bool, name: &str, value: &str, note: &str) -> String {
    let (mark, color) = if ok {
        ("ok", AnsiColor::Green)
    } else {
        ("no", AnsiColor::Yellow)
    };
    let plain = paragraph(&format!("  {mark}  {name}"), 36, value);
    let style = Style::new().bold().fg_color(Some(color.into()));
    let mut text = plain.replacen(mark, &styled(mark, style), 1);
    if !ok && !note.is_empty() {
        text += &paragraph("", 6, note);
    }
    text
}

/// Indented text.
pub(crate) fn block(text: &str) -> String {
    paragraph("", 2, text)
}

/// A head in bold.
pub(crate) fn title(text: &str) -> String {
    format!("{}\n", styled(text, BOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn paragraphs_keep_to_the_width_and_to_their_margin() {
        let text = paragraph("Claim", MARGIN, &"word ".repeat(60));
        assert!(text.lines().count() > 3);
        for (i, line) in text.lines().enumerate() {
            assert!(line.chars().count() <= WIDTH);
            assert!(line.starts_with(if i == 0 {
                "Claim    word"
            } else {
                "         word"
            }));
        }
        assert_eq!(paragraph("Next", MARGIN, ""), "Next     \n");
    }

    #[test]
    fn a_missing_fact_says_what_it_disables_and_a_present_one_does_not() {
        assert!(plain(&fact(false, "guards", "none", "then this")).contains("then this"));
        assert!(!plain(&fact(true, "guards", "light", "then this")).contains("then this"));
    }
}
