//! One number that threads read and add to: atomic, mutex, read-write lock, or a thread that owns it?
//!
//! Each arm is one guard with one number of threads, and tries several shares of reads in turn. The work under
//! the guard is one load or one addition. That is where a read-write lock has the least to offer: its readers
//! may be inside together, but each of them still writes to the lock's own word, twice, and it is this word's
//! cache line that the CPUs pull at. Long reads under the lock are another matter, and the text says so.
//!
//! A thread counts the accesses that it ended before a common deadline. So a thread that another program keeps
//! from its CPU costs its share and does not stretch the time of all.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

use brigade::sync;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Role, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::shared::{Access, Own, Owner};
use crate::stats::Summary;
use crate::together::{self, Kind, Start};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, times_larger};

/// The experiment.
pub(super) struct SyncMatrix;

static INFO: Info = Info {
    name: "sync-matrix",
    claim: "An atomic is cheaper than a mutex, a read-write lock beats the mutex when nearly all \
            accesses read, and a channel to the thread that owns the number costs the most.",
    said_in: "texts that teach which primitive to choose",
    method: "Threads read one number or add to it, 50 to 99.9 % of the time reading; it is an \
             atomic, under a mutex, under a read-write lock, or with a thread that is asked \
             through a channel; std's on kernel threads, Brigade's on green ones. Wall time per \
             access of all threads together.",
    control: "One thread alone with each of them, and a number of its own for each thread.",
    premise: "No addition is lost, and the threads ran in parallel.",
    next: "channels (what a message costs, and what a buffer changes)",
};

const MOSTLY: &str = "read_999";
const EVEN: &str = "read_500";
const CPUS: &str = "cpus";
const LOST: &str = "lost";

static METRICS: [Metric; 6] = [
    Metric::main(MOSTLY, "99.9 % read", Unit::Nanoseconds),
    Metric::aside("read_900", "90 % read", Unit::Nanoseconds),
    Metric::aside(EVEN, "50 % read", Unit::Nanoseconds),
    Metric::data("read_990", "99 % read", Unit::Nanoseconds),
    Metric::data(CPUS, "CPUs used", Unit::Count),
    Metric::data(LOST, "lost", Unit::Count),
];

/// How many of [`ALL`] accesses read, and the number that is measured so.
const SHARES: [(usize, &str); 4] = [
    (500, EVEN),
    (900, "read_900"),
    (990, "read_990"),
    (999, MOSTLY),
];
const ALL: usize = 1000;
/// After how many accesses a thread looks at the time.
const LOOK: usize = 32;
/// How many threads the verdict is about.
const CROWD: usize = 4;

/// How a number is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Own,
    Atomic,
    Mutex,
    RwLock,
    Channel,
}

/// One arm.
struct Cell {
    kind: Kind,
    guard: Guard,
    threads: usize,
    key: String,
    label: String,
}

/// Every arm of either scale, in the order of the table.
static CELLS: LazyLock<Vec<Cell>> = LazyLock::new(|| {
    let guards = [
        (Guard::Own, "own"),
        (Guard::Atomic, "atomic"),
        (Guard::Mutex, "mutex"),
        (Guard::RwLock, "rwlock"),
        (Guard::Channel, "channel"),
    ];
    let mut cells = Vec::new();
    for (kind, kind_name) in [(Kind::Kernel, "kernel"), (Kind::Green, "green")] {
        for threads in [1, 2, CROWD, 8] {
            for (guard, name) in guards {
                let s = if threads == 1 { "" } else { "s" };
                cells.push(Cell {
                    kind,
                    guard,
                    threads,
                    key: format!("{kind_name}-{name}-{threads}"),
                    label: format!("{kind_name}, {name}, {threads} thread{s}"),
                });
            }
        }
    }
    cells
});

impl Cell {
    fn is_in(&self, scale: Scale) -> bool {
        let crowd = self.threads == CROWD;
        let alone = self.threads == 1 && self.kind == Kind::Kernel;
        scale == Scale::Full || crowd || alone
    }

    fn role(&self) -> Role {
        match (self.guard, self.threads) {
            (Guard::Own, _) | (_, 1) => Role::Control,
            _ => Role::Measured,
        }
    }
}

