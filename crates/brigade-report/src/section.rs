//! One experiment of a page.

use brigade_lab::experiment::Show;
use brigade_lab::figure::{Content, Figure, Row};
use brigade_lab::report::{ArmReport, MetricReport};
use brigade_lab::stats::Summary;
use brigade_lab::units::show;
use brigade_lab::verdict::Tendency;
use brigade_lab::{Report, Role, Verdict};
use maud::{Markup, html};

use crate::canvas::{Fault, Ink};
use crate::curves;
use crate::marker::{Form, swatch};
use crate::page::{command, count, made};
use crate::rows::{self, Dots};
use crate::shell::{badge, class_of};

/// The section of `report`, the one with this `index` in the document and this `id` in the page.
pub(crate) fn section(report: &Report, index: usize, id: &str) -> Markup {
    html! {
        section.card id=(id) aria-labelledby={ (id) "-name" } {
            div.top {
                h2 id={ (id) "-name" } { (report.name) }
                (badge(&report.verdict))
            }
            p.claim { (report.claim) }
            p.said { "Said in: " (report.said_in) }
            p {
                strong class=(class_of(&report.verdict)) { (report.verdict.word()) ":" }
                " " (why(report))
            }
            @if report.interrupted {
                p.note role="note" { "Interrupted before its end: samples are missing." }
            }
            (main_figure(report))
            (table(report))
            @for figure in &report.figures { (figure_of(figure)) }
            (how(report))
            h3 { "Repeat it" }
            pre { code { (command(&[&report.name], report.scale, report.seed)) } }
            p {
                button type="button" hidden data-save=(index) data-name={ "brigade-lab-" (id) } {
                    "Save its samples (JSON)"
                }
            }
            p.up.screen { a href="#summary" { "Back to the summary" } }
        }
    }
}

/// Why the verdict is what it is, with the numbers.
pub(crate) fn why(report: &Report) -> String {
    let texts = |wanted: &dyn Fn(Tendency) -> bool| {
        let parts = report.parts.iter().filter(|part| wanted(part.tendency));
        parts
            .map(|part| part.text.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let holds = texts(&|tendency| tendency == Tendency::Holds);
    match &report.verdict {
        Verdict::Confirmed => texts(&|_| true),
        Verdict::NotHere if holds.is_empty() => texts(&|tendency| tendency == Tendency::Fails),
        Verdict::NotHere => format!(
            "{}. The rest of the claim holds: {holds}",
            texts(&|tendency| tendency == Tendency::Fails)
        ),
        Verdict::Inconclusive(reason) | Verdict::Skipped(reason) => reason.clone(),
    }
}

/// The metric the experiment is about.
pub(crate) fn main_metric(report: &Report) -> Option<&MetricReport> {
    report
        .metrics
        .iter()
        .find(|metric| metric.show == Show::Spread)
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Measured => "measured",
        Role::Control => "control",
        Role::Derived => "computed from other arms",
    }
}

fn look(role: Role) -> (Form, Ink) {
    match role {
        Role::Measured => (Form::Disc, Ink::Series(0)),
        Role::Control => (Form::Ring, Ink::Plain),
        Role::Derived => (Form::Triangle, Ink::Series(3)),
    }
}

/// The values of `metric` in each sample of `arm`.
pub(crate) fn values(arm: &ArmReport, metric: &MetricReport) -> Vec<f64> {
    let values = arm.samples.iter().map(|sample| sample.get(&metric.key));
    values.filter(|value| value.is_finite()).collect()
}

fn main_figure(report: &Report) -> Markup {
    let Some(metric) = main_metric(report) else {
        return html! {};
    };
    let rows: Vec<Dots> = report.arms.iter().map(|arm| dots_of(arm, metric)).collect();
    if rows.iter().all(|row| row.values.is_empty()) {
        return html! { p.small { "Nothing was measured." } };
    }
    let title = format!("Every sample: {}", metric.label);
    let drawn = rows::dots(&title, &metric.label, metric.unit, &rows);
    let roles = [Role::Measured, Role::Control, Role::Derived];
    let present = |role: &Role| report.arms.iter().any(|arm| arm.role == *role);
    let mut legend: Vec<(String, String)> = roles
        .into_iter()
        .filter(present)
        .map(|role| {
            let (form, ink) = look(role);
            (form.legend(ink), format!("a sample, {}", role_word(role)))
        })
        .collect();
    let ink = "var(--c0)";
    legend.push((
        swatch(&format!(
            "<path d=\"M7 1V13\" stroke=\"{ink}\" stroke-width=\"3\"/>"
        )),
        "the median".to_owned(),
    ));
    legend.push((
        swatch(&format!(
            "<path d=\"M1 3H13V11H1Z\" fill=\"{ink}\" opacity=\"0.28\"/>"
        )),
        "the middle half".to_owned(),
    ));
    drawing(&title, drawn, &legend)
}

fn dots_of(arm: &ArmReport, metric: &MetricReport) -> Dots {
    let values = values(arm, metric);
    let summary = Summary::of(values.iter().copied());
    let (form, ink) = look(arm.role);
    Dots {
        label: arm.label.clone(),
        quartiles: (summary.count > 0).then_some([summary.q1, summary.median, summary.q3]),
        values,
        form,
        ink,
    }
}

/// A drawing with its title and its legend, or why there is none.
pub(crate) fn drawing(
    title: &str,
    drawn: Result<String, Fault>,
    legend: &[(String, String)],
) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            @match drawn {
                Ok(svg) => (made(&svg)),
                Err(fault) => p.note { "This figure could not be drawn: " (fault) },
            }
            @if !legend.is_empty() {
                ul.legend {
                    @for (mark, text) in legend {
                        li { (made(mark)) (text) }
                    }
                }
            }
        }
    }
}

