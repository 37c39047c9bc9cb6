//! Two sleeps, one three times as long as the other: do they take as long as the longer one, or as their sum?
//!
//! The example with which coroutines are introduced everywhere. Two things are easily confused in it. That a
//! function is async makes nothing concurrent: what is awaited in turn takes its time in turn, and one of the
//! controls is exactly that. And the longer sleep starts first, so that the order in which the two end says more
//! than the order in which they were started.

use std::thread;
use std::time::{Duration, Instant};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::tasks::{Executor, Spawner};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, decided};

/// The experiment.
pub(super) struct Coroutines;

static INFO: Info = Info {
    name: "coroutines",
    claim: "Sleeping for 3 s and for 1 s takes 3 s in two coroutines, as in two threads, and 4 s \
            one after the other; the shorter sleep ends first although it began last.",
    said_in: "introductions to coroutines, async and goroutines (\"3 seconds, not 4\")",
    method: "Two sleeps, the longer one started first, in the same proportion and on a smaller \
             scale: in two tasks of a loop on one thread, in two async tasks of Brigade, in two \
             green threads, in two kernel threads.",
    control: "The same two sleeps one after the other, on a thread and as two awaits in a row in \
              one task.",
    premise: "Each sleep took as long as it was asked to, and not much longer.",
    next: "event-loop-freeze (a task that computes instead of sleeping)",
};

const TOOK: &str = "took";
const LONG: &str = "long";
const SHORT: &str = "short";
const ASKED: &str = "asked_short";
const IN_ORDER: &str = "short_first";

static METRICS: [Metric; 5] = [
    Metric::main(TOOK, "both in", Unit::Nanoseconds),
    Metric::aside(LONG, "long", Unit::Nanoseconds),
    Metric::aside(SHORT, "short", Unit::Nanoseconds),
    Metric::data(ASKED, "asked short", Unit::Nanoseconds),
    Metric::data(IN_ORDER, "short first", Unit::Share),
];

/// How many times the short sleep the long one is.
const TIMES: u32 = 3;
/// How much later than asked a sleep may end, as a share of the short one.
const SLACK: f64 = 0.25;

/// The arms whose sleeps overlap, if the claim is true.
const TOGETHER: [(&str, &str); 4] = [
    ("loop", "in tasks of one loop"),
    ("tasks", "in async tasks"),
    ("green", "in green threads"),
    ("kernel", "in kernel threads"),
];
/// The arms whose sleeps do not.
const IN_TURN: [(&str, &str); 2] = [
    ("turns", "one after the other"),
    ("awaits", "as two awaits in one task"),
];

/// How long the short sleep is.
fn short(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(20), Duration::from_millis(100))
}

impl Experiment for Coroutines {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("loop", "two tasks, one-thread loop"),
            Arm::measured("tasks", "two async tasks, Brigade"),
            Arm::measured("green", "two green threads"),
            Arm::measured("kernel", "two kernel threads"),
            Arm::control("turns", "one after the other"),
            Arm::control("awaits", "one task, two awaits"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let short = short(scale);
        let brigade = Executor::Brigade(probe::cpus());
        let naps = match arm {
            "loop" => Executor::Loop.run(move |on| in_tasks(on, short)),
            "tasks" => brigade.run(move |on| in_tasks(on, short)),
            "green" => in_threads(Kind::Green, short),
            "kernel" => in_threads(Kind::Kernel, short),
            "turns" => Ok(one_after_the_other(short)),
            "awaits" => brigade.run(move |on| in_one_task(on, short)),
            _ => Err(unknown_arm(arm)),
        }?;
        Ok(naps.sample(short))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = TOGETHER.iter().chain(&IN_TURN);
        let sleeps = arms.flat_map(|(arm, _)| samples.of(arm));
        // By how much each sleep missed what it was asked for, in short sleeps.
        let missed: Vec<f64> = sleeps
            .flat_map(|sample| {
                let asked = sample.get(ASKED);
                let of = |key, times| (sample.get(key) - times * asked) / asked;
                [of(LONG, f64::from(TIMES)), of(SHORT, 1.0)]
            })
            .collect();
        let most = missed.iter().copied().fold(f64::NAN, f64::max);
        let least = missed.iter().copied().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                least >= 0.0,
                format!(
                    "no sleep was too short (at least {} too long)",
                    show(least, Unit::Share)
                ),
            ),
            Premise::new(
                most <= 2.0 * SLACK,
                format!(
                    "no sleep was far too long (at most by {} of the short one)",
                    show(most, Unit::Share)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let time = |ns| show(ns, Unit::Nanoseconds);
        let mut parts = Vec::new();
        for (arm, how) in IN_TURN {
            let (took, asked) = (samples.summary(arm, TOOK), samples.median(arm, ASKED));
            let sum = asked * f64::from(TIMES + 1);
            let text = format!("{how} {}, the sum being {}", time(took.median), time(sum));
            parts.push(Part::new(at_least(&took, sum), text));
        }
        for (arm, how) in TOGETHER {
            let (took, asked) = (samples.summary(arm, TOOK), samples.median(arm, ASKED));
            let longest = asked * f64::from(TIMES);
            // What neither the longer sleep nor the sum explains is noise.
            let (fine, wrong) = (longest + SLACK * asked, longest + asked / 2.0);
            let text = format!(
                "{how} {}, the longer being {}",
                time(took.median),
                time(longest)
            );
            parts.push(Part::new(at_most_unless_past(&took, fine, wrong), text));
        }
        let first = TOGETHER.map(|(arm, _)| samples.summary(arm, IN_ORDER).min);
        let known = first.iter().any(|share| share.is_nan());
        let least = first.iter().copied().fold(f64::NAN, f64::min);
        parts.push(Part::new(
            decided(least == 1.0, if known { f64::NAN } else { least }),
            "the shorter sleep, begun last, ended first in every run with two",
        ));
        parts
    }
}

/// When a sleep began and ended.
#[derive(Clone, Copy)]
struct Nap {
    begun: Instant,
    ended: Instant,
}

impl Nap {
    /// In a thread, of whichever kind.
    fn take(time: Duration) -> Self {
        let begun = Instant::now();
        thread::sleep(time);
        let ended = Instant::now();
        Self { begun, ended }
    }

