//! Two documents side by side: two runs of one machine, or two machines.
//!
//! Numbers are computed from the samples, not from stored summaries. Two numbers are told apart by their
//! middle halves: where those overlap, the samples do not say that there is a difference.
//!
//! # Invariants
//!
//! 1. A [`Comparison`] depends on the two documents alone.
//! 2. Experiments whose verdict differs come first, then those in both, then those in one; within each kind in
//!    the order of the first document, then of the second.

use brigade_lab::report::{ArmReport, MetricReport};
use brigade_lab::stats::Summary;
use brigade_lab::units::Unit;
use brigade_lab::{Document, Report, Role, Scale};
use serde::Serialize;

use crate::page::facts;
use crate::section::{main_metric, values};

/// The version of the form that [`Comparison`] has as JSON. It grows when a reader written for the old form
/// would misread the new one.
pub const COMPARISON_VERSION: u32 = 1;

/// What differs between two documents, and what does not.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// [`COMPARISON_VERSION`].
    pub comparison_version: u32,
    /// The two runs.
    pub runs: [Run; 2],
    /// What differs between the machines and the programs.
    pub differences: Vec<Difference>,
    /// How many experiments in both have different verdicts.
    pub changed: usize,
    /// Every experiment of either.
    pub experiments: Vec<Pair>,
}

/// One of the two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What it is called, such as the name of its file.
    pub name: String,
    /// The machine in one line.
    pub machine: String,
    /// When it began: RFC 3339, UTC; `None` where the document does not say.
    pub begun: Option<String>,
    /// How much work was done.
    pub scale: Scale,
    /// What the orders of runs were drawn from.
    pub seed: u64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Whether the program was built without optimisation.
    pub debug_build: bool,
}

/// Something that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What.
    pub name: String,
    /// In the first and in the second; `None` where it is not known.
    pub values: [Option<String>; 2],
}

/// Which documents have an experiment, and whether they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Both, with different verdicts.
    Changed,
    /// Both, with the same verdict.
    Same,
    /// The first alone.
    OnlyFirst,
    /// The second alone.
    OnlySecond,
}

/// One experiment in both documents.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The name on the command line.
    pub name: String,
    /// The claim in one sentence.
    pub claim: String,
    /// Who has it, and whether they agree.
    pub state: State,
    /// The verdicts in capital letters.
    pub verdicts: [Option<String>; 2],
    /// What the numbers are, if there are any.
    pub metric: Option<String>,
    /// The unit of the numbers.
    pub unit: Option<Unit>,
    /// The arms of either.
    pub arms: Vec<ArmPair>,
}

/// One arm in both documents.
#[derive(Clone, Debug, Serialize)]
pub struct ArmPair {
    /// The name within the experiment.
    pub key: String,
    /// What it is called in tables.
    pub label: String,
    /// What it is for.
    pub role: Role,
    /// The main number of its samples; `None` where there is no sample, or the second document has no number of
    /// that name and unit.
    pub summaries: [Option<Summary>; 2],
    /// The second median as a multiple of the first; `None` without both, or if the first is zero.
    pub ratio: Option<f64>,
    /// Whether the middle halves overlap, so that no difference was seen; `None` without both.
    pub overlap: Option<bool>,
    /// Every sample's number, for drawings.
    #[serde(skip)]
    pub(crate) values: [Vec<f64>; 2],
}

impl Comparison {
    /// Compares `documents` that go by `names`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade_lab::{Document, SCHEMA_VERSION, Scale, machine::Environment};
    /// # let document = Document {
    /// #     schema_version: SCHEMA_VERSION, program_version: "0.1.0".to_owned(), begun: None,
    /// #     scale: Scale::Quick, seed: 1, environment: Environment::read(), reports: Vec::new(), interrupted: false,
    /// # };
    /// let comparison = brigade_report::Comparison::of(["a.json", "b.json"], [&document, &document]);
    /// assert_eq!(comparison.changed, 0);
    /// assert!(comparison.differences.is_empty());
    /// ```
    #[must_use]
    pub fn of(names: [&str; 2], documents: [&Document; 2]) -> Self {
        let [first, second] = documents;
        let find = |document: &'_ Document, name: &str| {
            document
                .reports
                .iter()
                .position(|report| report.name == name)
        };
        let mut experiments: Vec<Pair> = first
            .reports
            .iter()
            .map(|report| {
                let other = find(second, &report.name).map(|at| &second.reports[at]);
                pair(Some(report), other)
            })
            .collect();
        let only = second
            .reports
            .iter()
            .filter(|report| find(first, &report.name).is_none());
        experiments.extend(only.map(|report| pair(None, Some(report))));
        experiments.sort_by_key(|pair| pair.state);
        let changed = experiments
            .iter()
            .filter(|pair| pair.state == State::Changed);
        Self {
            comparison_version: COMPARISON_VERSION,
            runs: [run(names[0], first), run(names[1], second)],
            differences: differences(first, second),
            changed: changed.count(),
            experiments,
        }
    }

    /// How many experiments are in both.
    #[must_use]
    pub fn common(&self) -> usize {
        let both = |pair: &&Pair| matches!(pair.state, State::Changed | State::Same);
        self.experiments.iter().filter(both).count()
    }

    /// What the reader of the numbers must know first, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let [a, b] = &self.runs;
        let mut warnings = Vec::new();
        if a.scale != b.scale {
            warnings.push(format!(
                "The scales differ ({} and {}): counts and repeats are not the same, so compare ratios within a \
                 run rather than numbers.",
                a.scale.name(),
                b.scale.name()
            ));
        }
        for (run, which) in self.runs.iter().zip(["first", "second"]) {
            if run.interrupted {
                warnings.push(format!(
                    "The {which} run was interrupted: samples are missing."
                ));
            }
            if run.debug_build {
                warnings.push(format!(
                    "The {which} run is one of a debug build: its numbers say little."
                ));
            }
        }
        if self.common() == 0 {
            warnings.push("No experiment is in both: nothing was compared.".to_owned());
        }
        warnings
    }
}

