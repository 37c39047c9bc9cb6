//! A thread for each task, or a pool: from which length of the tasks on does it not matter?
//!
//! One run of an arm goes through tasks of five lengths, one way of running them. The same repeat of another arm
//! does the same a moment later, so the ratio of two ways is taken within the repeat, length by length, and the
//! length at which it falls below the limit is a number per repeat, with a spread of its own.
//!
//! Tasks of each length are run in several batches, of which the fastest counts: other programs make a batch slower and
//! never faster. A repeat counts if every way of it had the CPUs for the longest tasks, by the CPU time that its process
//! used, whatever for: a way that is slow by itself uses them too.

use std::time::{Duration, Instant};

use crate::compute::{Pace, burn};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::pool::{Job, Pool};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::{Summary, quantile};
use crate::together::{Kind, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, times_larger};

/// The experiment.
pub(super) struct PoolVsThreadPerTask;

static INFO: Info = Info {
    name: "pool-vs-thread-per-task",
    claim: "Short tasks belong on a thread pool, because a kernel thread for each costs more than \
            the task; from some length on it makes no difference. With green threads that length \
            is ten times shorter.",
    said_in: "texts on thread pools and executors; the contrary for virtual threads (\"do not \
              pool them\")",
    method: "Tasks of 1 µs to 10 ms, all started at once and waited for: on a kernel thread each, \
             on a pool with a thread per CPU, on a green thread each. Wall time divided by the \
             number of tasks, for each length; where the pool stops winning by more than 10 %.",
    control: "The same tasks one after the other, without any thread.",
    premise: "Each task really computed for its length, and long tasks had all CPUs in three \
              repeats at least.",
    next: "pool-size (how many threads a pool should have)",
};

/// One length of tasks and where its numbers are kept.
struct Length {
    ns: u64,
    /// Wall time per task.
    took: &'static str,
    /// How long the tasks themselves computed: the median of them.
    ran: &'static str,
}

const LENGTHS: [Length; 5] = [
    length(1_000, "took_1us", "ran_1us"),
    length(10_000, "took_10us", "ran_10us"),
    length(100_000, "took_100us", "ran_100us"),
    length(1_000_000, "took_1ms", "ran_1ms"),
    length(10_000_000, "took_10ms", "ran_10ms"),
];

const fn length(ns: u64, took: &'static str, ran: &'static str) -> Length {
    Length { ns, took, ran }
}

const SHORTEST: &Length = &LENGTHS[0];
const LONGEST: &Length = &LENGTHS[LENGTHS.len() - 1];
const CPUS: &str = "cpus";
const BUSY: &str = "busy";

static METRICS: [Metric; 12] = [
    Metric::main("took_1us", "1 µs tasks", Unit::Nanoseconds),
    Metric::aside("took_100us", "100 µs", Unit::Nanoseconds),
    Metric::aside("took_10ms", "10 ms", Unit::Nanoseconds),
    Metric::data("took_10us", "10 µs", Unit::Nanoseconds),
    Metric::data("took_1ms", "1 ms", Unit::Nanoseconds),
    Metric::data("ran_1us", "ran 1 µs", Unit::Nanoseconds),
    Metric::data("ran_10us", "ran 10 µs", Unit::Nanoseconds),
    Metric::data("ran_100us", "ran 100 µs", Unit::Nanoseconds),
    Metric::data("ran_1ms", "ran 1 ms", Unit::Nanoseconds),
    Metric::data("ran_10ms", "ran 10 ms", Unit::Nanoseconds),
    Metric::data(CPUS, "CPUs", Unit::Count),
    Metric::data(BUSY, "CPUs busy", Unit::Share),
];

/// The pool wins when the other way takes so many times as long.
const WIN: f64 = 1.1;
/// Up to here the difference may come from other programs.
const NOISE: f64 = 1.25;

/// The share of the CPUs that must be given, and in how many repeats.
const GIVEN: f64 = 0.85;
const ENOUGH: usize = 3;
/// Tasks of this length and more are timed by the CPU time they used; reading it would take too long for shorter ones.
const BY_CPU_TIME_NS: u64 = 100_000;
/// In how many batches the tasks of one length are run.
const BATCHES: u64 = 3;

