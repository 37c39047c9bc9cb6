//! Carries an experiment out: repeats, random order, progress, cancellation.
//!
//! The order is that of randomised blocks: each repeat runs every arm once, in an order drawn
//! anew. A slow drift of the machine (heat, a neighbour, the page cache) then falls on all arms
//! alike instead of on the last one, and sample `i` of every arm comes from the same repeat.
//!
//! # Invariants
//!
//! 1. The order of runs depends on the seed and the experiment's name, on nothing else; running
//!    other experiments before or after does not change it.
//! 2. An arm that was skipped or failed is not run again; the others go on.
//! 3. A cancelled run still returns a report, with the samples there are.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::child::{Outcome, RunArm};
use crate::experiment::{Arm, ArmError, Experiment, Role, Scale};
use crate::progress::Progress;
use crate::report::{ArmReport, MetricReport, Report};
use crate::sample::Samples;
use crate::verdict::{ArmState, Verdict, decide, missing};

/// What a run needs from its caller.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// How much work to do.
    pub scale: Scale,
    /// What the order of runs is drawn from.
    pub seed: u64,
    /// How one run of an arm is carried out.
    pub arms: &'a dyn RunArm,
    /// Who is told about progress.
    pub progress: &'a dyn Progress,
    /// Whether to stop; asked between runs and during them.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What a run gathered.
#[derive(Default)]
struct Gathered {
    samples: Samples,
    problems: BTreeMap<&'static str, ArmError>,
    order: Vec<String>,
    interrupted: bool,
}

/// Carries `experiment` out and reports.
///
/// # Blocks
///
/// For as long as the experiment takes: seconds at [`Scale::Quick`], up to minutes at
/// [`Scale::Full`].
#[must_use]
pub fn run(experiment: &dyn Experiment, context: &Context<'_>) -> Report {
    let arms = experiment.arms(context.scale);
    let begun = Instant::now();
    let runs = arms.iter().filter(|arm| arm.role != Role::Derived).count();
    let total = (runs * context.scale.repeats()) as u64;
    context.progress.started(experiment.info().name, total);
    let mut gathered = gather(experiment, &arms, context);
    context.progress.finished();
    experiment.derive(&mut gathered.samples);
    report(
        experiment,
        &arms,
        context,
        gathered,
        begun.elapsed().as_secs_f64(),
    )
}

fn gather(experiment: &dyn Experiment, arms: &[Arm], context: &Context<'_>) -> Gathered {
    let name = experiment.info().name;
    let mut random = fastrand::Rng::with_seed(context.seed ^ hash(name));
    let mut block: Vec<&Arm> = arms
        .iter()
        .filter(|arm| arm.role != Role::Derived)
        .collect();
    let mut gathered = Gathered::default();
    for _ in 0..context.scale.repeats() {
        random.shuffle(&mut block);
        for arm in &block {
            if (context.cancelled)() {
                gathered.interrupted = true;
                return gathered;
            }
            if !gathered.problems.contains_key(arm.key) {
                run_once(name, arm, context, &mut gathered);
            }
            context.progress.advanced();
        }
    }
    gathered
}

fn run_once(name: &str, arm: &Arm, context: &Context<'_>, gathered: &mut Gathered) {
    context.progress.running(arm.label);
    gathered.order.push(arm.key.to_owned());
    match context
        .arms
        .run_arm(name, arm, context.scale, context.cancelled)
    {
        Outcome::Sample(sample) => gathered.samples.push(arm.key, sample),
        Outcome::Error(error) => {
            gathered.problems.insert(arm.key, error);
        }
        Outcome::Cancelled => gathered.interrupted = true,
    }
}

/// A seed for a run that was given none: small enough to be typed again.
#[must_use]
pub fn random_seed() -> u64 {
    fastrand::u64(1..1_000_000)
}

