//! The page of one document: what was found, on which machine, and one section per experiment.

use std::collections::BTreeSet;

use brigade_lab::machine::Environment;
use brigade_lab::units::{Unit, show};
use brigade_lab::{Document, Report, Scale, Theme, Verdict};
use maud::{Markup, PreEscaped, html};

use crate::section::section;
use crate::shell::{badge, class_of, saved_data, shell, sign};

/// The page for `document`: HTML that needs nothing beside itself.
///
/// The same document gives the same page, byte for byte. Every text in it is escaped, wherever it came
/// from.
///
/// # Blocks
///
/// Nothing; it computes for about a millisecond per experiment.
///
/// # Examples
///
/// ```
/// use brigade_lab::machine::Environment;
/// use brigade_lab::{Document, SCHEMA_VERSION, Scale};
///
/// let document = Document {
///     schema_version: SCHEMA_VERSION,
///     program_version: "0.1.0".to_owned(),
///     begun: Some("2026-11-22T10:00:00Z".to_owned()),
///     scale: Scale::Quick,
///     seed: 1,
///     environment: Environment::read(),
///     reports: Vec::new(),
///     interrupted: true,
/// };
/// let page = brigade_report::page(&document);
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// assert!(page.contains("interrupted"));
/// ```
#[must_use]
pub fn page(document: &Document) -> String {
    let ids = ids(&document.reports);
    let body = html! {
        header {
            h1 { "Brigade lab" }
            p.lead { "What is commonly said about threads, measured on one machine." }
            (notes(document))
            (tiles(&document.reports))
        }
        main {
            (summary(document, &ids))
            (corrections(&document.reports, &ids))
            (machine(document))
            @for (index, report) in document.reports.iter().enumerate() {
                (section(report, index, &ids[index]))
            }
            (whole(document))
        }
        footer {
            p {
                "Made by brigade " (document.program_version) ", schema version "
                (document.schema_version) ". A verdict depends on the samples alone. A claim is confirmed "
                "when the middle half of the samples is on its side, not here when the middle half is on the \
                 other side, and inconclusive in between."
            }
        }
        (saved_data(document))
    };
    shell("Brigade lab", &body)
}

/// What to know before reading a number.
fn notes(document: &Document) -> Markup {
    html! {
        @if document.interrupted {
            p.note role="note" {
                strong { "This run was interrupted." }
                " " (count(document.reports.len(), "experiment")) " had begun, the last one in part."
            }
        }
        @if document.environment.debug_build {
            p.note role="note" {
                strong { "This is a debug build." }
                " Its numbers say little: the program was compiled without optimisation."
            }
        }
        @if document.reports.is_empty() {
            p.note role="note" { "No experiment was carried out." }
        }
    }
}

pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

const KINDS: [Verdict; 4] = [
    Verdict::Confirmed,
    Verdict::NotHere,
    Verdict::Inconclusive(String::new()),
    Verdict::Skipped(String::new()),
];

fn tiles(reports: &[Report]) -> Markup {
    let number = |kind: &Verdict| {
        let same = reports
            .iter()
            .filter(|report| report.verdict.word() == kind.word());
        same.count()
    };
    html! {
        ul.tiles aria-label="Verdicts" {
            @for kind in &KINDS {
                li class=(class_of(kind)) {
                    b { (number(kind)) }
                    span { (sign(kind)) " " (kind.word()) }
                }
            }
        }
    }
}

fn machine(document: &Document) -> Markup {
    let seconds: f64 = document.reports.iter().map(|report| report.elapsed_s).sum();
    let run = format!(
        "{}, {} scale, {} repeats of each arm in random order, seed {}, {}",
        count(document.reports.len(), "experiment"),
        document.scale.name(),
        document.scale.repeats(),
        document.seed,
        show(seconds * 1e9, Unit::Nanoseconds)
    );
    let mut facts = facts(&document.environment);
    facts.extend(document.begun.clone().map(|begun| ("Begun", begun)));
    facts.push(("Run", run));
    html! {
        section.card aria-labelledby="machine" {
            h2 #machine { "Machine" }
            dl.facts {
                @for (name, value) in &facts {
                    dt { (name) }
                    dd { (value) }
                }
            }
        }
    }
}

/// What is known about a machine, in the order it is shown.
pub(crate) fn facts(environment: &Environment) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "Kernel",
        format!("Linux {} {}", environment.kernel, environment.arch),
    )];
    let mut known = |name: &'static str, value: Option<String>| {
        facts.extend(value.map(|value| (name, value)));
    };
    known("CPU", environment.cpu.clone());
    let smt = match environment.smt {
        Some(true) => ", two to a core (SMT)",
        _ => "",
    };
    known(
        "CPUs",
        Some(format!(
            "{} usable of {} online{smt}",
            environment.cpus_usable, environment.cpus_online
        )),
    );
    let quota = environment.cgroup_cpus;
    known(
        "Quota",
        quota.map(|cpus| format!("{cpus:.1} CPUs (cgroup)")),
    );
    known("Virtual", environment.virtualization.clone());
    let memory = environment.memory_bytes;
    known(
        "Memory",
        memory.map(|bytes| show(bytes as f64, Unit::Bytes)),
    );
    known("C library", environment.libc.clone());
    known("Governor", environment.governor.clone());
    known("Clock", environment.clocksource.clone());
    let load = environment.load;
    known(
        "Load before",
        load.map(|load| format!("{load:.2} processes wanted a CPU, on average over a minute")),
    );
    facts
}

