//! `brigade lab`: lists and runs experiments.

use std::io;
use std::time::SystemTime;

use brigade_lab::machine::Environment;
use brigade_lab::{
    Arm, Context, Document, Experiment, Launcher, Report, Role, SCHEMA_VERSION, Scale, Theme,
    Verdict, tour,
};
use serde::Serialize;

use crate::args::{ARM_COMMAND, RunOptions};
use crate::exit::Exit;
use crate::html;
use crate::output::Output;
use crate::progress::Bar;
use crate::render::{self, Place};
use crate::signals::Signals;
use crate::{explain, select, short};

/// An experiment in the JSON of `lab list` and `lab explain`.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    theme: &'static str,
    claim: &'static str,
    said_in: &'static str,
    method: &'static str,
    control: &'static str,
    premise: &'static str,
    /// Those of one scale; `lab list` leaves them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arms: Vec<ArmEntry>,
    next: &'static str,
}

#[derive(Serialize)]
struct ArmEntry {
    key: &'static str,
    label: &'static str,
    role: Role,
    required: bool,
}

#[derive(Serialize)]
struct List {
    schema_version: u32,
    experiments: Vec<Entry>,
}

/// Lists the experiments.
pub(crate) fn list(json: bool, out: &Output) -> io::Result<Exit> {
    if json {
        let experiments = tour().into_iter().map(|e| entry(e, Vec::new())).collect();
        out.print_json(&List {
            schema_version: SCHEMA_VERSION,
            experiments,
        })?;
    } else {
        out.print(&explain::list())?;
    }
    Ok(Exit::Clean)
}

/// Says what the experiments of these names do.
pub(crate) fn explain(names: &[String], full: bool, json: bool, out: &Output) -> io::Result<Exit> {
    let scale = if full { Scale::Full } else { Scale::Quick };
    let chosen = select::named(names);
    if json {
        let experiments = chosen.iter().map(|e| entry(*e, e.arms(scale))).collect();
        out.print_json(&List {
            schema_version: SCHEMA_VERSION,
            experiments,
        })?;
    } else {
        let texts = chosen.iter().map(|e| explain::experiment(*e, scale));
        out.print(&texts.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Clean)
}

fn entry(experiment: &dyn Experiment, arms: Vec<Arm>) -> Entry {
    let info = experiment.info();
    let arm = |arm: Arm| ArmEntry {
        key: arm.key,
        label: arm.label,
        role: arm.role,
        required: arm.required,
    };
    Entry {
        name: info.name,
        theme: Theme::of(info.name).key(),
        claim: info.claim,
        said_in: info.said_in,
        method: info.method,
        control: info.control,
        premise: info.premise,
        arms: arms.into_iter().map(arm).collect(),
        next: info.next,
    }
}

/// How much of a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Claim, what was done in one sentence, result, verdict.
    Short,
    /// All of the text and every column.
    Whole,
    /// The samples as well.
    Samples,
}

/// Runs the experiments that `names` stand for.
pub(crate) fn run(names: &[String], options: &RunOptions, out: &Output) -> io::Result<Exit> {
    let form = if options.verbose {
        Form::Samples
    } else {
        Form::Whole
    };
    let chosen = select::left(select::named(names), options);
    if chosen.is_empty() {
        return Ok(nothing_left(out));
    }
    if let Some(exit) = html::refused(options.html.as_deref(), out) {
        return Ok(exit);
    }
    let (document, signal) = carry_out(&chosen, options, form, out)?;
    Ok(signal.map_or_else(|| gate(&document.reports), Exit::Signal))
}

/// Runs every experiment, or those that the options leave. A refuted claim is a result of the tour and not a
/// failure of it.
pub(crate) fn tour_of(options: &RunOptions, out: &Output) -> io::Result<Exit> {
    let form = if options.verbose {
        Form::Whole
    } else {
        Form::Short
    };
    let chosen = select::left(tour(), options);
    if chosen.is_empty() {
        return Ok(nothing_left(out));
    }
    if let Some(exit) = html::refused(options.html.as_deref(), out) {
        return Ok(exit);
    }
    let (document, signal) = carry_out(&chosen, options, form, out)?;
    let failed = document.reports.iter().any(Report::has_failure);
    Ok(match signal {
        Some(signal) => Exit::Signal(signal),
        None if failed => Exit::Inconclusive,
        None => Exit::Clean,
    })
}

