//! Two threads take two locks in opposite orders. Then each of the four conditions of a deadlock is taken
//! away in turn.
//!
//! The arm that hangs really hangs: its process is ended with the two threads still in it. That they hang is
//! not concluded from the time alone; both are seen asleep in the kernel's `futex` call, where locks wait, and
//! neither has been switched to for a while.
//!
//! std's locks do not know who holds them, so nobody can say what is wrong. Brigade's do. The same two threads
//! then get a report, and may go on: the thread that closes the circle can be made to panic, and gives back
//! what it holds as it unwinds. A detector that always cries would pass all of that; so it also watches code
//! that takes both locks in one order, and has to keep silent.

mod heard;
mod pair;
mod scenes;
mod wound_wait;

use std::sync::{Mutex, RwLock};
use std::time::Duration;

use brigade::diag::{DeadlockResponse, lock_order};
use brigade::sync;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

use heard::{First, Heard};
use pair::{GLANCE, Outcome, PATIENCE, Run, Turn};
use wound_wait::Resources;

/// The experiment.
pub(super) struct Deadlock;

static INFO: Info = Info {
    name: "deadlock",
    claim: "Two threads that take two locks in opposite orders can wait for each other for ever; \
            that takes four conditions at once, and without any one of them all goes on. Who \
            knows the owners of locks can report it at once.",
    said_in: "every text on deadlocks (the Coffman conditions), and on lock ordering as the cure",
    method: "Two threads take a lock each, wait until both have one, and want the other's. Then \
             nobody is excluded (read locks), nobody holds and waits (try and back off), locks \
             are taken away (wound-wait), nobody waits in a circle (one order). The same under \
             Brigade, whose reports are counted.",
    control: "Opposite orders of std's locks with nothing done about it; one order of Brigade's, \
              which must not be reported.",
    premise: "Both threads had one lock when they wanted the other, and hang in the kernel.",
    next: "lock-order (the same mistake, found without a hang)",
};

const DONE: &str = "done";
const MET: &str = "met";
const MISSING: &str = "missing";
const STUCK: &str = "stuck";
const REPORTS: &str = "reports";
const THREADS: &str = "threads";
const PLACES: &str = "places";
const AFTER: &str = "after";

