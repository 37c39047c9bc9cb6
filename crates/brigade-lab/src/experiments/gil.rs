//! Computing under a lock that one thread at a time may hold, as in CPython.
//!
//! The same work is done in turn and at once; how much faster "at once" is, is the number. Both are done three times in
//! one process, in the order A B B A A B, and the fastest of each counts: other programs make a try slower and never
//! faster. Python's own threads and processes do the
//! same with every interpreter that is found.
//!
//! That threads under the lock are no faster means something only if the machine would have let them be: threads without
//! the lock have to keep more than one CPU busy in the same run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::sync::InterpreterLock;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::forked::{self, End};
use crate::probe;
use crate::python;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::together::{Kind, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_most_unless_past, fails_only_if};
use crate::worker;

/// The experiment.
pub(super) struct Gil;

static INFO: Info = Info {
    name: "gil",
    claim: "Under an interpreter lock threads that compute are no faster than one after the other; \
            processes are, as the number of CPUs allows.",
    said_in: "every text on Python's threads (\"the GIL\": 2.41 s in turn, 2.53 s by threads, 1.28 s \
              by processes)",
    method: "The same work in turn and at once, in one run: by threads under an interpreter lock \
             that is given up every 5 ms, by processes and by a pool of them, and by the threads and processes of each \
             Python found (the oldest and the newest at the small scale). The gain counts.",
    control: "The same threads without the lock, which shows what the machine can give; and the \
              work in turn against itself.",
    premise: "Without the lock the threads kept more than one CPU busy, under it they took turns, \
              and the same work twice took the same time.",
    next: "gil-io (the same lock around waits)",
};

const GAIN: &str = "gain";
const TOOK: &str = "took";
const CPUS: &str = "cpus";
const SWITCHES: &str = "switches";
const WORKERS: &str = "workers";
const BY_PROCESSES: &str = "by_processes";
const HAS_LOCK: &str = "has_lock";

/// What the arms show that are derived from those of an interpreter.
const PROCESSES: &str = "processes";

static METRICS: [Metric; 7] = [
    Metric::main(GAIN, "faster by", Unit::Count),
    Metric::aside(TOOK, "took", Unit::Nanoseconds),
    Metric::aside(CPUS, "CPUs busy", Unit::Count),
    Metric::data(SWITCHES, "switches", Unit::Count),
    Metric::data(WORKERS, "workers", Unit::Count),
    Metric::data(BY_PROCESSES, "processes", Unit::Count),
    Metric::data(HAS_LOCK, "has a lock", Unit::Count),
];

/// Arms under the lock.
const LOCKED: [(&str, &str); 2] = [
    ("kernel", "kernel threads under the lock"),
    ("green", "green threads under the lock"),
];

/// No faster: by this factor at most. The rest is noise.
const NO_GAIN: f64 = 1.2;
/// Faster, without any doubt.
const SOME_GAIN: f64 = 1.5;
/// The part of the additional CPUs that processes must turn into gain: starting them takes time too.
const PART: f64 = 0.3;

/// Work between two ticks: some tenths of a microsecond.
const CHUNK: u64 = 256;

const SCRIPT: &str = "
import multiprocessing, signal, sys, threading, time
signal.alarm(20)
workers, target = int(sys.argv[1]), float(sys.argv[2])
def work(count):
    x = 1
    while count:
        x ^= count
        count -= 1
    return x
def timed(f):
    begun = time.perf_counter()
    f()
    return time.perf_counter() - begun
work(5000)
count = int(20000 * target / workers / timed(lambda: work(20000)))
fork = multiprocessing.get_context('fork')
def in_turn():
    for _ in range(workers):
        work(count)
def by(kind):
    all = [kind(target=work, args=(count,)) for _ in range(workers)]
    for one in all:
        one.start()
    for one in all:
        one.join()
ways = [in_turn, lambda: by(threading.Thread), lambda: by(fork.Process)]
tries = [[timed(way) * 1e9 for way in ways] for _ in range(3)]
took = [min(way) for way in zip(*tries)]
print('took', took[1])
print('gain', took[0] / took[1])
print('by_processes', took[0] / took[2])
print('workers', workers)
print('has_lock', int(getattr(sys, '_is_gil_enabled', lambda: True)()))
print('version', sys.version_info[0] * 1000 + sys.version_info[1])
";

