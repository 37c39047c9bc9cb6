//! Short tasks beside long ones: for how long does a short one wait?
//!
//! The short tasks are due at fixed times while the long ones compute, and each counts from the time it was due. If
//! they were started one after the other instead, each when the one before had ended, a freeze would hold up a
//! single one of them and look like one bad case among many good ones.
//!
//! The long tasks hold their threads for as long as they last, whatever the kernel gives them meanwhile; so that they
//! last is the premise, and only little CPU time. Other programs can make short tasks late, not punctual: that they are
//! late counts only if the long ones had half of the CPUs.

use std::time::{Duration, Instant};

use crate::compute::{Pace, burn, burn_until};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::quantile;
use crate::tasks::{Executor, Spawner, all};
use crate::together::{Kind, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, fails_only_if};

/// The experiment.
pub(super) struct PreemptionFairness;

static INFO: Info = Info {
    name: "preemption-fairness",
    claim: "Where tasks are interrupted or their processor is handed on, a short task beside long \
            ones waits a small part of their length; where tasks must give way by themselves, it \
            waits until they end.",
    said_in: "texts on preemptive and cooperative scheduling",
    method: "As many tasks as CPUs compute without a pause; meanwhile short tasks of 20 µs become \
             due, one every 0.5 ms. How long after it was due each of them ended: half of them, \
             99 of 100, the last one. In kernel threads, green threads, async tasks of Brigade.",
    control: "The same tasks on a one-thread loop, where they give way at an await only; and \
              green threads without the long tasks.",
    premise: "Each short task was waiting when it was due, the long ones held their threads, and \
              without them a short task waits next to nothing.",
    next: "event-loop-freeze (other runtimes, and a ticker)",
};

const P50: &str = "p50";
const P99: &str = "p99";
const WORST: &str = "worst";
const QUICKLY: &str = "within_1ms";
/// How many short tasks ended within what time, in milliseconds: the distribution, coarsely.
const WITHIN: [(f64, &str); 4] = [
    (0.1, "within_100us"),
    (1.0, QUICKLY),
    (10.0, "within_10ms"),
    (100.0, "within_100ms"),
];
const WAITING: &str = "waiting";
const BUSY: &str = "busy";
const HELD: &str = "held";
const HOGGED: &str = "computed_for";

static METRICS: [Metric; 11] = [
    Metric::main(P99, "p99", Unit::Nanoseconds),
    Metric::aside(P50, "p50", Unit::Nanoseconds),
    Metric::aside(WORST, "worst", Unit::Nanoseconds),
    Metric::data("within_100us", "in 100 µs", Unit::Share),
    Metric::data(QUICKLY, "in 1 ms", Unit::Share),
    Metric::data("within_10ms", "in 10 ms", Unit::Share),
    Metric::data("within_100ms", "in 100 ms", Unit::Share),
    Metric::data(WAITING, "waiting", Unit::Share),
    Metric::data(BUSY, "CPUs busy", Unit::Share),
    Metric::data(HELD, "held", Unit::Share),
    Metric::data(HOGGED, "computed", Unit::Nanoseconds),
];

/// Before the long tasks begin: enough to start all of the short ones.
const LEAD: Duration = Duration::from_millis(25);
/// Between two short tasks.
const STEP: Duration = Duration::from_micros(500);
/// How long a short task computes.
const SHORT: Duration = Duration::from_micros(20);

/// The arms in which the short tasks should not wait for the long ones.
const SOON: [(&str, &str); 3] = [
    ("kernel", "in kernel threads"),
    ("green", "in green threads"),
    ("tasks", "in async tasks of Brigade"),
];

/// Long tasks that had this share of the CPUs explain what short ones wait for; those that had next to nothing of them
/// were not carried out.
const ENOUGH: f64 = 0.5;
const SOME: f64 = 0.05;

/// How long the long tasks compute.
fn hogging(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(60), Duration::from_millis(300))
}

