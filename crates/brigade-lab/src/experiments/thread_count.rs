//! Which threads of a process can be seen from outside: what `ps -L`, `top -H` and the folder `/proc/PID/task` list.
//!
//! Threads are started, all of them wait, and the process is looked at from within: how many threads the kernel says it
//! has, how many entries its folder has, and how many of them bear the name that a thread was given. A name is what
//! tells a green thread from its carriers: the kernel knows the carriers alone, whatever runs on them. Green threads are
//! listed by Brigade instead.
//!
//! An entry goes a moment after the thread has been joined, so the arm that looks afterwards waits for that, at most a
//! second.

use std::process;
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::green;
use crate::kernel_view::{Entry, entries_of, from_series, to_series};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

/// The experiment.
pub(super) struct ThreadCount;

static INFO: Info = Info {
    name: "thread-count",
    claim: "A process that starts N threads is listed with N + 1, each with its name and state; of \
            green threads the kernel lists none.",
    said_in: "introductions to threads (\"ps -L\", \"top, then H\", \"cat /proc/PID/status\")",
    method: "Start threads that have names and wait. Count what the kernel says: `Threads:` in the \
             process's status, the entries of /proc/PID/task, and those that bear one of the names. \
             The same with green threads, which Brigade lists.",
    control: "The process before it starts any thread, and after it has joined the same number.",
    premise: "All threads are alive when they are counted, the process had one before, and both \
              counts of the kernel agree.",
    next: "thread-states (what the letters mean)",
};

const ENTRIES: &str = "entries";
const NAMED: &str = "named";
const BY_BRIGADE: &str = "by_brigade";
const STATUS: &str = "status";
const STARTED: &str = "started";
const ALIVE: &str = "alive";
const BEFORE: &str = "before";
const ROWS: &str = "rows";

static METRICS: [Metric; 7] = [
    Metric::main(ENTRIES, "in kernel", Unit::Count),
    Metric::aside(NAMED, "by name", Unit::Count),
    Metric::aside(BY_BRIGADE, "by Brigade", Unit::Count),
    Metric::data(STATUS, "status", Unit::Count),
    Metric::data(STARTED, "started", Unit::Count),
    Metric::data(ALIVE, "alive", Unit::Count),
    Metric::data(BEFORE, "before", Unit::Count),
];

/// What the names of the threads begin with.
const NAME: &str = "cook-";

/// How many entries a figure shows.
const SHOWN: usize = 6;

const ARMS: [&str; 4] = ["before", "kernel", "green", "joined"];

