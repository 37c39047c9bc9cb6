//! The text report: one block per line, printed as soon as it is measured, then one summary row
//! per target.
//!
//! At most 96 columns wide, no colour, plain ASCII: it is pasted into
//! BENCHMARKS.md as it is.

use std::fmt::Write as _;

use super::{Scaling, best_rival, verdicts};
use crate::rival::Rival;
use crate::runner::{Column, DISTURBED, Outcome};

/// Renders what comes after the blocks: targets and scaling.
pub(crate) fn end(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    summary(&mut out, outcomes);
    scaling(&mut out, outcomes);
    out
}

/// Renders one line's results.
pub(crate) fn block(outcome: &Outcome) -> String {
    let mut out = String::new();
    rows(&mut out, outcome);
    out.push('\n');
    out
}

fn rows(out: &mut String, outcome: &Outcome) {
    let spec = outcome.spec;
    row(
        out,
        format_args!(
            "{} ({} workers): {}",
            spec.line.name(),
            outcome.workers,
            spec.about
        ),
    );
    let (first, rest) = spec.metrics.split_first().expect("a line has a metric");
    let mut head = format!(
        "  {:<14}{:>10}{:>15}{:>10}{:>11}{:>8}",
        "rival", "n", first, "IQR", "max", "x best"
    );
    rest.iter().for_each(|m| head += &format!("{m:>13}"));
    row(out, format_args!("{head}"));
    let best = outcome
        .columns
        .iter()
        .filter_map(|c| Some(c.metrics.get(*first)?.median));
    let best = best.min_by(f64::total_cmp);
    for column in &outcome.columns {
        column_row(out, column, first, rest, best);
    }
    if let Some(foreign) = outcome.foreign.filter(|f| *f > DISTURBED) {
        let percent = foreign * 100.0;
        row(
            out,
            format_args!("  disturbed: other processes took {percent:.0} % of the machine"),
        );
    }
}

fn column_row(out: &mut String, column: &Column, first: &str, rest: &[&str], best: Option<f64>) {
    let name = column.rival.name();
    let Some(main) = column.metrics.get(first) else {
        let why = column.failure.as_deref().unwrap_or("no result");
        return row(out, format_args!("  {name:<14}{:>10}  {why}", "-"));
    };
    let ratio = best.map_or(f64::NAN, |b| main.median / b);
    let digits = if ratio < 100.0 { 2 } else { 0 };
    let mut text = format!(
        "  {name:<14}{:>10}{:>15}",
        column.n,
        figure(first, main.median)
    );
    let _ = write!(
        text,
        "{:>10}{:>11}{ratio:>8.digits$}",
        figure(first, main.iqr()),
        figure(first, main.max)
    );
    for metric in rest {
        let value = column
            .metrics
            .get(*metric)
            .map_or("-".to_owned(), |s| figure(metric, s.median));
        let _ = write!(text, "{value:>13}");
    }
    row(out, format_args!("{text}"));
    if let Some(why) = &column.failure {
        row(
            out,
            format_args!("                 some repeats failed: {why}"),
        );
    }
}

fn summary(out: &mut String, outcomes: &[Outcome]) {
    row(
        out,
        format_args!(
            "{:<18}{:>3}  {:<14}{:>10}  {:<21}{:<17}{}",
            "line", "w", "metric", "brigade", "best rival", "target", "verdict"
        ),
    );
    for outcome in outcomes {
        for verdict in verdicts(outcome) {
            let metric = verdict.metric;
            let ours = outcome
                .summary(Rival::Brigade, metric)
                .map(|s| figure(metric, s.median));
            let best = best_rival(outcome, metric)
                .map(|(rival, value)| format!("{} {}", rival.name(), figure(metric, value)));
            let reached = match verdict.ratio {
                Some(ratio) if ratio <= 1.0 => "reached".to_owned(),
                Some(ratio) => format!("missed x{ratio:.2}"),
                None => "-".to_owned(),
            };
            let wanted: String = verdict.wanted.chars().take(16).collect();
            row(
                out,
                format_args!(
                    "{:<18}{:>3}  {metric:<14}{:>10}  {:<21}{wanted:<17}{reached}",
                    outcome.spec.line.name(),
                    outcome.workers,
                    ours.as_deref().unwrap_or("-"),
                    best.as_deref().unwrap_or("-"),
                ),
            );
        }
    }
}

/// What more workers did to Brigade's lines.
fn scaling(out: &mut String, outcomes: &[Outcome]) {
    for Scaling {
        line,
        workers,
        ratio,
        slower,
    } in super::scaling(outcomes)
    {
        let name = line.name();
        let judged = if slower { "slower" } else { "not slower" };
        row(
            out,
            format_args!("{name:<18} brigade, {workers} workers / 1 worker: {ratio:.2}, {judged}"),
        );
    }
}

fn row(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{}", text.to_string().trim_end());
}

/// A value with as many digits as its metric deserves.
pub(super) fn figure(metric: &str, value: f64) -> String {
    match metric {
        m if m.ends_with("_bytes") => format!("{value:.0} B"),
        m if m.ends_with("_ns") && value < 100.0 => format!("{value:.1} ns"),
        m if m.ends_with("_ns") => format!("{value:.0} ns"),
        m if m.ends_with("_us") && value < 1000.0 => format!("{value:.2} us"),
        m if m.ends_with("_us") => format!("{value:.0} us"),
        m if m.ends_with("_per_s") => format!("{value:.0}/s"),
        m if m.ends_with("_ms") && value < 1000.0 => format!("{value:.2} ms"),
        m if m.ends_with("_ms") => format!("{value:.0} ms"),
        m if m.ends_with("_s") => format!("{value:.2} s"),
        _ => format!("{value}"),
    }
}
