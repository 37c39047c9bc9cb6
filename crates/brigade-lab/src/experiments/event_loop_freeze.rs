//! A task that computes between two awaits, beside a task that should tick.
//!
//! The same two futures run on every executor, so only who polls them differs. A loop on one thread stands still
//! for as long as the computation lasts. A runtime with several threads stands still when as many tasks compute as
//! it has threads, and may before: which of its threads waits for the timers is nothing a program can choose.
//! Where the processor of a thread that computes is handed on, the ticker goes on whatever the number.
//!
//! All computations end at the same moment, so that on one thread, where they come one after the other, the ticker
//! stands still once and for as long as one of them takes.
//!
//! What matters to an executor is whether its threads are held, whatever the kernel gives them meanwhile; so the time
//! that the computations lasted is the premise, and only little CPU time. Other programs can make the ticker late, not
//! punctual: that it stands still beside Brigade's tasks counts only if the computation had half of the CPUs.

use std::time::{Duration, Instant};

use crate::answer::answer;
use crate::compute::burn_until;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::tasks::{Executor, Spawner, all};
use crate::ticker::{self, Ticks};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, fails_only_if};

/// The experiment.
pub(super) struct EventLoopFreeze;

static INFO: Info = Info {
    name: "event-loop-freeze",
    claim: "An async task that computes without an await freezes its event loop for as long, and \
            a runtime with several threads once as many tasks compute as it has threads; where \
            processors are handed on, the others go on.",
    said_in: "texts on async runtimes (\"do not block the executor\")",
    method: "A task ticks every 2 ms by the executor's own timer; after some ticks other tasks \
             compute without an await. On a one-thread loop, on tokio with one thread and with \
             one per CPU, and as async tasks of Brigade. The longest gap between ticks counts.",
    control: "A one-thread loop of a hundred lines, which nothing keeps from freezing; tokio with \
              the computation moved to threads of its own (spawn_blocking); and Brigade's tasks \
              without computation.",
    premise: "The ticker ticked before the computation, the computation held the threads, and \
              without it the ticker does not stand still.",
    next: "preemption-fairness (what short tasks wait for beside a long one)",
};

const GAP: &str = "gap";
const P50: &str = "p50";
const P99: &str = "p99";
const LATEST: &str = "latest";
const BUSY: &str = "busy";
const HELD: &str = "held";
const BEFORE: &str = "ticks_before";
const HOGGED: &str = "computed_for";
const LONGEST: &str = "longest";

static METRICS: [Metric; 9] = [
    Metric::main(GAP, "longest gap", Unit::Nanoseconds),
    Metric::aside(P50, "late p50", Unit::Nanoseconds),
    Metric::aside(P99, "late p99", Unit::Nanoseconds),
    Metric::data(LATEST, "latest", Unit::Nanoseconds),
    Metric::data(BUSY, "CPUs busy", Unit::Share),
    Metric::data(HELD, "held", Unit::Share),
    Metric::data(BEFORE, "before", Unit::Count),
    Metric::data(HOGGED, "computed", Unit::Nanoseconds),
    Metric::data(LONGEST, "longest", Unit::Nanoseconds),
];

const PERIOD: Duration = Duration::from_millis(2);
/// Ticks come before the computation, to show that the ticker runs.
const LEAD: Duration = Duration::from_millis(25);

/// The arms that should stand still, and how they are spoken of.
const FREEZE: [(&str, &str); 3] = [
    ("loop", "one task computes on a one-thread loop"),
    ("tokio-one", "one task computes on tokio with one thread"),
    ("tokio", "as many tasks compute as tokio has threads"),
];
/// The arms that should go on.
const GO_ON: [(&str, &str); 2] = [
    ("brigade", "as many tasks compute as Brigade has processors"),
    ("brigade-4", "four times as many do"),
];

/// A computation that had this share of the CPUs it could use explains what happens beside it; one that had next to
/// nothing of them was not carried out.
const ENOUGH: f64 = 0.5;
const SOME: f64 = 0.05;

/// Who goes on stands still for no longer, in nanoseconds, however long the computation is: until the processor is
/// handed on, which takes 10 ms, and then for a turn of each of four computations per CPU, several milliseconds each.
const GOES_ON: f64 = 30e6;

/// How long the computation lasts.
fn hogging(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(60), Duration::from_millis(200))
}