fn summary(document: &Document, ids: &[String]) -> Markup {
    let groups = by_theme(&document.reports);
    html! {
        section.card aria-labelledby="summary" {
            h2 #summary { "Summary" }
            @if !document.reports.is_empty() {
                table.verdicts {
                    thead {
                        tr {
                            th scope="col" { "Claim" }
                            th scope="col" { "Verdict" }
                        }
                    }
                    @for (theme, members) in &groups {
                        tbody {
                            @if groups.len() > 1 {
                                tr.theme { th scope="rowgroup" colspan="2" { (theme.title()) } }
                            }
                            @for index in members {
                                (verdict_row(&document.reports[*index], &ids[*index]))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn verdict_row(report: &Report, id: &str) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href={ "#" (id) } { (report.name) }
                div.small { (report.claim) }
            }
            td { (badge(&report.verdict)) }
        }
    }
}

/// The places of the reports of each theme, in the order in which the tour goes through the themes.
fn by_theme(reports: &[Report]) -> Vec<(Theme, Vec<usize>)> {
    let members = |theme: Theme| {
        let own = reports
            .iter()
            .enumerate()
            .filter(|(_, report)| Theme::of(&report.name) == theme);
        (theme, own.map(|(index, _)| index).collect::<Vec<_>>())
    };
    let mut groups: Vec<_> = Theme::ALL.into_iter().map(members).collect();
    groups.retain(|(_, members)| !members.is_empty());
    groups
}

/// Claims that are not true here, with what was found instead.
fn corrections(reports: &[Report], ids: &[String]) -> Markup {
    let refuted: Vec<_> = reports
        .iter()
        .zip(ids)
        .filter(|(report, _)| report.verdict == Verdict::NotHere)
        .collect();
    html! {
        @if !refuted.is_empty() {
            section.card aria-labelledby="corrections" {
                h2 #corrections { "Commonly said, and not so here" }
                @for (report, id) in refuted {
                    div.correction {
                        p { "“" (report.claim) "” (" (report.said_in) ")" }
                        p {
                            "Measured: " (crate::section::why(report)) ". "
                            a.screen href={ "#" (id) } { "The samples" }
                        }
                    }
                }
            }
        }
    }
}

/// The command that repeats the whole run, and its data.
fn whole(document: &Document) -> Markup {
    let names: Vec<&str> = document
        .reports
        .iter()
        .map(|report| report.name.as_str())
        .collect();
    html! {
        @if !names.is_empty() {
            section.card aria-labelledby="whole" {
                h2 #whole { "Repeat all of it" }
                pre { code { (command(&names, document.scale, document.seed)) } }
                p {
                    button type="button" hidden data-save="all" data-name="brigade-lab" {
                        "Save all samples (JSON)"
                    }
                }
                p.small.screen {
                    "The file is what " code { "brigade lab --json" } " writes; "
                    code { "brigade lab compare" } " sets two of them side by side."
                }
            }
        }
    }
}

/// The command that runs experiments of these names as they were run.
pub(crate) fn command(names: &[&str], scale: Scale, seed: u64) -> String {
    let all: BTreeSet<&str> = brigade_lab::all().iter().map(|e| e.info().name).collect();
    let given: BTreeSet<&str> = names.iter().copied().collect();
    let chosen = if names.len() > 1 && given == all {
        "all".to_owned()
    } else {
        let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        quoted.join(" ")
    };
    let full = match scale {
        Scale::Quick => "",
        Scale::Full => " --full",
    };
    format!("brigade lab run {chosen}{full} --seed {seed}")
}

/// `word` as a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A name for each report within the page: its own, made fit for an address, and different from the others.
fn ids(reports: &[Report]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let id = |report: &Report| {
        let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let base: String = report.name.chars().map(clean).collect();
        let base = format!("lab-{}", base.to_ascii_lowercase());
        let mut id = base.clone();
        let mut number = 2;
        while !seen.insert(id.clone()) {
            id = format!("{base}-{number}");
            number += 1;
        }
        id
    };
    reports.iter().map(id).collect()
}

/// Markup that was made by this crate.
pub(crate) fn made(text: &str) -> PreEscaped<&str> {
    PreEscaped(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_the_scale_and_the_seed_and_stays_one_word_per_name() {
        assert_eq!(
            command(&["gil"], Scale::Quick, 42),
            "brigade lab run gil --seed 42"
        );
        assert_eq!(
            command(&["gil", "a;b"], Scale::Full, 7),
            "brigade lab run gil 'a;b' --full --seed 7"
        );
        let names: Vec<&str> = brigade_lab::all().iter().map(|e| e.info().name).collect();
        assert_eq!(
            command(&names, Scale::Quick, 1),
            "brigade lab run all --seed 1"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