fn run(name: &str, document: &Document) -> Run {
    Run {
        name: name.to_owned(),
        machine: document.environment.line(),
        begun: document.begun.clone(),
        scale: document.scale,
        seed: document.seed,
        interrupted: document.interrupted,
        debug_build: document.environment.debug_build,
    }
}

fn differences(first: &Document, second: &Document) -> Vec<Difference> {
    let known = |document: &Document| {
        let mut facts = facts(&document.environment);
        facts.push(("Program", document.program_version.clone()));
        facts.push(("Scale", document.scale.name().to_owned()));
        facts
    };
    let (a, b) = (known(first), known(second));
    let mut names: Vec<&str> = a.iter().chain(&b).map(|(name, _)| *name).collect();
    names.sort_by_key(|name| {
        a.iter()
            .position(|(known, _)| known == name)
            .unwrap_or(usize::MAX)
    });
    names.dedup();
    let value = |facts: &[(&str, String)], name: &str| {
        let found = facts.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    };
    names
        .into_iter()
        .map(|name| Difference {
            name: name.to_owned(),
            values: [value(&a, name), value(&b, name)],
        })
        .filter(|difference| difference.values[0] != difference.values[1])
        .collect()
}

fn pair(first: Option<&Report>, second: Option<&Report>) -> Pair {
    let word = |report: Option<&Report>| report.map(|report| report.verdict.word().to_owned());
    let verdicts = [word(first), word(second)];
    let state = match &verdicts {
        [Some(a), Some(b)] if a == b => State::Same,
        [Some(_), Some(_)] => State::Changed,
        [Some(_), None] => State::OnlyFirst,
        _ => State::OnlySecond,
    };
    // A report of one side at least: the callers have one.
    let either = first.or(second);
    let metric = either.and_then(main_metric);
    let others = second.and_then(|report| metric.and_then(|metric| same_metric(report, metric)));
    let text = |part: fn(&Report) -> &str| either.map_or_else(String::new, |r| part(r).to_owned());
    Pair {
        name: text(|report| &report.name),
        claim: text(|report| &report.claim),
        state,
        verdicts,
        metric: metric.map(|metric| metric.label.clone()),
        unit: metric.map(|metric| metric.unit),
        arms: arms([first.zip(metric), second.zip(others)], [first, second]),
    }
}

/// What `report` calls the same number as `metric`: a version of the program that measures something else there, or
/// in another unit, has nothing to compare.
fn same_metric<'a>(report: &'a Report, metric: &MetricReport) -> Option<&'a MetricReport> {
    let is_same = |other: &&MetricReport| other.key == metric.key && other.unit == metric.unit;
    report.metrics.iter().find(is_same)
}

/// The arms of either of `reports`: those of the first in its order, then those the second has alone. Their numbers
/// are those of `sides`.
fn arms(
    sides: [Option<(&Report, &MetricReport)>; 2],
    reports: [Option<&Report>; 2],
) -> Vec<ArmPair> {
    let of = |side: Option<(&Report, &MetricReport)>, key: &str| {
        let (report, metric) = side?;
        let arm = report.arms.iter().find(|arm| arm.key == key)?;
        Some(values(arm, metric))
    };
    let mut seen: Vec<&ArmReport> = Vec::new();
    for arm in reports
        .into_iter()
        .flatten()
        .flat_map(|report| &report.arms)
    {
        if !seen.iter().any(|known| known.key == arm.key) {
            seen.push(arm);
        }
    }
    seen.into_iter()
        .map(|arm| {
            arm_pair(
                arm,
                sides.map(|side| of(side, &arm.key).unwrap_or_default()),
            )
        })
        .collect()
}

fn arm_pair(arm: &ArmReport, values: [Vec<f64>; 2]) -> ArmPair {
    let summaries = [0, 1].map(|side: usize| {
        let summary = Summary::of(values[side].iter().copied());
        (summary.count > 0).then_some(summary)
    });
    let both = match summaries {
        [Some(a), Some(b)] => Some((a, b)),
        _ => None,
    };
    ArmPair {
        key: arm.key.clone(),
        label: arm.label.clone(),
        role: arm.role,
        summaries,
        ratio: both
            .filter(|(a, _)| a.median != 0.0)
            .map(|(a, b)| b.median / a.median)
            .filter(|ratio| ratio.is_finite()),
        overlap: both.map(|(a, b)| a.q1 <= b.q3 && b.q1 <= a.q3),
        values,
    }
}
