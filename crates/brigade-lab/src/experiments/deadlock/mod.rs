//! Two threads take two locks in opposite orders. Then each of the four conditions of a deadlock is taken
//! away in turn.
//!
//! The arm that hangs really hangs: its process is ended with the two threads still in it. That they hang is
//! not concluded from the time alone; both are seen asleep in the kernel's `futex` call, where locks wait, and
//! neither has been switched to for a while.

mod pair;
mod scenes;
mod wound_wait;

use std::sync::{Mutex, RwLock};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency};

use pair::{Outcome, PATIENCE, Run, Turn};
use wound_wait::Resources;

/// The experiment.
pub(super) struct Deadlock;

static INFO: Info = Info {
    name: "deadlock",
    claim: "Two threads that take two locks in opposite orders can wait for each other for ever; \
            that takes four conditions at once, and without any one of them all goes on.",
    said_in: "every text on deadlocks (the Coffman conditions), and on lock ordering as the cure",
    method: "Two threads take a lock each, wait until both have one, and want the other's. Then \
             nobody is excluded (read locks), nobody holds and waits (try and back off), locks \
             are taken away (wound-wait), nobody waits in a circle (one order).",
    control: "The opposite order with nothing done about it.",
    premise: "Both threads had one lock when they wanted the other, and hang in the kernel.",
    next: "lock-order (the same mistake, found without a hang)",
};

const DONE: &str = "done";
const MET: &str = "met";
const MISSING: &str = "missing";
const STUCK: &str = "stuck";
const TOOK: &str = "took";

static METRICS: [Metric; 5] = [
    Metric::main(DONE, "rounds done", Unit::Share),
    Metric::aside(MET, "both held", Unit::Share),
    Metric::aside(STUCK, "hanging", Unit::Count),
    Metric::data(MISSING, "missing", Unit::Count),
    Metric::data(TOOK, "took", Unit::Nanoseconds),
];

const HANG: &str = "opposite";

/// The cures: arm, label, what it does without, and whether the threads can both have one lock then.
const CURES: [(&str, &str, &str, bool); 4] = [
    (
        "shared",
        "nobody is excluded",
        "without mutual exclusion",
        true,
    ),
    (
        "back-off",
        "nobody holds and waits",
        "without hold and wait",
        true,
    ),
    ("preempted", "locks are taken away", "with preemption", true),
    (
        "ordered",
        "nobody waits in a circle",
        "without a circle",
        false,
    ),
];