impl Experiment for ThreadCount {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::control("before", "no thread started"),
            Arm::measured("kernel", "kernel threads, waiting"),
            Arm::measured("green", "green threads, waiting"),
            Arm::control("joined", "kernel threads, joined"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let count = scale.pick(200, 2_000);
        let before = probe::memory()?.threads;
        let seen = match arm {
            "before" => Seen::now(0, 0),
            "kernel" => gathered(Kind::Kernel, count),
            "green" => Kind::Green.host(|| gathered(Kind::Green, count)),
            "joined" => joined(count),
            _ => Err(unknown_arm(arm)),
        };
        Ok(seen?.into_sample(before))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let all = |arms: &[&str], holds: fn(&Sample) -> bool| {
            let held =
                |arm: &&str| !samples.of(arm).is_empty() && samples.of(arm).iter().all(holds);
            arms.iter().all(held)
        };
        let alive = ["kernel", "green"].map(|arm| samples.summary(arm, ALIVE).min);
        let before = samples.summary("kernel", BEFORE);
        vec![
            Premise::new(
                all(&["kernel", "green"], |s| s.get(ALIVE) == s.get(STARTED)),
                format!(
                    "all threads are alive when they are counted ({} and {})",
                    show(alive[0], Unit::Count),
                    show(alive[1], Unit::Count)
                ),
            ),
            Premise::new(
                all(&ARMS, |s| s.get(BEFORE) == 1.0),
                format!(
                    "the process had one thread before ({})",
                    show(before.max, Unit::Count)
                ),
            ),
            Premise::new(
                all(&ARMS, |s| s.get(STATUS) == s.get(ENTRIES)),
                "status and folder agree about how many threads there are",
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let median = |arm: &str, key: &str| show(samples.median(arm, key), Unit::Count);
        // A claim about an exact number falls with one run that is otherwise.
        let exactly = |arm: &str, key: &str, plus: f64| {
            let off = samples
                .of(arm)
                .iter()
                .map(|sample| (sample.get(key) - sample.get(STARTED) - plus).abs());
            let off = off.fold(f64::NAN, f64::max);
            decided(off == 0.0, off)
        };
        let named = samples.summary("green", NAMED).max;
        let left = samples.summary("joined", ENTRIES).max;
        vec![
            Part::new(
                exactly("kernel", ENTRIES, 1.0),
                format!(
                    "with {} kernel threads started, the kernel lists {}",
                    median("kernel", STARTED),
                    median("kernel", ENTRIES)
                ),
            ),
            Part::new(
                exactly("kernel", NAMED, 0.0),
                format!("{} bear the name they were given", median("kernel", NAMED)),
            ),
            Part::new(
                decided(named == 0.0, named),
                format!(
                    "of {} green threads the kernel lists {}; it lists {} kernel threads, which \
                     run them",
                    median("green", STARTED),
                    show(named, Unit::Count),
                    median("green", ENTRIES)
                ),
            ),
            Part::new(
                exactly("green", BY_BRIGADE, 0.0),
                format!("Brigade lists {} of them", median("green", BY_BRIGADE)),
            ),
            Part::new(
                decided(left == 1.0, left),
                format!(
                    "after the threads have been joined, {} is left",
                    show(left, Unit::Count)
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let figure = |arm: &str, title: &str| {
            let text = from_series(samples.of(arm).last()?.series(ROWS));
            let rows: Vec<Row> = text.lines().filter_map(row).collect();
            let columns = ["name", "state", "wait channel"].map(str::to_owned).into();
            let content = Content::Matrix { columns, rows };
            let total = show(samples.of(arm).last()?.get(ENTRIES), Unit::Count);
            Some(Figure::new(
                format!("{title} (the first of {total})"),
                content,
            ))
        };
        let kernel = figure(
            "kernel",
            "What the kernel lists of a process with kernel threads",
        );
        let green = figure(
            "green",
            "What the kernel lists of a process with green threads",
        );
        kernel.into_iter().chain(green).collect()
    }
}

/// A row of a figure, of a line of [`line`].
fn row(line: &str) -> Option<Row> {
    let mut cells = line.split('\t');
    Some(Row::new(cells.next()?, cells))
}

fn line(entry: &Entry) -> String {
    let Entry {
        thread,
        name,
        state,
        wait_channel,
    } = entry;
    format!("{thread}\t{name}\t{state}\t{wait_channel}\n")
}

/// What was seen of this process at one moment.
struct Seen {
    started: u32,
    alive: u64,
    status: u64,
    entries: Vec<Entry>,
    by_brigade: usize,
}

impl Seen {
    fn now(started: u32, alive: u64) -> Result<Seen, ArmError> {
        Ok(Seen {
            started,
            alive,
            status: probe::memory()?.threads,
            entries: entries_of(process::id())?,
            by_brigade: green::threads_named(NAME).len(),
        })
    }

    fn into_sample(self, before: u64) -> Sample {
        let named = |entry: &&Entry| entry.name.starts_with(NAME);
        let named = self.entries.iter().filter(named).count();
        let rows: String = self.entries.iter().take(SHOWN).map(line).collect();
        Sample::new()
            .with(ENTRIES, self.entries.len() as f64)
            .with(NAMED, named as f64)
            .with(BY_BRIGADE, self.by_brigade as f64)
            .with(STATUS, self.status as f64)
            .with(STARTED, f64::from(self.started))
            .with(ALIVE, self.alive as f64)
            .with(BEFORE, before as f64)
            .with_series(ROWS, to_series(&rows))
    }
}

/// With `count` threads alive.
fn gathered(kind: Kind, count: u32) -> Result<Seen, ArmError> {
    let crowd = Crowd::gather(kind, count, Some(NAME))?;
    let seen = Seen::now(count, crowd.alive())?;
    crowd.dismiss()?;
    Ok(seen)
}

/// When `count` threads have been joined.
fn joined(count: u32) -> Result<Seen, ArmError> {
    // Who joins is told before the thread is off the list, which takes CPU time that others may have.
    const AT_MOST: Duration = Duration::from_secs(10);
    Crowd::gather(Kind::Kernel, count, Some(NAME))?.dismiss()?;
    let begun = Instant::now();
    while probe::memory()?.threads > 1 && begun.elapsed() < AT_MOST {
        thread::sleep(Duration::from_millis(1));
    }
    Seen::now(count, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    struct Machine {
        listed: f64,
        status: f64,
        green_named: f64,
        by_brigade: f64,
        alive: f64,
        before: f64,
        left: f64,
    }

    const GOOD: Machine = Machine {
        listed: 201.0,
        status: 201.0,
        green_named: 0.0,
        by_brigade: 200.0,
        alive: 200.0,
        before: 1.0,
        left: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for _ in 0..5 {
                let mut add = |arm: &str, entries: f64, status: f64, named: f64, started: f64| {
                    let sample = Sample::new()
                        .with(ENTRIES, entries)
                        .with(STATUS, status)
                        .with(NAMED, named)
                        .with(BY_BRIGADE, self.by_brigade)
                        .with(STARTED, started)
                        .with(ALIVE, self.alive)
                        .with(BEFORE, self.before)
                        .with_series(ROWS, to_series("7\tcook-0\tS\tfutex_wait_queue\n"));
                    samples.push(arm, sample);
                };
                add("before", self.before, self.before, 0.0, 0.0);
                add("kernel", self.listed, self.status, self.listed - 1.0, 200.0);
                add("green", 4.0, 4.0, self.green_named, 200.0);
                add("joined", self.left, self.left, 0.0, 200.0);
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &ThreadCount.premises(&samples),
                &ThreadCount.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for bad in [
            Machine {
                listed: 205.0,
                status: 205.0,
                ..GOOD
            },
            Machine {
                green_named: 200.0,
                ..GOOD
            },
            Machine {
                by_brigade: 120.0,
                ..GOOD
            },
            Machine {
                left: 201.0,
                ..GOOD
            },
        ] {
            assert_eq!(bad.verdict(), Verdict::NotHere);
        }
    }

    /// Planted: threads that have ended before they are counted.
    #[test]
    fn threads_that_are_not_alive_decide_nothing() {
        let verdict = Machine {
            alive: 90.0,
            listed: 91.0,
            status: 91.0,
            ..GOOD
        }
        .verdict();
        assert_inconclusive(&verdict, "alive");
    }

    /// Planted: a process that had threads of its own before.
    #[test]
    fn a_process_that_had_more_threads_before_decides_nothing() {
        assert_inconclusive(
            &Machine {
                before: 3.0,
                ..GOOD
            }
            .verdict(),
            "before",
        );
    }

    /// Planted: threads of somebody else that come and go between the two counts.
    #[test]
    fn counts_that_disagree_decide_nothing() {
        assert_inconclusive(
            &Machine {
                status: 180.0,
                ..GOOD
            }
            .verdict(),
            "agree",
        );
    }

    #[test]
    fn the_figures_quote_the_entries_of_the_samples() {
        let figures = ThreadCount.figures(&GOOD.samples());
        assert_eq!(figures.len(), 2);
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(rows[0], Row::new("7", ["cook-0", "S", "futex_wait_queue"]));
        assert_eq!(ThreadCount.figures(&Samples::new()), []);
    }

    #[test]
    fn waiting_threads_are_seen_by_name_and_with_a_letter() {
        let seen = gathered(Kind::Kernel, 3).unwrap();
        let cooks: Vec<_> = seen
            .entries
            .iter()
            .filter(|entry| entry.name.starts_with(NAME))
            .collect();
        assert_eq!((cooks.len(), seen.alive), (3, 3));
        assert!(
            cooks.iter().all(|cook| "RSD".contains(cook.state)),
            "{cooks:?}"
        );
    }
}
