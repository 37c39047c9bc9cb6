//! How many threads should a pool have when its jobs partly wait?
//!
//! Each arm is one proportion of waiting to computing and tries pools around the size that the formula gives. The
//! rate at which jobs end rises with the size until the CPUs are busy, and then stays: the knee, not the highest
//! point of a flat and noisy line, is what a formula can be right or wrong about. The formula is given what the
//! jobs were seen to do, not what they were asked to: a sleep lasts longer than asked.
//!
//! A job computes until its thread has used 0.2 ms of CPU time, however fast the CPU happens to be: a CPU that shares
//! its core with another machine's may be half as fast from one moment to the next.
//!
//! Each size is tried twice and the better rate counts: other programs make it lower and never higher. They also take
//! less from more threads, which would look like a knee at a larger size; so a repeat counts only if the CPUs were given
//! in it, by the CPU time that the jobs used, in all arms.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::compute::{Pace, burn};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::pool::Pool;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::{Unit, counted, show};
use crate::verdict::{Part, Premise, at_most_unless_past, within};

/// The experiment.
pub(super) struct PoolSize;

static INFO: Info = Info {
    name: "pool-size",
    claim: "A pool needs as many threads as CPUs when its jobs only compute, and CPUs x (1 + \
            wait / compute) when they also wait.",
    said_in: "texts on thread pools, after Goetz (Java Concurrency in Practice)",
    method: "Jobs that compute for 0.2 ms and sleep for nothing, as long, or nine times as long, \
             on pools of a quarter to four times the size that the formula gives. Jobs per \
             second; the knee is the size that reaches nine tenths of the best rate.",
    control: "Jobs that do not wait, for which the formula says one thread per CPU.",
    premise: "The jobs computed and waited for about as long as asked, and in three repeats at \
              least no other program took the CPUs.",
    next: "pool-vs-thread-per-task (whether a pool pays at all)",
};

const AT_FORMULA: &str = "at_formula";
const KNEE: &str = "knee";
const FORMULA: &str = "formula";
const COMPUTE: &str = "compute";
const WAIT: &str = "wait";
const ASKED: &str = "asked_wait";
const CPUS: &str = "cpus";
const RATE_CPUS: &str = "rate_cpus";
const BUSY_CPUS: &str = "busy_cpus";
const BUSY_BEST: &str = "busy_best";

static METRICS: [Metric; 17] = [
    Metric::main(AT_FORMULA, "at formula", Unit::Share),
    Metric::aside(KNEE, "knee", Unit::Count),
    Metric::aside(FORMULA, "formula", Unit::Count),
    Metric::data(COMPUTE, "compute", Unit::Nanoseconds),
    Metric::data(WAIT, "wait", Unit::Nanoseconds),
    Metric::data(ASKED, "asked wait", Unit::Nanoseconds),
    Metric::data(CPUS, "CPUs", Unit::Count),
    Metric::data(RATE_CPUS, "at CPUs", Unit::Count),
    Metric::data(BUSY_CPUS, "busy there", Unit::Share),
    Metric::data(BUSY_BEST, "busy, best", Unit::Share),
    Metric::data("rate_1_4", "at 1/4", Unit::Count),
    Metric::data("rate_1_2", "at 1/2", Unit::Count),
    Metric::data("rate_3_4", "at 3/4", Unit::Count),
    Metric::data("rate_1", "at 1", Unit::Count),
    Metric::data("rate_3_2", "at 3/2", Unit::Count),
    Metric::data("rate_2", "at 2", Unit::Count),
    Metric::data("rate_4", "at 4", Unit::Count),
];

/// Sizes as shares of what the formula gives for the times asked, and where their rates are kept.
const SHARES: [(f64, &str); 7] = [
    (0.25, "rate_1_4"),
    (0.5, "rate_1_2"),
    (0.75, "rate_3_4"),
    (1.0, "rate_1"),
    (1.5, "rate_3_2"),
    (2.0, "rate_2"),
    (4.0, "rate_4"),
];

/// The arms: how many times as long as it computes a job waits.
const ARMS: [(&str, u32); 3] = [("wait-0", 0), ("wait-1", 1), ("wait-9", 9)];