impl Experiment for Deadlock {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let mut arms = vec![Arm::control(HANG, "opposite orders")];
        arms.extend(CURES.map(|(key, label, ..)| Arm::measured(key, label)));
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let rounds = scale.pick(5, 50);
        let mutexes = || [Mutex::new(()), Mutex::new(())];
        match arm {
            HANG => {
                let locks = mutexes();
                on_kernel_threads(rounds, move |turn| scenes::opposite(&locks, turn))
            }
            "shared" => {
                let locks = [RwLock::new(()), RwLock::new(())];
                on_kernel_threads(rounds, move |turn| scenes::shared(&locks, turn))
            }
            "back-off" => {
                let locks = mutexes();
                on_kernel_threads(rounds, move |turn| scenes::back_off(&locks, turn))
            }
            "preempted" => {
                let resources = Resources::default();
                on_kernel_threads(rounds, move |turn| scenes::preempted(&resources, turn))
            }
            "ordered" => {
                let locks = mutexes();
                on_kernel_threads(rounds, move |turn| scenes::ordered(&locks, turn))
            }
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let worst = |arm: &str, key| samples.summary(arm, key).min;
        let danger = CURES
            .iter()
            .filter(|(.., both)| *both)
            .map(|(arm, ..)| worst(arm, MET));
        let least = danger.clone().fold(f64::NAN, f64::min);
        let missing: Vec<f64> = CURES
            .iter()
            .map(|(arm, ..)| samples.summary(arm, MISSING).max)
            .collect();
        let seen = |run: &Sample| run.get(DONE) == 1.0 || run.get(STUCK) == 2.0;
        let hung = samples.of(HANG);
        vec![
            Premise::new(
                !hung.is_empty() && hung.iter().all(seen),
                "where the threads did not end, the kernel says that both wait for a lock",
            ),
            Premise::new(
                worst(HANG, MET) > 0.0 && danger.clone().all(|met| met >= 0.5),
                format!(
                    "both threads had one lock when they wanted the other, where the cure allows \
                     that (in {} of the rounds at least)",
                    show(least, Unit::Share)
                ),
            ),
            Premise::new(
                missing.iter().all(|missing| *missing == 0.0),
                "each round did its work",
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let hang = samples.summary(HANG, DONE);
        let share = |share| show(share, Unit::Share);
        let mut parts = vec![Part::new(
            decided(hang.max < 1.0, hang.max),
            format!(
                "in opposite orders {} of the rounds end and both threads hang",
                share(hang.median)
            ),
        )];
        parts.extend(CURES.map(|(arm, _, how, _)| {
            // One run that hangs shows that a cure is none, however many go well.
            let worst = samples.summary(arm, DONE).min;
            Part::new(
                decided(worst == 1.0, worst),
                format!("{how} {}", share(worst)),
            )
        }));
        parts
    }
}

fn on_kernel_threads(
    rounds: u32,
    turn: impl Fn(&Turn<'_>) + Send + Sync + 'static,
) -> Result<Sample, ArmError> {
    let run = Run::start(Kind::Kernel, rounds, PATIENCE, turn)?;
    run.watch(|| false).map(sample)
}

/// A part of the claim that one number decides, if there is one.
fn decided(holds: bool, number: f64) -> Tendency {
    match (number.is_nan(), holds) {
        (true, _) => Tendency::Unclear,
        (false, true) => Tendency::Holds,
        (false, false) => Tendency::Fails,
    }
}

fn sample(outcome: Outcome) -> Sample {
    Sample::new()
        .with(DONE, outcome.done)
        .with(MET, outcome.met)
        .with(STUCK, outcome.stuck)
        .with(MISSING, outcome.missing)
        .with(TOOK, outcome.took_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    const HUNG: Outcome = Outcome {
        done: 0.0,
        met: 0.2,
        missing: 0.0,
        stuck: 2.0,
        took_ns: 2e8,
    };

    const ENDED: Outcome = Outcome {
        done: 1.0,
        met: 1.0,
        missing: 0.0,
        stuck: 0.0,
        took_ns: 1e6,
    };

    /// The verdict if the last run of `arm` went as `outcome` says and everything else as claimed.
    fn verdict_with(arm: &str, outcome: Outcome) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let planted = |key: &str, usual| if key == arm && i == 4 { outcome } else { usual };
            samples.push(HANG, sample(planted(HANG, HUNG)));
            for (key, _, _, both) in CURES {
                let met = f64::from(u8::from(both));
                let usual = Outcome { met, ..ENDED };
                samples.push(key, sample(planted(key, usual)));
            }
        }
        decide(&Deadlock.premises(&samples), &Deadlock.judge(&samples))
    }

    fn inconclusive_for(arm: &str, outcome: Outcome, word: &str) {
        let verdict = verdict_with(arm, outcome);
        assert!(
            matches!(&verdict, Verdict::Inconclusive(reason) if reason.contains(word)),
            "{verdict:?}"
        );
    }

    #[test]
    fn threads_that_did_not_end_and_do_not_wait_for_a_lock_decide_nothing() {
        let slow = Outcome { stuck: 1.0, ..HUNG };
        inconclusive_for(HANG, slow, "wait for a lock");
    }

    #[test]
    fn a_cure_that_was_never_in_danger_decides_nothing() {
        for arm in ["shared", "back-off", "preempted"] {
            let lucky = Outcome { met: 0.0, ..ENDED };
            inconclusive_for(arm, lucky, "had one lock");
        }
    }

    #[test]
    fn rounds_without_work_decide_nothing() {
        let idle = Outcome {
            missing: 3.0,
            ..ENDED
        };
        inconclusive_for("shared", idle, "its work");
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict_with(HANG, HUNG), Verdict::Confirmed);
        assert_eq!(verdict_with(HANG, ENDED), Verdict::NotHere);
        for (arm, _, _, both) in CURES {
            let met = f64::from(u8::from(both));
            let hangs_too = Outcome { met, ..HUNG };
            assert_eq!(verdict_with(arm, hangs_too), Verdict::NotHere, "{arm}");
        }
    }
}
