//! Two kinds of switches, and what they say about a thread.
//!
//! Two threads that compute and one that sleeps for a millisecond at a time share one CPU. The kernel keeps
//! an account of each (see the module `account`): switches at which it had stopped wanting the CPU, switches
//! at which it would have gone on, and the time on the CPU and in its queue. The controls are the same threads
//! alone on the CPU: nobody competes there.

use std::thread;
use std::time::{Duration, Instant};

use crate::account::Entry;
use crate::compute;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::together::Start;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, fails_only_if, times_larger};

/// The experiment.
pub(super) struct VoluntarySwitches;

static INFO: Info = Info {
    name: "voluntary-switches",
    claim: "Voluntary switches mean that a thread waits for something, involuntary ones that it \
            competes for the CPU.",
    said_in: "guides to pidstat -w and /proc/PID/status, and texts on schedulers",
    method: "Two threads that compute and one that sleeps 1 ms at a time, all on one CPU. What the \
             kernel writes down about each: switches of both kinds, time on the CPU and in its \
             queue.",
    control: "One thread that computes, and one that sleeps, each alone on the CPU.",
    premise: "The computing threads queued for the CPU together, and alone did not; the sleeping \
              one slept.",
    next: "switch-rate (what many switches take from the work)",
};

const INVOLUNTARY: &str = "involuntary";
const VOLUNTARY: &str = "voluntary";
const QUEUE: &str = "queue";
const RUN: &str = "run";
const NAPS: &str = "naps";

static METRICS: [Metric; 5] = [
    Metric::main(INVOLUNTARY, "invol. /s", Unit::Count),
    Metric::aside(VOLUNTARY, "vol. /s", Unit::Count),
    Metric::aside(QUEUE, "in queue", Unit::Share),
    Metric::data(RUN, "on CPU", Unit::Share),
    Metric::data(NAPS, "naps /s", Unit::Count),
];

/// The arm of all three threads: its own numbers are those of the computing ones.
const TOGETHER: &str = "together";
/// Derived from it: the numbers of the sleeping one.
const SLEEPER: &str = "sleeper";
const HOG_ALONE: &str = "hog-alone";
const SLEEPER_ALONE: &str = "sleeper-alone";

/// What stands before the numbers of the sleeping thread in a sample of all three.
const OF_SLEEPER: &str = "sleeper_";
/// What stands before the numbers of each computing thread.
const OF_HOGS: [&str; 2] = ["hog1_", "hog2_"];

/// The numbers of a thread.
const NUMBERS: [&str; 5] = [INVOLUNTARY, VOLUNTARY, QUEUE, RUN, NAPS];

/// How long one sleep is.
const NAP: Duration = Duration::from_millis(1);

/// The share of its time in the queue up to which a thread that was to be alone counts as that against the claim.
const ALONE: f64 = 0.02;

impl Experiment for VoluntarySwitches {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured(TOGETHER, "computing, among three"),
            Arm::derived(SLEEPER, "sleeping, among three"),
            Arm::control(HOG_ALONE, "computing, alone"),
            Arm::control(SLEEPER_ALONE, "sleeping, alone"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let roles: &[Role] = match arm {
            TOGETHER => &[Role::Hog, Role::Hog, Role::Sleeper],
            HOG_ALONE => &[Role::Hog],
            SLEEPER_ALONE => &[Role::Sleeper],
            _ => return Err(unknown_arm(arm)),
        };
        probe::pin_to_one_cpu()?;
        let threads = run(roles, Duration::from_millis(scale.pick(150, 2_000)))?;
        if let [one, other, sleeper] = threads.as_slice() {
            let sample = one.and(other).add_to(Sample::new(), "");
            let sample = one.add_to(sample, OF_HOGS[0]);
            let sample = other.add_to(sample, OF_HOGS[1]);
            return Ok(sleeper.add_to(sample, OF_SLEEPER));
        }
        let only = threads.first().ok_or_else(|| unknown_arm(arm))?;
        Ok(only.add_to(Sample::new(), ""))
    }