static METRICS: [Metric; 8] = [
    Metric::main(DONE, "rounds done", Unit::Share),
    Metric::aside(STUCK, "hanging", Unit::Count),
    Metric::aside(REPORTS, "reports", Unit::Count),
    Metric::data(MET, "both held", Unit::Share),
    Metric::data(MISSING, "missing", Unit::Count),
    Metric::data(THREADS, "threads", Unit::Count),
    Metric::data(PLACES, "places", Unit::Count),
    Metric::data(AFTER, "after", Unit::Nanoseconds),
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

/// The arms with Brigade's locks: on which threads, and what happens to a deadlock.
const WATCHED: [(&str, &str, Kind, Scene); 4] = [
    (
        "report-kernel",
        "Brigade, kernel threads",
        Kind::Kernel,
        Scene::Reported,
    ),
    (
        "report-green",
        "Brigade, green threads",
        Kind::Green,
        Scene::Reported,
    ),
    (
        "unwound",
        "Brigade, one unwinds",
        Kind::Green,
        Scene::Unwound,
    ),
    ("twin", "Brigade, one order", Kind::Green, Scene::Ordered),
];

/// What two threads with Brigade's locks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// They deadlock, and the report is all.
    Reported,
    /// They deadlock, and the one that closes the circle panics with the report.
    Unwound,
    /// They take both locks in one order.
    Ordered,
}

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
        arms.extend(WATCHED.map(|(key, label, _, scene)| match scene {
            Scene::Ordered => Arm::control(key, label),
            _ => Arm::measured(key, label),
        }));
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let rounds = scale.pick(5, 50);
        let mutexes = || [Mutex::new(()), Mutex::new(())];
        match arm {
            HANG => {
                let locks = mutexes();
                on_kernel_threads(rounds, PATIENCE, move |turn| scenes::opposite(&locks, turn))
            }
            "shared" => {
                let locks = [RwLock::new(()), RwLock::new(())];
                on_kernel_threads(rounds, PATIENCE, move |turn| scenes::shared(&locks, turn))
            }
            "back-off" => {
                let locks = mutexes();
                on_kernel_threads(rounds, PATIENCE, move |turn| scenes::back_off(&locks, turn))
            }
            "preempted" => {
                let resources = Resources::default();
                on_kernel_threads(rounds, PATIENCE, move |turn| {
                    scenes::preempted(&resources, turn)
                })
            }
            "ordered" => {
                let locks = mutexes();
                let turn = move |turn: &Turn<'_>| scenes::ordered(&locks, turn);
                on_kernel_threads(rounds, GLANCE, turn)
            }
            _ => {
                let watched = WATCHED.iter().find(|(key, ..)| *key == arm);
                let (.., kind, scene) = watched.ok_or_else(|| unknown_arm(arm))?;
                kind.host(|| under_brigade(*kind, rounds, *scene))
            }
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
        let hung = [samples.of(HANG), samples.of("report-kernel")];
        let seen = hung
            .iter()
            .all(|runs| !runs.is_empty() && runs.iter().all(seen));
        let hangs = WATCHED
            .iter()
            .filter(|(.., scene)| *scene != Scene::Ordered);
        let mut hangs = hangs.map(|(arm, ..)| *arm).chain([HANG]);
        vec![
            Premise::new(
                seen,
                "where the threads did not end, the kernel says that both wait for a lock",
            ),
            Premise::new(
                hangs.all(|arm| worst(arm, MET) > 0.0) && danger.clone().all(|met| met >= 0.5),
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
        parts.extend(WATCHED.map(|(arm, .., scene)| of_watched(samples, arm, scene)));
        parts
    }
}

fn on_kernel_threads(
    rounds: u32,
    patience: Duration,
    turn: impl Fn(&Turn<'_>) + Send + Sync + 'static,
) -> Result<Sample, ArmError> {
    let run = Run::start(Kind::Kernel, rounds, patience, turn)?;
    run.watch(|| false).map(sample)
}

/// Runs `scene` with Brigade's locks, and listens to what is said about it.
fn under_brigade(kind: Kind, rounds: u32, scene: Scene) -> Result<Sample, ArmError> {
    // The order of locks has an experiment of its own.
    lock_order(false);
    let locks = [sync::Mutex::new(()), sync::Mutex::new(())];
    let (heard, run) = match scene {
        Scene::Reported => {
            let heard = Heard::listen(DeadlockResponse::Continue);
            let turn = move |turn: &Turn<'_>| scenes::opposite(&locks, turn);
            (heard, Run::start(kind, rounds, PATIENCE, turn)?)
        }
        Scene::Unwound => {
            // The panics are the point of this arm, and nobody reads what they print.
            std::panic::set_hook(Box::new(|_| ()));
            let heard = Heard::listen(DeadlockResponse::PanicClosing);
            let turn = move |turn: &Turn<'_>| scenes::unwound(&locks, turn);
            (heard, Run::start(kind, rounds, PATIENCE, turn)?)
        }
        Scene::Ordered => {
            let heard = Heard::listen(DeadlockResponse::Continue);
            let turn = move |turn: &Turn<'_>| scenes::ordered(&locks, turn);
            (heard, Run::start(kind, rounds, GLANCE, turn)?)
        }
    };
    let outcome = run.watch(|| scene == Scene::Reported && heard.reports() > 0)?;
    let first = heard.first();
    let of_first = |number: fn(First) -> f64| first.map_or(f64::NAN, number);
    Ok(sample(outcome)
        .with(REPORTS, f64::from(heard.reports()))
        .with(AFTER, of_first(|first| first.after_ns))
        .with(THREADS, of_first(|first| first.threads as f64))
        .with(PLACES, of_first(|first| first.places as f64)))
}

/// What the samples of an arm with Brigade's locks say. Every run has to be as it should.
fn of_watched(samples: &Samples, arm: &str, scene: Scene) -> Part {
    let of = |key| samples.summary(arm, key);
    let (reports, done) = (of(REPORTS), of(DONE));
    let threads_of = match arm {
        "report-kernel" => "kernel threads",
        _ => "green threads",
    };
    let count = |number| show(number, Unit::Count);
    let (holds, text) = match scene {
        Scene::Reported => {
            let (threads, places) = (of(THREADS), of(PLACES));
            let exact = [(reports, 1.0), (threads, 2.0), (places, 4.0), (done, 0.0)];
            (
                exact
                    .iter()
                    .all(|(s, value)| s.min == *value && s.max == *value),
                format!(
                    "Brigade, {threads_of}: {} report after {}, naming {} threads and {} places",
                    count(reports.median),
                    show(of(AFTER).median, Unit::Nanoseconds),
                    count(threads.median),
                    count(places.median)
                ),
            )
        }
        Scene::Unwound => (
            reports.min >= 1.0 && done.min == 1.0,
            format!(
                "where it makes one thread unwind {} of the rounds end",
                show(done.min, Unit::Share)
            ),
        ),
        Scene::Ordered => (
            reports.max == 0.0 && done.min == 1.0,
            format!("in one order {} reports", count(reports.max)),
        ),
    };
    Part::new(decided(holds, reports.max + done.max), text)
}

fn sample(outcome: Outcome) -> Sample {
    Sample::new()
        .with(DONE, outcome.done)
        .with(MET, outcome.met)
        .with(STUCK, outcome.stuck)
        .with(MISSING, outcome.missing)
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
    };

    const ENDED: Outcome = Outcome {
        done: 1.0,
        met: 1.0,
        missing: 0.0,
        stuck: 0.0,
    };

    /// What a run of an arm with Brigade's locks found that went as claimed.
    fn usual(scene: Scene) -> Sample {
        let (outcome, reports) = match scene {
            Scene::Reported => (HUNG, 1.0),
            Scene::Unwound => (ENDED, 5.0),
            Scene::Ordered => (ENDED, 0.0),
        };
        sample(outcome)
            .with(REPORTS, reports)
            .with(THREADS, 2.0)
            .with(PLACES, 4.0)
    }

    /// The verdict if the last run of `arm` found what `planted` makes of what was claimed.
    fn verdict_if(arm: &str, planted: impl Fn(Sample) -> Sample) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let mut add = |key: &str, usual: Sample| {
                let last = key == arm && i == 4;
                samples.push(key, if last { planted(usual) } else { usual });
            };
            add(HANG, sample(HUNG));
            for (key, _, _, both) in CURES {
                let met = f64::from(u8::from(both));
                add(key, sample(Outcome { met, ..ENDED }));
            }
            for (key, .., scene) in WATCHED {
                add(key, usual(scene));
            }
        }
        decide(&Deadlock.premises(&samples), &Deadlock.judge(&samples))
    }

    /// The verdict if the last run of `arm` went as `outcome` says.
    fn verdict_with(arm: &str, outcome: Outcome) -> Verdict {
        verdict_if(arm, |_| sample(outcome))
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

    #[test]
    fn a_report_that_is_missing_doubled_or_vague_refutes_the_claim() {
        assert_eq!(verdict_if("twin", |usual| usual), Verdict::Confirmed);
        for (arm, key, value) in [
            ("report-green", REPORTS, 0.0),
            ("report-kernel", REPORTS, 2.0),
            ("report-green", THREADS, 1.0),
            ("report-kernel", PLACES, 3.0),
            ("unwound", DONE, 0.8),
            ("unwound", REPORTS, 0.0),
            ("twin", REPORTS, 1.0),
            ("twin", DONE, 0.0),
        ] {
            let verdict = verdict_if(arm, |usual| usual.with(key, value));
            assert_eq!(verdict, Verdict::NotHere, "{arm} {key}");
        }
    }

    #[test]
    fn a_report_without_a_deadlock_decides_nothing() {
        let verdict = verdict_if("report-green", |usual| usual.with(MET, 0.0));
        assert!(
            matches!(&verdict, Verdict::Inconclusive(reason) if reason.contains("had one lock")),
            "{verdict:?}"
        );
    }
}
