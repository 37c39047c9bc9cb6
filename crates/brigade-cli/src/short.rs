//! The tour's short form: claim, what was done in one sentence, result, verdict; and the summary at its end.
//!
//! Forty experiments are read one after the other, so each takes a dozen lines: one row for each arm, whose
//! bar shows what the number beside it says. The whole text is one command away.

use std::fmt::Write as _;

use brigade_lab::figure::Content;
use brigade_lab::verdict::Tendency;
use brigade_lab::{Document, Report, Theme, Verdict};

use crate::figures::{self, Bars};
use crate::render::{
    self, BOLD, Columns, DIM, MARGIN, Place, WIDTH, heading, paragraph, style_of, styled,
};

/// The longest bar, in columns.
const BAR: usize = 24;

/// The shortest longest bar that is worth drawing.
const LEAST_BAR: usize = 6;

/// A figure with more lines is left to the whole form.
const FIGURE_LINES: usize = 14;

/// About how many characters of reasons a verdict shows.
const REASONS: usize = 220;

/// One report.
pub(crate) fn report(report: &Report, place: &Place) -> String {
    let mut text = render::begin(report, place);
    text += &paragraph("Claim", MARGIN, &report.claim);
    text += &paragraph("Done", MARGIN, first_sentence(&report.method));
    text.push('\n');
    text += &result(report);
    text.push('\n');
    text + &verdict(report)
}

/// `text` up to the end of its first sentence.
fn first_sentence(text: &str) -> &str {
    text.find(". ").map_or(text, |end| &text[..=end])
}

/// The main number of each arm as a bar, with the numbers beside it, and what else can be drawn in a few lines.
fn result(report: &Report) -> String {
    let columns = Columns::of(report);
    let medians: Vec<f64> = report.arms.iter().map(|arm| columns.median(arm)).collect();
    let bars = Bars::of(&medians);
    let mut rows = vec![columns.short_header()];
    rows.extend(report.arms.iter().map(|arm| columns.short_row(arm)));
    let widths = render::widths(&rows);
    let rest: usize = widths.iter().map(|width| width + 2).sum();
    let length = WIDTH.saturating_sub(rest + 2).min(BAR);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        if length >= LEAST_BAR {
            let drawn = match index.checked_sub(1) {
                None if bars.logarithmic && length > 9 => "log scale".to_owned(),
                None => String::new(),
                Some(arm) => figures::bar(bars.places[arm], length),
            };
            // Writing to a String cannot fail.
            let _ = write!(line, "  {drawn:<length$}");
        }
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        text += &match index {
            0 => styled(line.trim_end(), DIM),
            _ => line,
        };
        text.push('\n');
    }
    text += &render::below_table(report);
    text + &figure(report)
}

/// The first figure that shows more than bars could and fits into a few lines.
fn figure(report: &Report) -> String {
    let wanted = report.figures.iter().find(|figure| {
        matches!(
            figure.content,
            Content::Timeline { .. } | Content::Matrix { .. }
        )
    });
    let text = wanted.map(figures::draw).unwrap_or_default();
    if text.is_empty() || text.lines().count() > FIGURE_LINES {
        return String::new();
    }
    format!("\n{text}")
}

fn verdict(report: &Report) -> String {
    let parts = |wanted: Tendency| {
        let parts = report.parts.iter();
        let parts: Vec<&str> = parts
            .filter(|part| part.tendency == wanted)
            .map(|part| part.text.as_str())
            .collect();
        shortened(&parts)
    };
    let why = match &report.verdict {
        Verdict::Confirmed => parts(Tendency::Holds),
        Verdict::NotHere => parts(Tendency::Fails),
        Verdict::Inconclusive(reason) | Verdict::Skipped(reason) => reason.clone(),
    };
    render::verdict_line(&report.verdict, &why)
}

/// The first of `parts` that fit, whole; how many there are beside.
fn shortened(parts: &[&str]) -> String {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 && text.len() + part.len() > REASONS {
            text += &format!("; and {} more", parts.len() - index);
            break;
        }
        if index > 0 {
            text += "; ";
        }
        text += part;
    }
    text
}