/// A figure that the experiment asks for.
fn figure_of(figure: &Figure) -> Markup {
    let title = &figure.title;
    match &figure.content {
        Content::Bars { axis, bars } => {
            let spread = bars.iter().any(|bar| bar.high > bar.low);
            let whisker =
                "<path d=\"M1 7H13M1 3V11M13 3V11\" stroke=\"var(--ink)\" stroke-width=\"2\"/>";
            let legend = spread.then(|| (swatch(whisker), "the middle half".to_owned()));
            drawing(title, rows::bars(title, axis, bars), legend.as_slice())
        }
        Content::Lines { x, y, lines, marks } => {
            let legend: Vec<(String, String)> = lines
                .iter()
                .enumerate()
                .map(|(n, line)| (Form::of(n).legend(Ink::Series(n)), line.label.clone()))
                .collect();
            drawing(title, curves::lines(title, (x, y), lines, marks), &legend)
        }
        Content::Histogram { axis, groups } => {
            drawing(title, curves::histogram(title, axis, groups), &[])
        }
        Content::Timeline { tracks } => {
            let legend: Vec<(String, String)> = rows::kinds(tracks)
                .into_iter()
                .enumerate()
                .map(|(n, what)| (letter_swatch(n, what), what.to_owned()))
                .collect();
            drawing(title, rows::timeline(title, tracks), &legend)
        }
        Content::Matrix { columns, rows } => matrix(title, columns, rows),
    }
}

fn letter_swatch(index: usize, what: &str) -> String {
    let ink = Ink::Series(index).variable();
    let letter = html! { (rows::letter(what)) }.into_string();
    swatch(&format!(
        "<rect width=\"14\" height=\"14\" rx=\"2\" fill=\"var({ink})\"/><text x=\"7\" y=\"11\" \
         text-anchor=\"middle\" font-size=\"11\" fill=\"var(--card)\">{letter}</text>"
    ))
}

