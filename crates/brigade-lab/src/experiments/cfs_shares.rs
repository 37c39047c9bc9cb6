//! Threads that share one CPU: how much each gets, for how long at a time, and who is next; on this kernel
//! and in the simulator.
//!
//! Each thread reads the clock without a pause. A gap says that it was off the CPU, so the threads together
//! know who ran when, without any privilege. Virtual runtimes come from the kernel: each thread reads its own
//! at the end, together with the CPU time that belongs to it, and what it was earlier follows from the runs.
//!
//! The same threads are then played by `brigade-sim` under CFS and EEVDF, with the tick and the slice of this
//! kernel. What is read from a trace is read by the same code from a simulated one.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use brigade_sim::run::Doing;
use brigade_sim::task::{Machine, Step, Task};
use brigade_sim::{Scheduler, TaskSet, simulate, weight_of};
use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_getres};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Bar, Content, Figure, Line};
use crate::machine;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_least, decided, within};

/// The experiment.
pub(super) struct CfsShares;

static INFO: Info = Info {
    name: "cfs-shares",
    claim: "CFS, the scheduler of Linux, runs the thread with the least virtual runtime next, in \
            slices of 1 to 4 ms, and shares a CPU by the weights of nice values.",
    said_in: "texts on the scheduler of Linux (\"CFS\", \"vruntime\", \"1 to 4 ms\"); since Linux 6.6 \
              it is EEVDF, which takes the earliest virtual deadline of those with their share due",
    method: "Two or three threads with different nice values compute on one CPU and note when \
             they ran; virtual runtimes from /proc/thread-self/sched. Then the same threads in the \
             simulator, under CFS and EEVDF, with this kernel's tick and slice.",
    control: "Two threads with equal nice values, which must get equal shares.",
    premise: "The threads got nearly all of one CPU and no more, took turns, equal ones got equal \
              shares, and the kernel gave them the weights of their nice values.",
    next: "preemption-fairness (what slices mean for short tasks); 'brigade sim --builtin nice'",
};

const SHARE: &str = "share";
const SLICE: &str = "slice";
const LEAST: &str = "least";
const GIVEN: &str = "given";
const RUNS: &str = "runs";
const LIGHTEST: &str = "lightest";
const VERSION: &str = "version";
const BASE_SLICE: &str = "base_slice";
const TICK: &str = "tick";
const LENGTH: &str = "length";
const CPUS: &str = "cpus";
/// Series of time and virtual runtime, one for each thread of the arm with three.
const VRUNTIMES: [&str; 3] = ["vruntime_0", "vruntime_1", "vruntime_2"];

static METRICS: [Metric; 11] = [
    Metric::main(SHARE, "nice 0 got", Unit::Share),
    Metric::aside(SLICE, "its slices", Unit::Nanoseconds),
    Metric::aside(LEAST, "least next", Unit::Share),
    Metric::data(GIVEN, "CPU given", Unit::Share),
    Metric::data(RUNS, "runs", Unit::Count),
    Metric::data(LIGHTEST, "weight", Unit::Count),
    Metric::data(VERSION, "Linux", Unit::Count),
    Metric::data(BASE_SLICE, "base slice", Unit::Nanoseconds),
    Metric::data(TICK, "tick", Unit::Nanoseconds),
    Metric::data(LENGTH, "length", Unit::Nanoseconds),
    Metric::data(CPUS, "CPUs", Unit::Count),
];

/// One set of threads: the arm that runs it, the arms that simulate it, and the nice values.
struct Set {
    real: &'static str,
    cfs: &'static str,
    eevdf: &'static str,
    nices: &'static [i8],
    /// The nice values in words.
    words: &'static str,
}

const EQUAL: Set = Set {
    real: "equal",
    cfs: "cfs-equal",
    eevdf: "eevdf-equal",
    nices: &[0, 0],
    words: "0 and 0",
};
const PAIR: Set = Set {
    real: "pair",
    cfs: "cfs-pair",
    eevdf: "eevdf-pair",
    nices: &[0, 5],
    words: "0 and 5",
};
const THREE: Set = Set {
    real: "three",
    cfs: "cfs-three",
    eevdf: "eevdf-three",
    nices: &[0, 2, 5],
    words: "0, 2 and 5",
};
const SETS: [Set; 3] = [EQUAL, PAIR, THREE];

