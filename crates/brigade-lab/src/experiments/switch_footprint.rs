//! What a switch costs by the memory that both sides use: to another thread, and to another process.
//!
//! The direct cost of a switch is small and known (see `context_switch`). The indirect one comes afterwards:
//! the other side has driven this side's memory out of the caches, and a switch to another address space may
//! cost it what the processor remembered of its pages, too. So both sides touch a buffer of their own in each
//! turn, from one cache line up to more than the caches of the core hold, and what one thread alone takes for the
//! same calls and one such buffer is subtracted. What is left is switching and what switching has driven out.
//!
//! Processors that tag what they remember of pages with the address space (PCID) keep it over a switch; with
//! them the published reason, "the TLB is flushed", does not apply as published.

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Content, Figure, Line, Mark};
use crate::machine;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::turns::{self, Alone, LINE, Pair, Rounds};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least};

/// The experiment.
pub(super) struct SwitchFootprint;

static INFO: Info = Info {
    name: "switch-footprint",
    claim: "A switch between threads is much cheaper than one between processes, because the \
            address space stays.",
    said_in: "every introduction to threads (\"no TLB flush\", \"the caches stay warm\")",
    method: "Two threads, and two processes, hand a byte back and forth on one CPU, by turns. Each \
             side touches a buffer of its own in its turn, one cache line to 2 MiB. What it takes \
             longer than alone counts, for each turn.",
    control: "The same calls and one buffer by one thread alone, subtracted; and two pairs of \
              threads compared with each other, which shows what the comparison can tell.",
    premise: "Each turn made a switch, the control none; they had the CPU to themselves in enough \
              blocks; two pairs of the same kind cost the same.",
    next: "process-vs-thread (what a process costs to start)",
};

const TIME: &str = "ns";
const OWN: &str = "alone";
const SWITCHES: &str = "switches";
const OTHER: &str = "other";
const OTHER_SWITCHES: &str = "other_switches";
const ALONE_SWITCHES: &str = "alone_switches";
const RATIO: &str = "ratio";
const INTACT: &str = "intact";
const BYTES: &str = "bytes";
/// The series of the machine's caches: level, bytes, level, bytes, ...
const CACHES: &str = "caches";

static METRICS: [Metric; 9] = [
    Metric::main(TIME, "each switch", Unit::Nanoseconds),
    Metric::aside(OWN, "own work", Unit::Nanoseconds),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::data(OTHER, "second", Unit::Nanoseconds),
    Metric::data(OTHER_SWITCHES, "s. switches", Unit::Count),
    Metric::data(ALONE_SWITCHES, "a. switches", Unit::Count),
    Metric::data(RATIO, "ratio", Unit::Count),
    Metric::data(INTACT, "intact", Unit::Share),
    Metric::data(BYTES, "buffer", Unit::Bytes),
];

const KIB: usize = 1024;

/// Footprints: the arm, its derived one, their labels, and the buffer of each side.
const SIZES: [(&str, &str, &str, &str, usize); 6] = [
    (
        "threads-line",
        "processes-line",
        "threads, one line each",
        "processes, one line each",
        LINE,
    ),
    (
        "threads-4k",
        "processes-4k",
        "threads, 4 KiB each",
        "processes, 4 KiB each",
        4 * KIB,
    ),
    (
        "threads-32k",
        "processes-32k",
        "threads, 32 KiB each",
        "processes, 32 KiB each",
        32 * KIB,
    ),
    (
        "threads-256k",
        "processes-256k",
        "threads, 256 KiB each",
        "processes, 256 KiB each",
        256 * KIB,
    ),
    (
        "threads-1m",
        "processes-1m",
        "threads, 1 MiB each",
        "processes, 1 MiB each",
        1024 * KIB,
    ),
    (
        "threads-2m",
        "processes-2m",
        "threads, 2 MiB each",
        "processes, 2 MiB each",
        2048 * KIB,
    ),
];

/// The arm that compares threads with threads, and the buffer of its sides.
const SAME: &str = "same";
const SAME_BYTES: usize = 4 * KIB;

/// Much cheaper: the other one costs one and a half times as much at least.
const DEARER: f64 = 1.5;
/// The part of the blocks of which a number may be taken.
const ENOUGH: f64 = 0.3;
/// What counts as the same, between two pairs of the same kind.
const EQUAL: f64 = 1.25;

