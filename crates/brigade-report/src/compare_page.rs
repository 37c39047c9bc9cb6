//! The page of a comparison.

use brigade_lab::units::{Unit, show};
use brigade_lab::{Role, Verdict};
use maud::{Markup, html};

use crate::canvas::Ink;
use crate::compare::{ArmPair, Comparison, Pair, State};
use crate::marker::Form;
use crate::rows::{self, Dots};
use crate::section::drawing;
use crate::shell::{class_of, shell, sign};

/// What the two runs are called where there is little room.
const SIDES: [&str; 2] = ["A", "B"];

/// The page for `comparison`: HTML that needs nothing beside itself, as that of [`page`](crate::page()).
#[must_use]
pub fn compare_page(comparison: &Comparison) -> String {
    let body = html! {
        header {
            h1 { "Two runs of the Brigade lab" }
            p.lead { (headline(comparison)) }
            @for warning in comparison.warnings() {
                p.note role="note" { (warning) }
            }
        }
        main {
            (runs(comparison))
            (summary(comparison))
            @for (index, pair) in comparison.experiments.iter().enumerate() {
                (section(pair, index))
            }
        }
        footer {
            p {
                "Where the middle halves of two arms overlap, the samples do not say that they differ. The ratio "
                "is the median of B divided by that of A."
            }
        }
    };
    shell("Two runs of the Brigade lab", &body)
}

fn headline(comparison: &Comparison) -> String {
    let common = comparison.common();
    match comparison.changed {
        0 => format!("No verdict differs among {common} common experiments."),
        1 => format!("1 verdict differs among {common} common experiments."),
        changed => format!("{changed} verdicts differ among {common} common experiments."),
    }
}

fn runs(comparison: &Comparison) -> Markup {
    html! {
        section.card aria-labelledby="runs" {
            h2 #runs { "The runs" }
            dl.facts {
                @for (run, side) in comparison.runs.iter().zip(SIDES) {
                    dt { (side) }
                    dd {
                        strong { (run.name) }
                        div.small { (run.machine) }
                        div.small {
                            (run.scale.name()) " scale, seed " (run.seed)
                            @if let Some(begun) = &run.begun { ", begun " (begun) }
                        }
                    }
                }
            }
            h3 { "Differences between them" }
            @if comparison.differences.is_empty() {
                p { "None that is known: the same machine, program and scale." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Differences" {
                    table {
                        thead {
                            tr {
                                td {}
                                @for side in SIDES { th scope="col" { (side) } }
                            }
                        }
                        tbody {
                            @for difference in &comparison.differences {
                                tr {
                                    th scope="row" { (difference.name) }
                                    @for value in &difference.values {
                                        td { (value.as_deref().unwrap_or("not known")) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn summary(comparison: &Comparison) -> Markup {
    html! {
        section.card aria-labelledby="summary" {
            h2 #summary { "Verdicts" }
            @if !comparison.experiments.is_empty() {
                table.verdicts {
                    thead {
                        tr {
                            th scope="col" { "Claim" }
                            @for side in SIDES { th scope="col" { (side) } }
                        }
                    }
                    tbody {
                        @for (index, pair) in comparison.experiments.iter().enumerate() {
                            tr {
                                th scope="row" {
                                    a href={ "#pair-" (index) } { (pair.name) }
                                    div.small { (state_word(pair.state)) }
                                }
                                @for verdict in &pair.verdicts { td { (word(verdict.as_deref())) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Changed => "the verdicts differ",
        State::Same => "the same verdict",
        State::OnlyFirst => "in A alone",
        State::OnlySecond => "in B alone",
    }
}

/// A verdict's word with its sign.
fn word(verdict: Option<&str>) -> Markup {
    let kinds = [
        Verdict::Confirmed,
        Verdict::NotHere,
        Verdict::Inconclusive(String::new()),
        Verdict::Skipped(String::new()),
    ];
    let kind = kinds.iter().find(|kind| Some(kind.word()) == verdict);
    html! {
        @match kind {
            Some(kind) => span.small {
                b class=(class_of(kind)) { (sign(kind)) " " (kind.word()) }
            },
            None => span.small { "not run" },
        }
    }
}

fn section(pair: &Pair, index: usize) -> Markup {
    html! {
        section.card id={ "pair-" (index) } aria-labelledby={ "pair-" (index) "-name" } {
            div.top {
                h2 id={ "pair-" (index) "-name" } { (pair.name) }
                span.small { (state_word(pair.state)) }
            }
            p.claim { (pair.claim) }
            p {
                @for (verdict, side) in pair.verdicts.iter().zip(SIDES) {
                    (side) ": " (word(verdict.as_deref())) " "
                }
            }
            @if let (Some(metric), Some(unit)) = (&pair.metric, pair.unit) {
                (figure(pair, metric, unit))
                (table(pair, metric, unit))
            }
            p.up.screen { a href="#summary" { "Back to the verdicts" } }
        }
    }
}

fn figure(pair: &Pair, metric: &str, unit: Unit) -> Markup {
    let looks = [
        (Form::Disc, Ink::Series(0)),
        (Form::Diamond, Ink::Series(1)),
    ];
    let dots = |arm: &ArmPair, side: usize| Dots {
        label: format!("{}: {}", SIDES[side], arm.label),
        values: arm.values[side].clone(),
        quartiles: arm.summaries[side].map(|s| [s.q1, s.median, s.q3]),
        form: looks[side].0,
        ink: looks[side].1,
    };
    let rows: Vec<Dots> = pair
        .arms
        .iter()
        .flat_map(|arm| [dots(arm, 0), dots(arm, 1)])
        .collect();
    if rows.iter().all(|row| row.values.is_empty()) {
        return html! { p.small { "Nothing was measured." } };
    }
    let title = format!("Every sample of both: {metric}");
    let legend: Vec<(String, String)> = looks
        .iter()
        .zip(SIDES)
        .map(|((form, ink), side)| (form.legend(*ink), format!("a sample of {side}")))
        .collect();
    drawing(&title, rows::dots(&title, metric, unit, &rows), &legend)
}

fn table(pair: &Pair, metric: &str, unit: Unit) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={ (pair.name) ": " (metric) " by arm" } {
            table {
                thead {
                    tr {
                        th scope="col" { (metric) }
                        th.number scope="col" { "A, median" }
                        th.number scope="col" { "B, median" }
                        th.number scope="col" { "B / A" }
                        th scope="col" { "Middle halves" }
                    }
                }
                tbody {
                    @for arm in &pair.arms {
                        tr {
                            th scope="row" {
                                (arm.label)
                                @if arm.role == Role::Control { " " span.role { "(control)" } }
                            }
                            @for summary in &arm.summaries {
                                td.number { (summary.map_or_else(|| "-".to_owned(), |s| show(s.median, unit))) }
                            }
                            td.number { (arm.ratio_text()) }
                            td { (arm.overlap_text()) }
                        }
                    }
                }
            }
        }
    }
}

impl ArmPair {
    /// The ratio as people read it, such as `1.08 x`; `-` if there is none.
    #[must_use]
    pub fn ratio_text(&self) -> String {
        match self.ratio {
            Some(ratio) => format!("{} x", show(ratio, Unit::Count)),
            None => "-".to_owned(),
        }
    }

    /// Whether the middle halves overlap, in a word or two; `-` if that is not known.
    #[must_use]
    pub fn overlap_text(&self) -> &'static str {
        match self.overlap {
            Some(true) => "overlap",
            Some(false) => "apart",
            None => "-",
        }
    }
}