/// The first Linux with EEVDF, as [`version`] counts.
const FIRST_EEVDF: f64 = 6006.0;
/// How far a share may be from another that it should equal.
const SHARE_NEAR: f64 = 0.06;
/// The slices of the claim, and a tick's jitter on top.
const SLICES_NS: (f64, f64) = (1e6, 4.4e6);
/// A switch to a thread whose virtual runtime is so little above the least is a switch to the least.
const TIE_NS: f64 = 50_000.0;
/// A thread that does not see the clock for so long was off the CPU.
const GAP: Duration = Duration::from_micros(100);
/// Time to make the threads, before they begin together.
const LEAD: Duration = Duration::from_millis(6);

/// For how long the threads compete.
fn length(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(160), Duration::from_millis(1500))
}

impl Set {
    /// The share of the CPU that is due to the first thread.
    fn due(&self) -> f64 {
        let weights = self.nices.iter().map(|nice| f64::from(weight_of(*nice)));
        f64::from(weight_of(self.nices[0])) / weights.sum::<f64>()
    }

    /// The arm that simulates this kernel's policy.
    fn simulated(&self, eevdf: bool) -> &'static str {
        if eevdf { self.eevdf } else { self.cfs }
    }
}

impl Experiment for CfsShares {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::control(EQUAL.real, "nice 0 and 0"),
            Arm::derived(EQUAL.cfs, "the same, CFS simulated"),
            Arm::derived(EQUAL.eevdf, "the same, EEVDF simulated"),
            Arm::measured(PAIR.real, "nice 0 and 5"),
            Arm::derived(PAIR.cfs, "the same, CFS simulated"),
            Arm::derived(PAIR.eevdf, "the same, EEVDF simulated"),
            Arm::measured(THREE.real, "nice 0, 2 and 5"),
            Arm::derived(THREE.cfs, "the same, CFS simulated"),
            Arm::derived(THREE.eevdf, "the same, EEVDF simulated"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let set = SETS.iter().find(|set| set.real == arm);
        let set = set.ok_or_else(|| unknown_arm(arm))?;
        compete(set.nices, length(scale))
    }

