//! Threads that add to counters of their own: what does it cost when the counters are neighbours?
//!
//! A cache moves lines, not variables: a CPU that writes to a line must own the whole of it. So two CPUs that
//! write to neighbours take the line from each other, although no byte is shared. It shows with
//! read-modify-write instructions such as `fetch_add`, which must own the line while they work. A plain `++` is
//! a load and a store; the store waits in the CPU's store buffer, the next load reads it from there, and the
//! line is fetched once for many additions. Programs that are printed to show false sharing often use `++`; so
//! it is measured beside, and whatever it shows here is said.
//!
//! Each thread is pinned to a core of its own: two threads on one core share its caches, and nothing moves.
//!
//! Other programs take the CPU away from one thread or the other, and then there is nothing to see. So the
//! threads work in short rounds that begin together, and only rounds count in which every thread kept its CPU
//! and all of them worked at the same time. Between rounds they spin: threads that gave way to others there
//! would come back one at a time, and would never meet on a busy machine.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::together::{self, Kind, Span};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_most_unless_past, times_larger};

/// The experiment.
pub(super) struct FalseSharing;

static INFO: Info = Info {
    name: "false-sharing",
    claim: "Threads that update variables of their own slow each other down when the variables \
            share a cache line; padding them apart cures it.",
    said_in: "texts on caches and performance, and on #[repr(align(64))]",
    method: "Two threads, each pinned to a core of its own, add to a counter of their own with \
             fetch_add, in rounds that begin together; the counters lie 8 to 256 bytes apart. The \
             same with a plain ++, and with a thread on every core.",
    control: "One thread alone, and counters 256 bytes apart.",
    premise: "The threads ran at the same time on different cores, and far apart they cost what \
              one thread alone does.",
    next: "sync-matrix (threads that do share a variable: atomics, locks, channels)",
};

const TIME: &str = "ns";
const ROUNDS: &str = "rounds";
const PLACES: &str = "places";

static METRICS: [Metric; 3] = [
    Metric::main(TIME, "each add", Unit::Nanoseconds),
    Metric::aside(ROUNDS, "rounds", Unit::Count),
    Metric::data(PLACES, "cores", Unit::Share),
];

/// Distance of counters that share nothing: more than a line, and more than the pair of lines that some
/// CPUs fetch together.
const FAR: usize = 256;
/// The most counters of a run.
const MOST: usize = 16;
/// How many rounds of a run must count.
const FEWEST: f64 = 10.0;
/// By what factor a difference counts as a slow-down.
const SLOWER: f64 = 1.25;

/// The distances that two threads try, with the keys and labels of their arms.
const STRIDES: [(usize, &str, &str); 5] = [
    (8, "pair-8", "2 threads, 8 bytes apart"),
    (16, "pair-16", "2 threads, 16 bytes"),
    (32, "pair-32", "2 threads, 32 bytes"),
    (64, "pair-64", "2 threads, 64 bytes"),
    (128, "pair-128", "2 threads, 128 bytes"),
];