/// How many threads or processes compute.
fn workers() -> usize {
    probe::cpus().clamp(2, 8)
}

/// How long the work takes in turn, about.
fn target(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(14), Duration::from_millis(60))
}

/// The same for an interpreter, which takes longer to start a process.
fn python_target(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(60), Duration::from_millis(120))
}

impl Experiment for Gil {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let mut arms = vec![
            Arm::control("in-turn", "in turn"),
            Arm::measured("kernel", "kernel threads, lock"),
            Arm::measured("green", "green threads, lock"),
            Arm::measured("processes", "forked processes"),
            Arm::measured("pool", "pool of processes"),
            Arm::control("free", "kernel threads, no lock"),
        ];
        arms.extend(python::arms(scale, "threads", &[(PROCESSES, "processes")]));
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        if python::is_arm(arm) {
            let target = python_target(scale).as_secs_f64().to_string();
            return python::run(arm, SCRIPT, &[workers().to_string(), target]);
        }
        let share = share_of(target(scale) / workers() as u32);
        match arm {
            "in-turn" => compare(share, || turn(share)),
            "kernel" => under_lock(Kind::Kernel, share),
            "green" => Kind::Green.host(|| under_lock(Kind::Green, share)),
            "processes" => compare(share, || by_processes(share)),
            "pool" => {
                let pool = worker::pool(workers())?;
                compare(share, || {
                    let shares = (0..workers()).map(|_| worker::Compute(share));
                    let results: Result<Vec<()>, _> = pool.map(shares).into_iter().collect();
                    results
                        .map(|_| ())
                        .map_err(|error| ArmError::Failed(error.to_string()))
                })
            }
            "free" => compare(share, || by_threads(share)),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn derive(&self, samples: &mut Samples) {
        for (arm, _) in python::measured(samples) {
            for sample in samples.of(&arm).to_vec() {
                let derived = Sample::new().with(GAIN, sample.get(BY_PROCESSES));
                samples.push(&python::derived_key(PROCESSES, &arm), derived);
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let busy = samples.summary("free", CPUS);
        let turns = LOCKED.map(|(arm, _)| samples.summary(arm, SWITCHES).min);
        let fewest = turns.into_iter().fold(f64::NAN, f64::min);
        let same = samples.summary("in-turn", GAIN);
        vec![
            Premise::new(
                busy.median >= 1.5,
                format!(
                    "without the lock the threads kept {} CPUs busy in half of the runs",
                    show(busy.median, Unit::Count)
                ),
            ),
            Premise::new(
                turns.iter().all(|switches| *switches >= 2.0),
                format!(
                    "the lock went from thread to thread ({} times at least)",
                    show(fewest, Unit::Count)
                ),
            ),
            Premise::new(
                same.q1 >= 1.0 / NO_GAIN && same.q3 <= NO_GAIN,
                format!(
                    "the same work twice took the same time ({} times)",
                    show(same.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let workers = samples.median("processes", WORKERS);
        let no_gain = |arm: &str, who: &str| {
            let gain = samples.summary(arm, GAIN);
            let text = format!("{who}: {} times faster", show(gain.median, Unit::Count));
            Part::new(at_most_unless_past(&gain, NO_GAIN, SOME_GAIN), text)
        };
        // Where even threads without a lock did not get the CPUs most of the time, processes need not have.
        let given = samples.summary("free", CPUS).q1 >= 1.5;
        let gain = |arm: &str, who: &str| {
            let gain = samples.summary(arm, GAIN);
            let text = format!(
                "{workers} {who}: {} times faster",
                show(gain.median, Unit::Count)
            );
            let tendency = gained(&gain, 1.0 + PART * (workers - 1.0));
            Part::new(fails_only_if(given, tendency), text)
        };
        let mut parts: Vec<Part> = LOCKED.map(|(arm, who)| no_gain(arm, who)).into();
        parts.push(gain("processes", "forked processes"));
        parts.push(gain("pool", "worker processes"));
        for (arm, name) in python::measured(samples) {
            // A build without the lock is shown, and is none of those that the claim is about.
            if samples.summary(&arm, HAS_LOCK).min == 1.0 {
                parts.push(no_gain(&arm, &format!("{name}, threads")));
                let derived = python::derived_key(PROCESSES, &arm);
                parts.push(gain(&derived, &format!("processes of {name}")));
            }
        }
        parts
    }
}

/// Is the middle half of `gain` at least `least`? It is not only if all of it is no gain at all; what lies between the two
/// may be the effect of other programs.
fn gained(gain: &Summary, least: f64) -> Tendency {
    if gain.q1 >= least {
        Tendency::Holds
    } else if gain.q3 <= NO_GAIN {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// Some work that no compiler can shorten.
pub(crate) fn crunch(chunks: u64, tick: impl Fn()) {
    let mut x = black_box(88_172_645_463_325_252_u64);
    for _ in 0..chunks {
        for _ in 0..CHUNK {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        black_box(x);
        tick();
    }
}

/// So many chunks take `time`, about.
fn share_of(time: Duration) -> u64 {
    const TRIAL: u64 = 2_000;
    crunch(TRIAL, || ());
    let begun = Instant::now();
    crunch(TRIAL, || ());
    let each = begun.elapsed().as_secs_f64() / TRIAL as f64;
    (time.as_secs_f64() / each).ceil() as u64
}

/// What one way of doing the work took, and the CPU time that this process used for it.
struct Took {
    elapsed: Duration,
    cpu_ns: f64,
}

fn took(work: impl FnOnce() -> Result<(), ArmError>) -> Result<Took, ArmError> {
    let (begun, cpu_before) = (Instant::now(), probe::cpu_time_ns());
    work()?;
    Ok(Took {
        elapsed: begun.elapsed(),
        cpu_ns: probe::cpu_time_ns() - cpu_before,
    })
}

/// The work in turn and the way to be measured, three times each.
fn compare(share: u64, mut way: impl FnMut() -> Result<(), ArmError>) -> Result<Sample, ArmError> {
    let in_turn = || took(|| turn(share));
    let (mut turns, mut ways) = (vec![in_turn()?], vec![took(&mut way)?]);
    ways.push(took(&mut way)?);
    turns.extend([in_turn()?, in_turn()?]);
    ways.push(took(&mut way)?);
    let fastest = |tries: Vec<Took>| tries.into_iter().min_by_key(|took| took.elapsed);
    let (Some(turn), Some(way)) = (fastest(turns), fastest(ways)) else {
        return Err(ArmError::Failed("nothing was tried".into()));
    };
    let ns = |took: &Took| took.elapsed.as_nanos() as f64;
    Ok(Sample::new()
        .with(GAIN, ns(&turn) / ns(&way))
        .with(TOOK, ns(&way))
        .with(CPUS, way.cpu_ns / ns(&way))
        .with(WORKERS, workers() as f64))
}

fn turn(share: u64) -> Result<(), ArmError> {
    (0..workers()).for_each(|_| crunch(share, || ()));
    Ok(())
}

/// Threads that compute inside of a lock, and give it up when they are asked to.
fn under_lock(kind: Kind, share: u64) -> Result<Sample, ArmError> {
    let lock = Arc::new(InterpreterLock::new());
    let sample = compare(share, || {
        let computing = |_| {
            let lock = Arc::clone(&lock);
            kind.spawn(move || {
                let inside = lock.enter();
                crunch(share, || inside.tick());
            })
        };
        let threads: Result<Vec<_>, ArmError> = (0..workers()).map(computing).collect();
        join_all(threads?).map(|_| ())
    })?;
    Ok(sample.with(SWITCHES, lock.stats().switches as f64))
}

fn by_threads(share: u64) -> Result<(), ArmError> {
    let computing = |_| Kind::Kernel.spawn(move || crunch(share, || ()));
    let threads: Result<Vec<_>, ArmError> = (0..workers()).map(computing).collect();
    join_all(threads?).map(|_| ())
}

fn by_processes(share: u64) -> Result<(), ArmError> {
    let compute = || {
        crunch(share, || ());
        0
    };
    let processes: Result<Vec<_>, ArmError> =
        (0..workers()).map(|_| forked::whole(compute)).collect();
    for process in processes? {
        match process.wait()? {
            End::Status(0) => {}
            end => return Err(ArmError::Failed(format!("a process ended by {end:?}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const PYTHON: &str = "python:/usr/bin/python3";

    /// A machine with two CPUs.
    struct Machine {
        lock: f64,
        processes: f64,
        busy: f64,
        switches: f64,
        python: f64,
        has_lock: f64,
    }

    const GOOD: Machine = Machine {
        lock: 1.0,
        processes: 1.8,
        busy: 1.9,
        switches: 4.0,
        python: 0.97,
        has_lock: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + 0.01 * f64::from(i);
                let mut add = |arm: &str, gain: f64| {
                    let sample = Sample::new()
                        .with(GAIN, gain * noise)
                        .with(CPUS, self.busy)
                        .with(SWITCHES, self.switches)
                        .with(BY_PROCESSES, 1.7 * noise)
                        .with(HAS_LOCK, self.has_lock)
                        .with(python::VERSION, 3012.0)
                        .with(WORKERS, 2.0);
                    samples.push(arm, sample);
                };
                add("in-turn", 1.0);
                add("kernel", self.lock);
                add("green", self.lock);
                add("processes", self.processes);
                add("pool", self.processes);
                add("free", 1.9);
                add(PYTHON, self.python);
            }
            Gil.derive(&mut samples);
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(&Gil.premises(&samples), &Gil.judge(&samples))
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        assert_eq!(Machine { lock: 1.8, ..GOOD }.verdict(), Verdict::NotHere);
        let slow = Machine {
            processes: 1.0,
            ..GOOD
        };
        assert_eq!(slow.verdict(), Verdict::NotHere);
        let scaling = Machine {
            python: 1.8,
            ..GOOD
        };
        assert_eq!(scaling.verdict(), Verdict::NotHere);
    }

    #[test]
    fn processes_are_not_blamed_where_free_threads_did_not_get_the_cpus_either() {
        let mut samples = Machine {
            processes: 1.0,
            ..GOOD
        }
        .samples();
        for _ in 0..3 {
            samples.push("free", Sample::new().with(GAIN, 1.0).with(CPUS, 1.0));
        }
        let verdict = decide(&Gil.premises(&samples), &Gil.judge(&samples));
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn a_gain_between_none_and_enough_is_noise() {
        let verdict = Machine {
            processes: 1.25,
            ..GOOD
        }
        .verdict();
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.starts_with("noise")));
    }

    #[test]
    fn a_python_without_the_lock_may_gain() {
        let free = Machine {
            python: 1.8,
            has_lock: 0.0,
            ..GOOD
        };
        assert_eq!(free.verdict(), Verdict::Confirmed);
    }

    #[test]
    fn a_machine_on_which_free_threads_gain_nothing_decides_nothing() {
        let verdict = Machine { busy: 1.0, ..GOOD }.verdict();
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("CPUs busy")));
    }

    #[test]
    fn threads_that_did_not_take_turns_decide_nothing() {
        let verdict = Machine {
            switches: 1.0,
            ..GOOD
        }
        .verdict();
        assert!(
            matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("thread to thread"))
        );
    }

    #[test]
    fn every_python_that_is_found_says_what_its_threads_and_processes_gain() {
        for arm in python::arms(Scale::Full, "threads", &[]) {
            match python::run(arm.key, SCRIPT, &["2".into(), "0.002".into()]) {
                Ok(sample) => {
                    for key in [GAIN, TOOK, BY_PROCESSES] {
                        assert!(sample.get(key) > 0.0, "{}: {key}", arm.key);
                    }
                    assert!(sample.get(python::VERSION) > 3000.0 && sample.get(WORKERS) == 2.0);
                }
                Err(ArmError::Skipped(reason)) => assert!(reason.contains("python3")),
                Err(error) => panic!("{}: {error:?}", arm.key),
            }
        }
    }

    #[test]
    fn every_share_is_computed_under_the_lock() {
        let sample = under_lock(Kind::Kernel, 50).unwrap();
        assert!(sample.get(SWITCHES) >= 1.0 && sample.get(TOOK) > 0.0);
        assert_eq!(sample.get(WORKERS), workers() as f64);
    }
}