    fn derive(&self, samples: &mut Samples) {
        for set in &SETS {
            for sample in samples.of(set.real).to_vec() {
                for (arm, scheduler) in [(set.cfs, Scheduler::CFS), (set.eevdf, Scheduler::EEVDF)] {
                    if let Some(simulated) = simulate_as(&sample, set.nices, scheduler) {
                        samples.push(arm, simulated);
                    }
                }
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let each = |key| SETS.map(|set| samples.summary(set.real, key));
        let given = each(GIVEN);
        let fewest = each(RUNS).map(|runs| runs.min);
        let same = samples.summary(EQUAL.real, SHARE);
        let weight = samples.summary(PAIR.real, LIGHTEST);
        let least = |values: [f64; 3]| values.into_iter().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                given
                    .iter()
                    .all(|given| given.q1 >= 0.85 && given.q3 <= 1.03),
                format!(
                    "the threads got one CPU's time ({} to {} of it)",
                    show(least(given.map(|given| given.q1)), Unit::Share),
                    show(
                        given.iter().map(|g| g.q3).fold(f64::NAN, f64::max),
                        Unit::Share
                    )
                ),
            ),
            Premise::new(
                fewest.iter().all(|runs| *runs >= 4.0),
                format!(
                    "they took turns ({} runs each at least)",
                    show(least(fewest), Unit::Count)
                ),
            ),
            Premise::new(
                within(&same, 0.5 - SHARE_NEAR, 0.5 + SHARE_NEAR) == Tendency::Holds,
                format!(
                    "with equal nice values one of two got half ({})",
                    show(same.median, Unit::Share)
                ),
            ),
            Premise::new(
                weight.min == f64::from(weight_of(5)) && weight.max == weight.min,
                format!(
                    "the kernel gives nice 5 the weight 335 (it says {})",
                    show(weight.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let version = samples.median(PAIR.real, VERSION);
        let eevdf = version >= FIRST_EEVDF;
        let mut parts = vec![
            Part::new(
                decided(version < FIRST_EEVDF, version),
                format!(
                    "Linux {} schedules by {}; EEVDF took the place of CFS in 6.6",
                    release(version),
                    policy(eevdf)
                ),
            ),
            least_next(samples),
            slices(samples),
        ];
        for set in [PAIR, THREE] {
            parts.push(share(samples, &set));
            parts.push(as_simulated(samples, &set, eevdf));
        }
        parts
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let of = |label: &str, arm: &str| Bar::of(label, &samples.summary(arm, SHARE));
        let bars = [
            ("0 and 5, measured", PAIR.real),
            ("0 and 5, CFS simulated", PAIR.cfs),
            ("0 and 5, EEVDF simulated", PAIR.eevdf),
            ("0, 2 and 5, measured", THREE.real),
            ("0, 2 and 5, CFS simulated", THREE.cfs),
            ("0, 2 and 5, EEVDF simulated", THREE.eevdf),
        ];
        let lines = VRUNTIMES.iter().zip(THREE.nices).map(|(key, nice)| {
            let series = samples
                .of(THREE.real)
                .first()
                .map(|first| first.series(key));
            let points = series.unwrap_or_default().chunks_exact(2);
            Line::new(
                &format!("nice {nice}"),
                points.map(|pair| [pair[0], pair[1]]),
            )
        });
        vec![
            Figure::new(
                "The share of the CPU that the thread with nice 0 got, and what the simulator gives it.",
                Content::Bars {
                    axis: Axis::linear("share of the CPU", Unit::Share),
                    bars: bars
                        .into_iter()
                        .filter_map(|(label, arm)| of(label, arm))
                        .collect(),
                },
            ),
            Figure::new(
                "Virtual runtimes of three threads: each rises while it runs, and they stay together.",
                Content::Lines {
                    x: Axis::linear("time", Unit::Nanoseconds),
                    y: Axis::linear("virtual runtime", Unit::Nanoseconds),
                    lines: lines.filter(|line| !line.points.is_empty()).collect(),
                    marks: Vec::new(),
                },
            ),
        ]
    }
}

/// "The one with the least virtual runtime is next."
fn least_next(samples: &Samples) -> Part {
    let least = samples.summary(THREE.real, LEAST);
    let text = format!(
        "{} of the switches among three went to the least virtual runtime (simulated: CFS {}, EEVDF {})",
        show(least.median, Unit::Share),
        show(samples.median(THREE.cfs, LEAST), Unit::Share),
        show(samples.median(THREE.eevdf, LEAST), Unit::Share)
    );
    Part::new(at_least(&least, 0.95), text)
}

/// "In slices of 1 to 4 ms": for the one with nice 0, beside an equal and beside nice 5.
fn slices(samples: &Samples) -> Part {
    let both = [EQUAL, PAIR].map(|set| samples.summary(set.real, SLICE));
    let each = both.map(|slice| within(&slice, SLICES_NS.0, SLICES_NS.1));
    let tendency = if each.contains(&Tendency::Fails) {
        Tendency::Fails
    } else if each.contains(&Tendency::Unclear) {
        Tendency::Unclear
    } else {
        Tendency::Holds
    };
    let text = format!(
        "slices of nice 0 last {} beside an equal and {} beside nice 5; they end at a tick, one every {}",
        show(both[0].median, Unit::Nanoseconds),
        show(both[1].median, Unit::Nanoseconds),
        show(samples.median(PAIR.real, TICK), Unit::Nanoseconds)
    );
    Part::new(tendency, text)
}

/// "By the weights of nice values."
fn share(samples: &Samples, set: &Set) -> Part {
    let share = samples.summary(set.real, SHARE);
    let due = set.due();
    let text = format!(
        "of threads with nice {} the first got {}; by weight {} are due",
        set.words,
        show(share.median, Unit::Share),
        show(due, Unit::Share)
    );
    Part::new(within(&share, due - SHARE_NEAR, due + SHARE_NEAR), text)
}

/// The simulator and the kernel agree on the share; its slices stand beside.
fn as_simulated(samples: &Samples, set: &Set, eevdf: bool) -> Part {
    let arm = set.simulated(eevdf);
    let (real, simulated) = (samples.summary(set.real, SHARE), samples.median(arm, SHARE));
    let text = format!(
        "{} simulated gives it {}, in slices of {} where the kernel gave {}",
        policy(eevdf),
        show(simulated, Unit::Share),
        show(samples.median(arm, SLICE), Unit::Nanoseconds),
        show(samples.median(set.real, SLICE), Unit::Nanoseconds)
    );
    let near = within(&real, simulated - SHARE_NEAR, simulated + SHARE_NEAR);
    Part::new(near, text)
}

fn policy(eevdf: bool) -> &'static str {
    if eevdf { "EEVDF" } else { "CFS" }
}

/// `6018` for Linux 6.18.
fn version(release: &str) -> Option<f64> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    Some(f64::from(number()? * 1000 + number()?))
}

/// `6.18` for 6018.
fn release(version: f64) -> String {
    if version.is_nan() {
        return "-".to_owned();
    }
    let version = version as u32;
    format!("{}.{}", version / 1000, version % 1000)
}

/// A time in which none of the others had the CPU, in nanoseconds from the begin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    who: usize,
    from_ns: f64,
    to_ns: f64,
    /// How much of it the thread ran: other programs may have had the CPU in between.
    ran_ns: f64,
}

impl Turn {
    /// A turn without a break.
    fn whole(who: usize, from_ns: f64, to_ns: f64) -> Self {
        Self {
            who,
            from_ns,
            to_ns,
            ran_ns: to_ns - from_ns,
        }
    }
}

/// Who ran when on one CPU, and the virtual runtimes at the end.
struct Trace {
    turns: Vec<Turn>,
    weights: Vec<f64>,
    vruntimes: Vec<f64>,
}

impl Trace {
    /// A trace of turns in any order; neighbours of one thread become one turn.
    fn new(mut turns: Vec<Turn>, nices: &[i8], vruntimes: Vec<f64>) -> Self {
        turns.sort_by(|a, b| a.from_ns.total_cmp(&b.from_ns));
        let mut merged: Vec<Turn> = Vec::new();
        for turn in turns {
            match merged.last_mut() {
                Some(last) if last.who == turn.who => {
                    last.to_ns = turn.to_ns;
                    last.ran_ns += turn.ran_ns;
                }
                _ => merged.push(turn),
            }
        }
        Self {
            turns: merged,
            weights: nices
                .iter()
                .map(|nice| f64::from(weight_of(*nice)))
                .collect(),
            vruntimes,
        }
    }