    async fn take_async(on: Spawner, time: Duration) -> Self {
        let begun = Instant::now();
        on.sleep_until(begun + time).await;
        let ended = Instant::now();
        Self { begun, ended }
    }

    fn ns(self) -> f64 {
        (self.ended - self.begun).as_nanos() as f64
    }
}

/// Both sleeps of one run.
struct Naps {
    took: Duration,
    long: Nap,
    short: Nap,
}

impl Naps {
    fn sample(&self, asked: Duration) -> Sample {
        let first = self.short.ended < self.long.ended;
        Sample::new()
            .with(TOOK, self.took.as_nanos() as f64)
            .with(LONG, self.long.ns())
            .with(SHORT, self.short.ns())
            .with(ASKED, asked.as_nanos() as f64)
            .with(IN_ORDER, f64::from(u8::from(first)))
    }
}

async fn in_tasks(on: Spawner, short: Duration) -> Result<Naps, ArmError> {
    let begun = Instant::now();
    let long = on.spawn(Nap::take_async(on.clone(), short * TIMES));
    let short = on.spawn(Nap::take_async(on.clone(), short));
    let (long, short) = (long.await?, short.await?);
    let took = begun.elapsed();
    Ok(Naps { took, long, short })
}

async fn in_one_task(on: Spawner, short: Duration) -> Result<Naps, ArmError> {
    let begun = Instant::now();
    let long = Nap::take_async(on.clone(), short * TIMES).await;
    let short = Nap::take_async(on, short).await;
    let took = begun.elapsed();
    Ok(Naps { took, long, short })
}

fn in_threads(kind: Kind, short: Duration) -> Result<Naps, ArmError> {
    kind.host(|| {
        let begun = Instant::now();
        let long = kind.spawn(move || Nap::take(short * TIMES))?;
        let short = kind.spawn(move || Nap::take(short))?;
        let (long, short) = (long.join()?, short.join()?);
        let took = begun.elapsed();
        Ok(Naps { took, long, short })
    })
}

fn one_after_the_other(short: Duration) -> Naps {
    let begun = Instant::now();
    let (long, short) = (Nap::take(short * TIMES), Nap::take(short));
    let took = begun.elapsed();
    Naps { took, long, short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    #[derive(Clone, Copy)]
    struct Machine {
        tasks: f64,
        turns: f64,
        short: f64,
        first: f64,
    }

    /// Sleeps of 60 and 20 ms, as quick runs have.
    const AS_CLAIMED: Machine = Machine {
        tasks: 60.4 * MS,
        turns: 80.3 * MS,
        short: 20.1 * MS,
        first: 1.0,
    };

    fn verdict(machine: Machine) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.001 * f64::from(i);
            for (arm, _) in TOGETHER.iter().chain(&IN_TURN) {
                let took = match *arm {
                    "tasks" => machine.tasks,
                    "turns" | "awaits" => machine.turns,
                    _ => 60.3 * MS,
                };
                let sample = Sample::new()
                    .with(TOOK, took * noise)
                    .with(LONG, 60.1 * MS)
                    .with(SHORT, machine.short)
                    .with(ASKED, 20.0 * MS)
                    .with(IN_ORDER, machine.first);
                samples.push(arm, sample);
            }
        }
        decide(&Coroutines.premises(&samples), &Coroutines.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn sleeps_that_end_early_decide_nothing() {
        let short = 12.0 * MS;
        inconclusive_for(
            Machine {
                short,
                ..AS_CLAIMED
            },
            "too short",
        );
    }

    #[test]
    fn sleeps_that_a_loaded_machine_draws_out_decide_nothing() {
        let short = 55.0 * MS;
        inconclusive_for(
            Machine {
                short,
                ..AS_CLAIMED
            },
            "too long",
        );
    }

    #[test]
    fn a_time_between_the_longer_sleep_and_the_sum_is_noise() {
        let tasks = 67.0 * MS;
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
                tasks: 80.2 * MS,
                ..AS_CLAIMED
            },
            Machine {
                turns: 61.0 * MS,
                ..AS_CLAIMED
            },
            Machine {
                first: 0.0,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn the_order_of_the_ends_is_read_from_the_clock() {
        let now = Instant::now();
        let nap = |ms| Nap {
            begun: now,
            ended: now + Duration::from_millis(ms),
        };
        let first = |long, short| {
            let naps = Naps {
                took: Duration::ZERO,
                long: nap(long),
                short: nap(short),
            };
            naps.sample(Duration::from_millis(1)).get(IN_ORDER)
        };
        assert_eq!((first(3, 1), first(1, 3)), (1.0, 0.0));
    }
}