impl Experiment for FalseSharing {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let mut arms = vec![Arm::control("alone", "1 thread alone")];
        arms.extend(STRIDES.map(|(_, key, label)| Arm::measured(key, label)));
        arms.extend([
            Arm::control("pair-256", "2 threads, 256 bytes"),
            Arm::measured("all-8", "every core, 8 bytes").optional(),
            Arm::control("all-256", "every core, 256 bytes").optional(),
            Arm::measured("plain-8", "plain ++, 8 bytes").optional(),
            Arm::control("plain-256", "plain ++, 256 bytes").optional(),
        ]);
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (who, stride) = arm.split_once('-').unwrap_or((arm, "256"));
        let stride = stride.parse().map_err(|_| unknown_arm(arm))?;
        if ![8, 16, 32, 64, 128, FAR].contains(&stride) {
            return Err(unknown_arm(arm));
        }
        let mut cores = probe::cores()?;
        cores.truncate(MOST);
        let (threads, add) = match who {
            "alone" => (1, Add::Atomic),
            "pair" => (2, Add::Atomic),
            "plain" => (2, Add::Plain),
            "all" if cores.len() > 2 => (cores.len(), Add::Atomic),
            "all" => return skipped("there are no more than two cores"),
            _ => return Err(unknown_arm(arm)),
        };
        if cores.len() < threads {
            return skipped("it takes two cores, and this process may use one");
        }
        cores.truncate(threads);
        let budget = Budget {
            rounds: scale.pick(40, 400),
            time: Duration::from_millis(scale.pick(200, 2000)),
        };
        run(&cores, stride, add, budget)
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let pairs = STRIDES
            .map(|(_, key, _)| key)
            .into_iter()
            .chain(["pair-256"]);
        let apart = |arm| samples.summary(arm, PLACES).min == 1.0;
        let counted = pairs.clone().chain(["alone"]);
        let rounds: Vec<f64> = counted.map(|arm| samples.median(arm, ROUNDS)).collect();
        let fewest = rounds.iter().copied().fold(f64::NAN, f64::min);
        let (alone, far) = (
            samples.median("alone", TIME),
            samples.median("pair-256", TIME),
        );
        let time = |ns| show(ns, Unit::Nanoseconds);
        vec![
            Premise::new(
                pairs.clone().all(apart),
                "each thread stayed on a core of its own",
            ),
            Premise::new(
                rounds.iter().all(|rounds| *rounds >= FEWEST),
                format!(
                    "the threads worked at the same time (in {} rounds at least)",
                    show(fewest, Unit::Count)
                ),
            ),
            Premise::new(
                far <= 1.5 * alone && alone <= 1.5 * far,
                format!(
                    "two threads far apart cost what one alone does ({} against {})",
                    time(far),
                    time(alone)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let of = |arm: &str| samples.summary(arm, TIME);
        let time = |arm: &str| show(of(arm).median, Unit::Nanoseconds);
        let far = of("pair-256");
        let (fine, wrong) = (SLOWER * far.median, 2.0 * SLOWER * far.median);
        let mut parts = vec![
            Part::new(
                times_larger(&of("pair-8"), &far, SLOWER),
                format!(
                    "8 bytes apart an addition takes {}, 256 bytes apart {}",
                    time("pair-8"),
                    time("pair-256")
                ),
            ),
            Part::new(
                at_most_unless_past(&of("pair-128"), fine, wrong),
                format!(
                    "at 64 bytes it takes {}, at 128 {}",
                    time("pair-64"),
                    time("pair-128")
                ),
            ),
        ];
        if !samples.of("all-8").is_empty() {
            parts.push(Part::new(
                times_larger(&of("all-8"), &of("all-256"), SLOWER),
                format!(
                    "on every core {} against {}",
                    time("all-8"),
                    time("all-256")
                ),
            ));
        }
        parts[1].text += &of_plain(samples);
        parts
    }
}

/// What the plain `++` shows. It does not decide: the claim is true or false without it.
fn of_plain(samples: &Samples) -> String {
    let [near, far] = ["plain-8", "plain-256"].map(|arm| samples.summary(arm, TIME));
    let what = match times_larger(&near, &far, SLOWER) {
        Tendency::Holds => "slowed down too",
        Tendency::Fails => "hides most of it in the store buffer",
        Tendency::Unclear => "shows no clear effect",
    };
    let time = |ns| show(ns, Unit::Nanoseconds);
    format!(
        "; a plain ++ {what} ({} near, {} far)",
        time(near.median),
        time(far.median)
    )
}

fn skipped(reason: &str) -> Result<Sample, ArmError> {
    Err(ArmError::Skipped(reason.to_owned()))
}

/// How a thread adds one.
#[derive(Clone, Copy)]
enum Add {
    Atomic,
    Plain,
}

impl Add {
    /// How often each thread adds in a round: for about a tenth of a millisecond.
    fn count(self) -> u32 {
        let slow = if cfg!(debug_assertions) { 10 } else { 1 };
        match self {
            Self::Atomic => 5_000 / slow,
            Self::Plain => 30_000 / slow,
        }
    }

    /// Adds [`count`](Self::count) times.
    fn to(self, counter: &AtomicU64) {
        match self {
            Self::Atomic => (0..self.count()).for_each(|_| {
                // ORDER: Relaxed, a counter of this thread alone that nobody else reads meanwhile.
                counter.fetch_add(1, Ordering::Relaxed);
            }),
            Self::Plain => (0..self.count()).for_each(|_| {
                // ORDER: Relaxed, as above; a load and a store is what a plain ++ is.
                let value = counter.load(Ordering::Relaxed);
                // ORDER: Relaxed, as above.
                counter.store(value + 1, Ordering::Relaxed);
            }),
        }
    }
}

/// Room for [`MOST`] counters [`FAR`] apart. Aligned so that a distance says which counters share a line.
#[repr(align(4096))]
struct Row([AtomicU64; MOST * FAR / size_of::<AtomicU64>()]);

impl Row {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }

    /// The counter that lies `index` times `stride` bytes behind the first.
    fn at(&self, index: usize, stride: usize) -> &AtomicU64 {
        &self.0[index * stride / size_of::<AtomicU64>()]
    }
}

/// What the threads of one run share.
struct Rounds {
    row: Row,
    stride: usize,
    add: Add,
    threads: usize,
    /// How often a thread has come to the line before a round or after one.
    arrived: AtomicUsize,
    over: AtomicBool,
    spans: Mutex<Vec<Span>>,
}

impl Rounds {
    fn new(threads: usize, stride: usize, add: Add) -> Self {
        Self {
            row: Row::new(),
            stride,
            add,
            threads,
            arrived: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            spans: Mutex::new(Vec::with_capacity(threads)),
        }
    }

