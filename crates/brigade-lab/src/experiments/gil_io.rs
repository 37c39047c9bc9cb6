//! Waiting under a lock that one thread at a time may hold: the lock is given up around waits.
//!
//! What the waits add up to and how long one takes is known beforehand. The control holds the lock while it waits, as a
//! foreign function does that was not told of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brigade::sync::InterpreterLock;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::python;
use crate::sample::{Sample, Samples};
use crate::together::{Kind, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past};

/// The experiment.
pub(super) struct GilIo;

static INFO: Info = Info {
    name: "gil-io",
    claim: "Under an interpreter lock the waits of threads overlap all the same, because the lock is \
            given up around them.",
    said_in: "every text on Python's threads (\"2.14 s in turn, 1.08 s by threads\"; \"threads are \
              for waiting, processes for computing\")",
    method: "Eight threads enter, wait for 10 ms outside of the lock, and come back; on kernel \
             threads, on green threads, and with each Python found (the oldest and the newest at \
             the small scale). Compared with the sum of the waits.",
    control: "The waits in turn; and the same threads that keep the lock while they wait.",
    premise: "Each wait took its time.",
    next: "io-bound (the same without any lock)",
};

const TOOK: &str = "took";
const SHORTEST: &str = "shortest";
const SUM: &str = "sum";
const SWITCHES: &str = "switches";

static METRICS: [Metric; 4] = [
    Metric::main(TOOK, "all done in", Unit::Nanoseconds),
    Metric::aside(SUM, "sum", Unit::Nanoseconds),
    Metric::aside(SHORTEST, "shortest", Unit::Nanoseconds),
    Metric::data(SWITCHES, "switches", Unit::Count),
];

const THREADS: u32 = 8;
const WAIT: Duration = Duration::from_millis(10);
/// The waits overlap if all take this part of their sum; the eighth part is what there is to gain.
const OVERLAP: f64 = 0.3;
/// They do not overlap.
const NO_OVERLAP: f64 = 0.6;

const SCRIPT: &str = "
import signal, sys, threading, time
signal.alarm(20)
count, wait = int(sys.argv[1]), float(sys.argv[2])
waits = []
def work():
    begun = time.perf_counter()
    time.sleep(wait)
    waits.append(time.perf_counter() - begun)
begun = time.perf_counter()
all = [threading.Thread(target=work) for _ in range(count)]
for one in all:
    one.start()
for one in all:
    one.join()
print('took', (time.perf_counter() - begun) * 1e9)
print('shortest', min(waits) * 1e9)
print('sum', count * wait * 1e9)
print('version', sys.version_info[0] * 1000 + sys.version_info[1])
";

/// Arms in which the waits should overlap.
const OVERLAPPING: [(&str, &str); 3] = [
    ("kernel", "kernel threads"),
    ("green", "green threads"),
    ("blocking", "green threads that declare that they block"),
];

