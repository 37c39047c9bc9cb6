//! `brigade lab compare`: two saved documents side by side.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use brigade_lab::Role;
use brigade_lab::units::show;
use brigade_report::Comparison;
use brigade_report::compare::{ArmPair, Pair, State};
use clap::Args;

use crate::exit::Exit;
use crate::html;
use crate::output::Output;
use crate::saved;

/// The arguments of `lab compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A document that 'brigade lab --json' wrote
    #[arg(value_name = "A.json")]
    first: PathBuf,
    /// Another one, of another run or of another machine
    #[arg(value_name = "B.json")]
    second: PathBuf,
    /// Write one JSON document
    #[arg(long)]
    json: bool,
    /// Write a page as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Compares; the exit code says whether a verdict differs.
pub(crate) fn run(args: &CompareArgs, out: &Output) -> io::Result<Exit> {
    let page = args.html.as_deref();
    if let Some(exit) = html::refused(page, out) {
        return Ok(exit);
    }
    let (first, second) = match (saved::read(&args.first), saved::read(&args.second)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(fault), _) | (_, Err(fault)) => return Ok(out.refuse(&fault)),
    };
    let names = [&args.first, &args.second].map(|path| path.display().to_string());
    let comparison = Comparison::of([&names[0], &names[1]], [&first, &second]);
    if args.json {
        out.print_json(&comparison)?;
    } else {
        out.print_quoted(&text(&comparison))?;
    }
    html::write(page, || brigade_report::compare_page(&comparison), out)?;
    Ok(exit_of(&comparison))
}

fn exit_of(comparison: &Comparison) -> Exit {
    match (comparison.common(), comparison.changed) {
        (0, _) => Exit::Inconclusive,
        (_, 0) => Exit::Clean,
        _ => Exit::Finding,
    }
}

/// The comparison in 80 columns.
fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for (run, side) in comparison.runs.iter().zip(["A", "B"]) {
        let begun = run.begun.as_ref();
        let what = format!(
            "{}: {} scale, seed {}{}; {}",
            run.name,
            run.scale.name(),
            run.seed,
            begun.map_or_else(String::new, |begun| format!(", begun {begun}")),
            run.machine
        );
        text += &filled(&format!("{side}  "), "   ", &what);
    }
    for warning in comparison.warnings() {
        text += &filled("Note     ", "         ", &warning);
    }
    for difference in &comparison.differences {
        let [a, b] = &difference.values;
        let value =
            |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
        let what = format!("{}: {} | {}", difference.name, value(a), value(b));
        text += &filled("Differs  ", "         ", &what);
    }
    for pair in &comparison.experiments {
        text += &pair_text(pair);
    }
    let _ = write!(
        text,
        "\n{} of {} common experiments have different verdicts",
        comparison.changed,
        comparison.common()
    );
    text
}

fn filled(head: &str, indent: &str, what: &str) -> String {
    let options = textwrap::Options::new(crate::render::WIDTH)
        .initial_indent(head)
        .subsequent_indent(indent);
    textwrap::fill(what, options) + "\n"
}

fn pair_text(pair: &Pair) -> String {
    let word = |side: usize| pair.verdicts[side].as_deref().unwrap_or("not run");
    let verdicts = match pair.state {
        State::Changed => format!("{} -> {}", word(0), word(1)),
        State::Same => format!("{}, the same", word(0)),
        State::OnlyFirst => format!("in A alone: {}", word(0)),
        State::OnlySecond => format!("in B alone: {}", word(1)),
    };
    let mut text = format!("\n{}  {verdicts}\n", pair.name);
    let rows: Vec<[String; 5]> = pair
        .arms
        .iter()
        .filter(|arm| arm.summaries.iter().any(Option::is_some))
        .map(|arm| row(pair, arm))
        .collect();
    if rows.is_empty() {
        return text;
    }
    let label = pair.metric.clone().unwrap_or_default();
    let head = [&label, "A", "B", "B / A", "middle halves"].map(str::to_owned);
    for row in std::iter::once(&head).chain(&rows) {
        let [label, a, b, ratio, overlap] = row;
        // Writing to a String cannot fail.
        let line = format!("  {label:<28} {a:>10} {b:>10} {ratio:>10}  {overlap}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn row(pair: &Pair, arm: &ArmPair) -> [String; 5] {
    let mark = if arm.role == Role::Control { "*" } else { "" };
    let median = |side: usize| match (arm.summaries[side], pair.unit) {
        (Some(summary), Some(unit)) => show(summary.median, unit),
        _ => "-".to_owned(),
    };
    [
        format!("{}{mark}", arm.label),
        median(0),
        median(1),
        arm.ratio_text(),
        arm.overlap_text().to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use brigade_lab::{Document, Verdict};

    use super::*;

    fn fixture() -> Document {
        let text = include_str!("../../brigade-report/tests/data/every-figure.json");
        serde_json::from_str(text).unwrap()
    }

    fn compared(change: fn(&mut Document)) -> Comparison {
        let (a, mut b) = (fixture(), fixture());
        change(&mut b);
        Comparison::of(["a.json", "b.json"], [&a, &b])
    }

    #[test]
    fn the_exit_code_says_whether_a_verdict_differs_and_whether_any_could() {
        assert_eq!(exit_of(&compared(|_| ())), Exit::Clean);
        let changed = compared(|b| b.reports[0].verdict = Verdict::NotHere);
        assert_eq!(exit_of(&changed), Exit::Finding);
        assert_eq!(
            exit_of(&compared(|b| b.reports.clear())),
            Exit::Inconclusive
        );
    }

    #[test]
    fn the_text_has_changes_first_and_keeps_to_80_columns_where_names_do() {
        let mut comparison = compared(|b| b.reports[3].verdict = Verdict::Confirmed);
        comparison.experiments.retain(|pair| pair.name.len() < 20);
        let text = text(&comparison);
        let changed = text.find("timeline  NOT HERE -> CONFIRMED").unwrap();
        assert!(changed < text.find("bars  CONFIRMED, the same").unwrap());
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("1 of 5 common"), "{text}");
    }
}