    /// Waits until every thread has come here as often as this one.
    fn line_up(&self) {
        // ORDER: AcqRel; Release pairs with the Acquire load below in the others, and the last to come
        // acquires here what they released.
        let position = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let all = position.div_ceil(self.threads) * self.threads;
        // ORDER: Acquire pairs with the Release addition above, of the other threads.
        while self.arrived.load(Ordering::Acquire) < all {
            hint::spin_loop();
        }
    }

    /// What each thread does until the leader says that it is over. The leader returns the time of an addition
    /// in each round that counts.
    fn work(&self, index: usize, budget: Budget) -> Vec<f64> {
        let mut times = Vec::new();
        let begun = Instant::now();
        loop {
            self.line_up();
            // ORDER: Relaxed, the line orders it: the leader stored it before it came there.
            if self.over.load(Ordering::Relaxed) {
                return times;
            }
            let counter = self.row.at(index, self.stride);
            let span = Span::of(|| self.add.to(counter));
            self.spans().push(span);
            self.line_up();
            if index == 0 {
                times.extend(time_of_round(&self.spans(), self.add));
                self.spans().clear();
                let enough = times.len() >= budget.rounds || begun.elapsed() >= budget.time;
                // ORDER: Relaxed, as above.
                self.over.store(enough, Ordering::Relaxed);
            }
        }
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the leader ends a run: after so many rounds that count, or after some time.
#[derive(Clone, Copy)]
struct Budget {
    rounds: usize,
    time: Duration,
}

/// The time of an addition in a round, if every thread kept its CPU and all worked at the same time.
fn time_of_round(spans: &[Span], add: Add) -> Option<f64> {
    let kept = spans
        .iter()
        .all(|span| span.cpu_ns >= 0.95 * span.elapsed_ns());
    let begun = spans.iter().map(|span| span.begun).max()?;
    let ended = spans.iter().map(|span| span.ended).min()?;
    let together = ended.saturating_duration_since(begun).as_nanos() as f64;
    let sum: f64 = spans.iter().map(Span::elapsed_ns).sum();
    (kept && together >= 0.8 * together::elapsed_ns(spans))
        .then(|| sum / spans.len() as f64 / f64::from(add.count()))
}

/// Lets a thread on each of `cores` add to a counter of its own.
fn run(cores: &[usize], stride: usize, add: Add, budget: Budget) -> Result<Sample, ArmError> {
    let rounds = Arc::new(Rounds::new(cores.len(), stride, add));
    let mut handles = Vec::with_capacity(cores.len());
    for (index, core) in cores.iter().copied().enumerate() {
        let rounds = Arc::clone(&rounds);
        handles.push(Kind::Kernel.spawn(move || {
            // Where that fails the thread still takes part: the others wait for it.
            let pinned = probe::pin_to(core);
            let before = probe::current_cpu();
            let times = rounds.work(index, budget);
            let stayed = before == core && probe::current_cpu() == core;
            pinned.map(|()| (times, stayed))
        })?);
    }
    let ended: Result<Vec<_>, _> = together::join_all(handles)?.into_iter().collect();
    let (times, stayed): (Vec<Vec<f64>>, Vec<bool>) = ended?.into_iter().unzip();
    let in_place = stayed.iter().filter(|stayed| **stayed).count();
    let times = Summary::of(times.into_iter().flatten());
    Ok(Sample::new()
        .with(TIME, times.median)
        .with(ROUNDS, times.count as f64)
        .with(PLACES, in_place as f64 / cores.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        near: f64,
        padded: f64,
        far: f64,
        plain: f64,
        rounds: f64,
        in_place: f64,
    }

    const GOOD: Machine = Machine {
        near: 22.0,
        padded: 5.6,
        far: 5.5,
        plain: 1.5,
        rounds: 40.0,
        in_place: 1.0,
    };

    fn samples(machine: Machine) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, ns: f64| {
                let sample = Sample::new()
                    .with(TIME, ns * noise)
                    .with(ROUNDS, machine.rounds)
                    .with(PLACES, machine.in_place);
                samples.push(arm, sample);
            };
            for arm in ["pair-8", "pair-16", "pair-32", "pair-64"] {
                add(arm, machine.near);
            }
            add("alone", 5.5);
            add("pair-128", machine.padded);
            add("pair-256", machine.far);
            add("plain-8", machine.plain);
            add("plain-256", 1.5);
        }
        samples
    }

    fn verdict(machine: Machine) -> Verdict {
        let samples = samples(machine);
        decide(
            &FalseSharing.premises(&samples),
            &FalseSharing.judge(&samples),
        )
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn threads_that_took_turns_or_moved_decide_nothing() {
        inconclusive_for(
            Machine {
                rounds: 3.0,
                ..GOOD
            },
            "at the same time",
        );
        let moved = Machine {
            in_place: 0.5,
            ..GOOD
        };
        inconclusive_for(moved, "core of its own");
    }

    #[test]
    fn counters_far_apart_that_are_slow_too_decide_nothing() {
        inconclusive_for(Machine { far: 12.0, ..GOOD }, "far apart");
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(GOOD), Verdict::Confirmed);
        let harmless = Machine { near: 5.5, ..GOOD };
        assert_eq!(verdict(harmless), Verdict::NotHere);
        let padding_in_vain = Machine {
            padded: 22.0,
            ..GOOD
        };
        assert_eq!(verdict(padding_in_vain), Verdict::NotHere);
    }

    #[test]
    fn the_plain_addition_is_told_as_it_was_and_decides_nothing() {
        for (plain, words) in [(1.5, "hides most"), (9.0, "slowed down too")] {
            let machine = Machine { plain, ..GOOD };
            let parts = FalseSharing.judge(&samples(machine));
            assert!(parts.iter().any(|part| part.text.contains(words)));
            assert_eq!(verdict(machine), Verdict::Confirmed);
        }
    }

    #[test]
    fn a_distance_is_that_between_two_counters_and_every_addition_arrives() {
        let row = Row::new();
        for (stride, _, _) in STRIDES {
            let [first, second] = [0, 1].map(|index| std::ptr::from_ref(row.at(index, stride)));
            assert_eq!(second.addr() - first.addr(), stride);
            assert_eq!(first.addr() % 4096, 0);
        }
        for (index, add) in [Add::Atomic, Add::Plain].into_iter().enumerate() {
            let counter = row.at(index, FAR);
            add.to(counter);
            let added = counter.load(Ordering::Relaxed); // ORDER: Relaxed, one thread.
            assert_eq!(added, u64::from(add.count()));
        }
    }

    #[test]
    fn a_round_counts_if_all_kept_their_cpus_at_the_same_time() {
        let now = Instant::now();
        let span = |from: u64, to: u64, cpu_ns: f64| Span {
            begun: now + Duration::from_nanos(from),
            ended: now + Duration::from_nanos(to),
            cpu_ns,
        };
        let full = span(0, 50_000, 50_000.0);
        let count = f64::from(Add::Atomic.count());
        let time = |other| time_of_round(&[full, other], Add::Atomic);
        assert_eq!(time(full), Some(50_000.0 / count));
        assert_eq!(time(span(0, 50_000, 20_000.0)), None);
        assert_eq!(time(span(30_000, 80_000, 50_000.0)), None);
        assert_eq!(time_of_round(&[], Add::Atomic), None);
    }

    #[test]
    fn the_threads_go_through_the_rounds_together_and_end_together() {
        let rounds = Rounds::new(2, FAR, Add::Atomic);
        let budget = Budget {
            rounds: usize::MAX,
            time: Duration::from_millis(1),
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| rounds.work(1, budget));
            rounds.work(0, budget);
            assert!(other.join().unwrap().is_empty(), "the leader alone counts");
        });
        let added = |index| rounds.row.at(index, FAR).load(Ordering::Relaxed); // ORDER: Relaxed, all joined.
        assert!(added(0) > 0);
        assert_eq!(added(0), added(1));
    }
}
