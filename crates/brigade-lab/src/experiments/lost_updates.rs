//! Several threads add to one counter: what is lost?
//!
//! `counter += 1` is a load, an addition and a store. In Rust the plain form is a compile error or
//! undefined behaviour, so the arm writes it as what it is: a relaxed load and a relaxed store,
//! which is defined, and which loses updates for the same reason. The loops start together; without
//! that, a thread may be over before the next one begins, and nothing can be lost. Threads that
//! share one CPU lose next to nothing, because a switch rarely falls between the load and the
//! store; so the CPU time they used is counted, and without parallel running there is no verdict.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::sample::{Sample, Samples};
use crate::together::{self, Kind, Span, Start};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

/// The experiment.
pub(super) struct LostUpdates;

static INFO: Info = Info {
    name: "lost-updates",
    claim: "counter += 1 from several threads loses updates; an atomic addition or a mutex loses \
            none.",
    said_in: "every introduction to threads, as the first example of a race",
    method: "Four threads add to one counter at the same time: by load and store, by an atomic \
             addition, under a mutex. The missing additions count. The same on green threads.",
    control: "One thread alone, by load and store.",
    premise: "The threads ran in parallel, by the CPU time they used, and one thread alone loses \
              nothing.",
    next: "false-sharing (threads that share no variable, only a cache line)",
};

const LOST: &str = "lost";
const TIME: &str = "ns";
const CPUS: &str = "cpus";

static METRICS: [Metric; 3] = [
    Metric::main(LOST, "lost", Unit::Share),
    Metric::aside(TIME, "each add", Unit::Nanoseconds),
    Metric::aside(CPUS, "CPUs used", Unit::Count),
];

const THREADS: usize = 4;