impl Experiment for SyncMatrix {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let cells = CELLS.iter().filter(|cell| cell.is_in(scale));
        let arm = |cell: &'static Cell| {
            let mut arm = Arm::measured(&cell.key, &cell.label);
            arm.role = cell.role();
            arm.required = cell.threads == CROWD;
            arm
        };
        cells.map(arm).collect()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let cell = CELLS.iter().find(|cell| cell.key == arm);
        let cell = cell.ok_or_else(|| unknown_arm(arm))?;
        if cell.threads > 1 && probe::cpus() < 2 {
            let reason = "it takes two CPUs, and this process may use one";
            return Err(ArmError::Skipped(reason.to_owned()));
        }
        let time = Duration::from_millis(scale.pick(6, 60));
        cell.kind.host(|| cell.measure(time))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let crowd = || CELLS.iter().filter(|cell| cell.threads == CROWD);
        let lost: Vec<f64> = crowd()
            .filter(|cell| cell.guard != Guard::Own)
            .map(|cell| samples.summary(&cell.key, LOST).max)
            .collect();
        let cpus: Vec<f64> = crowd()
            .filter(|cell| cell.guard == Guard::Atomic)
            .map(|cell| samples.median(&cell.key, CPUS))
            .collect();
        vec![
            Premise::new(
                lost.iter().all(|lost| *lost == 0.0),
                format!(
                    "every addition is in the number at the end ({} are missing)",
                    show(lost.iter().copied().fold(f64::NAN, f64::max), Unit::Count)
                ),
            ),
            Premise::new(
                cpus.iter().all(|cpus| *cpus >= 1.2),
                format!(
                    "the threads ran in parallel (on {} CPUs at least)",
                    show(cpus.iter().copied().fold(f64::NAN, f64::min), Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        for (kind, name) in [("kernel", "kernel threads"), ("green", "green threads")] {
            let of =
                |guard: &str, share| samples.summary(&format!("{kind}-{guard}-{CROWD}"), share);
            let time = |s: &Summary| show(s.median, Unit::Nanoseconds);
            let (atomic, mutex) = (of("atomic", EVEN), of("mutex", EVEN));
            parts.push(Part::new(
                times_larger(&mutex, &atomic, 1.0),
                format!(
                    "{name}, half reading: atomic {}, mutex {}",
                    time(&atomic),
                    time(&mutex)
                ),
            ));
            let [mutex, rwlock, channel] =
                ["mutex", "rwlock", "channel"].map(|guard| of(guard, MOSTLY));
            parts.push(Part::new(
                times_larger(&mutex, &rwlock, 1.0),
                format!(
                    "99.9 % reading: mutex {}, read-write lock {}",
                    time(&mutex),
                    time(&rwlock)
                ),
            ));
            parts.push(Part::new(
                times_larger(&channel, &mutex, 1.0),
                format!("channel {}", time(&channel)),
            ));
        }
        if let Some(last) = parts.last_mut() {
            last.text += " (each access holds the lock for a few nanoseconds; a read-write lock \
                          gains where reads are long)";
        }
        parts
    }
}

impl Cell {
    /// Measures each share of reads for `time`.
    fn measure(&self, time: Duration) -> Result<Sample, ArmError> {
        let mut sample = Sample::new();
        let (mut lost, mut cpu_ns, mut elapsed_ns) = (0.0, 0.0, 0.0);
        for (reads, key) in SHARES {
            let cpu_before = probe::cpu_time_ns();
            let begun = Instant::now();
            let work = Work {
                kind: self.kind,
                reads,
                time,
            };
            let done = work.with(self.guard, self.threads)?;
            elapsed_ns += begun.elapsed().as_nanos() as f64;
            cpu_ns += probe::cpu_time_ns() - cpu_before;
            lost += done.added as f64 - done.number as f64;
            sample = sample.with(key, time.as_nanos() as f64 / done.accesses as f64);
        }
        Ok(sample.with(LOST, lost).with(CPUS, cpu_ns / elapsed_ns))
    }
}

/// What each thread does.
#[derive(Clone, Copy)]
struct Work {
    kind: Kind,
    reads: usize,
    time: Duration,
}

/// What all threads did together.
#[derive(Debug, Default, PartialEq)]
struct Done {
    accesses: u64,
    added: u64,
    /// The number at the end.
    number: u64,
}

impl Work {
    fn with(self, guard: Guard, threads: usize) -> Result<Done, ArmError> {
        match (guard, self.kind) {
            (Guard::Own, _) => {
                let mut done = self.run((0..threads).map(|_| Own(0)))?;
                done.number = done.added;
                Ok(done)
            }
            (Guard::Atomic, _) => self.on(Arc::new(AtomicU64::new(0)), threads),
            (Guard::Mutex, Kind::Kernel) => self.on(Arc::new(Mutex::new(0)), threads),
            (Guard::Mutex, Kind::Green) => self.on(Arc::new(sync::Mutex::new(0)), threads),
            (Guard::RwLock, Kind::Kernel) => self.on(Arc::new(RwLock::new(0)), threads),
            (Guard::RwLock, Kind::Green) => self.on(Arc::new(sync::RwLock::new(0)), threads),
            (Guard::Channel, _) => {
                let (owner, clients) = Owner::with_clients(self.kind, threads);
                let owner = self.kind.spawn(move || owner.serve())?;
                let mut done = self.run(clients.into_iter())?;
                done.number = owner.join()?;
                Ok(done)
            }
        }
    }

    fn on(self, mut number: impl Access + Clone, threads: usize) -> Result<Done, ArmError> {
        let mut done = self.run((0..threads).map(|_| number.clone()))?;
        done.number = number.read();
        Ok(done)
    }

    /// Starts a thread for each of `ways` and lets them work for the time given.
    fn run(self, ways: impl ExactSizeIterator<Item = impl Access>) -> Result<Done, ArmError> {
        let start = Arc::new(Start::new(ways.len()));
        let deadline = Arc::new(OnceLock::new());
        let mut handles = Vec::with_capacity(ways.len());
        for (index, access) in ways.enumerate() {
            let (start, deadline) = (Arc::clone(&start), Arc::clone(&deadline));
            handles.push(self.kind.spawn(move || {
                let order = self.order(index as u64);
                start.wait(|| self.kind.yield_now());
                let deadline = *deadline.get_or_init(|| Instant::now() + self.time);
                go_on_until(deadline, &order, access)
            })?);
        }
        let mut all = Done::default();
        for done in together::join_all(handles)? {
            all.accesses += done.accesses;
            all.added += done.added;
        }
        Ok(all)
    }

    /// Which accesses read, in an order of its own for each thread; the share is exact.
    fn order(self, seed: u64) -> Vec<bool> {
        let mut order: Vec<bool> = (0..ALL).map(|i| i < self.reads).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        order
    }
}

/// Goes through `order` until `deadline`, and a part of it in any case.
fn go_on_until(deadline: Instant, order: &[bool], mut access: impl Access) -> Done {
    let mut done = Done::default();
    for look in order.chunks(LOOK).cycle() {
        for read in look {
            if *read {
                std::hint::black_box(access.read());
            } else {
                access.add();
                done.added += 1;
            }
        }
        done.accesses += look.len() as u64;
        if Instant::now() >= deadline {
            break;
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        atomic: f64,
        rwlock: f64,
        channel: f64,
        lost: f64,
        cpus: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        atomic: 5.0,
        rwlock: 15.0,
        channel: 3000.0,
        lost: 0.0,
        cpus: 1.9,
    };

    fn verdict(machine: Machine) -> Verdict {
        let mut samples = Samples::new();
        for cell in CELLS.iter().filter(|cell| cell.threads == CROWD) {
            let ns = match cell.guard {
                Guard::Own => 1.0,
                Guard::Atomic => machine.atomic,
                Guard::Mutex => 30.0,
                Guard::RwLock => machine.rwlock,
                Guard::Channel => machine.channel,
            };
            for i in 0..5 {
                let ns = ns * (1.0 + 0.01 * f64::from(i));
                let sample = Sample::new()
                    .with(EVEN, ns)
                    .with(MOSTLY, ns)
                    .with(LOST, machine.lost)
                    .with(CPUS, machine.cpus);
                samples.push(&cell.key, sample);
            }
        }
        decide(&SyncMatrix.premises(&samples), &SyncMatrix.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn threads_that_take_turns_decide_nothing() {
        let one_cpu = Machine {
            cpus: 1.0,
            ..AS_CLAIMED
        };
        inconclusive_for(one_cpu, "parallel");
    }

    #[test]
    fn a_guard_that_loses_additions_decides_nothing() {
        let broken = Machine {
            lost: 1.0,
            ..AS_CLAIMED
        };
        inconclusive_for(broken, "missing");
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(AS_CLAIMED), Verdict::Confirmed);
        let refuted = [
            Machine {
                atomic: 60.0,
                ..AS_CLAIMED
            },
            Machine {
                rwlock: 60.0,
                ..AS_CLAIMED
            },
            Machine {
                channel: 10.0,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn every_guard_keeps_every_addition_of_every_thread() {
        for guard in [Guard::Atomic, Guard::Mutex, Guard::RwLock, Guard::Channel] {
            let work = Work {
                kind: Kind::Kernel,
                reads: 500,
                time: Duration::from_millis(1),
            };
            // Where no time is left when the threads get their turn, they add all the same.
            for time in [Duration::ZERO, work.time] {
                let done = Work { time, ..work }.with(guard, 2).unwrap();
                assert!(done.added > 0, "{guard:?}");
                assert_eq!(done.added, done.number, "{guard:?}");
            }
        }
    }

    #[test]
    fn the_share_of_reads_is_exact_and_the_order_differs_between_threads() {
        for (reads, _) in SHARES {
            let work = Work {
                kind: Kind::Kernel,
                reads,
                time: Duration::ZERO,
            };
            let [first, second] = [0, 1].map(|seed| work.order(seed));
            assert_eq!(first.iter().filter(|read| **read).count(), reads);
            assert_eq!(second.iter().filter(|read| **read).count(), reads);
            assert_ne!(first, second);
        }
    }
}