/// What is written after the last report: the verdicts by theme, how many of each, and where to go from here.
pub(crate) fn summary(document: &Document) -> String {
    let seconds: f64 = document.reports.iter().map(|report| report.elapsed_s).sum();
    let end = format!(" {} experiments in {seconds:.0} s", document.reports.len());
    let mut text = heading("Summary", &end, '=');
    for theme in Theme::ALL {
        let of_theme = |report: &&Report| Theme::of(&report.name) == theme;
        let reports: Vec<&Report> = document.reports.iter().filter(of_theme).collect();
        text += &verdicts(theme, &reports);
    }
    text.push('\n');
    text += &paragraph("Verdicts", MARGIN + 2, &counts(&document.reports));
    let open: Vec<&str> = document
        .reports
        .iter()
        .filter(|report| matches!(report.verdict, Verdict::Inconclusive(_)))
        .map(|report| report.name.as_str())
        .collect();
    if !open.is_empty() && open.len() < document.reports.len() {
        text += &again(&open);
    }
    for (head, next) in [
        ("Details", "brigade lab run NAME; brigade lab explain NAME"),
        (
            "Page",
            "brigade lab --html FILE, with every figure and sample; as JSON: --json",
        ),
        (
            "Guide",
            "docs/src/introduction.md, one chapter for each theme",
        ),
    ] {
        text += &paragraph(head, MARGIN + 2, next);
    }
    text
}

/// The command that runs experiments again which the machine gave no answer to: lines that a shell takes as one.
fn again(names: &[&str]) -> String {
    const ROOM: usize = WIDTH - MARGIN - 6;
    let mut lines = vec!["brigade lab".to_owned()];
    for name in names {
        let line = lines.last_mut().expect("there is a first line");
        if line.len() + ONLY.len() + name.len() > ROOM {
            line.push_str(" \\");
            lines.push(format!("  {}", ONLY.trim_start()) + name);
        } else if line.contains(ONLY.trim_end()) {
            line.push_str(&format!(",{name}"));
        } else {
            line.push_str(&format!("{ONLY}{name}"));
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let head = if index == 0 { "Again" } else { "" };
        let _ = writeln!(text, "{head:<width$}{line}", width = MARGIN + 2);
    }
    text
}

const ONLY: &str = " --only ";

/// The verdicts of one theme, two beside each other.
fn verdicts(theme: Theme, reports: &[&Report]) -> String {
    const NAME: usize = 23;
    const WORD: usize = 12;
    if reports.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", styled(theme.title(), BOLD));
    for pair in reports.chunks(2) {
        let mut line = String::new();
        for report in pair {
            let word = report.verdict.word();
            let gap = " ".repeat(WORD.saturating_sub(word.len()));
            let word = styled(word, style_of(&report.verdict));
            let _ = write!(line, "  {:<NAME$} {word}{gap}", report.name);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// How many verdicts there are of each kind.
fn counts(reports: &[Report]) -> String {
    let mut words: Vec<(&str, usize)> = Vec::new();
    for word in ["CONFIRMED", "NOT HERE", "INCONCLUSIVE", "SKIPPED"] {
        let count = reports.iter().filter(|r| r.verdict.word() == word).count();
        if count > 0 {
            words.push((word, count));
        }
    }
    let texts = words
        .iter()
        .map(|(word, count)| format!("{count} {}", word.to_lowercase()));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn reasons_are_kept_whole_and_the_rest_is_counted() {
        let long = "x".repeat(REASONS);
        assert_eq!(shortened(&["a", "b"]), "a; b");
        assert_eq!(shortened(&["a", &long, "b"]), "a; and 2 more");
        assert_eq!(shortened(&[&long]), long);
        assert_eq!(shortened(&[]), "");
    }

    #[test]
    fn the_command_for_another_try_is_one_for_the_shell_and_fits() {
        let names: Vec<&str> = brigade_lab::all().iter().map(|e| e.info().name).collect();
        let text = again(&names);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        let lines = text.lines().rev().skip(1);
        assert!(lines.clone().count() > 0 && lines.clone().all(|line| line.ends_with('\\')));
        let command = text.replace("\\\n", " ");
        let command = command.trim().strip_prefix("Again").unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let options = crate::args::Cli::try_parse_from(words).unwrap();
        let Some(crate::args::Command::Lab(lab)) = options.command else {
            panic!("the lab")
        };
        assert_eq!(lab.options.only, names);
    }

    #[test]
    fn the_first_sentence_ends_with_its_full_stop() {
        assert_eq!(
            first_sentence("Do it 1.5 times. Then rest."),
            "Do it 1.5 times."
        );
        assert_eq!(first_sentence("Do it."), "Do it.");
    }
}
