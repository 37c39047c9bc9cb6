//! `counter += 1` in threads of Python, which share an interpreter lock.
//!
//! Two contradictory things are published: that the lock makes it safe, and that 1,247,833 of 2,000,000 additions
//! are left. Both were seen, in different versions. The addition is a load, an addition and a store in all of them;
//! what has changed is where the lock may be given up in between. Up to 3.9 that is before nearly every instruction;
//! from 3.10 on only where a loop begins anew and where a function begins, which never falls into a plain
//! `counter += 1` and always may into `counter += f()`.
//!
//! The control arms are the same two places without Python: two threads under Brigade's interpreter lock, which is
//! given up at ticks only, inside of each addition or between two of them.
//!
//! Nothing can be lost by threads that never take turns. So each thread notes its number after every thousand
//! additions, in a list that all share, and how often the numbers change is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::sync::InterpreterLock;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::python;
use crate::sample::{Sample, Samples};
use crate::together::{Kind, Start, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, decided};

/// The experiment.
pub(super) struct PythonCounter;

static INFO: Info = Info {
    name: "python-counter",
    claim: "Python's interpreter lock makes counter += 1 safe: threads that share a counter without \
            a lock of their own lose nothing.",
    said_in: "discussions of the GIL (\"+= is atomic under it\"); other texts print 1,247,833 \
              instead of 2,000,000, which versions up to 3.9 do",
    method: "Two threads of each Python found (the oldest and the newest at the small scale) add to \
             one global number: counter += 1, counter += f() with a function that returns 1, and \
             under a lock of their own. The missing additions count. The switch interval is 0.5 ms \
             at the small scale, so that fewer additions suffice, and Python's 5 ms at the full one.",
    control: "Two Rust threads under the same kind of lock, given up inside of each addition \
              (known to lose) or between two of them; and Python's with a lock of their own.",
    premise: "The threads took turns while they added, the control that should lose did, and the \
              others lost nothing.",
    next: "lost-updates (the same without any lock, in Rust), gil (what the lock costs)",
};

const LOST: &str = "lost";
const TURNS: &str = "turns";
const LOST_CALL: &str = "lost_call";
const LOST_LOCKED: &str = "lost_locked";
const HAS_LOCK: &str = "has_lock";

static METRICS: [Metric; 5] = [
    Metric::main(LOST, "lost", Unit::Share),
    Metric::aside(TURNS, "turns", Unit::Count),
    Metric::data(LOST_CALL, "lost, call", Unit::Share),
    Metric::data(LOST_LOCKED, "lost, lock", Unit::Share),
    Metric::data(HAS_LOCK, "has a lock", Unit::Count),
];

/// The arms that are derived from an interpreter's: way, words, and where its own sample has the number.
const CALL: (&str, &str) = ("call", "+= f()");
const LOCKED: (&str, &str) = ("locked", "own lock");

const THREADS: usize = 2;
/// How often the threads must have taken turns, in all runs together; fewer say nothing about what turns do.
const ENOUGH_TURNS: f64 = 20.0;
/// How often the threads of a control take turns before they stop, and for how long they wait for that.
const TURNS_OF_CONTROL: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(5);

const SCRIPT: &str = "
import signal, sys, threading
signal.alarm(60)
threads, chunks, interval = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
sys.setswitchinterval(interval)
counter = 0
lock = threading.Lock()
def one():
    return 1
def plain():
    global counter
    for _ in range(1000):
        counter += 1
def call():
    global counter
    for _ in range(1000):
        counter += one()
def locked():
    global counter
    for _ in range(1000):
        with lock:
            counter += 1
def run(add, chunks):
    global counter
    counter = 0
    order = []
    start = threading.Barrier(threads)
    def work(me):
        start.wait()
        for _ in range(chunks):
            add()
            order.append(me)
    all = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for one in all:
        one.start()
    for one in all:
        one.join()
    turns = sum(a != b for a, b in zip(order, order[1:]))
    return 1 - counter / (threads * chunks * 1000), turns
