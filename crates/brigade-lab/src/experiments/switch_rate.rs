//! Switches a second beside the work that gets done.
//!
//! A worker computes on one CPU, and pairs of threads that do nothing but hand a byte back and forth share it
//! with it: each of their turns is a switch. What the worker gets done falls; but so it does beside threads
//! that compute, with hardly a switch. So each number of pairs has a control of as many computing threads: if
//! it is the switches that eat the work, the control leaves more of it.
//!
//! A pair that is paced, and so makes about as many switches a second as administrators find high, asks the
//! question the other way round: what of the work is lost at that rate.
//!
//! The worker's speed is taken alone before and after, in the same process, so a slow moment of the machine
//! falls on both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::compute;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Content, Figure, Line};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::turns::Side;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most};

/// The experiment.
pub(super) struct SwitchRate;

static INFO: Info = Info {
    name: "switch-rate",
    claim: "A high rate of context switches means that the machine shuffles threads instead of \
            working.",
    said_in: "guides to vmstat (\"watch the column cs\"), and texts on too many threads",
    method: "A worker computes on one CPU, beside none to four pairs of threads that only hand a \
             byte back and forth, and beside a pair that does so 2,000 times a second. What the \
             worker gets done counts, against what it gets done alone.",
    control: "As many threads that compute in place of the pairs: they compete for the CPU as well, \
              and hardly switch. The worker against itself.",
    premise: "The pairs switched and the computing threads did not; the threads had their CPU.",
    next: "voluntary-switches (which switches mean what)",
};

const WORK: &str = "work";
const RATE: &str = "rate";
const YIELD: &str = "yield";
const GIVEN: &str = "given";

static METRICS: [Metric; 4] = [
    Metric::main(WORK, "work done", Unit::Share),
    Metric::aside(RATE, "switches /s", Unit::Count),
    Metric::aside(YIELD, "per CPU s", Unit::Share),
    Metric::data(GIVEN, "CPU given", Unit::Share),
];

/// What the worker shares its CPU with.
#[derive(Clone, Copy)]
enum Company {
    None,
    Pairs(usize),
    Paced,
    Hogs(usize),
}

const ALONE: &str = "alone";
const PACED: &str = "paced";

/// Arms, their labels and what they mean.
const ARMS: [(&str, &str, Company); 7] = [
    (ALONE, "worker alone", Company::None),
    (PACED, "beside a paced pair", Company::Paced),
    ("pairs-1", "beside 1 pair", Company::Pairs(1)),
    ("pairs-2", "beside 2 pairs", Company::Pairs(2)),
    ("pairs-4", "beside 4 pairs", Company::Pairs(4)),
    ("hogs-1", "beside 1 that computes", Company::Hogs(1)),
    ("hogs-4", "beside 4 that compute", Company::Hogs(4)),
];

/// As many pairs as computing threads: which takes more of the work?
const RIVALS: [(&str, &str, usize); 2] = [("pairs-1", "hogs-1", 1), ("pairs-4", "hogs-4", 4)];

/// Shuffling instead of working: at most this part of the work is left.
const SHUFFLING: f64 = 0.8;
/// The computing threads leave more of the work by this factor, if it is the switches that take it.
const MORE: f64 = 1.25;

/// How often the paced pair talks.
const PACE: Duration = Duration::from_micros(500);