    fn derive(&self, samples: &mut Samples) {
        for sample in samples.of(TOGETHER).to_vec() {
            let of_sleeper = |number| sample.get(&format!("{OF_SLEEPER}{number}"));
            let derived = NUMBERS.iter().fold(Sample::new(), |derived, number| {
                derived.with(number, of_sleeper(number))
            });
            samples.push(SLEEPER, derived);
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let queue = |arm| samples.summary(arm, QUEUE);
        let (together, alone) = (queue(TOGETHER), queue(HOG_ALONE));
        let naps = [SLEEPER, SLEEPER_ALONE].map(|arm| samples.summary(arm, NAPS).min);
        let share = |share| show(share, Unit::Share);
        vec![
            Premise::new(
                together.min >= 0.2,
                format!(
                    "the computing threads queued for the CPU ({} of the time at least)",
                    share(together.min)
                ),
            ),
            Premise::new(
                alone.median <= 0.1,
                format!(
                    "alone, one had the CPU to itself ({} of the time in the queue)",
                    share(alone.median)
                ),
            ),
            Premise::new(
                naps.iter().all(|naps| *naps >= 50.0),
                format!(
                    "the sleeping thread slept {} times a second at least",
                    show(naps.into_iter().fold(f64::NAN, f64::min), Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let rate = |arm: &str, key| show(samples.median(arm, key), Unit::Count);
        let both = |arm: &str| {
            format!(
                "{} voluntary and {} involuntary switches a second",
                rate(arm, VOLUNTARY),
                rate(arm, INVOLUNTARY)
            )
        };
        let mostly = |arm: &str, kind: &str, who: &str| {
            let part = share_of(samples, arm, kind);
            Part::new(most(&part), format!("{who}: {}", both(arm)))
        };
        let competing = samples.summary(TOGETHER, INVOLUNTARY);
        let alone = samples.summary(HOG_ALONE, INVOLUNTARY);
        vec![
            mostly(TOGETHER, INVOLUNTARY, "a thread that computes among three"),
            mostly(SLEEPER, VOLUNTARY, "one that sleeps among them"),
            mostly(SLEEPER_ALONE, VOLUNTARY, "one that sleeps alone"),
            Part::new(
                // One that was in the queue for longer was not alone: other programs interrupted it.
                fails_only_if(
                    samples.summary(HOG_ALONE, QUEUE).q3 <= ALONE,
                    times_larger(&competing, &alone, 3.0),
                ),
                format!(
                    "one that computes alone: {}, and {} of its time in the queue instead of {}",
                    both(HOG_ALONE),
                    show(samples.median(HOG_ALONE, QUEUE), Unit::Share),
                    show(samples.median(TOGETHER, QUEUE), Unit::Share)
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let rows: Vec<Row> = [
            ("computes, among three", TOGETHER, OF_HOGS[0]),
            ("computes, among three", TOGETHER, OF_HOGS[1]),
            ("sleeps, among three", TOGETHER, OF_SLEEPER),
            ("computes, alone", HOG_ALONE, ""),
            ("sleeps, alone", SLEEPER_ALONE, ""),
        ]
        .into_iter()
        .filter_map(|(label, arm, of)| row(label, samples, arm, of))
        .collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let heads = ["on CPU", "in queue", "asleep", "voluntary/s", "involunt./s"];
        let content = Content::Matrix {
            columns: heads.map(str::to_owned).into(),
            rows,
        };
        let title = "Where each thread's time went, and its switches";
        vec![Figure::new(title, content)]
    }
}

/// One thread's medians as words; none if nothing was measured.
fn row(label: &str, samples: &Samples, arm: &str, of: &str) -> Option<Row> {
    let median = |number: &str| samples.median(arm, &format!("{of}{number}"));
    let (run, queue) = (median(RUN), median(QUEUE));
    let share = |share: f64| format!("{:.0} %", (share * 100.0).clamp(0.0, 100.0));
    let count = |number| format!("{:.0}", median(number));
    let cells = [
        share(run),
        share(queue),
        share(1.0 - run - queue),
        count(VOLUNTARY),
        count(INVOLUNTARY),
    ];
    run.is_finite()
        .then(|| Row::new(label, cells.iter().map(String::as_str)))
}

/// The part of an arm's switches that are of one kind.
fn share_of(samples: &Samples, arm: &str, kind: &str) -> Summary {
    let all = |sample: &Sample| sample.get(VOLUNTARY) + sample.get(INVOLUNTARY);
    let shares = samples.of(arm).iter();
    Summary::of(shares.map(|sample| sample.get(kind) / all(sample)))
}

/// Is it nine tenths or more? It is not only if it is less than half; what lies between is left open.
fn most(share: &Summary) -> Tendency {
    if share.q1 >= 0.9 {
        Tendency::Holds
    } else if share.q3 < 0.5 {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Hog,
    Sleeper,
}

/// What a thread did, and its account.
struct Observed {
    entry: Entry,
    naps: f64,
}

impl Observed {
    /// The mean of two.
    fn and(&self, other: &Self) -> Self {
        let mean = |of: fn(&Self) -> f64| f64::midpoint(of(self), of(other));
        let mut entry = self.entry;
        entry.elapsed_ns = mean(|one| one.entry.elapsed_ns);
        entry.account.voluntary = mean(|one| one.entry.account.voluntary);
        entry.account.involuntary = mean(|one| one.entry.account.involuntary);
        entry.account.run_ns = mean(|one| one.entry.account.run_ns);
        entry.account.queue_ns = mean(|one| one.entry.account.queue_ns);
        Self {
            entry,
            naps: mean(|one| one.naps),
        }
    }

    fn add_to(&self, sample: Sample, of: &str) -> Sample {
        let Entry {
            account,
            elapsed_ns,
        } = self.entry;
        let seconds = elapsed_ns / 1e9;
        let numbers = [
            account.involuntary / seconds,
            account.voluntary / seconds,
            account.queue_ns / elapsed_ns,
            account.run_ns / elapsed_ns,
            self.naps / seconds,
        ];
        let named = NUMBERS.iter().zip(numbers);
        named.fold(sample, |sample, (name, number)| {
            sample.with(&format!("{of}{name}"), number)
        })
    }
}

/// Lets threads of these roles run together for so long.
fn run(roles: &[Role], time: Duration) -> Result<Vec<Observed>, ArmError> {
    let start = Start::new(roles.len());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for role in roles {
            let body = || {
                start.wait(thread::yield_now);
                observe(*role, time)
            };
            threads.push(thread::Builder::new().spawn_scoped(scope, body)?);
        }
        let panicked = |_| ArmError::Failed("a thread panicked".into());
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(panicked)?)
            .collect()
    })
}

fn observe(role: Role, time: Duration) -> Result<Observed, ArmError> {
    let mut naps = 0;
    let entry = Entry::of(|| {
        let end = Instant::now() + time;
        if role == Role::Hog {
            compute::burn_until(end);
        }
        while Instant::now() < end {
            thread::sleep(NAP);
            naps += 1;
        }
    })?;
    Ok(Observed {
        entry,
        naps: f64::from(naps),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        /// Voluntary and involuntary switches a second.
        hog: (f64, f64),
        sleeper: (f64, f64),
        hog_alone: (f64, f64),
        queue: f64,
        queue_alone: f64,
        naps: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        hog: (0.0, 400.0),
        sleeper: (800.0, 5.0),
        hog_alone: (0.0, 10.0),
        queue: 0.5,
        queue_alone: 0.01,
        naps: 800.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            let thread = |(voluntary, involuntary): (f64, f64), queue: f64| Observed {
                entry: Entry {
                    account: Account {
                        voluntary,
                        involuntary,
                        run_ns: 0.45e9,
                        queue_ns: queue * 1e9,
                    },
                    elapsed_ns: 1e9,
                },
                naps: self.naps,
            };
            for _ in 0..5 {
                let hog = thread(self.hog, self.queue);
                let sample = hog.and(&hog).add_to(Sample::new(), "");
                let sample = hog.add_to(sample, OF_HOGS[0]);
                let sample = hog.add_to(sample, OF_HOGS[1]);
                let sleeper = thread(self.sleeper, 0.05);
                samples.push(TOGETHER, sleeper.add_to(sample, OF_SLEEPER));
                let alone = thread(self.hog_alone, self.queue_alone);
                samples.push(HOG_ALONE, alone.add_to(Sample::new(), ""));
                let alone = thread((900.0, 0.0), 0.0);
                samples.push(SLEEPER_ALONE, alone.add_to(Sample::new(), ""));
            }
            VoluntarySwitches.derive(&mut samples);
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &VoluntarySwitches.premises(&samples),
                &VoluntarySwitches.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        for contrary in [
            Machine {
                hog: (400.0, 100.0),
                ..AS_CLAIMED
            },
            Machine {
                sleeper: (5.0, 800.0),
                ..AS_CLAIMED
            },
            Machine {
                hog_alone: (0.0, 400.0),
                ..AS_CLAIMED
            },
        ] {
            assert_eq!(contrary.verdict(), Verdict::NotHere);
        }
    }

    #[test]
    fn interruptions_by_other_programs_do_not_count_against_the_claim() {
        let disturbed = Machine {
            hog_alone: (0.0, 400.0),
            queue_alone: 0.08,
            ..AS_CLAIMED
        };
        assert_inconclusive(&disturbed.verdict(), "noise");
    }

    #[test]
    fn threads_that_did_not_compete_decide_nothing() {
        let planted = Machine {
            queue: 0.01,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "queued for the CPU (1 %");
    }

    #[test]
    fn a_control_beside_other_programs_decides_nothing() {
        let planted = Machine {
            queue_alone: 0.6,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "60 % of the time in the queue");
    }

    #[test]
    fn a_sleeper_that_does_not_sleep_decides_nothing() {
        let planted = Machine {
            naps: 3.0,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "slept 3 times");
    }

    #[test]
    fn switches_of_both_kinds_are_left_open() {
        let mixed = Machine {
            sleeper: (800.0, 300.0),
            ..AS_CLAIMED
        };
        assert_inconclusive(&mixed.verdict(), "noise");
    }

    #[test]
    fn the_figure_has_a_row_for_each_thread() {
        let figures = VoluntarySwitches.figures(&AS_CLAIMED.samples());
        let Content::Matrix { columns, rows } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.cells.len() == columns.len()));
        assert_eq!(rows[0].cells, ["45 %", "50 %", "5 %", "0", "400"]);
        assert!(VoluntarySwitches.figures(&Samples::new()).is_empty());
    }

    #[test]
    fn a_thread_that_sleeps_is_seen_to_switch_of_its_own_will() {
        let observed = run(&[Role::Sleeper], Duration::from_millis(20)).unwrap();
        let account = observed[0].entry.account;
        assert!(observed[0].naps >= 1.0);
        assert!(account.voluntary >= observed[0].naps, "{account:?}");
    }
}
