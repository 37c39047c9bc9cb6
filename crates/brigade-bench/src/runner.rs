//! Runs the lines: every rival of a line once per repeat, in turning order.
//!
//! Interleaving is the point: on a machine whose speed drifts, ratios between
//! samples taken seconds apart hold where ratios between two runs do not. How
//! much of the machine other processes took meanwhile is kept beside the figures
//! (`Foreign`), so that a reader can tell a disturbed line. With `patience` a
//! sample waits for a quiet moment and is taken again when it was disturbed.
//! Rejected: dropping the slowest samples, which would also drop a rival's own
//! bad moments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::child;
use crate::line::{Spec, Work};
use crate::rival::{Rival, go};
use crate::sample::Sample;
use crate::stats::Summary;

/// What to run.
pub(crate) struct Plan {
    /// Lines, in order.
    pub(crate) lines: Vec<&'static Spec>,
    /// Rivals wanted; those not available are reported as such.
    pub(crate) rivals: Vec<Rival>,
    /// Worker counts, each a run of its own.
    pub(crate) workers: Vec<usize>,
    /// Children per rival and line.
    pub(crate) repeats: u32,
    /// Repeats inside a child.
    pub(crate) passes: u32,
    /// How long in all to wait for a quiet machine; zero: never wait, never repeat.
    pub(crate) patience: Duration,
    /// Tiny sizes.
    pub(crate) quick: bool,
}

/// One rival's result on one line.
pub(crate) struct Column {
    /// Who.
    pub(crate) rival: Rival,
    /// The size it ran.
    pub(crate) n: u64,
    /// Summaries by metric; empty when every repeat failed.
    pub(crate) metrics: BTreeMap<String, Summary>,
    /// Why the last failed repeat failed, or why it was not run.
    pub(crate) failure: Option<String>,
    /// Whether the rival ran and failed, as opposed to not being there.
    pub(crate) failed: bool,
}

/// One line's results with one worker count.
pub(crate) struct Outcome {
    /// The line.
    pub(crate) spec: &'static Spec,
    /// Workers.
    pub(crate) workers: usize,
    /// By rival, in the table's order.
    pub(crate) columns: Vec<Column>,
    /// Median share of the machine that other processes took during a sample, 0 to 1.
    pub(crate) foreign: Option<f64>,
}

impl Outcome {
    /// The summary of a metric for a rival.
    pub(crate) fn summary(&self, rival: Rival, metric: &str) -> Option<&Summary> {
        self.columns
            .iter()
            .find(|c| c.rival == rival)?
            .metrics
            .get(metric)
    }
}

/// Runs the whole plan; `done` sees each outcome as soon as it is there.
pub(crate) fn run(
    plan: &Plan,
    go: Option<&go::Program>,
    progress: &ProgressBar,
    mut done: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let style = "{bar:24} {pos}/{len} {elapsed} {wide_msg}";
    progress.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    let runs: usize = plan.lines.iter().map(|s| runnable(plan, s).count()).sum();
    progress.set_length((runs * plan.workers.len()) as u64 * u64::from(plan.repeats));
    let mut sampler = Sampler {
        patience: plan.patience,
    };
    let mut outcomes = Vec::new();
    for spec in &plan.lines {
        for &workers in &plan.workers {
            let outcome = run_line(plan, spec, workers, go, &mut sampler, progress);
            progress.suspend(|| done(&outcome));
            outcomes.push(outcome);
        }
    }
    progress.finish_and_clear();
    outcomes
}

fn wanted<'a>(plan: &'a Plan, spec: &'a Spec) -> impl Iterator<Item = (Rival, u64)> + 'a {
    let n = if plan.quick { spec.quick } else { spec.full };
    let listed = spec.rivals.iter().filter(|(r, _)| plan.rivals.contains(r));
    listed.map(move |(rival, most)| (*rival, n.min(*most)))
}

fn runnable<'a>(plan: &'a Plan, spec: &'a Spec) -> impl Iterator<Item = (Rival, u64)> + 'a {
    wanted(plan, spec).filter(|(r, _)| r.unavailable().is_none())
}