impl Experiment for SwitchFootprint {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let mut arms = Vec::new();
        for (threads, processes, label, derived, _) in SIZES {
            arms.push(Arm::measured(threads, label));
            arms.push(Arm::derived(processes, derived));
        }
        arms.push(Arm::control(SAME, "threads twice, 4 KiB each"));
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        if arm == SAME {
            probe::pin_to_one_cpu()?;
            let pairs = [
                Pair::with_thread(SAME_BYTES)?,
                Pair::with_thread(SAME_BYTES)?,
            ];
            return compare(pairs, SAME_BYTES, scale);
        }
        let size = SIZES.iter().find(|(key, ..)| *key == arm);
        let bytes = size.map(|size| size.4).ok_or_else(|| unknown_arm(arm))?;
        probe::pin_to_one_cpu()?;
        // A process is forked before any thread is started.
        let process = Pair::with_process(bytes)?;
        compare([Pair::with_thread(bytes)?, process], bytes, scale)
    }

    fn derive(&self, samples: &mut Samples) {
        for (threads, processes, ..) in SIZES {
            for sample in samples.of(threads).to_vec() {
                let derived = Sample::new()
                    .with(TIME, sample.get(OTHER))
                    .with(OWN, sample.get(OWN))
                    .with(SWITCHES, sample.get(OTHER_SWITCHES))
                    .with(BYTES, sample.get(BYTES));
                samples.push(processes, derived);
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let keys = || SIZES.iter().map(|(key, ..)| *key).chain([SAME]);
        let medians =
            |key: &str| -> Vec<f64> { keys().map(|arm| samples.median(arm, key)).collect() };
        // Comparisons that a NaN fails; `fold` alone would pass over it.
        let least = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::min);
        let mut turns = medians(SWITCHES);
        turns.extend(medians(OTHER_SWITCHES));
        let alone = medians(ALONE_SWITCHES);
        let intact = [SIZES[0].0, SAME].map(|arm| samples.median(arm, INTACT));
        let same = samples.summary(SAME, RATIO);
        vec![
            Premise::new(
                turns.iter().all(|count| *count >= 0.95),
                format!(
                    "each side was switched away from at each turn ({} times at least)",
                    show(least(&turns), Unit::Count)
                ),
            ),
            Premise::new(
                alone.iter().all(|count| *count <= 0.05),
                format!(
                    "the same calls alone made no switches ({} for each round)",
                    show(alone.iter().copied().fold(f64::NAN, f64::max), Unit::Count)
                ),
            ),
            Premise::new(
                intact.iter().all(|share| *share >= ENOUGH),
                format!(
                    "they had the CPU to themselves often enough (in {} of the blocks at least)",
                    show(least(&intact), Unit::Share)
                ),
            ),
            Premise::new(
                same.q1 >= 1.0 / EQUAL && same.q3 <= EQUAL,
                format!(
                    "two pairs of threads cost the same ({} times)",
                    show(same.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let time = |arm: &str| show(samples.median(arm, TIME), Unit::Nanoseconds);
        let part = |at: usize| {
            let (threads, processes, ..) = SIZES[at];
            let ratio = samples.summary(threads, RATIO);
            let text = format!(
                "with {} on each side a switch between processes costs {} times one between \
                 threads ({} against {})",
                footprint(SIZES[at].4),
                show(ratio.median, Unit::Count),
                time(processes),
                time(threads)
            );
            Part::new(at_least(&ratio, DEARER), text)
        };
        let (threads, processes, ..) = SIZES[SIZES.len() - 1];
        let mut largest = part(widest(samples));
        largest.text += &format!(
            "; what the other side drives out of the caches makes it {} for threads and {} for \
             processes with {}",
            time(threads),
            time(processes),
            footprint(SIZES[SIZES.len() - 1].4)
        );
        vec![part(0), largest]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let line = |label: &str, arms: [&'static str; SIZES.len()]| {
            let point = |arm: &str| [samples.median(arm, BYTES), samples.median(arm, TIME)];
            Line::new(label, arms.map(point))
        };
        let lines = vec![
            line("threads", SIZES.map(|(threads, ..)| threads)),
            line("processes", SIZES.map(|(_, processes, ..)| processes)),
        ];
        if lines.iter().all(|line| line.points.is_empty()) {
            return Vec::new();
        }
        let caches = samples.of(SIZES[0].0).first();
        let marks = caches.map_or(&[][..], |sample| sample.series(CACHES));
        let marks = marks
            .chunks_exact(2)
            .map(|cache| Mark {
                label: format!("L{}", cache[0]),
                x: cache[1],
            })
            .collect();
        let content = Content::Lines {
            x: Axis::logarithmic("touched by each side in each turn", Unit::Bytes),
            y: Axis::linear("each switch", Unit::Nanoseconds),
            lines,
            marks,
        };
        let title = "What a switch costs, by the memory that both sides use";
        vec![Figure::new(title, content)]
    }
}

/// The footprint, beyond one line, at which processes cost most beside threads, of those that were measured in enough
/// blocks.
fn widest(samples: &Samples) -> usize {
    let ratio = |at: &usize| samples.median(SIZES[*at].0, RATIO);
    (1..SIZES.len())
        .filter(|at| ratio(at).is_finite() && samples.median(SIZES[*at].0, INTACT) >= ENOUGH)
        .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
        .unwrap_or(1)
}

fn footprint(bytes: usize) -> String {
    if bytes == LINE {
        "one cache line".to_owned()
    } else {
        show(bytes as f64, Unit::Bytes)
    }
}

/// Blocks of about a millisecond: shorter than what another program takes at a time, so that some are intact
/// even beside one.
fn rounds(bytes: usize, scale: Scale) -> Rounds {
    let round_ns = 4_000.0 + bytes as f64 * 0.25;
    Rounds {
        count: (0.8e6 / round_ns).ceil() as u32,
        blocks: scale.pick(11, 100),
    }
}

fn compare(pairs: [Pair; 2], bytes: usize, scale: Scale) -> Result<Sample, ArmError> {
    let compared = turns::compare(pairs, Alone::with_own(bytes)?, rounds(bytes, scale))?;
    let [one, other] = compared.pairs;
    let caches = machine::caches();
    let caches = caches
        .iter()
        .flat_map(|(level, bytes)| [f64::from(*level), *bytes as f64]);
    Ok(Sample::new()
        .with(TIME, one.switch_ns)
        .with(OTHER, other.switch_ns)
        .with(RATIO, ratio(other.switch_ns, one.switch_ns))
        .with(OWN, compared.alone_ns)
        .with(SWITCHES, one.switches)
        .with(OTHER_SWITCHES, other.switches)
        .with(ALONE_SWITCHES, compared.alone_switches)
        .with(
            INTACT,
            one.intact.min(other.intact).min(compared.alone_intact),
        )
        .with(BYTES, bytes as f64)
        .with_series(CACHES, caches))
}

/// How many times `one` is `other`; not a number if the noise has eaten either.
fn ratio(one: f64, other: f64) -> f64 {
    if one > 0.0 && other > 0.0 {
        one / other
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// A machine by what a switch between processes costs beside one between threads.
    #[derive(Clone, Copy)]
    struct Machine {
        bare: f64,
        large: f64,
        switches: f64,
        alone: f64,
        intact: f64,
        same: f64,
        noise: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        bare: 1.8,
        large: 2.5,
        switches: 1.0,
        alone: 0.0,
        intact: 0.99,
        same: 1.0,
        noise: 0.01,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + self.noise * f64::from(i);
                let mut add = |arm: &str, bytes: usize, times: f64| {
                    let threads = 1_500.0 + bytes as f64 * 0.01;
                    let sample = Sample::new()
                        .with(TIME, threads)
                        .with(OTHER, threads * times * noise)
                        .with(RATIO, times * noise)
                        .with(OWN, 600.0)
                        .with(SWITCHES, 1.0)
                        .with(OTHER_SWITCHES, self.switches)
                        .with(ALONE_SWITCHES, self.alone)
                        .with(INTACT, self.intact)
                        .with(BYTES, bytes as f64)
                        .with_series(CACHES, [1.0, 49_152.0, 2.0, 1_310_720.0]);
                    samples.push(arm, sample);
                };
                for (at, (arm, .., bytes)) in SIZES.iter().enumerate() {
                    add(arm, *bytes, if at == 0 { self.bare } else { self.large });
                }
                add(SAME, SAME_BYTES, self.same / noise);
            }
            SwitchFootprint.derive(&mut samples);
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &SwitchFootprint.premises(&samples),
                &SwitchFootprint.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        let equal = Machine {
            bare: 1.05,
            ..AS_CLAIMED
        };
        assert_eq!(equal.verdict(), Verdict::NotHere);
        let equal_with_memory = Machine {
            large: 1.1,
            ..AS_CLAIMED
        };
        assert_eq!(equal_with_memory.verdict(), Verdict::NotHere);
    }

    #[test]
    fn turns_that_make_no_switch_decide_nothing() {
        let planted = Machine {
            switches: 0.3,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "0.30 times at least");
    }

    #[test]
    fn a_control_that_switches_decides_nothing() {
        let planted = Machine {
            alone: 0.5,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "alone made no switches");
    }

    #[test]
    fn a_cpu_that_others_take_decides_nothing() {
        let planted = Machine {
            intact: 0.1,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "in 10 % of the blocks");
    }

    #[test]
    fn a_footprint_without_enough_blocks_is_not_the_one_that_decides() {
        let mut samples = Samples::new();
        for (at, (arm, ..)) in SIZES.iter().enumerate() {
            let sample = Sample::new()
                .with(RATIO, at as f64)
                .with(INTACT, if at > 2 { 0.1 } else { 1.0 });
            samples.push(arm, sample);
        }
        assert_eq!(widest(&samples), 2);
    }

    #[test]
    fn two_pairs_of_threads_that_differ_decide_nothing() {
        let planted = Machine {
            same: 1.7,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "two pairs of threads");
    }

    #[test]
    fn noise_around_the_limit_is_left_open() {
        let noisy = Machine {
            bare: 1.35,
            noise: 0.1,
            ..AS_CLAIMED
        };
        assert_inconclusive(&noisy.verdict(), "noise");
    }

    #[test]
    fn the_figure_has_both_kinds_by_footprint_and_the_caches() {
        let figures = SwitchFootprint.figures(&AS_CLAIMED.samples());
        let Content::Lines { lines, marks, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.points.len() == SIZES.len()));
        assert_eq!((marks[0].label.as_str(), marks[1].x), ("L1", 1_310_720.0));
        assert!(SwitchFootprint.figures(&Samples::new()).is_empty());
    }

    #[test]
    fn what_noise_has_eaten_is_no_ratio() {
        assert_eq!(ratio(3.0, 1.5), 2.0);
        assert!(ratio(-1.0, 2.0).is_nan() && ratio(1.0, 0.0).is_nan());
    }
}