/// FNV-1a: spreads the names of experiments over the seeds.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn report(
    experiment: &dyn Experiment,
    arms: &[Arm],
    context: &Context<'_>,
    gathered: Gathered,
    elapsed_s: f64,
) -> Report {
    let samples = &gathered.samples;
    let states: Vec<ArmState<'_>> = arms.iter().map(|arm| state(arm, &gathered)).collect();
    // Without all samples there is nothing to check and nothing to judge.
    let gap = missing(&states);
    let (premises, parts, verdict) = match gap {
        Some(_) if gathered.interrupted => {
            let reason = "interrupted before every arm had its samples".to_owned();
            (Vec::new(), Vec::new(), Verdict::Inconclusive(reason))
        }
        Some(verdict) => (Vec::new(), Vec::new(), verdict),
        None => {
            let (premises, parts) = (experiment.premises(samples), experiment.judge(samples));
            let verdict = decide(&premises, &parts);
            (premises, parts, verdict)
        }
    };
    let info = experiment.info();
    Report {
        name: info.name.to_owned(),
        claim: info.claim.to_owned(),
        said_in: info.said_in.to_owned(),
        method: info.method.to_owned(),
        control: info.control.to_owned(),
        scale: context.scale,
        seed: context.seed,
        repeats: context.scale.repeats(),
        metrics: experiment
            .metrics()
            .iter()
            .map(MetricReport::from)
            .collect(),
        arms: arms
            .iter()
            .map(|arm| ArmReport::new(arm, samples, gathered.problems.get(arm.key)))
            .collect(),
        premises,
        parts,
        verdict,
        figures: experiment.figures(samples),
        next: info.next.to_owned(),
        interrupted: gathered.interrupted,
        elapsed_s,
        order: gathered.order,
    }
}

fn state<'a>(arm: &'a Arm, gathered: &'a Gathered) -> ArmState<'a> {
    let (skipped, failed) = match gathered.problems.get(arm.key) {
        Some(ArmError::Skipped(reason)) => (Some(reason.as_str()), None),
        Some(ArmError::Failed(reason)) => (None, Some(reason.as_str())),
        None => (None, None),
    };
    ArmState {
        label: arm.label,
        required: arm.required && arm.role != Role::Derived,
        samples: gathered.samples.of(arm.key).len(),
        skipped,
        failed,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::progress::Silent;
    use crate::sample::Sample;

    /// Answers every run with the same number, or with what was planted.
    struct Planted {
        runs: Cell<usize>,
        trouble: Option<(&'static str, ArmError)>,
    }

    impl RunArm for Planted {
        fn run_arm(&self, _: &str, arm: &Arm, _: Scale, _: &dyn Fn() -> bool) -> Outcome {
            self.runs.set(self.runs.get() + 1);
            match &self.trouble {
                Some((key, error)) if *key == arm.key => Outcome::Error(error.clone()),
                _ => Outcome::Sample(Sample::new().with("ns", 1.0)),
            }
        }
    }

    fn planted(trouble: Option<(&'static str, ArmError)>) -> Planted {
        Planted {
            runs: Cell::new(0),
            trouble,
        }
    }

    fn run_with(arms: &Planted, seed: u64, cancelled: &dyn Fn() -> bool) -> Report {
        let experiment = crate::find("context-switch").unwrap();
        let context = Context {
            scale: Scale::Quick,
            seed,
            arms,
            progress: &Silent,
            cancelled,
        };
        run(experiment, &context)
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_another_seed_another() {
        let order = |seed| run_with(&planted(None), seed, &|| false).order;
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }

    #[test]
    fn each_repeat_runs_every_arm_once() {
        let report = run_with(&planted(None), 1, &|| false);
        let arms = report
            .arms
            .iter()
            .filter(|arm| arm.role != Role::Derived)
            .count();
        assert_eq!(report.order.len(), arms * Scale::Quick.repeats());
        for block in report.order.chunks(arms) {
            let mut keys = block.to_vec();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), arms);
        }
    }

    #[test]
    fn an_arm_that_was_skipped_is_not_run_again_and_decides_the_verdict() {
        let trouble = planted(Some(("pipe", ArmError::Skipped("no pipes".into()))));
        let report = run_with(&trouble, 1, &|| false);
        assert_eq!(report.order.iter().filter(|key| *key == "pipe").count(), 1);
        assert!(matches!(report.verdict, Verdict::Skipped(reason) if reason.contains("no pipes")));
    }

    #[test]
    fn a_cancelled_run_keeps_its_samples_and_reaches_no_verdict() {
        let arms = planted(None);
        let report = run_with(&arms, 1, &|| arms.runs.get() >= 3);
        assert!(report.interrupted);
        let run = report.arms.iter().filter(|arm| arm.role != Role::Derived);
        assert_eq!(run.map(|arm| arm.samples.len()).sum::<usize>(), 3);
        assert!(
            matches!(report.verdict, Verdict::Inconclusive(reason) if reason.contains("interrupted"))
        );
    }

    #[test]
    fn samples_without_the_counts_of_the_premise_confirm_nothing() {
        let report = run_with(&planted(None), 1, &|| false);
        assert!(
            matches!(report.verdict, Verdict::Inconclusive(_)),
            "{:?}",
            report.verdict
        );
    }
}
