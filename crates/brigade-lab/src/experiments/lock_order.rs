//! One thread takes two locks in one order and then in the other. Nothing can hang; is the mistake seen?
//!
//! A deadlock needs two threads that meet at the wrong moment, so tests seldom show it. The contradiction that
//! makes it possible is there all the time: some code takes A and then B, other code takes B and then A. Who
//! remembers which lock was taken while which was held sees it when the second order is first taken, by
//! whatever thread. What is remembered are *classes* of locks, all those made at one place, so that it need
//! not be the same two objects.
//!
//! A detector that is switched off or blind is silent too. So the arms that must stay silent also show that
//! the watch learned their orders.

use std::slice;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::time::Instant;

use brigade::diag::{OrderReport, lock_order, lock_order_stats, on_lock_order};
use brigade::sync::{Mutex, MutexGuard};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

/// The experiment.
pub(super) struct LockOrder;

static INFO: Info = Info {
    name: "lock-order",
    claim: "That locks are taken in contradictory orders can be reported when the second order is \
            first taken, by one thread alone and without a hang; code with one order is left \
            alone.",
    said_in: "texts on lockdep and on lock hierarchies, after \"always lock in the same order\"",
    method: "One thread takes A and B, gives them back, and takes B and A, with locks of Brigade \
             whose order is watched: the same two, others made at the same places, a circle of \
             three. Reports, and the places in the code that they name, are counted.",
    control: "Code with one order, code with two while nobody watches, and std's locks.",
    premise: "Every lock was taken in both orders, and the silent arms were watched too.",
    next: "all --full (more repeats, larger counts, a million green threads)",
};

const REPORTS: &str = "reports";
const SITES: &str = "sites";
const TIME: &str = "ns";
const EARLY: &str = "early";
const LEARNED: &str = "learned";
const TAKEN: &str = "taken";

static METRICS: [Metric; 6] = [
    Metric::main(REPORTS, "reports", Unit::Count),
    Metric::aside(SITES, "places", Unit::Count),
    Metric::aside(TIME, "each lock", Unit::Nanoseconds),
    Metric::data(EARLY, "first pass", Unit::Count),
    Metric::data(LEARNED, "learned", Unit::Count),
    Metric::data(TAKEN, "taken", Unit::Count),
];

/// One arm: its program, on which kind of thread, and whether the order is watched.
struct Case {
    arm: &'static str,
    label: &'static str,
    kind: Kind,
    watched: bool,
    program: Program,
    /// How many pairs of places a report has to name; none where there must be no report.
    pairs: Option<u32>,
    name: &'static str,
}

/// What the one thread does in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A and B, then B and A.
    Both,
    /// The same with other locks of the same classes for the second order.
    OtherLocks,
    /// A and B, B and C, C and A.
    Circle,
    /// A, B and D; A, C and D; each alone.
    OneOrder,
    /// A and B, then B and A, with locks of std.
    Std,
}

const fn case(arm: &'static str, label: &'static str, program: Program) -> Case {
    Case {
        arm,
        label,
        kind: Kind::Kernel,
        watched: true,
        program,
        pairs: None,
        name: label,
    }
}

static CASES: [Case; 7] = [
    Case {
        pairs: Some(2),
        name: "reports of two orders:",
        ..case("kernel", "two orders, kernel thread", Program::Both)
    },
    Case {
        kind: Kind::Green,
        pairs: Some(2),
        name: "on a green thread",
        ..case("green", "two orders, green thread", Program::Both)
    },
    Case {
        pairs: Some(2),
        name: "with other locks",
        ..case("other", "two orders, other locks", Program::OtherLocks)
    },
    Case {
        pairs: Some(3),
        name: "a circle of three",
        ..case("circle", "a circle of three", Program::Circle)
    },
    case("clean", "one order", Program::OneOrder),
    Case {
        watched: false,
        ..case("off", "two orders, not watched", Program::Both)
    },
    Case {
        watched: false,
        ..case("std", "two orders, std's locks", Program::Std)
    },
];