impl Experiment for LostUpdates {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::control("alone", "1 thread, load + store"),
            Arm::measured("kernel-plain", "kernel, load + store"),
            Arm::measured("kernel-atomic", "kernel, atomic"),
            Arm::measured("kernel-mutex", "kernel, mutex"),
            Arm::measured("green-plain", "green, load + store"),
            Arm::measured("green-atomic", "green, atomic"),
            Arm::measured("green-mutex", "green, mutex"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let adds = |how: How| how.adds() * scale.pick(1, 5);
        if arm == "alone" {
            return run(Kind::Kernel, 1, adds(How::Plain), How::Plain);
        }
        let (threads, how) = arm.split_once('-').ok_or_else(|| unknown_arm(arm))?;
        let how = match how {
            "plain" => How::Plain,
            "atomic" => How::Atomic,
            "mutex" => How::Mutex,
            _ => return Err(unknown_arm(arm)),
        };
        let threads = match threads {
            "kernel" => Kind::Kernel,
            "green" => Kind::Green,
            _ => return Err(unknown_arm(arm)),
        };
        threads.host(|| run(threads, THREADS, adds(how), how))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let alone = samples.summary("alone", LOST);
        let cpus = ["kernel-plain", "green-plain"].map(|arm| samples.median(arm, CPUS));
        vec![
            Premise::new(
                alone.max == 0.0,
                format!(
                    "one thread alone loses nothing ({})",
                    show(alone.max, Unit::Share)
                ),
            ),
            Premise::new(
                cpus.iter().all(|cpus| *cpus >= 1.2),
                format!(
                    "the threads ran in parallel (kernel threads on {} CPUs, green ones on {})",
                    show(cpus[0], Unit::Count),
                    show(cpus[1], Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        for (kind, name) in [("kernel", "kernel threads"), ("green", "green threads")] {
            let lost = |how: &str| samples.summary(&format!("{kind}-{how}"), LOST);
            let plain = lost("plain");
            let most = lost("atomic").max.max(lost("mutex").max);
            // One lost update shows that updates can be lost; no number of good runs shows that
            // they cannot, so the worst run decides and not the median.
            parts.push(Part::new(
                decided(plain.max > 0.0, plain.max),
                format!(
                    "{name} lose {} by load and store",
                    show(plain.median, Unit::Share)
                ),
            ));
            parts.push(Part::new(
                decided(most == 0.0, most),
                format!("{name} lose {} by atomic or mutex", show(most, Unit::Share)),
            ));
        }
        parts
    }
}

/// How a thread adds one.
#[derive(Clone, Copy)]
enum How {
    Plain,
    Atomic,
    Mutex,
}

impl How {
    /// How often each thread adds at the quick scale. Each loop must last for several time slices,
    /// or the threads may run one after the other; a plain addition takes under a nanosecond when
    /// it is optimised and tens of them when it is not.
    fn adds(self) -> u32 {
        let slow = if cfg!(debug_assertions) { 60 } else { 1 };
        match self {
            Self::Plain => 60_000_000 / slow,
            Self::Atomic => 2_000_000 / slow,
            Self::Mutex => 600_000 / slow,
        }
    }
}

/// The counters and the starting line of one run.
struct Race {
    count: AtomicU64,
    guarded: Mutex<u64>,
    start: Start,
    threads: usize,
    adds: u32,
    how: How,
}

impl Race {
    fn new(threads: usize, adds: u32, how: How) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(0),
            guarded: Mutex::new(0),
            start: Start::new(threads),
            threads,
            adds,
            how,
        })
    }

    /// What every thread does. No loop gives its green thread another kernel thread.
    fn run(&self, give_way: impl Fn()) -> Span {
        self.start.run(give_way, || match self.how {
            How::Plain => (0..self.adds).for_each(|_| self.add_plainly()),
            How::Atomic => (0..self.adds).for_each(|_| self.add_atomically()),
            How::Mutex => (0..self.adds).for_each(|_| self.add_under_mutex()),
        })
    }

    fn add_plainly(&self) {
        // ORDER: Relaxed, the race itself: nothing else is published through this counter.
        let value = self.count.load(Ordering::Relaxed);
        // ORDER: Relaxed, as above.
        self.count.store(value + 1, Ordering::Relaxed);
    }

    fn add_atomically(&self) {
        // ORDER: Relaxed, a counter that is read after every thread was joined.
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn add_under_mutex(&self) {
        *self.guarded.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn sample(&self, spans: &[Span]) -> Sample {
        let guarded = *self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDER: Relaxed, every thread that added was joined before.
        let counted = self.count.load(Ordering::Relaxed) + guarded;
        let all = self.threads as f64 * f64::from(self.adds);
        Sample::new()
            .with(LOST, 1.0 - counted as f64 / all)
            .with(TIME, together::elapsed_ns(spans) / all)
            .with(CPUS, together::cpus_used(spans))
    }
}

fn run(kind: Kind, threads: usize, adds: u32, how: How) -> Result<Sample, ArmError> {
    let race = Race::new(threads, adds, how);
    let mut handles = Vec::with_capacity(threads);
    for _ in 0..threads {
        let race = Arc::clone(&race);
        handles.push(kind.spawn(move || race.run(|| kind.yield_now()))?);
    }
    Ok(race.sample(&together::join_all(handles)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    fn machine(plain: f64, mutex: f64, cpus: f64, alone: f64) -> Samples {
        let mut samples = Samples::new();
        for _ in 0..5 {
            let mut add = |arm: &str, lost: f64| {
                samples.push(arm, Sample::new().with(LOST, lost).with(CPUS, cpus));
            };
            add("alone", alone);
            for kind in ["kernel", "green"] {
                add(&format!("{kind}-plain"), plain);
                add(&format!("{kind}-atomic"), 0.0);
                add(&format!("{kind}-mutex"), mutex);
            }
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(&LostUpdates.premises(samples), &LostUpdates.judge(samples))
    }

    #[test]
    fn threads_that_share_one_cpu_decide_nothing() {
        let verdict = verdict(&machine(0.0, 0.0, 1.0, 0.0));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("parallel")));
    }

    #[test]
    fn a_control_that_loses_decides_nothing() {
        assert!(matches!(
            verdict(&machine(0.4, 0.0, 3.0, 0.1)),
            Verdict::Inconclusive(_)
        ));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(&machine(0.4, 0.0, 3.0, 0.0)), Verdict::Confirmed);
        assert_eq!(verdict(&machine(0.0, 0.0, 3.0, 0.0)), Verdict::NotHere);
        assert_eq!(verdict(&machine(0.4, 0.01, 3.0, 0.0)), Verdict::NotHere);
    }

    #[test]
    fn additions_that_are_missing_are_counted() {
        let race = Race::new(1, 10, How::Atomic);
        let span = race.run(|| ());
        assert_eq!(race.sample(&[span]).get(LOST), 0.0);
        race.count.store(4, Ordering::Relaxed); // ORDER: Relaxed, one thread.
        assert_eq!(race.sample(&[span]).get(LOST), 0.6);
    }
}