/// How long a job computes.
const JOB: Duration = Duration::from_micros(200);
/// Between two looks at how much CPU time it has used.
const CHUNK: Duration = Duration::from_micros(8);
/// What share of the best rate makes the knee.
const NEARLY: f64 = 0.9;
/// By which factor the knee may be beside the formula.
const ABOUT: f64 = 1.5;

/// The share of the CPUs that a thread per CPU which only computes must be given, and that the best size must be; and in
/// how many repeats. A thread per CPU that only computes leaves nothing to others: what is missing, others took.
const ALONE: f64 = 0.92;
const BEST: f64 = 0.85;
const ENOUGH: usize = 3;
/// How often each size is tried.
const TRIES: usize = 2;

/// How long jobs are counted at each try.
fn window(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(14), Duration::from_millis(60))
}

impl Experiment for PoolSize {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::control("wait-0", "compute only"),
            Arm::measured("wait-1", "wait = compute"),
            Arm::measured("wait-9", "wait = 9 x compute"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (_, times) = ARMS
            .into_iter()
            .find(|(key, _)| *key == arm)
            .ok_or_else(|| unknown_arm(arm))?;
        let job = Job {
            rounds: Pace::measure().rounds(CHUNK),
            compute: JOB,
            wait: JOB * times,
            window: window(scale),
        };
        sweep(job, probe::cpus())
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let all = || ARMS.iter().map(|(arm, _)| *arm);
        let computed = || all().map(|arm| samples.median(arm, COMPUTE) / JOB.as_nanos() as f64);
        // A job that is not asked to wait must not; the others wait at least as long as asked.
        let waited = || {
            let of = |arm| (samples.median(arm, WAIT), samples.median(arm, ASKED));
            all().map(of)
        };
        let given = given(samples);
        let alone = samples.median("wait-0", BUSY_CPUS);
        let mut best = all().map(|arm| samples.median(arm, BUSY_BEST));
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            let s = Summary::of(values);
            [s.min, s.max]
                .map(|end| show(end, Unit::Share))
                .join(" to ")
        };
        vec![
            Premise::new(
                computed().all(|share| (0.6..=1.7).contains(&share)),
                format!(
                    "the jobs computed for as long as asked ({} of it)",
                    ends(&mut computed())
                ),
            ),
            Premise::new(
                waited().all(|(waited, asked)| waited >= asked && waited <= 2.0 * asked),
                format!(
                    "the jobs waited for as long as asked ({} instead of {})",
                    show(samples.median("wait-9", WAIT), Unit::Nanoseconds),
                    show(samples.median("wait-9", ASKED), Unit::Nanoseconds)
                ),
            ),
            Premise::new(
                given.len() >= ENOUGH,
                format!(
                    "a thread per CPU that only computes has the CPUs in {} of {} repeats ({} of \
                     them, the best sizes {})",
                    given.len(),
                    samples.of("wait-0").len(),
                    show(alone, Unit::Share),
                    ends(&mut best)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        let given = given(samples);
        for (arm, times) in ARMS {
            let of = samples.of(arm);
            let curves = given.iter().filter_map(|i| of.get(*i));
            let curves: Vec<Curve> = curves.map(Curve::of).collect();
            let of = |number: fn(&Curve) -> f64| Summary::of(curves.iter().map(number));
            let how = match times {
                0 => "jobs that only compute".to_owned(),
                1 => "waiting as long as computing".to_owned(),
                _ => format!("waiting {times} times as long as computing"),
            };
            let count = |s: &Summary| show(s.median, Unit::Count);
            let (knee, formula) = (of(Curve::knee), of(|curve| curve.formula));
            parts.push(Part::new(
                within(
                    &of(|curve| curve.knee() / curve.formula),
                    1.0 / ABOUT,
                    ABOUT,
                ),
                format!(
                    "{how}: nine tenths of the best rate take {}, the formula says {}",
                    counted(knee.median, "thread", "threads"),
                    count(&formula)
                ),
            ));
            parts.push(Part::new(
                at_most_unless_past(&of(|curve| 1.0 - curve.at_formula()), 0.1, 0.2),
                format!(
                    "{how}: at the formula's size {} of the best rate, with a thread per CPU {}",
                    show(of(Curve::at_formula).median, Unit::Share),
                    show(of(|curve| curve.at_cpus / curve.best()).median, Unit::Share)
                ),
            ));
        }
        parts
    }
}

/// The repeats in which the CPUs were given in every arm.
fn given(samples: &Samples) -> Vec<usize> {
    let had = |arm: &str, i: usize| {
        samples.of(arm).get(i).is_some_and(|sample| {
            // Where jobs wait, a thread per CPU leaves CPUs idle.
            let alone = arm != "wait-0" || sample.get(BUSY_CPUS) >= ALONE;
            alone && sample.get(BUSY_BEST) >= BEST
        })
    };
    let repeats = 0..samples.of("wait-0").len();
    repeats
        .filter(|i| ARMS.iter().all(|(arm, _)| had(arm, *i)))
        .collect()
}

/// The size that the formula gives.
fn formula(cpus: f64, wait: f64, compute: f64) -> f64 {
    cpus * (1.0 + wait / compute)
}

/// The size at `share` of what the formula gives for the times asked.
fn size_at(share: f64, cpus: f64, asked_wait: f64) -> usize {
    let size = formula(cpus, asked_wait, JOB.as_nanos() as f64) * share;
    size.round().max(1.0) as usize
}

/// The rates of one run by the size of the pool.
struct Curve {
    /// Ascending sizes.
    points: Vec<(f64, f64)>,
    at_cpus: f64,
    /// The size that the formula gives for the times measured.
    formula: f64,
}

impl Curve {
    fn of(sample: &Sample) -> Self {
        let (cpus, compute) = (sample.get(CPUS), sample.get(COMPUTE));
        let mut points: Vec<(f64, f64)> = SHARES
            .iter()
            .map(|(share, key)| {
                let size = size_at(*share, cpus, sample.get(ASKED));
                (size as f64, sample.get(key))
            })
            .chain([(cpus, sample.get(RATE_CPUS))])
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0);
        Self {
            points,
            at_cpus: sample.get(RATE_CPUS),
            formula: formula(cpus, sample.get(WAIT), compute),
        }
    }

    /// The highest rate, NaN if a rate is missing.
    fn best(&self) -> f64 {
        let rates = || self.points.iter().map(|(_, rate)| *rate);
        if rates().any(f64::is_nan) {
            return f64::NAN;
        }
        rates().fold(f64::NAN, f64::max)
    }

    /// The smallest size with nearly the best rate, between two sizes in proportion to their rates.
    fn knee(&self) -> f64 {
        let due = NEARLY * self.best();
        let mut before = (0.0, 0.0);
        for point in &self.points {
            if point.1 >= due {
                let share = (due - before.1) / (point.1 - before.1);
                return before.0 + share * (point.0 - before.0);
            }
            before = *point;
        }
        f64::NAN
    }

    /// The rate at the formula's size, as a share of the best.
    fn at_formula(&self) -> f64 {
        let pairs = self.points.windows(2);
        let around = pairs
            .filter_map(|pair| <[(f64, f64); 2]>::try_from(pair).ok())
            .find(|[below, above]| below.0 <= self.formula && self.formula <= above.0);
        around.map_or(f64::NAN, |[below, above]| {
            let share = (self.formula - below.0) / (above.0 - below.0);
            (below.1 + share * (above.1 - below.1)) / self.best()
        })
    }
}

/// What every job does, and for how long jobs are counted.
#[derive(Clone, Copy)]
struct Job {
    /// What is computed between two looks at the CPU time used.
    rounds: u64,
    compute: Duration,
    wait: Duration,
    window: Duration,
}

/// What one job was seen to do; times in nanoseconds.
#[derive(Clone, Copy)]
struct Done {
    computed: f64,
    waited: f64,
    /// When it had computed.
    at: Instant,
}

impl Job {
    fn run(self) -> Done {
        let cpu_before = probe::thread_cpu_time_ns();
        let mut computed = 0.0;
        while computed < self.compute.as_nanos() as f64 {
            burn(self.rounds);
            computed = probe::thread_cpu_time_ns() - cpu_before;
        }
        let at = Instant::now();
        let mut waited = 0.0;
        if !self.wait.is_zero() {
            thread::sleep(self.wait);
            waited = at.elapsed().as_nanos() as f64;
        }
        Done {
            computed,
            waited,
            at,
        }
    }

