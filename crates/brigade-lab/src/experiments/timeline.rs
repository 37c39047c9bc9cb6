//! The same tasks on one CPU and on all: who runs when and where.
//!
//! A task cannot see that it does not run, only that time has passed. So each task looks at the clock after every few
//! microseconds of its work: where more than a moment has passed between two looks, it was not running, and where the
//! number of its CPU has changed, it was moved. What comes out is a list of pieces by task: from, to, on which CPU. It
//! needs no privilege, and it sees the time that a hypervisor takes as well as that of the kernel.
//!
//! On one CPU the pieces of different tasks interleave and never overlap, which is concurrency; on several they overlap,
//! which is parallelism, and only then the whole is over sooner.
//!
//! How long something takes means nothing while other programs use the CPUs. Therefore everything is tried three times
//! and the try that was given most of the CPUs counts; and repeats in which the CPUs were
//! not given, by the CPU time that the tasks used, are left out, all arms of the repeat together; how many remain is a
//! premise.

use std::thread;
use std::time::{Duration, Instant};

use crate::compute::{Pace, burn};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Track};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::together::{self, Start};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_least, at_most};

/// The experiment.
pub(super) struct Timeline;

static INFO: Info = Info {
    name: "timeline",
    claim: "On one CPU concurrent tasks take turns and are over no sooner than one after the other; \
            on several they run at the same time, and sooner by the number of CPUs.",
    said_in: "every text that tells concurrency from parallelism, as two drawings",
    method: "Tasks that only compute, on threads that are kept on one CPU or may use all. Each looks \
             at the clock every few microseconds; a gap means that it was not running. Who ran when \
             and where is drawn; how often two ran at once, and the time, count.",
    control: "The same tasks one after the other on one thread.",
    premise: "In three repeats at least the tasks had all the CPUs that they were to use, and their \
              pieces add up to the CPU time they used.",
    next: "two-cooks (what waits add to it), context-switch (what a turn costs)",
};

const TOOK: &str = "took";
const AT_ONCE: &str = "at_once";
const PIECES: &str = "pieces";
const CPUS: &str = "cpus";
const USABLE: &str = "usable_cpus";
const SEEN: &str = "seen";
/// Pieces: task, CPU, from, to.
const TRACE: &str = "trace";

static METRICS: [Metric; 6] = [
    Metric::main(TOOK, "took", Unit::Nanoseconds),
    Metric::aside(AT_ONCE, "two at once", Unit::Share),
    Metric::aside(PIECES, "pieces each", Unit::Count),
    Metric::data(CPUS, "CPUs used", Unit::Count),
    Metric::data(USABLE, "CPUs usable", Unit::Count),
    Metric::data(SEEN, "seen", Unit::Share),
];

const ARMS: [(&str, &str); 3] = [
    ("in-turn", "in turn"),
    ("one", "one CPU"),
    ("all", "all CPUs"),
];

/// From one look at the clock to the next.
const LOOK: Duration = Duration::from_micros(3);
/// A task that did not look for so long was not running.
const GAP: Duration = Duration::from_micros(150);
/// How many pieces a sample keeps.
const KEPT: usize = 400;
/// What share of the CPUs makes them given.
const GIVEN: f64 = 0.88;
/// So many repeats must be left.
const ENOUGH: usize = 3;
/// No sooner: by this factor at most. The rest is noise.
const NO_GAIN: f64 = 1.2;
/// The part of each additional CPU that must become gain; CPUs may share a core.
const PART: f64 = 0.5;

/// How often each arm is tried in a run.
const TRIES: usize = 3;

/// How long a task computes.
fn length(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(14), Duration::from_millis(100))
}

/// How many CPUs are used, and how many tasks that makes: each CPU gets as many.
fn plan() -> (usize, usize) {
    let cpus = probe::cpus().min(8);
    (cpus, cpus * 4_usize.div_ceil(cpus))
}