    /// By how much a turn raises the virtual runtime of its thread.
    fn rise(&self, turn: &Turn) -> f64 {
        turn.ran_ns * 1024.0 / self.weights[turn.who]
    }

    /// The virtual runtimes of all before each turn, computed from the end.
    fn before_each(&self) -> Vec<Vec<f64>> {
        let mut now = self.vruntimes.clone();
        let mut all: Vec<Vec<f64>> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.iter().rev() {
            now[turn.who] -= self.rise(turn);
            all.push(now.clone());
        }
        all.reverse();
        all
    }

    /// The part of the switches that went to the thread with the least virtual runtime.
    fn to_the_least(&self) -> f64 {
        let before = self.before_each();
        let switches = self.turns.iter().zip(&before).skip(1);
        let to_least = switches.filter(|(turn, vruntimes)| {
            let least = vruntimes.iter().copied().fold(f64::INFINITY, f64::min);
            vruntimes[turn.who] <= least + TIE_NS
        });
        to_least.count() as f64 / (self.turns.len() as f64 - 1.0)
    }

    /// How long the turns of the first thread are on average, without those that begin or end may have cut.
    fn slice_ns(&self) -> f64 {
        let whole = self.turns.len().saturating_sub(1);
        let turns = self.turns.iter().take(whole).skip(1);
        let (count, sum) = turns
            .filter(|turn| turn.who == 0)
            .fold((0.0, 0.0), |(count, sum), turn| {
                (count + 1.0, sum + turn.ran_ns)
            });
        sum / count
    }