impl Experiment for GilIo {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let mut arms = vec![
            Arm::measured("kernel", "kernel threads"),
            Arm::measured("green", "green threads"),
            Arm::measured("blocking", "green, brigade::blocking"),
            Arm::control("in-turn", "in turn"),
            Arm::control("keeping", "lock kept while waiting"),
        ];
        arms.extend(python::arms(scale, "threads", &[]));
        arms
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        if python::is_arm(arm) {
            let wait = WAIT.as_secs_f64().to_string();
            return python::run(arm, SCRIPT, &[THREADS.to_string(), wait]);
        }
        match arm {
            "kernel" => threads(Kind::Kernel, |lock| lock.enter().released(wait)),
            "green" => {
                Kind::Green.host(|| threads(Kind::Green, |lock| lock.enter().released(wait)))
            }
            "blocking" => Kind::Green.host(|| {
                threads(Kind::Green, |lock| {
                    let _inside = lock.enter();
                    brigade::blocking(wait)
                })
            }),
            "keeping" => threads(Kind::Kernel, |lock| {
                let _inside = lock.enter();
                wait()
            }),
            "in-turn" => {
                let lock = InterpreterLock::new();
                let begun = Instant::now();
                let waits: Vec<_> = (0..THREADS).map(|_| lock.enter().released(wait)).collect();
                Ok(sample(&waits, begun.elapsed(), &lock))
            }
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = ["kernel", "green", "blocking", "in-turn", "keeping"];
        let mut shortest: Vec<f64> = arms
            .iter()
            .map(|arm| samples.summary(arm, SHORTEST).min)
            .collect();
        let others = python::measured(samples);
        shortest.extend(
            others
                .iter()
                .map(|(arm, _)| samples.summary(arm, SHORTEST).min),
        );
        let least = WAIT.as_nanos() as f64;
        let turns = samples.summary("kernel", SWITCHES).min;
        vec![
            Premise::new(
                shortest.iter().all(|ns| *ns >= least),
                format!(
                    "each wait took its time ({} at least)",
                    show(
                        shortest.iter().copied().fold(f64::NAN, f64::min),
                        Unit::Nanoseconds
                    )
                ),
            ),
            Premise::new(
                turns >= f64::from(THREADS - 1),
                format!(
                    "each thread had the lock ({} switches at least)",
                    show(turns, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let time = |ns| show(ns, Unit::Nanoseconds);
        let sum = samples.median("in-turn", SUM);
        let adds_up = |arm: &str, how: &str| {
            let took = samples.summary(arm, TOOK);
            let text = format!("{how} {}, the sum being {}", time(took.median), time(sum));
            Part::new(at_least(&took, 0.95 * sum), text)
        };
        let overlaps = |arm: &str, how: &str| {
            let took = samples.summary(arm, TOOK);
            let text = format!("{how}: all done in {}", time(took.median));
            Part::new(
                at_most_unless_past(&took, OVERLAP * sum, NO_OVERLAP * sum),
                text,
            )
        };
        let mut parts = vec![
            adds_up("in-turn", "in turn"),
            adds_up("keeping", "with the lock kept"),
        ];
        parts.extend(OVERLAPPING.map(|(arm, who)| overlaps(arm, who)));
        for (arm, name) in python::measured(samples) {
            parts.push(overlaps(&arm, &name));
        }
        parts
    }
}

/// One wait; returns how long it took.
fn wait() -> Duration {
    let begun = Instant::now();
    thread::sleep(WAIT);
    begun.elapsed()
}

fn threads(kind: Kind, work: fn(&InterpreterLock) -> Duration) -> Result<Sample, ArmError> {
    let lock = Arc::new(InterpreterLock::new());
    let begun = Instant::now();
    let start = |_| {
        let lock = Arc::clone(&lock);
        kind.spawn(move || work(&lock))
    };
    let threads: Result<Vec<_>, ArmError> = (0..THREADS).map(start).collect();
    let waits = join_all(threads?)?;
    Ok(sample(&waits, begun.elapsed(), &lock))
}

fn sample(waits: &[Duration], took: Duration, lock: &InterpreterLock) -> Sample {
    let ns = |time: Duration| time.as_nanos() as f64;
    Sample::new()
        .with(TOOK, ns(took))
        .with(SUM, ns(WAIT * THREADS))
        .with(
            SHORTEST,
            waits.iter().copied().map(ns).fold(f64::NAN, f64::min),
        )
        .with(SWITCHES, lock.stats().switches as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    const MS: f64 = 1e6;

    fn verdict(green: f64, keeping: f64, python: f64, shortest: f64) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, took: f64| {
                let sample = Sample::new()
                    .with(TOOK, took * noise)
                    .with(SUM, 80.0 * MS)
                    .with(SHORTEST, shortest)
                    .with(SWITCHES, 15.0);
                samples.push(arm, sample);
            };
            add("kernel", 11.0 * MS);
            add("green", green);
            add("blocking", 11.0 * MS);
            add("in-turn", 81.0 * MS);
            add("keeping", keeping);
            add("python:/usr/bin/python3", python);
        }
        decide(&GilIo.premises(&samples), &GilIo.judge(&samples))
    }

    #[test]
    fn waits_that_end_early_decide_nothing() {
        let verdict = verdict(11.0 * MS, 81.0 * MS, 12.0 * MS, 1.0 * MS);
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("its time")));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        let good = verdict(11.0 * MS, 81.0 * MS, 12.0 * MS, 10.0 * MS);
        assert_eq!(good, Verdict::Confirmed);
        for bad in [
            verdict(80.0 * MS, 81.0 * MS, 12.0 * MS, 10.0 * MS),
            verdict(11.0 * MS, 12.0 * MS, 12.0 * MS, 10.0 * MS),
            verdict(11.0 * MS, 81.0 * MS, 80.0 * MS, 10.0 * MS),
        ] {
            assert_eq!(bad, Verdict::NotHere);
        }
    }

    #[test]
    fn a_lock_that_is_kept_makes_waits_add_up() {
        let kept = GilIo.measure("keeping", Scale::Quick).unwrap();
        assert!(kept.get(TOOK) >= kept.get(SUM));
        assert_eq!(kept.get(SWITCHES), f64::from(THREADS - 1));
    }
}
