//! What comes out of a run, as data.
//!
//! The types here are the JSON that `--json` writes. [`SCHEMA_VERSION`] grows whenever a reader
//! written for the old form would misread the new one; adding a field does not count.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::{Arm, ArmError, Metric, Role, Scale, Show};
use crate::figure::Figure;
use crate::machine::Environment;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::Unit;
use crate::verdict::{Part, Premise, Verdict};

/// The version of the form that [`Document`] has as JSON.
pub const SCHEMA_VERSION: u32 = 2;

/// The JSON Schema (draft 2020-12) that every [`Document`] written as JSON satisfies, the descriptions
/// of its fields included.
///
/// ```
/// let schema = brigade_lab::report::schema();
/// assert_eq!(schema["title"], "Document");
/// assert!(schema["properties"]["reports"].is_object());
/// ```
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// Everything one call of the program measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The version of the program that measured.
    pub program_version: String,
    /// When the run began: RFC 3339, UTC, to the second. Documents of older programs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<String>,
    /// How much work was done.
    pub scale: Scale,
    /// What the orders of runs were drawn from; the same seed gives the same orders.
    pub seed: u64,
    /// The machine.
    pub environment: Environment,
    /// One report per experiment that was begun.
    pub reports: Vec<Report>,
    /// Whether the caller stopped it before its end.
    pub interrupted: bool,
}

/// What one experiment found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The name on the command line.
    pub name: String,
    /// The claim in one sentence.
    pub claim: String,
    /// Where the claim is commonly made.
    pub said_in: String,
    /// What was done.
    pub method: String,
    /// What the control arm is and what it rules out.
    pub control: String,
    /// How much work was done.
    pub scale: Scale,
    /// What the order of runs was drawn from.
    pub seed: u64,
    /// How many times each arm was to run.
    pub repeats: usize,
    /// The numbers in the samples.
    pub metrics: Vec<MetricReport>,
    /// The arms with their samples.
    pub arms: Vec<ArmReport>,
    /// What had to hold, and whether it did.
    pub premises: Vec<Premise>,
    /// What the samples say about each part of the claim.
    pub parts: Vec<Part>,
    /// The verdict.
    pub verdict: Verdict,
    /// What to draw beside the main number of each arm.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// What to look at next.
    pub next: String,
    /// Whether the caller stopped it before its end.
    pub interrupted: bool,
    /// How long it took, in seconds.
    pub elapsed_s: f64,
    /// The arms in the order they ran.
    pub order: Vec<String>,
}

impl Report {
    /// Whether an arm went wrong, as opposed to being skipped or measuring something unexpected.
    #[must_use]
    pub fn has_failure(&self) -> bool {
        self.arms
            .iter()
            .any(|arm| matches!(arm.problem, Some(ArmError::Failed(_))))
    }
}

/// One number of the samples.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MetricReport {
    /// The key in each sample.
    pub key: String,
    /// What it is called in tables.
    pub label: String,
    /// What it counts.
    pub unit: Unit,
    /// Where it is shown.
    pub show: Show,
}

impl From<&Metric> for MetricReport {
    fn from(metric: &Metric) -> Self {
        Self {
            key: metric.key.to_owned(),
            label: metric.label.to_owned(),
            unit: metric.unit,
            show: metric.show,
        }
    }
}

/// One arm with its samples.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ArmReport {
    /// The name within the experiment.
    pub key: String,
    /// What it is called in tables.
    pub label: String,
    /// What it is for.
    pub role: Role,
    /// Its samples in the order of the repeats.
    pub samples: Vec<Sample>,
    /// The summary of each number.
    pub summaries: BTreeMap<String, Summary>,
    /// Why samples are missing, if some are.
    pub problem: Option<ArmError>,
}

impl ArmReport {
    /// The report of `arm`.
    #[must_use]
    pub fn new(arm: &Arm, samples: &Samples, problem: Option<&ArmError>) -> Self {
        let own = samples.of(arm.key);
        let keys = own.iter().flat_map(|sample| sample.keys());
        let summaries = keys
            .map(|key| (key.to_owned(), samples.summary(arm.key, key)))
            .collect();
        Self {
            key: arm.key.to_owned(),
            label: arm.label.to_owned(),
            role: arm.role,
            samples: own.to_vec(),
            summaries,
            problem: problem.cloned(),
        }
    }
}