    /// The fewest turns of a thread.
    fn fewest_turns(&self) -> f64 {
        let of = |who| self.turns.iter().filter(|turn| turn.who == who).count();
        (0..self.weights.len()).map(of).min().unwrap_or(0) as f64
    }

    /// Time and virtual runtime of one thread wherever its turns begin and end, both from zero.
    fn line(&self, who: usize) -> Vec<f64> {
        let before = self.before_each();
        let Some(zero) = before
            .first()
            .and_then(|first| first.iter().copied().reduce(f64::min))
        else {
            return Vec::new();
        };
        let mut points = vec![0.0, before[0][who] - zero];
        for (turn, vruntimes) in self.turns.iter().zip(&before) {
            if turn.who == who {
                let begin = vruntimes[who] - zero;
                points.extend([turn.from_ns, begin, turn.to_ns, begin + self.rise(turn)]);
            }
        }
        points
    }

    fn sample(&self) -> Sample {
        Sample::new()
            .with(SLICE, self.slice_ns())
            .with(LEAST, self.to_the_least())
            .with(RUNS, self.fewest_turns())
    }
}

/// What one thread saw.
struct Seen {
    turns: Vec<(Instant, Instant)>,
    cpu_ns: f64,
    kernel: Kernel,
}

/// What the kernel says about a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kernel {
    vruntime_ns: f64,
    weight: f64,
    /// NaN where the kernel does not say.
    slice_ns: f64,
}

impl Kernel {
    fn of_this_thread() -> Result<Self, ArmError> {
        let path = "/proc/thread-self/sched";
        let text = fs::read_to_string(path)
            .map_err(|error| ArmError::Skipped(format!("cannot read {path}: {error}")))?;
        Self::parse(&text)
            .ok_or_else(|| ArmError::Skipped(format!("{path} has no virtual runtime here")))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start()
                .strip_prefix(':')?
                .trim()
                .parse::<f64>()
                .ok()
        };
        Some(Self {
            // Milliseconds with six digits.
            vruntime_ns: value("se.vruntime")? * 1e6,
            // 64-bit kernels count 1024 times finer than the table.
            weight: value("se.load.weight")? / 1024.0,
            slice_ns: value("se.slice").unwrap_or(f64::NAN),
        })
    }
}

/// Computes on `cpu` with `nice` from `begin` to `end`, and notes when it had the CPU.
fn hog(cpu: usize, nice: i8, begin: Instant, end: Instant) -> Result<Seen, ArmError> {
    probe::pin_to(cpu)?;
    // Of the calling thread alone, on Linux.
    setpriority_process(None, i32::from(nice))
        .map_err(|error| ArmError::Skipped(format!("cannot set nice {nice}: {error}")))?;
    let mut turns = Vec::with_capacity(4096);
    thread::sleep(begin.saturating_duration_since(Instant::now()));
    let cpu_before = probe::thread_cpu_time_ns();
    let mut from = Instant::now();
    let mut last = from;
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if now - last > GAP {
            turns.push((from, last));
            from = now;
        }
        last = now;
    }
    turns.push((from, last));
    let cpu_ns = probe::thread_cpu_time_ns() - cpu_before;
    let kernel = Kernel::of_this_thread()?;
    Ok(Seen {
        turns,
        cpu_ns,
        kernel,
    })
}