impl Experiment for Timeline {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let arm = |(key, label)| match key {
            "in-turn" => Arm::control(key, label),
            _ => Arm::measured(key, label),
        };
        ARMS.map(arm).into()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (cpus, tasks) = plan();
        let rounds = Pace::measure().rounds(LOOK);
        let looks = length(scale).as_nanos() / LOOK.as_nanos();
        let task = Task {
            rounds,
            looks: looks as u64,
        };
        match arm {
            "in-turn" | "one" => probe::pin_to_one_cpu()?,
            "all" if cpus < 2 => return Err(ArmError::Skipped("needs two CPUs".into())),
            "all" => {}
            _ => return Err(unknown_arm(arm)),
        }
        let once = || match arm {
            "in-turn" => Ok((0..tasks).map(|_| task.run()).collect()),
            _ => at_once(task, tasks),
        };
        let usable = if arm == "all" { cpus } else { 1 };
        let tries: Result<Vec<Sample>, ArmError> = (0..TRIES)
            .map(|_| once().map(|runs| sample(&runs, usable)))
            .collect();
        let best = tries?
            .into_iter()
            .max_by(|a, b| a.get(CPUS).total_cmp(&b.get(CPUS)));
        best.ok_or_else(|| ArmError::Failed("nothing was tried".into()))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let all = samples.of("all").len();
        let given = given(samples);
        let used = samples.summary("all", CPUS);
        let seen = ARMS.map(|(arm, _)| of_given(samples, &given, arm, SEEN).median);
        let least = seen.iter().copied().fold(f64::NAN, f64::min);
        let sound = |share: &f64| (0.85..=1.15).contains(share);
        vec![
            Premise::new(
                given.len() >= ENOUGH,
                format!(
                    "the tasks had the CPUs in {} of {all} repeats (all CPUs: {} used)",
                    given.len(),
                    show(used.median, Unit::Count)
                ),
            ),
            Premise::new(
                seen.iter().all(sound),
                format!(
                    "the pieces add up to the CPU time used ({} of it at least)",
                    show(least, Unit::Share)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let given = given(samples);
        let of = |arm, key| of_given(samples, &given, arm, key);
        let ratio = |slow: &str, fast: &str| {
            let took = |arm: &str, i: usize| samples.of(arm).get(i).map(|s| s.get(TOOK));
            let ratio = |i: &usize| Some(took(slow, *i)? / took(fast, *i)?);
            Summary::of(given.iter().filter_map(ratio))
        };
        let share = |s: &Summary| show(s.median, Unit::Share);
        let count = |s: &Summary| show(s.median, Unit::Count);
        let (one, all) = (of("one", AT_ONCE), of("all", AT_ONCE));
        let (pieces, cpus) = (of("one", PIECES), of("all", USABLE).median);
        let (concurrent, parallel) = (ratio("in-turn", "one"), ratio("one", "all"));
        vec![
            Part::new(
                at_least(&pieces, 2.0),
                format!("on one CPU each task runs in {} pieces", count(&pieces)),
            ),
            Part::new(
                at_most(&one, 0.02),
                format!("two at once for {} of the time", share(&one)),
            ),
            Part::new(
                at_most(&concurrent, NO_GAIN),
                format!("{} times as fast as in turn", count(&concurrent)),
            ),
            Part::new(
                at_least(&all, 0.5),
                format!(
                    "on {} CPUs two at once for {} of the time",
                    show(cpus, Unit::Count),
                    share(&all)
                ),
            ),
            Part::new(
                gained(&parallel, 1.0 + PART * (cpus - 1.0)),
                format!("{} times as fast as on one", count(&parallel)),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        // A repeat in which the CPUs were given shows what is meant; without one, the last.
        let chosen = given(samples).last().copied();
        let tracks = |(arm, label): (&str, &str)| {
            let of = samples.of(arm);
            let chosen = chosen.unwrap_or(of.len().saturating_sub(1));
            of.get(chosen)
                .map_or(Vec::new(), |sample| by_cpu(sample, label))
        };
        let tracks: Vec<Track> = ARMS.into_iter().flat_map(tracks).collect();
        if tracks.is_empty() {
            return Vec::new();
        }
        vec![Figure::new(
            "Which task runs on which CPU, in one repeat.",
            Content::Timeline { tracks },
        )]
    }
}

/// A row for each CPU that was used; the tasks are letters.
fn by_cpu(sample: &Sample, label: &str) -> Vec<Track> {
    const NAMES: [&str; 16] = [
        "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P",
    ];
    let pieces = || sample.series(TRACE).chunks_exact(4);
    let mut cpus: Vec<u64> = pieces().map(|piece| piece[1] as u64).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let track = |cpu: u64| {
        let here = pieces().filter(|piece| piece[1] as u64 == cpu);
        let span = |piece: &[f64]| {
            let name = NAMES.get(piece[0] as usize).unwrap_or(&"other");
            (piece[2], piece[3], *name)
        };
        Track::new(&format!("{label}, CPU {cpu}"), here.map(span))
    };
    cpus.into_iter().map(track).collect()
}

/// The repeats in which every arm had the CPUs that it was to use.
fn given(samples: &Samples) -> Vec<usize> {
    let had = |arm: &str, i: usize| {
        let sample = samples.of(arm).get(i);
        sample.is_some_and(|s| s.get(CPUS) >= GIVEN * s.get(USABLE))
    };
    let repeats = 0..samples.of("all").len();
    repeats
        .filter(|i| ARMS.iter().all(|(arm, _)| had(arm, *i)))
        .collect()
}

fn of_given(samples: &Samples, given: &[usize], arm: &str, key: &str) -> Summary {
    let of = samples.of(arm);
    Summary::of(given.iter().filter_map(|i| of.get(*i)).map(|s| s.get(key)))
}

/// Is the middle half of `gain` at least `least`? It is not only if all of it is no gain at all.
fn gained(gain: &Summary, least: f64) -> Tendency {
    if gain.q1 >= least {
        Tendency::Holds
    } else if gain.q3 <= NO_GAIN {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// A task: so many looks at the clock, with so many rounds of computation before each.
#[derive(Clone, Copy)]
struct Task {
    rounds: u64,
    looks: u64,
}

/// When a task was running, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    cpu: usize,
    from: Instant,
    to: Instant,
}

/// What a task saw of itself.
struct Run {
    pieces: Vec<Piece>,
    span: together::Span,
}

impl Task {
    fn run(self) -> Run {
        let mut pieces = Pieces::default();
        let span = together::Span::of(|| {
            for _ in 0..self.looks {
                pieces.running(probe::current_cpu(), Instant::now());
                burn(self.rounds);
            }
            pieces.running(probe::current_cpu(), Instant::now());
        });
        Run {
            pieces: pieces.0,
            span,
        }
    }
}

/// Pieces in the order of time, of which the last may go on.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    /// The task runs on `cpu` at `now`.
    fn running(&mut self, cpu: usize, now: Instant) {
        match self.0.last_mut() {
            Some(last) if last.cpu == cpu && now - last.to <= GAP => last.to = now,
            _ => self.0.push(Piece {
                cpu,
                from: now,
                to: now,
            }),
        }
    }
}

fn at_once(task: Task, count: usize) -> Result<Vec<Run>, ArmError> {
    let start = Start::new(count);
    thread::scope(|scope| {
        let run = || {
            start.wait(thread::yield_now);
            task.run()
        };
        let tasks: Vec<_> = (0..count).map(|_| scope.spawn(run)).collect();
        let runs = tasks.into_iter().map(thread::ScopedJoinHandle::join);
        runs.collect::<Result<_, _>>()
            .map_err(|_| ArmError::Failed("a task panicked".into()))
    })
}

fn sample(runs: &[Run], usable: usize) -> Sample {
    let spans: Vec<together::Span> = runs.iter().map(|run| run.span).collect();
    let begun = spans.iter().map(|span| span.begun).min();
    let at = |moment: Instant| begun.map_or(f64::NAN, |begun| (moment - begun).as_nanos() as f64);
    let mut pieces: Vec<[f64; 4]> = Vec::new();
    for (task, run) in runs.iter().enumerate() {
        let of_task = run.pieces.iter();
        pieces.extend(of_task.map(|p| [task as f64, p.cpu as f64, at(p.from), at(p.to)]));
    }
    pieces.sort_by(|a, b| a[2].total_cmp(&b[2]));
    let lengths: f64 = pieces.iter().map(|piece| piece[3] - piece[2]).sum();
    let cpu: f64 = spans.iter().map(|span| span.cpu_ns).sum();
    Sample::new()
        .with(TOOK, together::elapsed_ns(&spans))
        .with(AT_ONCE, at_once_share(&pieces))
        .with(PIECES, pieces.len() as f64 / runs.len() as f64)
        .with(CPUS, together::cpus_used(&spans))
        .with(USABLE, usable as f64)
        .with(SEEN, lengths / cpu)
        .with_series(TRACE, pieces.into_iter().take(KEPT).flatten())
}

/// For what share of the time in which any task ran did two of them run. `pieces` are `[_, _, from, to]`.
fn at_once_share(pieces: &[[f64; 4]]) -> f64 {
    let mut changes: Vec<(f64, i32)> = Vec::with_capacity(2 * pieces.len());
    for piece in pieces {
        changes.extend([(piece[2], 1), (piece[3], -1)]);
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut running, mut any, mut several) = (0, 0.0, 0.0);
    for (i, (time, change)) in changes.iter().enumerate() {
        let since = time - changes[i.saturating_sub(1)].0;
        if running >= 1 {
            any += since;
        }
        if running >= 2 {
            several += since;
        }
        running += change;
    }
    several / any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    /// What was measured on a machine with two CPUs.
    #[derive(Clone, Copy)]
    struct Machine {
        in_turn: f64,
        one: f64,
        all: f64,
        one_at_once: f64,
        all_at_once: f64,
        pieces: f64,
        /// CPUs used by the arm on all of them, by repeat.
        used: [f64; 5],
        seen: f64,
    }

    const GOOD: Machine = Machine {
        in_turn: 128.0,
        one: 129.0,
        all: 66.0,
        one_at_once: 0.0,
        all_at_once: 0.95,
        pieces: 9.0,
        used: [1.95; 5],
        seen: 0.99,
    };

    impl Machine {
        fn samples(self) -> Samples {
            let mut samples = Samples::new();
            for (i, used) in self.used.into_iter().enumerate() {
                let noise = 1.0 + 0.01 * i as f64;
                let mut add = |arm: &str, took: f64, at_once: f64, used: f64, usable: f64| {
                    let sample = Sample::new()
                        .with(TOOK, took * MS * noise)
                        .with(AT_ONCE, at_once)
                        .with(PIECES, self.pieces)
                        .with(CPUS, used)
                        .with(USABLE, usable)
                        .with(SEEN, self.seen)
                        .with_series(TRACE, [0.0, 1.0, 0.0, 5.0, 1.0, 0.0, 1.0, 6.0]);
                    samples.push(arm, sample);
                };
                add("in-turn", self.in_turn, 0.0, 0.99, 1.0);
                add("one", self.one, self.one_at_once, 0.99, 1.0);
                // Where the CPUs were not given, everything takes as long as it likes.
                let all = if used < 1.5 { self.one } else { self.all };
                add("all", all, self.all_at_once, used, 2.0);
            }
            samples
        }

        fn verdict(self) -> Verdict {
            let samples = self.samples();
            decide(&Timeline.premises(&samples), &Timeline.judge(&samples))
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for contrary in [
            Machine { all: 125.0, ..GOOD },
            Machine { one: 70.0, ..GOOD },
            Machine {
                pieces: 1.0,
                ..GOOD
            },
            Machine {
                one_at_once: 0.5,
                ..GOOD
            },
            Machine {
                all_at_once: 0.0,
                ..GOOD
            },
        ] {
            assert_eq!(contrary.verdict(), Verdict::NotHere);
        }
    }

    #[test]
    fn repeats_without_the_cpus_are_left_out() {
        let some = Machine {
            used: [1.95, 1.0, 1.95, 1.1, 1.95],
            ..GOOD
        };
        assert_eq!(some.verdict(), Verdict::Confirmed);
    }

    /// Plants a machine whose CPUs other programs use.
    #[test]
    fn too_few_repeats_with_the_cpus_decide_nothing() {
        let loaded = Machine {
            used: [1.95, 1.0, 1.95, 1.1, 1.0],
            ..GOOD
        };
        assert_inconclusive(&loaded.verdict(), "2 of 5 repeats");
    }

    /// Plants traces that missed half of what ran.
    #[test]
    fn pieces_that_do_not_add_up_decide_nothing() {
        let blind = Machine { seen: 0.5, ..GOOD };
        assert_inconclusive(&blind.verdict(), "add up");
    }

    #[test]
    fn a_gain_between_none_and_enough_is_noise() {
        let verdict = Machine { all: 98.0, ..GOOD }.verdict();
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn a_gap_or_another_cpu_begins_a_new_piece() {
        let mut pieces = Pieces::default();
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        for (cpu, micros) in [(0, 0), (0, 10), (0, 400), (0, 410), (1, 420)] {
            pieces.running(cpu, at(micros));
        }
        let seen: Vec<_> = pieces.0.iter().map(|p| (p.cpu, p.from, p.to)).collect();
        assert_eq!(
            seen,
            [
                (0, at(0), at(10)),
                (0, at(400), at(410)),
                (1, at(420), at(420))
            ]
        );
    }

    #[test]
    fn the_time_of_two_at_once_is_a_share_of_the_time_of_any() {
        let piece = |from, to| [0.0, 0.0, from, to];
        let share = |pieces: &[[f64; 4]]| at_once_share(pieces);
        assert_eq!(share(&[piece(0.0, 10.0), piece(10.0, 20.0)]), 0.0);
        assert_eq!(share(&[piece(0.0, 10.0), piece(5.0, 15.0)]), 5.0 / 15.0);
        assert_eq!(share(&[piece(0.0, 10.0), piece(20.0, 30.0)]), 0.0);
        assert!(share(&[]).is_nan());
    }

    #[test]
    fn a_task_is_seen_while_it_runs() {
        let task = Task {
            rounds: 10,
            looks: 50,
        };
        let sample = sample(&at_once(task, 2).unwrap(), 2);
        assert!(sample.get(PIECES) >= 1.0);
        assert!(sample.series(TRACE).len() >= 8);
        assert!(sample.get(TOOK) > 0.0);
    }

    #[test]
    fn the_figure_has_a_row_for_each_cpu_of_each_arm() {
        let figures = Timeline.figures(&GOOD.samples());
        let Content::Timeline { tracks } = &figures[0].content else {
            panic!("{figures:?}");
        };
        let labels: Vec<_> = tracks.iter().map(|track| track.label.as_str()).collect();
        assert_eq!(labels.len(), 6);
        assert_eq!(labels[..2], ["in turn, CPU 0", "in turn, CPU 1"]);
        assert_eq!(tracks[0].spans[0].what, "B");
        assert!(Timeline.figures(&Samples::new()).is_empty());
    }
}