impl Experiment for PreemptionFairness {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel", "kernel threads"),
            Arm::measured("green", "green threads, M:N"),
            Arm::measured("tasks", "async tasks, Brigade"),
            Arm::control("loop", "one-thread loop"),
            Arm::control("calm", "green, no long tasks"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let cpus = probe::cpus();
        let plan = Plan {
            hogs: if arm == "calm" { 0 } else { cpus },
            hogging: hogging(scale),
            rounds: Pace::measure().rounds(SHORT),
        };
        let usable = if arm == "loop" { 1 } else { cpus };
        let seen = match arm {
            "kernel" => plan.in_threads(Kind::Kernel),
            "green" | "calm" => plan.in_threads(Kind::Green),
            "tasks" => Executor::Brigade(cpus.max(2)).run(move |on| plan.in_tasks(on)),
            "loop" => Executor::Loop.run(move |on| plan.in_tasks(on)),
            _ => Err(unknown_arm(arm)),
        }?;
        Ok(seen.sample(plan.hogging, usable))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = || SOON.iter().map(|(arm, _)| *arm).chain(["loop"]);
        let waiting = || arms().map(|arm| samples.summary(arm, WAITING).min);
        let busy = || arms().map(|arm| samples.summary(arm, BUSY).median);
        let held = || arms().map(|arm| samples.summary(arm, HELD).q1);
        let calm = samples.summary("calm", P99).q3;
        let hogged = samples.median("calm", HOGGED);
        let share = |shares: &mut dyn Iterator<Item = f64>| {
            show(shares.fold(f64::NAN, f64::min), Unit::Share)
        };
        vec![
            Premise::new(
                waiting().all(|share| share >= 0.99),
                format!(
                    "the short tasks were waiting when they were due ({} of them at least)",
                    share(&mut waiting())
                ),
            ),
            Premise::new(
                held().all(|share| share >= 0.8) && busy().all(|share| share >= SOME),
                format!(
                    "the long tasks held the threads they were to hold ({} of the time at least, \
                     with {} of the CPUs)",
                    share(&mut held()),
                    share(&mut busy())
                ),
            ),
            Premise::new(
                calm <= hogged / 8.0,
                format!(
                    "without long tasks the short ones wait next to nothing (p99 {})",
                    show(calm, Unit::Nanoseconds)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let hogged = samples.median("calm", HOGGED);
        let time = |ns| show(ns, Unit::Nanoseconds);
        let text = |arm: &str, how: &str| {
            format!(
                "{how} {} of the short tasks end within 1 ms and 99 % within {}",
                show(samples.median(arm, QUICKLY), Unit::Share),
                time(samples.median(arm, P99))
            )
        };
        let mut parts = vec![Part::new(
            at_least(&samples.summary("loop", P99), 0.8 * hogged),
            format!(
                "{}, the long ones being {}",
                text("loop", "on a one-thread loop"),
                time(hogged)
            ),
        )];
        for (arm, how) in SOON {
            let p99 = samples.summary(arm, P99);
            let tendency = at_most_unless_past(&p99, hogged / 4.0, 0.75 * hogged);
            let given = samples.median(arm, BUSY) >= ENOUGH;
            parts.push(Part::new(fails_only_if(given, tendency), text(arm, how)));
        }
        parts
    }
}

/// What one run does.
#[derive(Clone, Copy)]
struct Plan {
    hogs: usize,
    hogging: Duration,
    /// What a short task computes.
    rounds: u64,
}

/// When what happens, once it is known when the run begins.
#[derive(Clone, Copy)]
struct Times {
    start: Instant,
    from: Instant,
    end: Instant,
}

impl Times {
    fn starting_now(plan: Plan) -> Self {
        let start = Instant::now();
        let from = start + LEAD;
        let end = from + plan.hogging;
        Self { start, from, end }
    }

    /// When the short tasks are due: all of them while the long ones compute.
    fn due(self) -> impl Iterator<Item = Instant> {
        let (from, end) = (self.from, self.end);
        (1..)
            .map(move |i| from + STEP * i)
            .take_while(move |due| *due < end)
    }

    /// What a long task does; returns for how long.
    fn hog(self) -> Duration {
        let begun = Instant::now();
        burn_until(self.end);
        begun.elapsed()
    }

    /// When to read what the CPUs have done so far: afterwards there may be no turn for it.
    fn just_before(self) -> Instant {
        self.from - (self.from - self.start) / 5
    }
}

/// What became of a short task.
#[derive(Clone, Copy)]
struct Short {
    /// It began to wait before it was due.
    waited: bool,
    /// From when it was due to its end.
    latency: Duration,
}

impl Short {
    /// A short task that has begun to wait at `begun` and got its turn now.
    fn compute(begun: Instant, due: Instant, rounds: u64) -> Self {
        burn(rounds);
        Self {
            waited: begun <= due,
            latency: due.elapsed(),
        }
    }
}

/// What one run saw.
struct Seen {
    shorts: Vec<Short>,
    cpu_ns: f64,
    /// How long the long tasks lasted, all together.
    held: Duration,
}

impl Plan {
    fn in_threads(self, kind: Kind) -> Result<Seen, ArmError> {
        let sleep_until =
            move |due: Instant| kind.sleep(due.saturating_duration_since(Instant::now()));
        kind.host(move || {
            let times = Times::starting_now(self);
            let mut hogs = Vec::with_capacity(self.hogs);
            for _ in 0..self.hogs {
                hogs.push(kind.spawn(move || {
                    sleep_until(times.from);
                    times.hog()
                })?);
            }
            let mut shorts = Vec::new();
            for due in times.due() {
                shorts.push(kind.spawn(move || {
                    let begun = Instant::now();
                    sleep_until(due);
                    Short::compute(begun, due, self.rounds)
                })?);
            }
            sleep_until(times.just_before());
            let before = probe::cpu_time_ns();
            let shorts = join_all(shorts)?;
            let held = join_all(hogs)?.into_iter().sum();
            let cpu_ns = probe::cpu_time_ns() - before;
            Ok(Seen {
                shorts,
                cpu_ns,
                held,
            })
        })
    }

    async fn in_tasks(self, on: Spawner) -> Result<Seen, ArmError> {
        let times = Times::starting_now(self);
        let hog = |_| {
            let begin = on.sleep_until(times.from);
            on.spawn(async move {
                begin.await;
                times.hog()
            })
        };
        let hogs: Vec<_> = (0..self.hogs).map(hog).collect();
        let short = |due: Instant| {
            let turn = on.sleep_until(due);
            on.spawn(async move {
                let begun = Instant::now();
                turn.await;
                Short::compute(begun, due, self.rounds)
            })
        };
        let shorts: Vec<_> = times.due().map(short).collect();
        on.sleep_until(times.just_before()).await;
        let before = probe::cpu_time_ns();
        let shorts = all(shorts).await?;
        let held = all(hogs).await?.into_iter().sum();
        let cpu_ns = probe::cpu_time_ns() - before;
        Ok(Seen {
            shorts,
            cpu_ns,
            held,
        })
    }
}

impl Seen {
    fn sample(&self, hogging: Duration, cpus: usize) -> Sample {
        let count = self.shorts.len() as f64;
        let mut ns: Vec<f64> = self
            .shorts
            .iter()
            .map(|short| short.latency.as_nanos() as f64)
            .collect();
        if ns.is_empty() {
            return Sample::new();
        }
        ns.sort_by(f64::total_cmp);
        let waiting = self.shorts.iter().filter(|short| short.waited).count() as f64;
        let usable = hogging.as_nanos() as f64 * cpus as f64;
        let mut sample = Sample::new();
        for (ms, key) in WITHIN {
            let within = ns.iter().filter(|ns| **ns <= ms * 1e6).count() as f64;
            sample = sample.with(key, within / count);
        }
        sample
            .with(P50, quantile(&ns, 0.5))
            .with(P99, quantile(&ns, 0.99))
            .with(WORST, quantile(&ns, 1.0))
            .with(WAITING, waiting / count)
            .with(BUSY, self.cpu_ns / usable)
            .with(HELD, (self.held.as_nanos() as f64 / usable).min(1.0))
            .with(HOGGED, hogging.as_nanos() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    #[derive(Clone, Copy)]
    struct Machine {
        on_loop: f64,
        tasks: f64,
        calm: f64,
        busy: f64,
        held: f64,
        waiting: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        on_loop: 59.0 * MS,
        tasks: 3.0 * MS,
        calm: 0.2 * MS,
        busy: 0.95,
        held: 1.0,
        waiting: 1.0,
    };

    fn verdict(machine: Machine) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let arms = [
                ("kernel", 4.0 * MS),
                ("green", 3.0 * MS),
                ("tasks", machine.tasks),
                ("loop", machine.on_loop),
                ("calm", machine.calm),
            ];
            for (arm, p99) in arms {
                let sample = Sample::new()
                    .with(P99, p99 * noise)
                    .with(BUSY, machine.busy)
                    .with(HELD, machine.held)
                    .with(WAITING, machine.waiting)
                    .with(HOGGED, 60.0 * MS);
                samples.push(arm, sample);
            }
        }
        let premises = PreemptionFairness.premises(&samples);
        decide(&premises, &PreemptionFairness.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn short_tasks_that_were_started_too_late_decide_nothing() {
        let waiting = 0.8;
        inconclusive_for(
            Machine {
                waiting,
                ..AS_CLAIMED
            },
            "waiting when",
        );
    }

    #[test]
    fn long_tasks_that_do_not_compute_decide_nothing() {
        let busy = 0.01;
        inconclusive_for(Machine { busy, ..AS_CLAIMED }, "CPUs");
    }

    #[test]
    fn long_tasks_that_hold_no_thread_decide_nothing() {
        let held = 0.3;
        inconclusive_for(Machine { held, ..AS_CLAIMED }, "held the threads");
    }

    #[test]
    fn beside_programs_that_take_the_cpus_short_tasks_may_be_punctual_and_not_be_blamed() {
        let loaded = Machine {
            busy: 0.2,
            ..AS_CLAIMED
        };
        assert_eq!(verdict(loaded), Verdict::Confirmed);
        let tasks = 58.0 * MS;
        inconclusive_for(Machine { tasks, ..loaded }, "noise");
    }

    #[test]
    fn short_tasks_that_wait_without_long_ones_decide_nothing() {
        let calm = 20.0 * MS;
        inconclusive_for(Machine { calm, ..AS_CLAIMED }, "next to nothing");
    }

    #[test]
    fn waits_that_other_programs_explain_are_noise() {
        let tasks = 20.0 * MS;
        inconclusive_for(
            Machine {
                tasks,
                ..AS_CLAIMED
            },
            "noise",
        );
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(AS_CLAIMED), Verdict::Confirmed);
        let refuted = [
            Machine {
                tasks: 58.0 * MS,
                ..AS_CLAIMED
            },
            Machine {
                on_loop: 3.0 * MS,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn every_short_task_is_due_while_the_long_ones_compute() {
        let plan = Plan {
            hogs: 0,
            hogging: Duration::from_millis(2),
            rounds: 1,
        };
        let times = Times::starting_now(plan);
        let due: Vec<_> = times.due().collect();
        assert_eq!(due.len(), 3);
        assert!(due.iter().all(|due| *due > times.from && *due < times.end));
    }

    #[test]
    fn a_sample_holds_the_quantiles_and_how_many_were_quick() {
        let short = |ms: u64| Short {
            waited: ms != 40,
            latency: Duration::from_millis(ms),
        };
        let seen = Seen {
            shorts: [0, 1, 20, 40].map(short).to_vec(),
            cpu_ns: 30.0 * MS,
            held: Duration::from_millis(45),
        };
        let sample = seen.sample(Duration::from_millis(60), 1);
        assert_eq!((sample.get(P50), sample.get(WORST)), (10.5 * MS, 40.0 * MS));
        assert_eq!((sample.get(QUICKLY), sample.get(WAITING)), (0.5, 0.75));
        assert_eq!((sample.get("within_10ms"), sample.get(BUSY)), (0.5, 0.5));
        assert_eq!((sample.get("within_100ms"), sample.get(HELD)), (1.0, 0.75));
    }
}
