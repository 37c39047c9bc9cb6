//! The trait every experiment implements, and the words it is described with.
//!
//! An *arm* is one way of doing the thing that is measured; a *control* arm does everything an arm
//! does except the thing itself, or does it in the way known to fail. A *premise* is what must be
//! true of a run for its numbers to mean what they are taken to mean, such as "the threads really
//! switched"; it is counted, never assumed.

use std::net::TcpListener;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::sample::{Sample, Samples};
use crate::units::Unit;
use crate::verdict::{Part, Premise};

/// How much work an experiment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// A few seconds per experiment.
    Quick,
    /// Larger counts and more repeats; up to minutes per experiment.
    Full,
}

impl Scale {
    /// `quick` at the small scale, `full` at the large one.
    #[must_use]
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// How many times each arm runs: at least five, so that quartiles mean something.
    #[must_use]
    pub fn repeats(self) -> usize {
        self.pick(5, 11)
    }

    /// The word for the scale in arguments and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.pick("quick", "full")
    }
}

/// The text of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The name on the command line.
    pub name: &'static str,
    /// The claim in one sentence, as it is commonly made.
    pub claim: &'static str,
    /// Where the claim is commonly made.
    pub said_in: &'static str,
    /// What is done to check it.
    pub method: &'static str,
    /// What the control arm is and what it rules out.
    pub control: &'static str,
    /// What must hold for the numbers to mean anything.
    pub premise: &'static str,
    /// What to look at next: the arguments of `lab run`, and why in parentheses.
    pub next: &'static str,
}

/// What an arm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It measures what the claim is about.
    Measured,
    /// It does the same without the thing measured, or in the way known to fail.
    Control,
    /// It is not run: its samples are computed from those of other arms.
    Derived,
}

/// One way of doing the thing that is measured.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The name within the experiment.
    pub key: &'static str,
    /// What is shown to people, at most 26 characters so that tables fit 80 columns.
    pub label: &'static str,
    /// What it is for.
    pub role: Role,
    /// Whether the verdict needs it. An optional arm that is skipped leaves the verdict alone.
    pub required: bool,
    /// After how many seconds one run is given up.
    pub timeout_s: u64,
}

impl Arm {
    const fn new(key: &'static str, label: &'static str, role: Role) -> Self {
        Self {
            key,
            label,
            role,
            required: true,
            timeout_s: 30,
        }
    }

    /// An arm that measures what the claim is about.
    #[must_use]
    pub const fn measured(key: &'static str, label: &'static str) -> Self {
        Self::new(key, label, Role::Measured)
    }

    /// A control arm.
    #[must_use]
    pub const fn control(key: &'static str, label: &'static str) -> Self {
        Self::new(key, label, Role::Control)
    }

    /// An arm whose samples [`Experiment::derive`] computes.
    #[must_use]
    pub const fn derived(key: &'static str, label: &'static str) -> Self {
        Self::new(key, label, Role::Derived)
    }

    /// The same arm, not needed for the verdict.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// The same arm with another timeout in seconds (default 30).
    #[must_use]
    pub const fn timeout(mut self, seconds: u64) -> Self {
        self.timeout_s = seconds;
        self
    }
}

/// One number of a sample, and how a table shows it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The key in a [`Sample`].
    pub key: &'static str,
    /// The head of its column, at most 11 characters.
    pub label: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Where it is shown.
    pub show: Show,
}

/// Where a number is shown. JSON always has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// In the table, with its median, interquartile range and maximum; once per experiment.
    Spread,
    /// In the table, its median alone; at most twice per experiment.
    Median,
    /// In JSON only.
    Data,
}

impl Metric {
    /// The number the experiment is about; shown with its spread.
    #[must_use]
    pub const fn main(key: &'static str, label: &'static str, unit: Unit) -> Self {
        Self {
            key,
            label,
            unit,
            show: Show::Spread,
        }
    }

    /// A number that stands beside; its median is shown.
    #[must_use]
    pub const fn aside(key: &'static str, label: &'static str, unit: Unit) -> Self {
        Self {
            key,
            label,
            unit,
            show: Show::Median,
        }
    }

    /// A number that premises and judgements use and no table shows.
    #[must_use]
    pub const fn data(key: &'static str, label: &'static str, unit: Unit) -> Self {
        Self {
            key,
            label,
            unit,
            show: Show::Data,
        }
    }
}

/// Why one run of an arm has no sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum ArmError {
    /// The machine cannot do it; the reason says what is missing.
    Skipped(String),
    /// It went wrong.
    Failed(String),
}

impl ArmError {
    /// Why, in one sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Skipped(reason) | Self::Failed(reason) => reason,
        }
    }
}

impl From<std::io::Error> for ArmError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<rustix::io::Errno> for ArmError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(std::io::Error::from(error).to_string())
    }
}

/// One experiment.
///
/// An implementation is a unit struct: all state of a run lives in the process that runs the arm.
pub trait Experiment: Sync {
    /// The text of the experiment.
    fn info(&self) -> &'static Info;

    /// The numbers its samples hold, in the order of the table's columns.
    fn metrics(&self) -> &'static [Metric];

    /// Its arms, in the order of the table's rows.
    fn arms(&self, scale: Scale) -> Vec<Arm>;

    /// Runs `arm` once, in a process of its own, warm-up included.
    ///
    /// # Errors
    ///
    /// [`ArmError::Skipped`] if the machine cannot do it, [`ArmError::Failed`] if it went wrong.
    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError>;

    /// Plays `role` for an arm that runs in another process: serves `listener` until killed. For
    /// experiments whose arms talk to somebody.
    ///
    /// # Errors
    ///
    /// [`ArmError::Failed`] if there is no such role or its sockets fail.
    fn serve(&self, role: &str, _listener: TcpListener) -> Result<(), ArmError> {
        Err(ArmError::Failed(format!("there is no role named {role}")))
    }

    /// Adds the samples of derived arms.
    fn derive(&self, _samples: &mut Samples) {}

    /// What must hold for the numbers to mean anything, checked on the samples. Pure.
    fn premises(&self, samples: &Samples) -> Vec<Premise>;

    /// What the samples say about each part of the claim. Pure.
    fn judge(&self, samples: &Samples) -> Vec<Part>;

    /// What to draw of the samples beside the main number of each arm, which is drawn for every
    /// experiment; at most two figures. Pure.
    fn figures(&self, _samples: &Samples) -> Vec<Figure> {
        Vec::new()
    }
}

/// The error for an arm that the experiment does not have.
pub(crate) fn unknown_arm(arm: &str) -> ArmError {
    ArmError::Failed(format!("there is no arm named {arm}"))
}
