//! Which accesses of two threads are seen in another order than they were written in.
//!
//! x86-64 lets a load overtake an earlier store of the same thread to another place, because the store waits in a
//! buffer, and nothing else. So of the three tests here one shows something: the store buffer (SB), with `Relaxed`
//! and with `Acquire` and `Release` alike, which are the same instructions there. `SeqCst` makes the store wait.
//! Message passing (MP) and load buffering (LB) show nothing on x86-64.
//!
//! Other architectures reorder more: on AArch64, RISC-V and POWER message passing and load buffering may be seen with
//! `Relaxed`, and never with `Acquire` and `Release`. The parts of the claim that speak of `Relaxed` are not judged
//! there.
//!
//! What was never seen in so many rounds is not thereby impossible; that it is, only the manual of the architecture
//! can say. So the texts say "none in N rounds", and a store buffer that was not seen decides nothing.

mod litmus;

use std::time::{Duration, Instant};

use self::litmus::{AcquireRelease, Counts, How, Litmus, Relaxed, SequentiallyConsistent};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, decided};

/// The experiment.
pub(super) struct MemoryOrder;

static INFO: Info = Info {
    name: "memory-order",
    claim: "x86 reorders nothing but a store with a later load from another place, and SeqCst \
            forbids even that.",
    said_in: "texts on memory models and happens-before, and the manuals of AMD and Intel",
    method: "Two threads on two CPUs run litmus tests in many short rounds: store buffer (SB), message \
             passing (MP), load buffering (LB), each with Relaxed, with Acquire and Release, and with \
             SeqCst. Rounds whose outcome needs a reordering count, per million.",
    control: "The two sides of the store buffer one after the other, where no reordering can be seen.",
    premise: "Both threads were running during the rounds that count, and the control shows nothing.",
    next: "lost-updates (what no ordering mends), false-sharing (what the cache lines cost)",
};

const REORDERED: &str = "reordered";
const ROUNDS: &str = "rounds";
const OVERLAPPED: &str = "overlapped";
const X86: &str = "x86";
const OUTCOMES: [&str; 4] = ["seen_00", "seen_01", "seen_10", "seen_11"];

static METRICS: [Metric; 8] = [
    Metric::main(REORDERED, "per million", Unit::Count),
    Metric::aside(ROUNDS, "rounds", Unit::Count),
    Metric::aside(OVERLAPPED, "overlapped", Unit::Count),
    Metric::data(OUTCOMES[0], "seen 0, 0", Unit::Count),
    Metric::data(OUTCOMES[1], "seen 0, 1", Unit::Count),
    Metric::data(OUTCOMES[2], "seen 1, 0", Unit::Count),
    Metric::data(OUTCOMES[3], "seen 1, 1", Unit::Count),
    Metric::data(X86, "x86-64", Unit::Count),
];

/// A test in three strengths: the keys of its arms and which outcome needs a reordering.
struct Test {
    name: &'static str,
    what: &'static str,
    /// Relaxed, Acquire and Release, SeqCst.
    arms: [(&'static str, &'static str); 3],
    weak: usize,
}

const TESTS: [Test; 3] = [
    Test {
        name: "store buffer",
        what: "store, then load: both read 0",
        arms: [
            ("sb-relaxed", "SB, Relaxed"),
            ("sb-acqrel", "SB, Acquire/Release"),
            ("sb-seqcst", "SB, SeqCst"),
        ],
        weak: 0b00,
    },
    Test {
        name: "message passing",
        what: "flag seen without the message",
        arms: [
            ("mp-relaxed", "MP, Relaxed"),
            ("mp-acqrel", "MP, Acquire/Release"),
            ("mp-seqcst", "MP, SeqCst"),
        ],
        weak: 0b10,
    },
    Test {
        name: "load buffering",
        what: "load, then store: both read 1",
        arms: [
            ("lb-relaxed", "LB, Relaxed"),
            ("lb-acqrel", "LB, Acquire/Release"),
            ("lb-seqcst", "LB, SeqCst"),
        ],
        weak: 0b11,
    },
];