impl Experiment for EventLoopFreeze {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::control("loop", "one-thread loop, 1 task"),
            Arm::measured("tokio-one", "tokio, 1 thread, 1 task"),
            Arm::measured("tokio-less", "tokio, one less than thr.").optional(),
            Arm::measured("tokio", "tokio, as many as threads"),
            Arm::control("tokio-off", "tokio, spawn_blocking").optional(),
            Arm::measured("brigade", "Brigade, as many as proc."),
            Arm::measured("brigade-4", "Brigade, four times that"),
            Arm::control("calm", "Brigade, no computation"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let workers = probe::cpus().max(2);
        let (executor, hogs) = match arm {
            "loop" => (Executor::Loop, 1),
            "tokio-one" => (Executor::TokioOne, 1),
            "tokio-less" => (Executor::Tokio(workers), workers - 1),
            "tokio" | "tokio-off" => (Executor::Tokio(workers), workers),
            "brigade" => (Executor::Brigade(workers), workers),
            "brigade-4" => (Executor::Brigade(workers), 4 * workers),
            "calm" => (Executor::Brigade(workers), 0),
            _ => return Err(unknown_arm(arm)),
        };
        let place = match arm {
            "tokio-off" => Place::Elsewhere,
            _ => Place::Here,
        };
        let hogging = hogging(scale);
        executor.run(move |on| ticker_and_hogs(on, hogs, place, hogging))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = FREEZE.iter().chain(&GO_ON).map(|(arm, _)| *arm);
        let before = arms.clone().map(|arm| samples.summary(arm, BEFORE).min);
        let busy = arms.clone().map(|arm| samples.summary(arm, BUSY).median);
        let held = arms.map(|arm| samples.summary(arm, HELD).q1);
        let calm = samples.summary("calm", GAP).q3;
        let hogged = samples.median("calm", HOGGED);
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                before.clone().all(|ticks| ticks >= 1.0),
                format!(
                    "the ticker ticked before the computation ({} times at least)",
                    show(least(&mut before.clone()), Unit::Count)
                ),
            ),
            Premise::new(
                held.clone().all(|share| share >= 0.8) && busy.clone().all(|share| share >= SOME),
                format!(
                    "the computation held the threads it was to hold ({} of the time at least, with \
                     {} of the CPUs)",
                    show(least(&mut held.clone()), Unit::Share),
                    show(least(&mut busy.clone()), Unit::Share)
                ),
            ),
            Premise::new(
                calm <= hogged / 4.0,
                format!(
                    "without computation the ticker does not stand still (longest gap {})",
                    show(calm, Unit::Nanoseconds)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let hogged = samples.median("calm", HOGGED);
        let time = |s: &Summary| show(s.median, Unit::Nanoseconds);
        let mut parts = Vec::new();
        for (arm, how) in FREEZE {
            let gap = samples.summary(arm, GAP);
            let text = format!("{how}: the ticker stands still for {}", time(&gap));
            parts.push(Part::new(at_least(&gap, 0.9 * hogged), text));
        }
        for (arm, how) in GO_ON {
            let (gap, p99) = (samples.summary(arm, GAP), samples.summary(arm, P99));
            let text = format!(
                "{how}: it stands still for {} at most (late p99 {})",
                time(&gap),
                time(&p99)
            );
            let tendency = at_most_unless_past(&gap, GOES_ON.min(hogged / 2.0), 0.8 * hogged);
            let given = samples.median(arm, BUSY) >= ENOUGH;
            parts.push(Part::new(fails_only_if(given, tendency), text));
        }
        parts
    }
}

/// Where the computation runs.
#[derive(Clone, Copy)]
enum Place {
    /// In the task.
    Here,
    /// On a thread that tokio keeps for what blocks, while the task waits.
    Elsewhere,
}

/// Runs as a task: starts the ticker, and `hogs` tasks that compute.
async fn ticker_and_hogs(
    on: Spawner,
    hogs: usize,
    place: Place,
    hogging: Duration,
) -> Result<Sample, ArmError> {
    let start = Instant::now();
    let from = start + LEAD;
    let end = from + hogging;
    let timers = on.clone();
    let ticker = on.spawn(async move {
        let sleep_until = |due| timers.sleep_until(due);
        let lead = ticker::tick_async(start, from, PERIOD, sleep_until).await;
        let ticks = ticker::tick_async(from, end, PERIOD, sleep_until).await;
        (lead.before_end, ticks)
    });
    let hog = |_| {
        let begin = on.sleep_until(from);
        on.spawn(async move {
            begin.await;
            let begun = Instant::now();
            match place {
                Place::Here => burn_until(end),
                Place::Elsewhere => burn_elsewhere(end).await,
            }
            begun.elapsed()
        })
    };
    let hogs: Vec<_> = (0..hogs).map(hog).collect();
    // How many CPUs the computation could keep busy: no more than there are, or than there are threads for it.
    let usable = match (&on, hogs.len()) {
        (Spawner::Brigade, count) => count.min(probe::cpus()),
        (Spawner::Loop(_), _) => 1,
        (Spawner::Tokio, count) => count.min(probe::cpus()),
    };
    // How many threads it could hold.
    let threads = match &on {
        Spawner::Loop(_) => 1,
        Spawner::Tokio | Spawner::Brigade => hogs.len().min(probe::cpus().max(2)),
    };
    // Read before the computation begins: afterwards this task may not get a turn.
    on.sleep_until(from - LEAD / 3).await;
    let cpu_before = probe::cpu_time_ns();
    let (before, ticks) = ticker.await?;
    let lasted = all(hogs).await?;
    let longest = lasted.iter().max().copied().unwrap_or_default();
    let held = lasted.iter().sum::<Duration>().as_secs_f64();
    let held = held / (hogging.as_secs_f64() * threads.max(1) as f64);
    let used = probe::cpu_time_ns() - cpu_before;
    let busy = used / (hogging.as_nanos() as f64 * usable.max(1) as f64);
    Ok(sample(before, &ticks, busy, hogging)
        .with(HELD, held.min(1.0))
        .with(LONGEST, longest.as_nanos() as f64))
}

async fn burn_elsewhere(end: Instant) {
    let (giver, over) = answer();
    tokio::task::spawn_blocking(move || {
        burn_until(end);
        giver.give(());
    });
    // A computation that panicked has said so, and shows as CPUs that were not busy.
    let _ = over.await;
}

fn sample(before: usize, ticks: &Ticks, busy: f64, hogging: Duration) -> Sample {
    Sample::new()
        .with(GAP, ticks.longest_gap)
        .with(P50, ticks.p50())
        .with(P99, ticks.p99())
        .with(LATEST, ticks.latest())
        .with(BUSY, busy)
        .with(BEFORE, before as f64)
        .with(HOGGED, hogging.as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    #[derive(Clone, Copy)]
    struct Machine {
        on_loop: f64,
        tokio: f64,
        brigade: f64,
        calm: f64,
        busy: f64,
        held: f64,
        before: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        on_loop: 61.0 * MS,
        tokio: 62.0 * MS,
        brigade: 5.0 * MS,
        calm: 2.1 * MS,
        busy: 0.95,
        held: 1.0,
        before: 7.0,
    };

    fn verdict(machine: Machine) -> Verdict {
        verdict_of(machine, 60.0 * MS)
    }

    fn verdict_of(machine: Machine, hogged: f64) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let arms = [
                ("loop", machine.on_loop),
                ("tokio-one", machine.tokio),
                ("tokio", machine.tokio),
                ("brigade", machine.brigade),
                ("brigade-4", machine.brigade),
                ("calm", machine.calm),
            ];
            for (arm, gap) in arms {
                let sample = Sample::new()
                    .with(GAP, gap * noise)
                    .with(BUSY, machine.busy)
                    .with(HELD, machine.held)
                    .with(BEFORE, machine.before)
                    .with(HOGGED, hogged);
                samples.push(arm, sample);
            }
        }
        let premises = EventLoopFreeze.premises(&samples);
        decide(&premises, &EventLoopFreeze.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn a_ticker_that_never_ticked_before_the_computation_decides_nothing() {
        let before = 0.0;
        inconclusive_for(
            Machine {
                before,
                ..AS_CLAIMED
            },
            "before",
        );
    }

    #[test]
    fn tasks_that_do_not_compute_decide_nothing() {
        let busy = 0.01;
        inconclusive_for(Machine { busy, ..AS_CLAIMED }, "CPUs");
    }

    #[test]
    fn tasks_that_hold_no_thread_decide_nothing() {
        let held = 0.3;
        inconclusive_for(Machine { held, ..AS_CLAIMED }, "held the threads");
    }

    #[test]
    fn beside_programs_that_take_the_cpus_a_ticker_may_go_on_and_not_be_blamed() {
        let loaded = Machine {
            busy: 0.2,
            ..AS_CLAIMED
        };
        assert_eq!(verdict(loaded), Verdict::Confirmed);
        let brigade = 61.0 * MS;
        inconclusive_for(Machine { brigade, ..loaded }, "noise");
    }

    #[test]
    fn a_ticker_that_stands_still_by_itself_decides_nothing() {
        let calm = 30.0 * MS;
        inconclusive_for(Machine { calm, ..AS_CLAIMED }, "stand still");
    }

    #[test]
    fn half_of_a_long_computation_is_no_going_on() {
        // Planted: at full scale, gaps of 90 of 200 ms.
        let machine = Machine {
            on_loop: 201.0 * MS,
            tokio: 202.0 * MS,
            brigade: 90.0 * MS,
            ..AS_CLAIMED
        };
        assert_inconclusive(&verdict_of(machine, 200.0 * MS), "noise");
        let brigade = 20.0 * MS;
        let machine = Machine { brigade, ..machine };
        assert_eq!(verdict_of(machine, 200.0 * MS), Verdict::Confirmed);
    }

    #[test]
    fn gaps_that_other_programs_explain_are_noise() {
        let brigade = 40.0 * MS;
        inconclusive_for(
            Machine {
                brigade,
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
                brigade: 61.0 * MS,
                ..AS_CLAIMED
            },
            Machine {
                tokio: 4.0 * MS,
                ..AS_CLAIMED
            },
            Machine {
                on_loop: 4.0 * MS,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn a_computation_on_one_thread_shows_as_a_gap_of_its_length() {
        let hogging = Duration::from_millis(10);
        let run = |hogs| {
            Executor::Loop
                .run(move |on| ticker_and_hogs(on, hogs, Place::Here, hogging))
                .expect("the loop runs")
        };
        for hogs in [1, 3] {
            let seen = run(hogs);
            assert!(seen.get(GAP) >= seen.get(LONGEST), "{seen:?}");
        }
    }
}