impl Experiment for SwitchRate {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        ARMS.iter()
            .map(|(key, label, company)| match company {
                Company::None | Company::Hogs(_) => Arm::control(key, label),
                Company::Pairs(_) | Company::Paced => Arm::measured(key, label),
            })
            .collect()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let company = ARMS.iter().find(|(key, ..)| *key == arm);
        let company = company.ok_or_else(|| unknown_arm(arm))?.2;
        probe::pin_to_one_cpu()?;
        beside(company, Duration::from_millis(scale.pick(50, 500)))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let given = ARMS.map(|(arm, ..)| samples.median(arm, GIVEN));
        let alone = samples.summary(ALONE, WORK);
        let rate = |arm| samples.median(arm, RATE);
        let apart = RIVALS.map(|(pairs, hogs, _)| rate(pairs) / rate(hogs));
        let least = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                given.iter().all(|share| *share >= 0.9),
                format!(
                    "the threads had their CPU ({} of the time at least)",
                    show(least(&given), Unit::Share)
                ),
            ),
            Premise::new(
                alone.q1 >= 0.9 && alone.q3 <= 1.1,
                format!(
                    "the worker alone did the same work twice ({})",
                    show(alone.median, Unit::Share)
                ),
            ),
            Premise::new(
                apart.iter().all(|times| *times >= 10.0),
                format!(
                    "pairs made {} times the switches of computing threads",
                    show(least(&apart), Unit::Count)
                ),
            ),
            Premise::new(
                rate(PACED) >= 10.0 * rate(ALONE) && rate(PACED) >= 2_000.0,
                format!(
                    "the paced pair made switches ({} a second)",
                    show(rate(PACED), Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let work = |arm: &str| samples.summary(arm, WORK);
        let said = |arm: &str| {
            format!(
                "{} of the work at {} switches a second",
                show(work(arm).median, Unit::Share),
                show(samples.median(arm, RATE), Unit::Count)
            )
        };
        let mut parts = vec![
            Part::new(
                at_most(&work("pairs-4"), SHUFFLING),
                format!("beside four pairs {}", said("pairs-4")),
            ),
            Part::new(
                at_most(&work(PACED), SHUFFLING),
                format!("beside a paced pair {}", said(PACED)),
            ),
        ];
        parts.extend(RIVALS.map(|(pairs, hogs, count)| {
            let text = format!(
                "beside {count} that compute{} {}, beside as many pairs {}",
                if count == 1 { "s" } else { "" },
                said(hogs),
                said(pairs)
            );
            Part::new(at_least(&quotient(samples, hogs, pairs), MORE), text)
        }));
        parts
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let point = |arm: &str| [samples.median(arm, RATE), samples.median(arm, WORK)];
        let line = |label: &str, wanted: fn(Company) -> bool| {
            let arms = ARMS.iter().filter(|(.., company)| wanted(*company));
            Line::new(label, arms.map(|(arm, ..)| point(arm)))
        };
        let lines = vec![
            line("beside threads that switch", |company| {
                !matches!(company, Company::Hogs(_))
            }),
            line("beside threads that compute", |company| {
                matches!(company, Company::None | Company::Hogs(_))
            }),
        ];
        if lines.iter().all(|line| line.points.is_empty()) {
            return Vec::new();
        }
        let content = Content::Lines {
            x: Axis::logarithmic("switches a second", Unit::Count),
            y: Axis::linear("work done", Unit::Share),
            lines,
            marks: Vec::new(),
        };
        let title = "What a worker gets done by the switches on its CPU";
        vec![Figure::new(title, content)]
    }
}

/// The work beside one company divided by that beside another, by repeats.
fn quotient(samples: &Samples, one: &str, other: &str) -> Summary {
    let pairs = samples.of(one).iter().zip(samples.of(other));
    Summary::of(pairs.map(|(one, other)| one.get(WORK) / other.get(WORK)))
}

/// What happened while the worker worked for some time.
struct Shift {
    chunks: f64,
    elapsed_ns: f64,
    own_cpu_ns: f64,
    all_cpu_ns: f64,
    switches: f64,
}

impl Shift {
    fn of(time: Duration) -> Self {
        let (own, all) = (probe::thread_cpu_time_ns(), probe::cpu_time_ns());
        let switches = probe::switches();
        let begun = Instant::now();
        let end = begun + time;
        let mut chunks = 0_u32;
        while Instant::now() < end {
            compute::burn(1_000);
            chunks += 1;
        }
        Self {
            chunks: f64::from(chunks),
            elapsed_ns: begun.elapsed().as_nanos() as f64,
            own_cpu_ns: probe::thread_cpu_time_ns() - own,
            all_cpu_ns: probe::cpu_time_ns() - all,
            switches: probe::switches() - switches,
        }
    }

    /// Chunks of work a nanosecond.
    fn speed(&self) -> f64 {
        self.chunks / self.elapsed_ns
    }

    /// Chunks of work for each nanosecond of the worker's own CPU time.
    fn by_cpu(&self) -> f64 {
        self.chunks / self.own_cpu_ns
    }
}

/// The worker alone, beside `company`, and alone again.
fn beside(company: Company, time: Duration) -> Result<Sample, ArmError> {
    compute::burn(1_000_000);
    let before = Shift::of(time / 5);
    let shift = keep_company(company, || Shift::of(time))?;
    let after = Shift::of(time / 5);
    let mean = |of: fn(&Shift) -> f64| f64::midpoint(of(&before), of(&after));
    let given = [&before, &shift, &after].map(|shift| shift.all_cpu_ns / shift.elapsed_ns);
    Ok(Sample::new()
        .with(WORK, shift.speed() / mean(Shift::speed))
        .with(YIELD, shift.by_cpu() / mean(Shift::by_cpu))
        .with(RATE, shift.switches * 1e9 / shift.elapsed_ns)
        .with(GIVEN, given.into_iter().fold(f64::NAN, f64::min)))
}

/// Does `work` while the company is there.
fn keep_company<T>(company: Company, work: impl FnOnce() -> T) -> Result<T, ArmError> {
    let stop = AtomicBool::new(false);
    let stopped = || stop.load(Ordering::Relaxed); // ORDER: a flag alone; nothing is published by it.
    let (pairs, hogs, pace) = match company {
        Company::None => (0, 0, None),
        Company::Pairs(pairs) => (pairs, 0, None),
        Company::Paced => (1, 0, Some(PACE)),
        Company::Hogs(hogs) => (0, hogs, None),
    };
    thread::scope(|scope| {
        // Whatever fails below, the threads that are there must hear of the end.
        let started = (|| -> Result<(), ArmError> {
            for _ in 0..hogs {
                let compute = || {
                    while !stopped() {
                        compute::burn(1_000)
                    }
                };
                thread::Builder::new().spawn_scoped(scope, compute)?;
            }
            for _ in 0..pairs {
                let (mut here, mut there) = Side::pair(0)?;
                thread::Builder::new().spawn_scoped(scope, move || there.answer())?;
                thread::Builder::new().spawn_scoped(scope, move || {
                    while !stopped() && here.round().is_ok() {
                        pace.into_iter().for_each(thread::sleep);
                    }
                })?;
            }
            // They begin while this thread sleeps.
            thread::sleep(Duration::from_millis(2));
            Ok(())
        })();
        let done = started.map(|()| work());
        stop.store(true, Ordering::Relaxed); // ORDER: a flag alone; nothing is published by it.
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        pairs: f64,
        hogs: f64,
        paced: f64,
        alone: f64,
        pairs_rate: f64,
        paced_rate: f64,
        given: f64,
        noise: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        pairs: 0.1,
        hogs: 0.3,
        paced: 0.6,
        alone: 1.0,
        pairs_rate: 400_000.0,
        paced_rate: 8_000.0,
        given: 1.0,
        noise: 0.01,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + self.noise * f64::from(i);
                for (arm, _, company) in ARMS {
                    let (work, rate) = match company {
                        Company::None => (self.alone, 20.0),
                        Company::Pairs(_) => (self.pairs * noise, self.pairs_rate),
                        Company::Paced => (self.paced * noise, self.paced_rate),
                        Company::Hogs(_) => (self.hogs, 300.0),
                    };
                    let sample = Sample::new()
                        .with(WORK, work)
                        .with(RATE, rate)
                        .with(GIVEN, self.given);
                    samples.push(arm, sample);
                }
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(&SwitchRate.premises(&samples), &SwitchRate.judge(&samples))
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        for contrary in [
            Machine {
                hogs: 0.1,
                ..AS_CLAIMED
            },
            Machine {
                paced: 0.97,
                ..AS_CLAIMED
            },
            Machine {
                pairs: 0.95,
                ..AS_CLAIMED
            },
        ] {
            assert_eq!(contrary.verdict(), Verdict::NotHere);
        }
    }

    #[test]
    fn pairs_that_do_not_switch_decide_nothing() {
        let planted = Machine {
            pairs_rate: 400.0,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "1.33 times the switches");
    }

    #[test]
    fn a_paced_pair_that_does_not_switch_decides_nothing() {
        let planted = Machine {
            paced_rate: 30.0,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "paced pair made switches (30 a second)");
    }

    #[test]
    fn a_cpu_that_others_take_decides_nothing() {
        let planted = Machine {
            given: 0.5,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "had their CPU (50 %");
    }

    #[test]
    fn a_worker_that_is_not_as_fast_as_itself_decides_nothing() {
        let planted = Machine {
            alone: 0.7,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "the same work twice (70 %)");
    }

    #[test]
    fn noise_around_a_limit_is_left_open() {
        let noisy = Machine {
            paced: 0.75,
            noise: 0.05,
            ..AS_CLAIMED
        };
        assert_inconclusive(&noisy.verdict(), "noise");
    }

    #[test]
    fn the_figure_sets_switching_beside_computing() {
        let figures = SwitchRate.figures(&AS_CLAIMED.samples());
        let Content::Lines { lines, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            lines
                .iter()
                .map(|line| line.points.len())
                .collect::<Vec<_>>(),
            [5, 3]
        );
        assert!(SwitchRate.figures(&Samples::new()).is_empty());
    }

    #[test]
    fn company_leaves_when_the_work_is_done() {
        let before = probe::switches();
        let done = keep_company(Company::Pairs(2), || {
            thread::sleep(Duration::from_millis(5));
            7
        });
        assert_eq!(done, Ok(7));
        assert!(probe::switches() > before);
        assert_eq!(keep_company(Company::Hogs(2), || 8), Ok(8));
    }
}