/// Threads of these nice values compete for one CPU for so long.
fn compete(nices: &[i8], length: Duration) -> Result<Sample, ArmError> {
    let cpu = probe::current_cpu();
    let begin = Instant::now() + LEAD;
    let end = begin + length;
    let hogs: Vec<_> = nices
        .iter()
        .map(|nice| {
            let nice = *nice;
            thread::spawn(move || hog(cpu, nice, begin, end))
        })
        .collect();
    let seen: Result<Vec<Seen>, ArmError> = hogs
        .into_iter()
        .map(|hog| {
            let joined = hog.join();
            joined.map_err(|_| ArmError::Failed("a thread panicked".into()))?
        })
        .collect();
    let seen = seen?;
    let turns = seen.iter().enumerate().flat_map(|(who, seen)| {
        let since = move |at: &Instant| at.saturating_duration_since(begin).as_nanos() as f64;
        let turn = move |(from, to): &(Instant, Instant)| Turn::whole(who, since(from), since(to));
        seen.turns.iter().map(turn)
    });
    let vruntimes = seen.iter().map(|seen| seen.kernel.vruntime_ns).collect();
    let trace = Trace::new(turns.collect(), nices, vruntimes);
    let used: f64 = seen.iter().map(|seen| seen.cpu_ns).sum();
    let lightest = seen.iter().map(|seen| seen.kernel.weight);
    let tick = clock_getres(ClockId::MonotonicCoarse);
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut sample = trace
        .sample()
        .with(SHARE, seen[0].cpu_ns / used)
        .with(GIVEN, used / length.as_nanos() as f64)
        .with(LIGHTEST, lightest.fold(f64::INFINITY, f64::min))
        .with(VERSION, version(&release).unwrap_or(f64::NAN))
        .with(BASE_SLICE, seen[0].kernel.slice_ns)
        .with(TICK, tick.tv_sec as f64 * 1e9 + tick.tv_nsec as f64)
        .with(LENGTH, length.as_nanos() as f64)
        .with(CPUS, machine::cpus_online() as f64);
    if nices.len() == VRUNTIMES.len() {
        for (who, key) in VRUNTIMES.iter().enumerate() {
            sample = sample.with_series(key, trace.line(who));
        }
    }
    Ok(sample)
}

