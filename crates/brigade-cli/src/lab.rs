//! `brigade lab`: lists and runs experiments.

use std::io;

use brigade_lab::machine::Environment;
use brigade_lab::{Context, Document, Experiment, Launcher, Report, SCHEMA_VERSION, Verdict};
use serde::Serialize;

use crate::args::{ARM_COMMAND, RunOptions};
use crate::exit::Exit;
use crate::html;
use crate::output::Output;
use crate::progress::Bar;
use crate::render;
use crate::signals::Signals;

/// An experiment in the JSON of `lab list`.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    claim: &'static str,
    said_in: &'static str,
    method: &'static str,
    control: &'static str,
    premise: &'static str,
}

#[derive(Serialize)]
struct List {
    schema_version: u32,
    experiments: Vec<Entry>,
}

/// Lists the experiments.
pub(crate) fn list(json: bool, out: &Output) -> io::Result<Exit> {
    if json {
        let experiments = brigade_lab::all().iter().map(|e| entry(*e)).collect();
        out.print_json(&List {
            schema_version: SCHEMA_VERSION,
            experiments,
        })?;
    } else {
        out.print(&render::list(brigade_lab::all()))?;
    }
    Ok(Exit::Clean)
}

fn entry(experiment: &dyn Experiment) -> Entry {
    let info = experiment.info();
    Entry {
        name: info.name,
        claim: info.claim,
        said_in: info.said_in,
        method: info.method,
        control: info.control,
        premise: info.premise,
    }
}

/// Runs the experiments of these names, in their order; `all` stands for every one.
pub(crate) fn run(names: &[String], options: &RunOptions, out: &Output) -> io::Result<Exit> {
    let mut chosen: Vec<&dyn Experiment> = Vec::new();
    for name in names {
        let found = brigade_lab::all().iter().copied();
        for experiment in found.filter(|e| name == "all" || e.info().name == name) {
            if !chosen
                .iter()
                .any(|known| known.info().name == experiment.info().name)
            {
                chosen.push(experiment);
            }
        }
    }
    if let Some(exit) = html::refused(options.html.as_deref(), out) {
        return Ok(exit);
    }
    let (document, signal) = carry_out(&chosen, options, out)?;
    Ok(signal.map_or_else(|| gate(&document.reports), Exit::Signal))
}

/// Runs every experiment. A refuted claim is a result of the tour and not a failure of it.
pub(crate) fn tour(options: &RunOptions, out: &Output) -> io::Result<Exit> {
    if let Some(exit) = html::refused(options.html.as_deref(), out) {
        return Ok(exit);
    }
    let (document, signal) = carry_out(brigade_lab::all(), options, out)?;
    let failed = document.reports.iter().any(Report::has_failure);
    Ok(match signal {
        Some(signal) => Exit::Signal(signal),
        None if failed => Exit::Inconclusive,
        None => Exit::Clean,
    })
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
    out: &Output,
) -> io::Result<(Document, Option<u8>)> {
    let signals = Signals::catch();
    let bar = Bar::new(options.json);
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
            out.print(&render::report(&report, index + 1, chosen.len()))?;
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

fn finish(document: &Document, asked: usize, options: &RunOptions, out: &Output) -> io::Result<()> {
    if options.json {
        out.print_json(document)?;
    } else if asked > 1 {
        out.print(&render::summary(document))?;
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