    /// Runs jobs on a pool of `size` threads and returns those that computed within the window.
    fn on_pool(self, size: usize, cpus: usize) -> Result<Vec<Done>, ArmError> {
        let pool = Pool::start(size)?;
        let start = Instant::now();
        // After the first round of jobs the threads are no longer in step.
        let from = start + 2 * (JOB + self.wait);
        let end = from + self.window;
        let most = (end - start).as_nanos() / JOB.as_nanos() * cpus as u128;
        // Enough that the queue is never empty; those that are left at the end do nothing.
        let count = 2 * usize::try_from(most).unwrap_or(usize::MAX / 2) + size;
        let one = move || (Instant::now() < end).then(|| self.run());
        let jobs: Vec<_> = (0..count).map(|_| pool.submit(one)).collect();
        let mut done = Vec::with_capacity(count);
        for job in jobs {
            done.extend(job.join()?.filter(|done| done.at >= from && done.at < end));
        }
        Ok(done)
    }
}

/// What the jobs on one pool came to.
struct Pooled {
    /// Jobs per second.
    rate: f64,
    /// The share of the CPUs that they used.
    busy: f64,
}

impl Pooled {
    fn of(done: &[Done], window: Duration, cpus: usize) -> Self {
        let computed: f64 = done.iter().map(|done| done.computed).sum();
        Self {
            rate: done.len() as f64 / window.as_secs_f64(),
            busy: computed / (window.as_nanos() as f64 * cpus as f64),
        }
    }
}

fn sweep(job: Job, cpus: usize) -> Result<Sample, ArmError> {
    let asked = job.wait.as_nanos() as f64;
    let sizes = SHARES.map(|(share, key)| (size_at(share, cpus as f64, asked), key));
    let largest = sizes.iter().map(|(size, _)| *size).max().unwrap_or(0);
    probe::require_kernel_threads(u32::try_from(largest).unwrap_or(u32::MAX))?;
    let mut best: BTreeMap<usize, Pooled> = BTreeMap::new();
    let mut sample = Sample::new().with(CPUS, cpus as f64).with(ASKED, asked);
    let distinct: BTreeSet<usize> = sizes.iter().map(|(size, _)| *size).chain([cpus]).collect();
    for attempt in 0..TRIES {
        for size in distinct.iter().copied() {
            let done = job.on_pool(size, cpus)?;
            if attempt == 0 && best.is_empty() {
                // On the smallest pool nobody waits for a CPU, which would look like a longer sleep.
                let median = |time: fn(&Done) -> f64| Summary::of(done.iter().map(time)).median;
                sample = sample
                    .with(COMPUTE, median(|done| done.computed))
                    .with(WAIT, median(|done| done.waited));
            }
            let tried = Pooled::of(&done, job.window, cpus);
            let better = best.get(&size).is_none_or(|last| tried.rate > last.rate);
            if better {
                best.insert(size, tried);
            }
        }
    }
    for (size, key) in sizes.into_iter().chain([(cpus, RATE_CPUS)]) {
        sample = sample.with(key, best[&size].rate);
    }
    let highest = best.values().max_by(|a, b| a.rate.total_cmp(&b.rate));
    let sample = sample
        .with(BUSY_CPUS, best[&cpus].busy)
        .with(BUSY_BEST, highest.map_or(f64::NAN, |highest| highest.busy));
    let curve = Curve::of(&sample);
    Ok(sample
        .with(AT_FORMULA, curve.at_formula())
        .with(KNEE, curve.knee())
        .with(FORMULA, curve.formula))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const US: f64 = 1e3;

    #[derive(Clone, Copy)]
    struct Machine {
        compute: f64,
        /// What a sleep lasts, times what was asked.
        wait: f64,
        /// The size at which the rate stops rising when jobs wait, times the formula's.
        knee: f64,
        /// The highest rate, times what two CPUs can do.
        rate: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        compute: 200.0 * US,
        wait: 1.1,
        knee: 1.0,
        rate: 0.99,
    };

    fn samples(machine: Machine) -> Samples {
        let mut samples = Samples::new();
        for (arm, times) in ARMS {
            let asked = 200.0 * US * f64::from(times);
            let wait = asked * machine.wait;
            // Whatever happens to jobs that wait, those that do not need a thread per CPU.
            let moved = if times == 0 { 1.0 } else { machine.knee };
            let knee = moved * formula(2.0, wait, machine.compute);
            let most = machine.rate * 2.0 / machine.compute * 1e9;
            for i in 0..5 {
                let noise = 1.0 - 0.005 * f64::from(i);
                let rate = |size: f64| most * noise * (size / knee).min(1.0);
                let mut sample = Sample::new()
                    .with(CPUS, 2.0)
                    .with(ASKED, asked)
                    .with(COMPUTE, machine.compute)
                    .with(WAIT, wait)
                    .with(RATE_CPUS, rate(2.0))
                    .with(BUSY_CPUS, machine.rate * (2.0 / knee).min(1.0))
                    .with(BUSY_BEST, machine.rate);
                for (share, key) in SHARES {
                    sample = sample.with(key, rate(size_at(share, 2.0, asked) as f64));
                }
                samples.push(arm, sample);
            }
        }
        samples
    }

    fn verdict(machine: Machine) -> Verdict {
        let samples = samples(machine);
        decide(&PoolSize.premises(&samples), &PoolSize.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn jobs_that_compute_for_another_time_decide_nothing() {
        let compute = 40.0 * US;
        inconclusive_for(
            Machine {
                compute,
                ..AS_CLAIMED
            },
            "computed",
        );
    }

    #[test]
    fn jobs_that_do_not_wait_or_wait_far_too_long_decide_nothing() {
        for wait in [0.1, 3.0] {
            inconclusive_for(Machine { wait, ..AS_CLAIMED }, "waited");
        }
    }

    #[test]
    fn jobs_that_other_programs_keep_from_the_cpus_decide_nothing() {
        let rate = 0.9;
        inconclusive_for(Machine { rate, ..AS_CLAIMED }, "has the CPUs");
    }

    #[test]
    fn repeats_without_the_cpus_are_left_out() {
        let mut good = samples(AS_CLAIMED);
        let mut loaded = samples(Machine {
            rate: 0.5,
            knee: 2.5,
            ..AS_CLAIMED
        });
        let verdict =
            |samples: &Samples| decide(&PoolSize.premises(samples), &PoolSize.judge(samples));
        let append = |to: &mut Samples, from: &Samples, count| {
            for (arm, _) in ARMS {
                from.of(arm)[..count]
                    .iter()
                    .for_each(|s| to.push(arm, s.clone()));
            }
        };
        let some_good = good.clone();
        append(&mut good, &loaded, 4);
        assert_eq!(verdict(&good), Verdict::Confirmed);
        append(&mut loaded, &some_good, 2);
        assert_inconclusive(&verdict(&loaded), "2 of 7 repeats");
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(AS_CLAIMED), Verdict::Confirmed);
        for knee in [0.4, 2.5] {
            let machine = Machine { knee, ..AS_CLAIMED };
            assert_eq!(verdict(machine), Verdict::NotHere, "{knee}");
        }
    }

    #[test]
    fn the_knee_lies_where_the_rate_reaches_nine_tenths_of_the_best() {
        let samples = samples(AS_CLAIMED);
        let curve = Curve::of(&samples.of("wait-1")[0]);
        // Two CPUs, and a wait of 1.1 times the computation.
        assert!((curve.formula - 4.2).abs() < 1e-9, "{}", curve.formula);
        assert!((curve.knee() - 0.9 * 4.2).abs() < 0.1, "{}", curve.knee());
        assert!(curve.at_formula() > 0.95 && curve.at_formula() <= 1.0);
    }

    #[test]
    fn a_rate_that_is_missing_leaves_the_curve_undecided() {
        let curve = Curve::of(&Sample::new().with(CPUS, 2.0).with(COMPUTE, 1.0));
        assert!(curve.best().is_nan() && curve.knee().is_nan() && curve.at_formula().is_nan());
    }

    #[test]
    fn a_sweep_measures_every_size_and_what_the_jobs_did() {
        let job = Job {
            rounds: 100,
            compute: Duration::from_micros(1),
            wait: Duration::from_micros(200),
            window: Duration::from_millis(2),
        };
        let sample = sweep(job, 1).expect("the pools start");
        for (_, key) in SHARES {
            assert!(!sample.get(key).is_nan(), "{key}");
        }
        assert!(sample.get(WAIT) >= 200.0 * US || sample.get(WAIT).is_nan());
    }
}