fn matrix(title: &str, columns: &[String], rows: &[Row]) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            div.scroll tabindex="0" role="region" aria-label=(title) {
                table {
                    thead {
                        tr {
                            td {}
                            @for column in columns { th scope="col" { (column) } }
                        }
                    }
                    tbody {
                        @for row in rows {
                            tr {
                                th scope="row" { (row.label) }
                                @for cell in &row.cells { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn table(report: &Report) -> Markup {
    let Some(metric) = main_metric(report) else {
        return html! {};
    };
    let aside = |m: &&MetricReport| m.show == Show::Median;
    let asides: Vec<&MetricReport> = report.metrics.iter().filter(aside).collect();
    let label = format!("{}: {} by arm", report.name, metric.label);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr {
                        th scope="col" { (metric.label) }
                        @for head in ["Median", "Middle half", "Largest", "Samples"] {
                            th.number scope="col" { (head) }
                        }
                        @for aside in &asides { th.number scope="col" { (aside.label) } }
                    }
                }
                tbody {
                    @for arm in &report.arms { (row(arm, metric, &asides)) }
                }
            }
        }
        @for arm in &report.arms {
            @if let Some(problem) = &arm.problem {
                p.small { strong { (arm.label) ": " } (problem.reason()) }
            }
        }
    }
}

fn row(arm: &ArmReport, metric: &MetricReport, asides: &[&MetricReport]) -> Markup {
    let summary = arm.summaries.get(&metric.key);
    let number = |value: fn(&Summary) -> f64| {
        summary.map_or_else(|| "-".to_owned(), |s| show(value(s), metric.unit))
    };
    let half = summary.map_or_else(
        || "-".to_owned(),
        |s| format!("{} – {}", show(s.q1, metric.unit), show(s.q3, metric.unit)),
    );
    html! {
        tr {
            th scope="row" {
                (arm.label)
                @if arm.role != Role::Measured {
                    " " span.role { "(" (role_word(arm.role)) ")" }
                }
            }
            td.number { (number(|s| s.median)) }
            td.number { (half) }
            td.number { (number(|s| s.max)) }
            td.number { (arm.samples.len()) }
            @for aside in asides {
                td.number {
                    @match arm.summaries.get(&aside.key) {
                        Some(s) => (show(s.median, aside.unit)),
                        None => "-",
                    }
                }
            }
        }
    }
}

/// How it was measured, and what that rests on.
fn how(report: &Report) -> Markup {
    let run = format!(
        "{} of each arm were to be run, {} scale, {:.1} s in all",
        count(report.repeats, "repeat"),
        report.scale.name(),
        report.elapsed_s
    );
    html! {
        details {
            summary { "How it was measured" }
            dl.facts {
                dt { "Done" }
                dd { (report.method) }
                dt { "Control" }
                dd { (report.control) }
                dt { "Run" }
                dd { (run) }
                dt { "Next" }
                dd { code { "brigade lab run " (report.next) } }
            }
            @if !report.premises.is_empty() {
                h3 { "What had to hold" }
                ul.marks {
                    @for premise in &report.premises {
                        li { (mark(premise.held, "holds", "does not hold")) (premise.text) }
                    }
                }
            }
            @if !report.parts.is_empty() {
                h3 { "The claim, part by part" }
                ul.marks {
                    @for part in &report.parts { li { (tendency(part.tendency)) (part.text) } }
                }
            }
        }
    }
}

fn mark(good: bool, yes: &str, no: &str) -> Markup {
    let (class, sign, word) = if good {
        ("confirmed", "✓", yes)
    } else {
        ("not-here", "✗", no)
    };
    html! { b class=(class) { (sign) " " (word) } }
}

fn tendency(tendency: Tendency) -> Markup {
    match tendency {
        Tendency::Holds => mark(true, "holds", ""),
        Tendency::Fails => mark(false, "", "fails"),
        Tendency::Unclear => html! { b.inconclusive { "? unclear" } },
    }
}