fn run_line(
    plan: &Plan,
    spec: &'static Spec,
    workers: usize,
    go: Option<&go::Program>,
    sampler: &mut Sampler,
    progress: &ProgressBar,
) -> Outcome {
    let mut order: Vec<_> = runnable(plan, spec).collect();
    let mut values: BTreeMap<Rival, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    let mut failures: BTreeMap<Rival, String> = BTreeMap::new();
    let mut foreign = Vec::new();
    for _ in 0..plan.repeats {
        for &(rival, n) in &order {
            progress.set_message(format!("{} {workers}w {}", spec.line.name(), rival.name()));
            let work = Work {
                line: spec.line,
                n,
                workers,
                passes: plan.passes,
            };
            match sampler.take(rival, &work, go, Duration::from_secs(spec.timeout_s)) {
                Ok((sample, share)) => {
                    foreign.extend(share);
                    let of = values.entry(rival).or_default();
                    sample
                        .metrics
                        .into_iter()
                        .for_each(|(m, v)| of.entry(m).or_default().push(v));
                }
                Err(why) => {
                    failures.insert(rival, why);
                }
            }
            progress.inc(1);
        }
        if !order.is_empty() {
            order.rotate_left(1);
        }
    }
    let columns = wanted(plan, spec).map(|(rival, n)| {
        let metrics = values.remove(&rival).unwrap_or_default();
        let failed = failures.contains_key(&rival);
        let summaries = metrics
            .into_iter()
            .filter_map(|(m, v)| Some((m, Summary::of(&v)?)))
            .collect();
        let failure = failures
            .remove(&rival)
            .or(rival.unavailable().map(str::to_owned));
        Column {
            rival,
            n,
            metrics: summaries,
            failure,
            failed,
        }
    });
    Outcome {
        spec,
        workers,
        columns: columns.collect(),
        foreign: Summary::of(&foreign).map(|s| s.median),
    }
}

/// Above this share of the machine taken by others a sample counts as disturbed.
pub(crate) const DISTURBED: f64 = 0.1;

/// Takes samples, in quiet moments while its patience lasts.
struct Sampler {
    patience: Duration,
}

impl Sampler {
    /// One sample, and the share of the machine that others took meanwhile.
    fn take(
        &mut self,
        rival: Rival,
        work: &Work,
        go: Option<&go::Program>,
        timeout: Duration,
    ) -> Result<(Sample, Option<f64>), String> {
        loop {
            self.wait_for_quiet();
            let (start, foreign) = (Instant::now(), Foreign::start());
            let sample = child::run(rival, work, go, timeout)?;
            let share = foreign.share();
            let disturbed = share.is_some_and(|s| s > DISTURBED);
            if !disturbed || self.patience.is_zero() {
                return Ok((sample, share));
            }
            self.patience = self.patience.saturating_sub(start.elapsed());
        }
    }

    /// Waits until others leave the machine alone for a quarter of a second.
    fn wait_for_quiet(&mut self) {
        const LOOK: Duration = Duration::from_millis(250);
        while !self.patience.is_zero() {
            let foreign = Foreign::start();
            std::thread::sleep(LOOK);
            if foreign.share().is_none_or(|s| s <= DISTURBED) {
                return;
            }
            self.patience = self.patience.saturating_sub(LOOK);
        }
    }
}

/// Measures the processor time of everything but this process and its children.
struct Foreign {
    start: Option<(f64, f64, f64)>,
}

impl Foreign {
    fn start() -> Self {
        Self {
            start: Self::read(),
        }
    }

    /// The share since `start`.
    fn share(&self) -> Option<f64> {
        let ((busy, all, own), (busy_now, all_now, own_now)) = (self.start?, Self::read()?);
        let foreign = (busy_now - busy) - (own_now - own);
        (all_now > all).then(|| (foreign / (all_now - all)).clamp(0.0, 1.0))
    }

    /// Clock ticks: busy and total of the machine, and of this process with its ended children.
    fn read() -> Option<(f64, f64, f64)> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let ticks = |s: &str| {
            s.split_whitespace()
                .filter_map(|f| f.parse().ok())
                .collect::<Vec<f64>>()
        };
        // user nice system idle iowait irq softirq steal; guest time is within user.
        let machine = ticks(text.lines().next()?.strip_prefix("cpu ")?);
        let idle = machine.get(3)? + machine.get(4)?;
        let all: f64 = machine.iter().take(8).sum();
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the command's closing bracket: state is field 3, utime to cstime are 14 to 17.
        let own = text.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        Some((
            all - idle,
            all,
            own.filter_map(|f| f.parse::<f64>().ok()).sum(),
        ))
    }
}
