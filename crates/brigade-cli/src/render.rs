//! Reports as text in 80 columns.
//!
//! Colour only repeats what a word says already, so nothing is lost without it.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use brigade_lab::experiment::Show;
use brigade_lab::report::{ArmReport, MetricReport};
use brigade_lab::units::show;
use brigade_lab::verdict::Tendency;
use brigade_lab::{Document, Experiment, Report, Role, Verdict};

/// The width every text keeps to.
pub(crate) const WIDTH: usize = 80;

/// Width of the words at the left of a report.
const MARGIN: usize = 9;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The style of a verdict's word.
fn style_of(verdict: &Verdict) -> Style {
    let color = match verdict {
        Verdict::Confirmed => AnsiColor::Green,
        Verdict::NotHere => AnsiColor::Red,
        Verdict::Inconclusive(_) | Verdict::Skipped(_) => AnsiColor::Yellow,
    };
    Style::new().bold().fg_color(Some(color.into()))
}

fn styled(text: &str, style: Style) -> String {
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

/// One report.
pub(crate) fn report(report: &Report, index: usize, of: usize) -> String {
    let place = format!(" {index}/{of}");
    let rule = "-".repeat(WIDTH.saturating_sub(report.name.len() + 1 + place.len()));
    let mut text = format!(
        "\n{} {}\n",
        styled(&report.name, BOLD),
        styled(&(rule + &place), DIM)
    );
    text += &paragraph("Claim", MARGIN, &report.claim);
    text += &paragraph("Done", MARGIN, &report.method);
    text += &paragraph("Control", MARGIN, &report.control);
    text.push('\n');
    text += &table(report);
    text.push('\n');
    text += &premises(report);
    text += &verdict(report);
    text += &paragraph("Next", MARGIN, &format!("brigade lab run {}", report.next));
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
    let word = verdict.word();
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
    let plain = paragraph("Verdict", MARGIN, &format!("{word}: {why}"));
    plain.replacen(word, &styled(word, style_of(verdict)), 1)
}

/// The columns of a report's table.
struct Columns<'a> {
    main: Option<&'a MetricReport>,
    aside: Vec<&'a MetricReport>,
}

impl<'a> Columns<'a> {
    fn of(report: &'a Report) -> Self {
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

fn table(report: &Report) -> String {
    let columns = Columns::of(report);
    let mut rows = vec![columns.header()];
    rows.extend(report.arms.iter().map(|arm| columns.row(arm)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).map(|c| width(c).unwrap_or(0)).collect();
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

/// What is written after the last report.
pub(crate) fn summary(document: &Document) -> String {
    let mut text = format!("\n{}\n", styled("Summary", BOLD));
    for report in &document.reports {
        let word = report.verdict.word();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:<16} {}",
            report.name,
            styled(word, style_of(&report.verdict))
        );
    }
    let seconds: f64 = document.reports.iter().map(|report| report.elapsed_s).sum();
    let _ = write!(
        text,
        "  {seconds:.0} s, seed {}; all samples: --json",
        document.seed
    );
    text
}

/// The list of experiments.
pub(crate) fn list(experiments: &[&dyn Experiment]) -> String {
    let mut text = String::new();
    let names = experiments.iter().map(|experiment| experiment.info().name);
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    for experiment in experiments {
        let info = experiment.info();
        text += &paragraph(info.name, width + 2, info.claim);
    }
    text += "\nRun one with 'brigade lab run NAME', all with 'brigade lab'.";
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
    fn the_list_names_every_experiment_in_80_columns() {
        let text = list(brigade_lab::all());
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        for experiment in brigade_lab::all() {
            assert!(text.contains(&format!("{} ", experiment.info().name)));
        }
    }

    #[test]
    fn a_missing_fact_says_what_it_disables_and_a_present_one_does_not() {
        assert!(plain(&fact(false, "guards", "none", "then this")).contains("then this"));
        assert!(!plain(&fact(true, "guards", "light", "then this")).contains("then this"));
    }
}