lost, turns = run(plain, chunks)
lost_call, turns_call = run(call, chunks)
lost_locked, _ = run(locked, max(1, chunks // 4))
print('lost', lost)
print('turns', min(turns, turns_call))
print('lost_call', lost_call)
print('lost_locked', lost_locked)
print('has_lock', int(getattr(sys, '_is_gil_enabled', lambda: True)()))
print('version', sys.version_info[0] * 1000 + sys.version_info[1])
";

/// How many thousands each thread adds.
fn chunks(scale: Scale) -> u32 {
    scale.pick(150, 1_000)
}

/// After how long a thread that waits for the lock asks for it.
fn interval(scale: Scale) -> Duration {
    scale.pick(Duration::from_micros(500), Duration::from_millis(5))
}

impl Experiment for PythonCounter {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let mut arms = vec![
            Arm::control("inside", "Rust, switch inside +="),
            Arm::control("between", "Rust, switch between +="),
        ];
        for arm in python::arms(scale, "+= 1", &[CALL, LOCKED]) {
            // Without any Python there is nothing to judge.
            let required = arm.key == python::NONE;
            arms.push(Arm { required, ..arm }.timeout(90));
        }
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        if python::is_arm(arm) {
            let arguments = [
                THREADS.to_string(),
                chunks(scale).to_string(),
                interval(scale).as_secs_f64().to_string(),
            ];
            return python::run(arm, SCRIPT, &arguments);
        }
        match arm {
            "inside" => race(Place::Inside, interval(scale), TURNS_OF_CONTROL),
            "between" => race(Place::Between, interval(scale), TURNS_OF_CONTROL),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn derive(&self, samples: &mut Samples) {
        for (arm, _) in python::measured(samples) {
            for sample in samples.of(&arm).to_vec() {
                for ((way, _), key) in [(CALL, LOST_CALL), (LOCKED, LOST_LOCKED)] {
                    let derived = Sample::new().with(LOST, sample.get(key));
                    samples.push(&python::derived_key(way, &arm), derived);
                }
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let pythons = python::measured(samples);
        let all = || {
            let pythons = pythons.iter().map(|(arm, _)| arm.as_str());
            pythons.chain(["inside", "between"])
        };
        let least = |a: f64, b: f64| if b.is_nan() { b } else { a.min(b) };
        let turns = |arm: &str| match samples.of(arm) {
            [] => f64::NAN,
            of => of.iter().map(|sample| sample.get(TURNS)).sum(),
        };
        let fewest = all().map(turns);
        let fewest = fewest.fold(f64::INFINITY, least);
        let locked = pythons
            .iter()
            .map(|(arm, _)| samples.summary(arm, LOST_LOCKED).max);
        let locked = locked.fold(f64::NAN, f64::max);
        let share = |number| show(number, Unit::Share);
        let (inside, between) = ("inside", "between");
        let [inside, between] = [inside, between].map(|arm| samples.summary(arm, LOST));
        vec![
            Premise::new(
                fewest >= ENOUGH_TURNS,
                format!(
                    "the threads took turns while they added ({} times at least, in all runs)",
                    show(fewest, Unit::Count)
                ),
            ),
            Premise::new(
                inside.max > 0.0 && between.max == 0.0,
                format!(
                    "Rust threads that give up the lock inside of each addition lose some ({}), \
                     between two of them none ({})",
                    share(inside.median),
                    share(between.max)
                ),
            ),
            Premise::new(
                locked == 0.0,
                format!(
                    "with a lock of their own they lose nothing ({})",
                    share(locked)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut without_lock = Vec::new();
        for (arm, name) in python::measured(samples) {
            let most = |key| samples.summary(&arm, key).max;
            let (plain, call) = (most(LOST), most(LOST_CALL));
            let text = format!(
                "{name}: counter += 1 loses {}, counter += f() {}",
                lost(plain),
                lost(call)
            );
            if samples.summary(&arm, HAS_LOCK).min == 1.0 {
                // One lost addition is enough; so the worst run counts.
                parts.push(Part::new(decided(plain + call == 0.0, plain + call), text));
            } else {
                without_lock.push(text + ", as it has no such lock");
            }
        }
        if parts.is_empty() {
            parts.push(Part::new(Tendency::Unclear, "no Python with the lock"));
        }
        if let Some(last) = parts.last_mut() {
            for text in without_lock {
                last.text += &format!("; {text}");
            }
        }
        parts
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let row = |(arm, name): (String, String)| {
            let most = |key| lost(samples.summary(&arm, key).max);
            let cells = [most(LOST), most(LOST_CALL), most(LOST_LOCKED)];
            Row::new(&name, cells.iter().map(String::as_str))
        };
        let rows: Vec<Row> = python::measured(samples).into_iter().map(row).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let columns = ["counter += 1", "counter += f()", "own lock"];
        vec![Figure::new(
            "What two threads lose of their additions, by version of Python (the worst run).",
            Content::Matrix {
                columns: columns.map(str::to_owned).into(),
                rows,
            },
        )]
    }
}

/// A share that is lost as people read it: the slightest is not nothing.
fn lost(share: f64) -> String {
    if share == 0.0 {
        "nothing".to_owned()
    } else if share > 0.0 && share < 0.0001 {
        "under 0.01 %".to_owned()
    } else {
        show(share, Unit::Share)
    }
}

/// Where the lock may be given up.
#[derive(Clone, Copy)]
enum Place {
    /// Between the load and the store of an addition.
    Inside,
    /// Between two additions.
    Between,
}

/// Two threads add until they have taken so many turns, under a lock that they give up at `place`.
fn race(place: Place, interval: Duration, turns: u64) -> Result<Sample, ArmError> {
    let lock = Arc::new(InterpreterLock::new().with_switch_interval(interval));
    let (counter, start) = (Arc::new(AtomicU64::new(0)), Arc::new(Start::new(THREADS)));
    let mut handles = Vec::new();
    for _ in 0..THREADS {
        let (lock, counter, start) = (lock.clone(), counter.clone(), start.clone());
        handles.push(Kind::Kernel.spawn(move || {
            start.wait(thread::yield_now);
            let end = Instant::now() + PATIENCE;
            let inside = lock.enter();
            let mut added = 0_u64;
            loop {
                match place {
                    Place::Inside => add(&counter, || inside.tick()),
                    Place::Between => {
                        add(&counter, || ());
                        inside.tick();
                    }
                }
                added += 1;
                let enough = || lock.stats().switches >= turns || Instant::now() >= end;
                if added.is_multiple_of(1_000) && enough() {
                    break;
                }
            }
            added
        })?);
    }
    let added: u64 = join_all(handles)?.into_iter().sum();
    // ORDER: Relaxed, every thread that added was joined before.
    let counted = counter.load(Ordering::Relaxed);
    Ok(Sample::new()
        .with(LOST, 1.0 - counted as f64 / added as f64)
        .with(TURNS, lock.stats().switches as f64))
}

/// Adds one the way an interpreter does, with `meanwhile` between the load and the store.
fn add(counter: &AtomicU64, meanwhile: impl FnOnce()) {
    // ORDER: Relaxed, the race itself: nothing else is published through this counter.
    let value = counter.load(Ordering::Relaxed);
    meanwhile();
    // ORDER: Relaxed, as above.
    counter.store(value + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// What was measured: the share that each way loses, and the turns that were taken.
    struct Machine {
        old: f64,
        new: f64,
        call: f64,
        locked: f64,
        inside: f64,
        between: f64,
        turns: f64,
        has_lock: f64,
    }

    /// A machine on which the claim is true.
    const SAFE: Machine = Machine {
        old: 0.0,
        new: 0.0,
        call: 0.0,
        locked: 0.0,
        inside: 0.4,
        between: 0.0,
        turns: 20.0,
        has_lock: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for _ in 0..5 {
                let mut add = |arm: &str, lost: f64, version: f64| {
                    let sample = Sample::new()
                        .with(LOST, lost)
                        .with(LOST_CALL, self.call)
                        .with(LOST_LOCKED, self.locked)
                        .with(HAS_LOCK, self.has_lock)
                        .with(python::VERSION, version)
                        .with(TURNS, self.turns);
                    samples.push(arm, sample);
                };
                add("python:/3.8", self.old, 3008.0);
                add("python:/3.13", self.new, 3013.0);
                add("inside", self.inside, f64::NAN);
                add("between", self.between, f64::NAN);
            }
            PythonCounter.derive(&mut samples);
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &PythonCounter.premises(&samples),
                &PythonCounter.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(SAFE.verdict(), Verdict::Confirmed);
        assert_eq!(Machine { old: 0.4, ..SAFE }.verdict(), Verdict::NotHere);
        let one_of_millions = Machine { call: 1e-7, ..SAFE };
        assert_eq!(one_of_millions.verdict(), Verdict::NotHere);
    }

    /// Plants threads that ran one after the other, which can lose nothing.
    #[test]
    fn threads_that_never_took_turns_decide_nothing() {
        let verdict = Machine { turns: 0.0, ..SAFE }.verdict();
        assert_inconclusive(&verdict, "took turns");
    }

    /// Plants a race that the method cannot see: the control that is known to lose did not.
    #[test]
    fn a_control_that_does_not_lose_decides_nothing() {
        let verdict = Machine {
            inside: 0.0,
            ..SAFE
        }
        .verdict();
        assert_inconclusive(&verdict, "lose some");
    }

    /// Plants a count that is wrong by itself: additions are missing under a lock too.
    #[test]
    fn additions_that_are_missing_under_a_lock_decide_nothing() {
        let locked = Machine {
            locked: 0.01,
            ..SAFE
        };
        assert_inconclusive(&locked.verdict(), "lock of their own");
        let between = Machine {
            between: 0.01,
            ..SAFE
        };
        assert_inconclusive(&between.verdict(), "between two of them");
    }

    #[test]
    fn a_python_without_the_lock_is_no_part_of_the_claim() {
        let free = Machine {
            new: 0.4,
            has_lock: 0.0,
            ..SAFE
        };
        assert_inconclusive(&free.verdict(), "noise: no Python with the lock");
    }

    #[test]
    fn the_figure_has_a_row_for_each_version_and_rounds_no_loss_to_nothing() {
        let samples = Machine { call: 1e-7, ..SAFE }.samples();
        let figures = PythonCounter.figures(&samples);
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].cells, ["nothing", "under 0.01 %", "nothing"]);
        assert!(PythonCounter.figures(&Samples::new()).is_empty());
    }

    #[test]
    fn only_a_switch_inside_of_an_addition_loses_it() {
        let short = Duration::from_micros(200);
        let lost = |place| {
            let sample = race(place, short, 4).unwrap();
            assert!(sample.get(TURNS) >= 1.0);
            sample.get(LOST)
        };
        assert_eq!(lost(Place::Between), 0.0);
        // A thread that is switched away from after its load and gets the lock back before any other added
        // loses nothing; that this happens at every single switch is not to be expected in many tries.
        assert!((0..50).any(|_| lost(Place::Inside) > 0.0));
    }

    #[test]
    fn every_python_that_is_found_counts_what_it_loses() {
        for arm in python::arms(Scale::Full, "+= 1", &[]) {
            match python::run(arm.key, SCRIPT, &["2".into(), "2".into(), "0.005".into()]) {
                Ok(sample) => {
                    for key in [LOST, LOST_CALL] {
                        assert!((0.0..1.0).contains(&sample.get(key)), "{}: {key}", arm.key);
                    }
                    assert_eq!(sample.get(LOST_LOCKED), 0.0, "{}", arm.key);
                    assert!(sample.get(TURNS) >= 0.0 && sample.get(python::VERSION) > 3000.0);
                }
                Err(ArmError::Skipped(reason)) => assert!(reason.contains("python3")),
                Err(error) => panic!("{}: {error:?}", arm.key),
            }
        }
    }
}