const CONTROL: &str = "in-turn";
/// The outcome that would need a reordering in the control, which is a store buffer.
const CONTROL_WEAK: usize = TESTS[0].weak;
const STRENGTHS: [&str; 3] = ["Relaxed", "Acquire/Release", "SeqCst"];

/// So many rounds that overlapped an arm must have in all: fewer say little about "never".
const ENOUGH: f64 = 20_000.0;

/// How long the rounds of one run go on.
fn window(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(35), Duration::from_secs(1))
}

impl Experiment for MemoryOrder {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let measured = TESTS.iter().flat_map(|test| test.arms);
        let mut arms: Vec<Arm> = measured
            .map(|(key, label)| Arm::measured(key, label))
            .collect();
        arms.push(Arm::control(CONTROL, "SB in turn"));
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (litmus, weak, how) = plan(arm)?;
        let cpus = two_cpus()?;
        let counts = litmus::run(litmus, how, cpus, Instant::now() + window(scale))?;
        Ok(sample(&counts, weak))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let fewest = all_arms().map(|arm| total(samples, arm, OVERLAPPED));
        let fewest = fewest.fold(f64::INFINITY, least);
        let control = samples.summary(CONTROL, REORDERED).max;
        vec![
            Premise::new(
                fewest >= ENOUGH,
                format!(
                    "both threads were running during {} rounds of each test at least",
                    show(fewest, Unit::Count)
                ),
            ),
            Premise::new(
                control == 0.0,
                format!(
                    "one after the other the two sides show no reordering ({} per million)",
                    show(control, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let [buffer, message, load] = &TESTS;
        let seen = |test: &Test, strength: usize| {
            let (arm, _) = test.arms[strength];
            samples.summary(arm, REORDERED).max
        };
        // On other architectures Relaxed promises nothing here.
        let first = usize::from(samples.summary("mp-relaxed", X86).max != 1.0);
        let never = |test: &Test, strengths: std::ops::Range<usize>| {
            let worst = strengths.map(|strength| seen(test, strength));
            let worst = worst.fold(0.0, greatest);
            Part::new(decided(worst == 0.0, worst), spoken(samples, test))
        };
        let weak = [0, 1].map(|strength| seen(buffer, strength));
        let both = if weak.iter().all(|weak| *weak > 0.0) {
            Tendency::Holds
        } else {
            Tendency::Unclear
        };
        let strict = seen(buffer, 2);
        vec![
            Part::new(both, spoken(samples, buffer)),
            Part::new(
                decided(strict == 0.0, strict),
                format!(
                    "SeqCst: {} in {} rounds",
                    number_of(strict),
                    show(total(samples, buffer.arms[2].0, ROUNDS), Unit::Count)
                ),
            ),
            never(message, first..3),
            never(load, first..3),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let row = |(arm, label): (&str, &str)| {
            let cells = OUTCOMES.map(|key| show(total(samples, arm, key), Unit::Count));
            Row::new(label, cells.iter().map(String::as_str))
        };
        let arms = TESTS.iter().flat_map(|test| test.arms);
        let known = arms.filter(|(arm, _)| !samples.of(arm).is_empty());
        let rows: Vec<Row> = known.map(row).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let columns = ["0, 0", "0, 1", "1, 0", "1, 1"];
        let reordered: Vec<String> = TESTS
            .iter()
            .map(|test| format!("{} for {}", columns[test.weak], test.name))
            .collect();
        vec![Figure::new(
            format!(
                "How often each pair of values was read, in all runs; it takes a reordering to see {}.",
                reordered.join(" and ")
            ),
            Content::Matrix {
                columns: columns.map(str::to_owned).into(),
                rows,
            },
        )]
    }
}

fn all_arms() -> impl Iterator<Item = &'static str> {
    TESTS.iter().flat_map(|test| test.arms.map(|(arm, _)| arm))
}

/// The smaller one, and not a number if either is not.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b < a || b.is_nan() {
        if a.is_nan() { a } else { b }
    } else {
        a
    }
}

/// The larger one, and not a number if either is not.
fn greatest(a: f64, b: f64) -> f64 {
    -least(-a, -b)
}

/// The sum over all repeats, not a number if there are none.
fn total(samples: &Samples, arm: &str, key: &str) -> f64 {
    let of = samples.of(arm);
    if of.is_empty() {
        return f64::NAN;
    }
    of.iter().map(|sample| sample.get(key)).sum()
}

fn number_of(per_million: f64) -> String {
    if per_million == 0.0 {
        "none".to_owned()
    } else {
        format!("{} per million", show(per_million, Unit::Count))
    }
}

/// What a test showed, by strength, the worst run of each.
fn spoken(samples: &Samples, test: &Test) -> String {
    let each = test.arms.iter().zip(STRENGTHS).map(|((arm, _), strength)| {
        let worst = samples.summary(arm, REORDERED).max;
        format!("{strength} {}", number_of(worst))
    });
    let each: Vec<String> = each.collect();
    let rounds = test.arms.map(|(arm, _)| total(samples, arm, ROUNDS));
    format!(
        "{} ({}): {} in {} rounds or more",
        test.name,
        test.what,
        each.join(", "),
        show(rounds.into_iter().fold(f64::INFINITY, least), Unit::Count)
    )
}

/// What an arm runs: the test, the outcome that needs a reordering, and how.
fn plan(arm: &str) -> Result<(Litmus, usize, How), ArmError> {
    let [buffer, message, load] = TESTS.map(|test| test.weak);
    let (litmus, weak) = match arm {
        "sb-relaxed" => (Litmus::store_buffer::<Relaxed>(), buffer),
        "sb-acqrel" => (Litmus::store_buffer::<AcquireRelease>(), buffer),
        "sb-seqcst" => (Litmus::store_buffer::<SequentiallyConsistent>(), buffer),
        "mp-relaxed" => (Litmus::message_passing::<Relaxed>(), message),
        "mp-acqrel" => (Litmus::message_passing::<AcquireRelease>(), message),
        "mp-seqcst" => (Litmus::message_passing::<SequentiallyConsistent>(), message),
        "lb-relaxed" => (Litmus::load_buffer::<Relaxed>(), load),
        "lb-acqrel" => (Litmus::load_buffer::<AcquireRelease>(), load),
        "lb-seqcst" => (Litmus::load_buffer::<SequentiallyConsistent>(), load),
        CONTROL => {
            let litmus = Litmus::store_buffer::<Relaxed>();
            return Ok((litmus, CONTROL_WEAK, How::InTurn));
        }
        _ => return Err(unknown_arm(arm)),
    };
    Ok((litmus, weak, How::AtOnce))
}

/// Two CPUs, of different cores if there are such.
fn two_cpus() -> Result<[usize; 2], ArmError> {
    for cpus in [probe::cores()?, probe::usable_cpus()?] {
        if let [first, .., last] = cpus[..] {
            return Ok([first, last]);
        }
    }
    Err(ArmError::Skipped(
        "needs two CPUs: on one, a thread sees its accesses in the order of the program".into(),
    ))
}

fn sample(counts: &Counts, weak: usize) -> Sample {
    let rounds = counts.rounds() as f64;
    let sample = Sample::new()
        .with(REORDERED, counts.outcomes[weak] as f64 / rounds * 1e6)
        .with(ROUNDS, rounds)
        .with(OVERLAPPED, counts.overlapped as f64)
        .with(X86, f64::from(u8::from(cfg!(target_arch = "x86_64"))));
    let outcomes = OUTCOMES.iter().zip(counts.outcomes);
    outcomes.fold(sample, |sample, (key, count)| {
        sample.with(key, count as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// Reordered rounds per million, by test and strength, and what else is measured.
    #[derive(Clone, Copy)]
    struct Machine {
        seen: [[f64; 3]; 3],
        control: f64,
        overlapped: f64,
        x86: f64,
    }

    /// An x86 as its manual has it.
    const X86_64: Machine = Machine {
        seen: [[900.0, 700.0, 0.0], [0.0; 3], [0.0; 3]],
        control: 0.0,
        overlapped: 40_000.0,
        x86: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let mut add = |arm: &str, reordered: f64| {
                    let sample = Sample::new()
                        .with(REORDERED, reordered)
                        .with(ROUNDS, 50_000.0)
                        .with(OVERLAPPED, self.overlapped)
                        .with(X86, self.x86);
                    let outcomes = OUTCOMES.iter();
                    let sample = outcomes.fold(sample, |sample, key| sample.with(key, 12_500.0));
                    samples.push(arm, sample);
                };
                for (test, seen) in TESTS.iter().zip(self.seen) {
                    for ((arm, _), seen) in test.arms.iter().zip(seen) {
                        // It is rare: one run of five may see it.
                        add(arm, if i == 3 { seen } else { 0.0 });
                    }
                }
                add(CONTROL, self.control);
            }
            samples
        }

        fn seeing(mut self, test: usize, strength: usize, per_million: f64) -> Self {
            self.seen[test][strength] = per_million;
            self
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &MemoryOrder.premises(&samples),
                &MemoryOrder.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(X86_64.verdict(), Verdict::Confirmed);
        for (test, strength) in [(0, 2), (1, 0), (1, 1), (2, 0), (2, 2)] {
            let verdict = X86_64.seeing(test, strength, 0.5).verdict();
            assert_eq!(verdict, Verdict::NotHere, "{test} {strength}");
        }
    }

    #[test]
    fn a_reordering_that_was_not_seen_is_not_thereby_refuted() {
        for strength in [0, 1] {
            let verdict = X86_64.seeing(0, strength, 0.0).verdict();
            assert_inconclusive(&verdict, "noise: store buffer");
        }
    }

    #[test]
    fn elsewhere_relaxed_promises_nothing_and_acquire_with_release_do() {
        let arm = Machine { x86: 0.0, ..X86_64 };
        let relaxed = arm.seeing(1, 0, 30.0).seeing(2, 0, 5.0);
        assert_eq!(relaxed.verdict(), Verdict::Confirmed);
        assert_eq!(relaxed.seeing(1, 1, 0.5).verdict(), Verdict::NotHere);
    }

    /// Plants threads that never ran at the same time, which can see no reordering.
    #[test]
    fn threads_that_ran_one_after_the_other_decide_nothing() {
        let apart = Machine {
            overlapped: 100.0,
            ..X86_64
        };
        assert_inconclusive(&apart.verdict(), "both threads were running");
    }

    /// Plants a count that finds reorderings where there can be none.
    #[test]
    fn a_control_that_shows_a_reordering_decides_nothing() {
        let wrong = Machine {
            control: 1.0,
            ..X86_64
        };
        assert_inconclusive(&wrong.verdict(), "one after the other");
    }

    #[test]
    fn counts_become_a_sample_by_the_outcome_that_needs_a_reordering() {
        let counts = Counts {
            outcomes: [1, 2, 3, 4],
            overlapped: 9,
        };
        let sample = sample(&counts, 0b10);
        assert_eq!(sample.get(REORDERED), 300_000.0);
        assert_eq!((sample.get(ROUNDS), sample.get(OVERLAPPED)), (10.0, 9.0));
        assert_eq!(sample.get("seen_11"), 4.0);
    }

    #[test]
    fn every_arm_has_a_plan() {
        for arm in MemoryOrder.arms(Scale::Quick) {
            assert!(plan(arm.key).is_ok(), "{}", arm.key);
        }
    }

    #[test]
    fn the_figure_adds_up_what_was_read_in_all_runs() {
        let figures = MemoryOrder.figures(&X86_64.samples());
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(rows.len(), 9);
        assert_eq!(rows[0].cells[0], "62,500");
        assert!(MemoryOrder.figures(&Samples::new()).is_empty());
    }
}