impl Experiment for LockOrder {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let arm = |case: &Case| match case.pairs {
            Some(_) => Arm::measured(case.arm, case.label),
            None => Arm::control(case.arm, case.label),
        };
        CASES.iter().map(arm).collect()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let case = CASES.iter().find(|case| case.arm == arm);
        let case = case.ok_or_else(|| unknown_arm(arm))?;
        let passes = scale.pick(10_000, 200_000);
        case.kind
            .host(|| case.kind.spawn(move || case.run(passes))?.join())
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let mut taken = CASES.iter().map(|case| {
            let taken = samples.summary(case.arm, TAKEN).min;
            taken == case.program.takings()
        });
        let clean = samples.summary("clean", LEARNED).min;
        vec![
            Premise::new(taken.all(|all| all), "every lock was taken, in every order"),
            Premise::new(
                clean >= ORDERS_OF_CLEAN,
                format!(
                    "the code with one order was watched too ({} pairs of locks were learned)",
                    show(clean, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        for case in &CASES {
            let reports = samples.summary(case.arm, REPORTS);
            let count = |number| show(number, Unit::Count);
            let Some(pairs) = case.pairs else {
                parts.push(Part::new(
                    decided(reports.max == 0.0, reports.max),
                    format!("{} {}", case.name, count(reports.max)),
                ));
                continue;
            };
            let sites = samples.summary(case.arm, SITES);
            let early = samples.summary(case.arm, EARLY).min == 1.0;
            let exact = reports.min == 1.0 && reports.max == 1.0;
            let named = sites.min == f64::from(2 * pairs) && early;
            parts.push(Part::new(
                decided(exact && named, reports.max + sites.max),
                format!(
                    "{} {} {} ({} places)",
                    case.name,
                    count(reports.median),
                    if early { "at once" } else { "late or never" },
                    count(sites.median)
                ),
            ));
        }
        let cost = |arm: &str| show(samples.median(arm, TIME), Unit::Nanoseconds);
        if let Some(last) = parts.last_mut() {
            last.text += &format!(
                "; taking a lock costs {} watched, {} not watched, {} with std's",
                cost("kernel"),
                cost("off"),
                cost("std")
            );
        }
        parts
    }
}

/// What the reports of a run said.
#[derive(Default)]
struct Heard {
    reports: u32,
    /// The places that the first of them names.
    places: Vec<(&'static str, u32, u32)>,
}

impl Heard {
    fn hear(&mut self, report: &OrderReport) {
        self.reports += 1;
        if self.reports > 1 {
            return;
        }
        for edge in report.edges() {
            for site in [edge.held.site, edge.taken.site] {
                self.places.push((site.file(), site.line(), site.column()));
            }
        }
        self.places.sort_unstable();
        self.places.dedup();
    }
}

fn opened(heard: &StdMutex<Heard>) -> StdMutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Case {
    /// Goes through the program many times.
    fn run(&self, passes: u32) -> Sample {
        let heard = Arc::new(StdMutex::new(Heard::default()));
        lock_order(self.watched);
        on_lock_order({
            let heard = Arc::clone(&heard);
            move |report| opened(&heard).hear(report)
        });
        let locks = Locks::new();
        locks.pass(self.program);
        let in_first_pass = opened(&heard).reports > 0;
        let begun = Instant::now();
        for _ in 1..passes {
            locks.pass(self.program);
        }
        let elapsed_ns = begun.elapsed().as_nanos() as f64;
        let of_a_pass = locks.taken() as f64 / f64::from(passes);
        let heard = opened(&heard);
        Sample::new()
            .with(REPORTS, f64::from(heard.reports))
            .with(SITES, heard.places.len() as f64)
            .with(EARLY, f64::from(u8::from(in_first_pass)))
            .with(LEARNED, lock_order_stats().edges as f64)
            .with(TAKEN, of_a_pass)
            .with(TIME, elapsed_ns / f64::from(passes - 1) / of_a_pass)
    }
}

impl Program {
    /// How many locks a pass takes.
    fn takings(self) -> f64 {
        match self {
            Self::Both | Self::OtherLocks | Self::Std => 4.0,
            Self::Circle => 6.0,
            Self::OneOrder => 10.0,
        }
    }
}

/// How many pairs of locks [`Program::OneOrder`] takes.
const ORDERS_OF_CLEAN: f64 = 5.0;

/// The locks of all programs. Each counts how often it was taken.
struct Locks {
    a: [Mutex<u64>; 2],
    b: [Mutex<u64>; 2],
    c: Mutex<u64>,
    d: Mutex<u64>,
    std: [StdMutex<u64>; 2],
}

#[track_caller]
fn take(lock: &Mutex<u64>) -> MutexGuard<'_, u64> {
    let mut taken = lock.lock().unwrap_or_else(PoisonError::into_inner);
    *taken += 1;
    taken
}

fn take_of_std(lock: &StdMutex<u64>) -> StdMutexGuard<'_, u64> {
    let mut taken = lock.lock().unwrap_or_else(PoisonError::into_inner);
    *taken += 1;
    taken
}

impl Locks {
    fn new() -> Self {
        // Each array is one class: its locks are made at one place.
        Self {
            a: [(); 2].map(|()| Mutex::new(0)),
            b: [(); 2].map(|()| Mutex::new(0)),
            c: Mutex::new(0),
            d: Mutex::new(0),
            std: Default::default(),
        }
    }

    /// Goes through the program once.
    fn pass(&self, program: Program) {
        match program {
            Program::Both => self.both(0, 0),
            Program::OtherLocks => self.both(0, 1),
            Program::Circle => self.circle(),
            Program::OneOrder => self.one_order(),
            Program::Std => self.both_of_std(),
        }
    }

    fn both(&self, first: usize, second: usize) {
        {
            let _a = take(&self.a[first]);
            let _b = take(&self.b[first]);
        }
        let _b = take(&self.b[second]);
        let _a = take(&self.a[second]);
    }

    fn circle(&self) {
        {
            let _a = take(&self.a[0]);
            let _b = take(&self.b[0]);
        }
        {
            let _b = take(&self.b[0]);
            let _c = take(&self.c);
        }
        let _c = take(&self.c);
        let _a = take(&self.a[0]);
    }

    fn one_order(&self) {
        {
            let _a = take(&self.a[0]);
            let _b = take(&self.b[0]);
            let _d = take(&self.d);
        }
        {
            let _a = take(&self.a[0]);
            let _c = take(&self.c);
            let _d = take(&self.d);
        }
        for lock in [&self.d, &self.c, &self.b[0], &self.a[0]] {
            drop(take(lock));
        }
    }

    fn both_of_std(&self) {
        let [a, b] = &self.std;
        for [first, second] in [[a, b], [b, a]] {
            let _first = take_of_std(first);
            let _second = take_of_std(second);
        }
    }

    /// How often locks were taken, all together.
    fn taken(&self) -> u64 {
        let [c, d] = [slice::from_ref(&self.c), slice::from_ref(&self.d)];
        let own = [&self.a[..], &self.b, c, d].into_iter().flatten();
        let own = own.map(|lock| *lock.lock().unwrap_or_else(PoisonError::into_inner));
        let std = self.std.iter();
        let std = std.map(|lock| *lock.lock().unwrap_or_else(PoisonError::into_inner));
        own.chain(std).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    /// What a run found that went as claimed.
    fn usual(case: &Case) -> Sample {
        let reports = f64::from(u8::from(case.pairs.is_some()));
        Sample::new()
            .with(REPORTS, reports)
            .with(SITES, f64::from(2 * case.pairs.unwrap_or(0)))
            .with(EARLY, reports)
            .with(LEARNED, ORDERS_OF_CLEAN)
            .with(TAKEN, case.program.takings())
    }

    /// The verdict if the last run of `arm` found `value` under `key`, and everything else went as claimed.
    fn verdict_with(arm: &str, key: &str, value: f64) -> Verdict {
        let mut samples = Samples::new();
        for i in 0..5 {
            for case in &CASES {
                let mut sample = usual(case);
                if case.arm == arm && i == 4 {
                    sample = sample.with(key, value);
                }
                samples.push(case.arm, sample);
            }
        }
        decide(&LockOrder.premises(&samples), &LockOrder.judge(&samples))
    }

    #[test]
    fn locks_that_were_not_taken_decide_nothing() {
        for case in &CASES {
            let verdict = verdict_with(case.arm, TAKEN, 2.0);
            assert!(
                matches!(&verdict, Verdict::Inconclusive(reason) if reason.contains("was taken")),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn silence_of_a_watch_that_is_off_decides_nothing() {
        let verdict = verdict_with("clean", LEARNED, 0.0);
        assert!(
            matches!(&verdict, Verdict::Inconclusive(reason) if reason.contains("watched")),
            "{verdict:?}"
        );
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict_with("kernel", REPORTS, 1.0), Verdict::Confirmed);
        for (arm, key, value) in [
            ("kernel", REPORTS, 0.0),
            ("green", REPORTS, 2.0),
            ("other", SITES, 2.0),
            ("circle", SITES, 4.0),
            ("circle", EARLY, 0.0),
            ("clean", REPORTS, 1.0),
            ("off", REPORTS, 1.0),
        ] {
            assert_eq!(
                verdict_with(arm, key, value),
                Verdict::NotHere,
                "{arm} {key}"
            );
        }
    }

    #[test]
    fn every_program_takes_as_many_locks_as_it_says() {
        lock_order(false);
        for case in &CASES {
            let locks = Locks::new();
            locks.pass(case.program);
            let taken = locks.taken() as f64;
            assert_eq!(taken, case.program.takings(), "{}", case.arm);
        }
    }
}