fn nothing_left(out: &Output) -> Exit {
    out.refuse("--only and --skip leave no experiment to run")
}

/// The exit code of `lab run`: a refuted claim weighs more than a missing answer.
fn gate(reports: &[Report]) -> Exit {
    let any = |test: fn(&Verdict) -> bool| reports.iter().any(|report| test(&report.verdict));
    if any(|verdict| *verdict == Verdict::NotHere) {
        Exit::Finding
    } else if any(|verdict| *verdict != Verdict::Confirmed) {
        Exit::Inconclusive
    } else {
        Exit::Clean
    }
}

/// Runs `chosen`, prints each report when it is there (or the document at the end), and returns
/// the document and the signal that ended the run early.
fn carry_out(
    chosen: &[&dyn Experiment],
    options: &RunOptions,
    form: Form,
    out: &Output,
) -> io::Result<(Document, Option<u8>)> {
    let signals = Signals::catch();
    let bar = Bar::new(options.json, &plan(chosen, options.scale()));
    let launcher = Launcher::new(&[ARM_COMMAND]);
    let cancelled = || signals.caught().is_some();
    let seed = options
        .seed
        .unwrap_or_else(brigade_lab::driver::random_seed);
    let context = Context {
        scale: options.scale(),
        seed,
        arms: &launcher,
        progress: &bar,
        cancelled: &cancelled,
    };
    let mut document = Document {
        schema_version: SCHEMA_VERSION,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        begun: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        scale: context.scale,
        seed,
        environment: Environment::read(),
        reports: Vec::with_capacity(chosen.len()),
        interrupted: false,
    };
    if !options.json {
        out.print(&render::head(&document, chosen.len()))?;
    }
    for (index, experiment) in chosen.iter().enumerate() {
        let report = brigade_lab::run(*experiment, &context);
        if !options.json {
            let before = index.checked_sub(1).map(|before| chosen[before]);
            let place = Place {
                index: index + 1,
                of: chosen.len(),
                begins_theme: before.is_none_or(|before| theme(before) != theme(*experiment)),
            };
            out.print(&match form {
                Form::Short => short::report(&report, &place),
                Form::Whole => render::report(&report, &place),
                Form::Samples => render::report(&report, &place) + &render::samples(&report),
            })?;
        }
        document.reports.push(report);
        if cancelled() {
            break;
        }
    }
    document.interrupted = cancelled();
    finish(&document, chosen.len(), options, out)?;
    html::write_document(options.html.as_deref(), &document, out)?;
    Ok((document, signals.caught()))
}

fn theme(experiment: &dyn Experiment) -> Theme {
    Theme::of(experiment.info().name)
}

/// How many runs of arms each experiment takes.
fn plan(chosen: &[&dyn Experiment], scale: Scale) -> Vec<u64> {
    let runs = |experiment: &&dyn Experiment| {
        let arms = experiment.arms(scale);
        let run = arms.iter().filter(|arm| arm.role != Role::Derived).count();
        (run * scale.repeats()) as u64
    };
    chosen.iter().map(runs).collect()
}

fn finish(document: &Document, asked: usize, options: &RunOptions, out: &Output) -> io::Result<()> {
    if options.json {
        out.print_json(document)?;
    } else if asked > 1 {
        out.print(&short::summary(document))?;
    }
    if document.interrupted {
        let begun = document.reports.len();
        out.note(&format!(
            "interrupted: {begun} of {asked} experiments were begun, the last one in part"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        let text = serde_json::json!({
            "name": "n", "claim": "c", "said_in": "s", "method": "m", "control": "c",
            "scale": "quick", "seed": 1, "repeats": 5, "metrics": [], "arms": [],
            "premises": [], "parts": [], "verdict": verdict, "next": "x",
            "interrupted": false, "elapsed_s": 0.0, "order": [],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_refuted_claim_weighs_more_than_a_missing_answer() {
        let open = || report(Verdict::Inconclusive("noise".into()));
        let skipped = || report(Verdict::Skipped("no".into()));
        assert_eq!(gate(&[report(Verdict::Confirmed)]), Exit::Clean);
        assert_eq!(
            gate(&[report(Verdict::Confirmed), skipped()]),
            Exit::Inconclusive
        );
        assert_eq!(gate(&[open(), report(Verdict::NotHere)]), Exit::Finding);
    }
}