impl Experiment for PoolVsThreadPerTask {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel", "kernel thread per task"),
            Arm::measured("pool", "thread pool"),
            Arm::measured("green", "green thread per task"),
            Arm::control("in-turn", "one after the other"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let sweep = Sweep {
            scale,
            cpus: probe::cpus(),
            pace: Pace::measure(),
        };
        match arm {
            "kernel" => sweep.in_threads(Kind::Kernel),
            "green" => sweep.in_threads(Kind::Green),
            "pool" => sweep.on_a_pool(),
            "in-turn" => sweep.over(|tasks| Ok((0..tasks.count).map(|_| tasks.run()).collect())),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = ["kernel", "pool", "green", "in-turn"];
        let of_length =
            |arm: &str, length: &Length| samples.median(arm, length.ran) / length.ns as f64;
        let ran = arms.map(|arm| LENGTHS.each_ref().map(|length| of_length(arm, length)));
        let least = ran.as_flattened().iter().copied().fold(f64::NAN, f64::min);
        let alone = LENGTHS
            .each_ref()
            .map(|length| of_length("in-turn", length));
        let all_known = !ran.as_flattened().iter().any(|share| share.is_nan());
        let most = alone.into_iter().fold(f64::NAN, f64::max);
        let given = given(samples);
        let busy = arms.map(|arm| samples.median(arm, BUSY));
        let busy = busy[..3].iter().copied().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                all_known && least >= 0.8 && most <= NOISE,
                format!(
                    "each task computed for its length (for {} of it at least, alone for {} at most)",
                    show(least, Unit::Share),
                    show(most, Unit::Share)
                ),
            ),
            Premise::new(
                given.len() >= ENOUGH,
                format!(
                    "long tasks had all CPUs in {} of {} repeats (they kept {} of them busy)",
                    given.len(),
                    samples.of("pool").len(),
                    show(busy, Unit::Share)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let ratio_at = |length: &Length| {
            let ratios = Ratios::of(samples, "kernel");
            Summary::of(ratios.iter().map(|ratios| ratios.at(length)))
        };
        let compare = |length: &Length, ratio: &Summary| {
            format!(
                "tasks of {}: {} each on a pool, a kernel thread for each takes {} times as long",
                show(length.ns as f64, Unit::Nanoseconds),
                show(samples.median("pool", length.took), Unit::Nanoseconds),
                show(ratio.median, Unit::Count)
            )
        };
        let (short, long) = (ratio_at(SHORTEST), ratio_at(LONGEST));
        let kernel = crossovers(samples, "kernel");
        let green = crossovers(samples, "green");
        vec![
            Part::new(at_least(&short, WIN), compare(SHORTEST, &short)),
            Part::new(
                at_most_unless_past(&long, WIN, NOISE),
                compare(LONGEST, &long),
            ),
            Part::new(
                times_larger(&kernel, &green, 10.0),
                format!(
                    "a pool wins by more than 10 % up to tasks of {}; over green threads up to {}",
                    length_text(&kernel),
                    length_text(&green)
                ),
            ),
        ]
    }
}

/// The repeats in which each way that is compared had the CPUs.
fn given(samples: &Samples) -> Vec<usize> {
    let had = |arm: &str, i: usize| {
        let sample = samples.of(arm).get(i);
        sample.is_some_and(|sample| sample.get(BUSY) >= GIVEN)
    };
    let repeats = 0..samples.of("pool").len();
    repeats
        .filter(|i| ["kernel", "pool", "green"].iter().all(|arm| had(arm, *i)))
        .collect()
}

/// How many times as long as the pool another way took, at each length, in one repeat.
struct Ratios([f64; LENGTHS.len()]);

impl Ratios {
    /// Those of each repeat in which the CPUs were given.
    fn of(samples: &Samples, arm: &str) -> Vec<Self> {
        let (others, pools) = (samples.of(arm), samples.of("pool"));
        let given = given(samples).into_iter();
        let pairs = given.filter_map(|i| Some((others.get(i)?, pools.get(i)?)));
        pairs
            .map(|(other, pool)| {
                let ratio = |length: &Length| other.get(length.took) / pool.get(length.took);
                Self(LENGTHS.each_ref().map(ratio))
            })
            .collect()
    }

    fn at(&self, length: &Length) -> f64 {
        let index = LENGTHS.iter().position(|other| other.ns == length.ns);
        index.map_or(f64::NAN, |index| self.0[index])
    }

    /// The length in nanoseconds at which the ratio first falls to [`WIN`]; the shortest if it is there
    /// already, the longest if it never does. Between two lengths on logarithmic scales: what a thread costs is
    /// the same for all lengths, so its share of the time is a straight line there.
    fn crossover(&self) -> f64 {
        let cost = |ratio: f64| (ratio - 1.0).max(1e-3).ln();
        if self.0.iter().any(|ratio| ratio.is_nan()) {
            return f64::NAN;
        }
        match self.0.iter().position(|ratio| *ratio <= WIN) {
            None => LONGEST.ns as f64,
            Some(0) => SHORTEST.ns as f64,
            Some(index) => {
                let (above, below) = (cost(self.0[index - 1]), cost(self.0[index]));
                let share = (above - cost(WIN)) / (above - below);
                let [from, to] = [index - 1, index].map(|i| (LENGTHS[i].ns as f64).ln());
                (from + share * (to - from)).exp()
            }
        }
    }
}

fn crossovers(samples: &Samples, arm: &str) -> Summary {
    Summary::of(Ratios::of(samples, arm).iter().map(Ratios::crossover))
}

/// A crossover as people read it: at either end of the sweep it is only known to lie beyond.
fn length_text(crossover: &Summary) -> String {
    let text = show(crossover.median, Unit::Nanoseconds);
    if crossover.median <= SHORTEST.ns as f64 {
        format!("less than {text}")
    } else if crossover.median >= LONGEST.ns as f64 {
        format!("more than {text}")
    } else {
        format!("about {text}")
    }
}

/// Tasks of one length.
#[derive(Clone, Copy)]
struct Tasks {
    count: usize,
    rounds: u64,
    by_cpu_time: bool,
}

impl Tasks {
    /// What each of them does; returns how long it took.
    fn run(self) -> Duration {
        if self.by_cpu_time {
            let before = probe::thread_cpu_time_ns();
            burn(self.rounds);
            return Duration::from_nanos((probe::thread_cpu_time_ns() - before) as u64);
        }
        let begun = Instant::now();
        burn(self.rounds);
        begun.elapsed()
    }
}

/// What a batch of tasks came to, in nanoseconds.
struct Batch {
    took_ns: f64,
    /// CPU time of the whole process.
    cpu_ns: f64,
    /// How long a task computed: the median.
    ran_ns: f64,
}

impl Batch {
    fn of(
        tasks: Tasks,
        all_of: impl Fn(Tasks) -> Result<Vec<Duration>, ArmError>,
    ) -> Result<Self, ArmError> {
        let cpu_before = probe::cpu_time_ns();
        let begun = Instant::now();
        let ran = all_of(tasks)?;
        let took_ns = begun.elapsed().as_nanos() as f64;
        let cpu_ns = probe::cpu_time_ns() - cpu_before;
        let mut ran: Vec<f64> = ran.iter().map(|ran| ran.as_nanos() as f64).collect();
        if ran.len() != tasks.count {
            return Err(ArmError::Failed("a task is missing".into()));
        }
        ran.sort_by(f64::total_cmp);
        Ok(Self {
            took_ns,
            cpu_ns,
            ran_ns: quantile(&ran, 0.5),
        })
    }
}

/// One run of an arm: all lengths in turn.
#[derive(Clone, Copy)]
struct Sweep {
    scale: Scale,
    cpus: usize,
    pace: Pace,
}

impl Sweep {
    /// Those of one batch.
    fn tasks(&self, length: &Length) -> Tasks {
        let work_ns: u64 = self.scale.pick(50_000_000, 150_000_000);
        let most = self.scale.pick(1_000, 4_000);
        let least = 3 * self.cpus as u64;
        let count = ((work_ns / length.ns).min(most) / BATCHES).max(least);
        Tasks {
            count: count as usize,
            rounds: self.pace.rounds(Duration::from_nanos(length.ns)),
            by_cpu_time: length.ns >= BY_CPU_TIME_NS,
        }
    }

    /// Runs the tasks of every length by `all_of`, which returns how long each of them computed.
    fn over(
        &self,
        all_of: impl Fn(Tasks) -> Result<Vec<Duration>, ArmError>,
    ) -> Result<Sample, ArmError> {
        // The first threads of a process pay for memory that later ones find mapped.
        let warm_up = Tasks {
            count: 16 * self.cpus,
            ..self.tasks(SHORTEST)
        };
        all_of(warm_up)?;
        let mut sample = Sample::new().with(CPUS, self.cpus as f64);
        for length in &LENGTHS {
            let tasks = self.tasks(length);
            let batches: Result<Vec<Batch>, ArmError> =
                (0..BATCHES).map(|_| Batch::of(tasks, &all_of)).collect();
            let fastest = batches?
                .into_iter()
                .min_by(|a, b| a.took_ns.total_cmp(&b.took_ns));
            let Some(batch) = fastest else { continue };
            sample = sample
                .with(length.took, batch.took_ns / tasks.count as f64)
                .with(length.ran, batch.ran_ns);
            if length.ns == LONGEST.ns {
                let cpus = batch.cpu_ns / batch.took_ns;
                sample = sample.with(BUSY, cpus / self.cpus as f64);
            }
        }
        Ok(sample)
    }

    fn in_threads(self, kind: Kind) -> Result<Sample, ArmError> {
        kind.host(move || {
            self.over(|tasks| {
                let threads: Result<Vec<_>, _> = (0..tasks.count)
                    .map(|_| kind.spawn(move || tasks.run()))
                    .collect();
                join_all(threads?)
            })
        })
    }

    fn on_a_pool(self) -> Result<Sample, ArmError> {
        let pool = Pool::start(self.cpus)?;
        self.over(|tasks| {
            let job = |_| pool.submit(move || tasks.run());
            let jobs: Vec<_> = (0..tasks.count).map(job).collect();
            jobs.into_iter().map(Job::join).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        /// What a thread of either kind costs beyond the pool, in nanoseconds.
        kernel: f64,
        green: f64,
        /// How long the tasks of 1 µs computed, and those of 10 ms took on the pool's two threads.
        ran: f64,
        parallel: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        kernel: 20_000.0,
        green: 200.0,
        ran: 1_030.0,
        parallel: 2.0,
    };

    fn verdict(machine: Machine) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let arms = [
                ("kernel", machine.kernel),
                ("pool", 0.0),
                ("green", machine.green),
                ("in-turn", 0.0),
            ];
            for (arm, cost) in arms {
                let mut sample = Sample::new()
                    .with(CPUS, 2.0)
                    .with(BUSY, machine.parallel / 2.0);
                for length in &LENGTHS {
                    let ns = length.ns as f64;
                    let ran = if length.ns == 1_000 { machine.ran } else { ns };
                    sample = sample
                        .with(length.took, ns / machine.parallel + cost * noise)
                        .with(length.ran, ran);
                }
                samples.push(arm, sample);
            }
        }
        let premises = PoolVsThreadPerTask.premises(&samples);
        decide(&premises, &PoolVsThreadPerTask.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn tasks_that_do_not_compute_for_their_length_decide_nothing() {
        let ran = 40.0;
        inconclusive_for(Machine { ran, ..AS_CLAIMED }, "its length");
        let ran = 9_000.0;
        inconclusive_for(Machine { ran, ..AS_CLAIMED }, "its length");
    }

    #[test]
    fn long_tasks_that_take_turns_decide_nothing() {
        let parallel = 1.0;
        inconclusive_for(
            Machine {
                parallel,
                ..AS_CLAIMED
            },
            "all CPUs",
        );
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(AS_CLAIMED), Verdict::Confirmed);
        let refuted = [
            // Threads that cost nothing, or so much that even long tasks suffer.
            Machine {
                kernel: 10.0,
                ..AS_CLAIMED
            },
            Machine {
                kernel: 9e6,
                ..AS_CLAIMED
            },
            Machine {
                green: 15_000.0,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn the_crossover_is_where_the_cost_is_a_tenth_of_the_time() {
        // Beside tasks that take half their length, a tenth of which is the cost at 20 times the cost.
        let ratios = |cost: f64| {
            Ratios(
                LENGTHS
                    .each_ref()
                    .map(|length| 1.0 + cost / (length.ns as f64 / 2.0)),
            )
        };
        for cost in [20_000.0, 10_000.0] {
            let crossover = ratios(cost).crossover();
            assert!((crossover - 20.0 * cost).abs() < 1.0, "{crossover}");
        }
        // Between the two lengths around it, whatever the others say.
        let bent = Ratios([9.0, 3.0, 1.2, 1.05, 1.3]).crossover();
        assert!((bent - 316_228.0).abs() < 1.0, "{bent}");
        assert_eq!(ratios(1.0).crossover(), SHORTEST.ns as f64);
        assert_eq!(ratios(1e9).crossover(), LONGEST.ns as f64);
        assert!(Ratios([f64::NAN; 5]).crossover().is_nan());
    }

    #[test]
    fn a_run_that_loses_a_task_is_a_failure_and_not_a_fast_one() {
        let sweep = Sweep {
            scale: Scale::Quick,
            cpus: 1,
            pace: Pace::measure(),
        };
        let all_but = |lost: usize| {
            let instantly = move |tasks: Tasks| Ok(vec![Duration::ZERO; tasks.count - lost]);
            sweep.over(instantly)
        };
        assert!(all_but(0).is_ok());
        assert!(all_but(1).is_err());
    }
}