/// The same threads in the simulator, for as long and with the tunables that `real` was measured with.
fn simulate_as(real: &Sample, nices: &[i8], scheduler: Scheduler) -> Option<Sample> {
    let number = |key| Some(real.get(key)).filter(|value| *value >= 1.0);
    let mut machine = Machine::new(number(CPUS)? as usize);
    machine.cores = 1;
    machine.tick_ns = number(TICK)? as u64;
    if let Some(slice) = number(BASE_SLICE) {
        machine.base_slice_ns = slice as u64;
    }
    let length_ns = number(LENGTH)? as u64;
    let hog = |nice: &i8| Task::new("hog", [Step::compute(2 * length_ns)]).nice(*nice);
    let set = TaskSet::new(machine, nices.iter().map(hog)).until(length_ns);
    let run = simulate(&set, &scheduler, 1).ok()?;
    let turns = run.spans.iter().filter_map(|span| match span.doing {
        Doing::Task(who) => Some(Turn::whole(who, span.from_ns as f64, span.to_ns as f64)),
        Doing::Switch => None,
    });
    let vruntimes: Option<Vec<f64>> = run.tasks.iter().map(|task| task.vruntime_ns).collect();
    let trace = Trace::new(turns.collect(), nices, vruntimes?);
    Some(trace.sample().with(SHARE, run.tasks[0].share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    #[derive(Clone, Copy)]
    struct Kernel {
        version: f64,
        least: f64,
        slice: f64,
        /// The share of nice 0 beside nice 5.
        pair: f64,
        equal: f64,
        given: f64,
        runs: f64,
        weight: f64,
        noise: f64,
    }

    /// A kernel of which all of the claim is true: CFS, and a tick of 1 ms.
    const CFS: Kernel = Kernel {
        version: 6001.0,
        least: 1.0,
        slice: 4.0 * MS,
        pair: 0.753,
        equal: 0.5,
        given: 0.99,
        runs: 9.0,
        weight: 335.0,
        noise: 0.004,
    };

    /// What this experiment was written on.
    const EEVDF: Kernel = Kernel {
        version: 6018.0,
        least: 0.8,
        slice: 12.0 * MS,
        ..CFS
    };

    fn samples(kernel: Kernel) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + kernel.noise * f64::from(i - 2);
            let arms = [
                (EQUAL.real, kernel.equal, 4.0 * MS, 1024.0),
                (PAIR.real, kernel.pair, kernel.slice, kernel.weight),
                (THREE.real, 0.508, 8.0 * MS, kernel.weight),
            ];
            for (arm, share, slice, weight) in arms {
                let sample = Sample::new()
                    .with(SHARE, share * noise)
                    .with(SLICE, slice * noise)
                    .with(LEAST, kernel.least)
                    .with(GIVEN, kernel.given)
                    .with(RUNS, kernel.runs)
                    .with(LIGHTEST, weight)
                    .with(VERSION, kernel.version)
                    .with(BASE_SLICE, 1.4 * MS)
                    .with(TICK, 4.0 * MS)
                    .with(LENGTH, 160.0 * MS)
                    .with(CPUS, 2.0);
                samples.push(arm, sample);
            }
        }
        CfsShares.derive(&mut samples);
        samples
    }

    fn verdict(kernel: Kernel) -> Verdict {
        let samples = samples(kernel);
        decide(&CfsShares.premises(&samples), &CfsShares.judge(&samples))
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(CFS), Verdict::Confirmed);
        assert_eq!(verdict(EEVDF), Verdict::NotHere);
        let (least, slice, pair) = (0.6, 12.0 * MS, 0.5);
        for contrary in [
            Kernel { least, ..CFS },
            Kernel { slice, ..CFS },
            Kernel { pair, ..CFS },
            Kernel {
                version: 6006.0,
                ..CFS
            },
        ] {
            assert_eq!(verdict(contrary), Verdict::NotHere);
        }
    }

    /// Planted: hogs that were not pinned, and compute on two CPUs.
    #[test]
    fn threads_that_had_more_than_one_cpu_decide_nothing() {
        assert_inconclusive(
            &verdict(Kernel {
                given: 1.9,
                ..EEVDF
            }),
            "one CPU's time",
        );
    }

    /// Planted: another program, or the host, took half of the CPU.
    #[test]
    fn threads_that_did_not_get_the_cpu_decide_nothing() {
        assert_inconclusive(
            &verdict(Kernel {
                given: 0.5,
                ..EEVDF
            }),
            "one CPU's time",
        );
    }

    /// Planted: hogs that ran one after the other.
    #[test]
    fn threads_that_did_not_take_turns_decide_nothing() {
        assert_inconclusive(&verdict(Kernel { runs: 1.0, ..EEVDF }), "took turns");
    }

    /// Planted: something else decides about shares, so that equal threads get unequal ones.
    #[test]
    fn equal_threads_with_unequal_shares_decide_nothing() {
        assert_inconclusive(
            &verdict(Kernel {
                equal: 0.7,
                ..EEVDF
            }),
            "got half",
        );
    }

    /// Planted: a nice value that the kernel was never told.
    #[test]
    fn nice_values_that_had_no_effect_decide_nothing() {
        assert_inconclusive(
            &verdict(Kernel {
                weight: 1024.0,
                ..EEVDF
            }),
            "weight 335",
        );
    }

    #[test]
    fn shares_that_scatter_are_noise_and_no_claim() {
        let scattered = Kernel {
            noise: 0.09,
            equal: 0.5,
            ..CFS
        };
        let mut samples = samples(scattered);
        // The control is quiet: the noise is in what is measured.
        let quiet = self::samples(CFS);
        let mut mixed = Samples::new();
        for arm in samples.arms().map(str::to_owned).collect::<Vec<_>>() {
            let from = if arm.ends_with(EQUAL.real) {
                &quiet
            } else {
                &samples
            };
            for sample in from.of(&arm) {
                mixed.push(&arm, sample.clone());
            }
        }
        samples = mixed;
        let verdict = decide(&CfsShares.premises(&samples), &CfsShares.judge(&samples));
        assert_inconclusive(&verdict, "noise");
    }

    /// The validation of the simulator against the kernel's table: its shares are those of the weights.
    #[test]
    fn simulated_shares_follow_the_weights() {
        let samples = samples(CFS);
        for set in &SETS {
            for arm in [set.cfs, set.eevdf] {
                let share = samples.median(arm, SHARE);
                let due = set.due();
                assert!(
                    (share - due).abs() < SHARE_NEAR,
                    "{arm}: {share}, due {due}"
                );
            }
        }
    }

    /// What tells CFS from EEVDF, in the simulator: among three, EEVDF looks at deadlines.
    #[test]
    fn simulated_cfs_takes_the_least_virtual_runtime_and_eevdf_not_always() {
        let samples = samples(CFS);
        assert!(samples.median(THREE.cfs, LEAST) >= 0.95);
        assert!(samples.median(THREE.eevdf, LEAST) < 0.95);
    }

    fn turn(who: usize, from_ns: f64, to_ns: f64) -> Turn {
        Turn::whole(who, from_ns, to_ns)
    }

    /// By hand: nice 0 runs 10 and nice 5 (335) runs 3.35, so each rises by 10 and 10.24 ms.
    #[test]
    fn virtual_runtimes_are_computed_back_from_the_end() {
        let turns = vec![
            turn(0, 0.0, 4.0 * MS),
            turn(0, 4.0 * MS, 10.0 * MS),
            turn(1, 10.0 * MS, 13.35 * MS),
            turn(0, 13.35 * MS, 14.0 * MS),
        ];
        let ends = vec![110.65 * MS, 110.24 * MS];
        let trace = Trace::new(turns, &[0, 5], ends);
        assert_eq!(trace.turns.len(), 3);
        let before = trace.before_each();
        assert!((before[0][0] - 100.0 * MS).abs() < 1.0, "{before:?}");
        assert!((before[0][1] - 100.0 * MS).abs() < 1.0, "{before:?}");
        // At 10 ms nice 5 is behind; at 13.35 ms nice 0.
        assert_eq!(trace.to_the_least(), 1.0);
        assert_eq!(trace.fewest_turns(), 1.0);
        let line = trace.line(1);
        assert_eq!((line[0], line[2]), (0.0, 10.0 * MS));
    }

    #[test]
    fn a_switch_to_another_than_the_least_is_seen() {
        let turns = vec![
            turn(0, 0.0, MS),
            turn(1, MS, 2.0 * MS),
            turn(0, 2.0 * MS, 3.0 * MS),
        ];
        // The first is far ahead of the second, and gets the CPU back all the same.
        let trace = Trace::new(turns, &[0, 0], vec![50.0 * MS, MS]);
        assert_eq!(trace.to_the_least(), 0.5);
    }

    #[test]
    fn what_the_kernel_says_is_read_by_whole_names() {
        let text = "x (1, #threads: 1)\nse.vruntime   :    131.442661\n\
                    se.load.weight  :   343040\nse.slice : 1400000\n";
        let kernel = super::Kernel::parse(text).unwrap();
        assert_eq!((kernel.weight, kernel.slice_ns), (335.0, 1.4 * MS));
        assert!((kernel.vruntime_ns - 131_442_661.0).abs() < 0.5);
        let without = super::Kernel::parse("se.vruntime : 1.0\nse.load.weight : 1048576\n");
        assert!(without.unwrap().slice_ns.is_nan());
        assert_eq!(super::Kernel::parse("se.load.weight : 1048576\n"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.18.44-fc"), Some(6018.0));
        assert_eq!(version("5.4.0"), Some(5004.0));
        assert_eq!(version("next"), None);
        assert_eq!(release(6018.0), "6.18");
    }

    #[test]
    fn threads_that_compete_are_all_seen_or_the_machine_says_why_not() {
        match compete(&[0, 2, 5], Duration::from_millis(60)) {
            Ok(sample) => {
                assert!(sample.get(RUNS) >= 1.0 && sample.get(SHARE) > 0.0);
                assert!(sample.series(VRUNTIMES[2]).len() >= 4);
                assert_eq!(sample.get(LIGHTEST), f64::from(weight_of(5)));
            }
            Err(error) => assert!(matches!(error, ArmError::Skipped(_)), "{error:?}"),
        }
    }
}
