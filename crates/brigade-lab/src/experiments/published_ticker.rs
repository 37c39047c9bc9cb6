//! The ticker that is published to show how a computation freezes an event loop, carried out as it is printed.
//!
//! The printed program starts its ticker as a task, computes in the main coroutine and cancels the ticker then. A
//! task that was created gets its first turn at the next await that really waits, and there is none: awaiting a
//! coroutine that never waits does not give way. So the ticker is cancelled before its first turn and prints nothing,
//! where the text shows a first tick after the computation. With one `await asyncio.sleep(0)` before the computation
//! it ticks once, and the rest of the time is one gap.
//!
//! A count of ticks alone could not tell the two apart from a machine that is slow; so the time of the first tick and
//! the longest time without one are taken, and both are compared with what the computation took in the same run.

use std::time::Duration;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Track};
use crate::python;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_least};

/// The experiment.
pub(super) struct PublishedTicker;

static INFO: Info = Info {
    name: "published-ticker",
    claim: "A computation without an await freezes the ticker of an asyncio program, whose first \
            tick is printed when the computation is over.",
    said_in: "a text on event loops, whose program of ten lines is shown with a first tick at 2.4 s",
    method: "The program as published, in the newest Python found: a ticker of 5 ms is started as a \
             task, the main coroutine computes and then cancels it. Once more with one await \
             asyncio.sleep(0) before the computation. The ticks count, when the first one came, and \
             the longest time without one.",
    control: "The same with a wait in place of the computation.",
    premise: "Beside the wait the ticker ticks, the ticker was still there when it was cancelled, \
              and the computation was longer than four periods.",
    next: "event-loop-freeze (the freeze itself, on other runtimes), frozen-ticker (threads)",
};

const TICKS: &str = "ticks";
const FIRST: &str = "first";
const GAP: &str = "gap";
const COMPUTED: &str = "computed";
const PENDING: &str = "pending";
/// When the ticks came, in nanoseconds from the start of the ticker.
const TIMES: &str = "times";
/// From when to when the main coroutine computed or waited.
const MAIN: &str = "main";

static METRICS: [Metric; 5] = [
    Metric::main(TICKS, "ticks", Unit::Count),
    Metric::aside(FIRST, "first tick", Unit::Nanoseconds),
    Metric::aside(GAP, "longest gap", Unit::Nanoseconds),
    Metric::data(COMPUTED, "computed", Unit::Nanoseconds),
    Metric::data(PENDING, "pending", Unit::Count),
];

/// The arms, which the script knows by the same names, and how they are spoken of.
const ARMS: [(&str, &str); 3] = [
    ("published", "as published"),
    ("slept", "one sleep(0) before"),
    ("calm", "no computation"),
];

const PERIOD: Duration = Duration::from_millis(5);
/// What share of the computation counts as all of it.
const NEARLY_ALL: f64 = 0.9;

const SCRIPT: &str = "
import asyncio, signal, sys, time
signal.alarm(60)
way, seconds, period = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
ticks = []
async def ticker():
    while True:
        ticks.append(time.perf_counter())
        await asyncio.sleep(period)
async def compute():
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
async def main():
    start = time.perf_counter()
    task = asyncio.create_task(ticker())
    if way == 'slept':
        await asyncio.sleep(0)
    begun = time.perf_counter()
    if way == 'calm':
        await asyncio.sleep(seconds)
    else:
        await compute()
    ended = time.perf_counter()
    pending = not task.done()
    task.cancel()
    return start, begun, ended, pending
start, begun, ended, pending = asyncio.run(main())
ns = lambda at: (at - start) * 1e9
seen = [start] + ticks + [ended]
print('ticks', len(ticks))
if ticks:
    print('first', ns(ticks[0]))
print('gap', max(b - a for a, b in zip(seen, seen[1:])) * 1e9)
print('computed', (ended - begun) * 1e9)
print('pending', int(pending))
print('series times', *map(ns, ticks))
print('series main', ns(begun), ns(ended))
print('version', sys.version_info[0] * 1000 + sys.version_info[1])
";

/// How long the computation lasts; the published one took 2.4 s.
fn computing(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(60), Duration::from_millis(2_400))
}

impl Experiment for PublishedTicker {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let arm = |(way, label): (&str, &'static str)| {
            // The key names the interpreter, so that the process that runs the arm need not look for it.
            let key = python::newest_by(way);
            match way {
                "calm" => Arm::control(key, label),
                _ => Arm::measured(key, label),
            }
        };
        ARMS.map(arm).into()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (way, python) = arm.split_once('-').ok_or_else(|| unknown_arm(arm))?;
        if !ARMS.iter().any(|(key, _)| *key == way) || !python::is_arm(python) {
            return Err(unknown_arm(arm));
        }
        run(way, python, computing(scale))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let samples = &by_way(samples);
        let calm = samples.summary("calm", TICKS);
        let all = ARMS.map(|(arm, _)| arm);
        let pending = all.map(|arm| samples.summary(arm, PENDING).min);
        let shortest = all.map(|arm| samples.summary(arm, COMPUTED).min);
        let shortest = shortest.into_iter().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                calm.min >= 2.0,
                format!(
                    "beside a wait the ticker ticks ({} times at least)",
                    show(calm.min, Unit::Count)
                ),
            ),
            Premise::new(
                pending.iter().all(|pending| *pending == 1.0),
                "the ticker was still there when it was cancelled",
            ),
            Premise::new(
                shortest >= 4.0 * PERIOD.as_nanos() as f64,
                format!(
                    "the computation was longer than four periods ({} at least)",
                    show(shortest, Unit::Nanoseconds)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let samples = &by_way(samples);
        let time = |arm, key| show(samples.median(arm, key), Unit::Nanoseconds);
        let ticks = samples.summary("published", TICKS);
        let computed = time("published", COMPUTED);
        let first = share_of_computation(samples, "published", FIRST);
        let (tendency, text) = if ticks.max == 0.0 {
            let text = format!(
                "the program as published prints no tick at all in {computed} of computation: its \
                 ticker is cancelled before its first turn"
            );
            (Tendency::Fails, text)
        } else {
            // A run without any tick has no first one, and falls out of the summary.
            let tendency = if first.count < ticks.count {
                Tendency::Fails
            } else {
                at_least(&first, NEARLY_ALL)
            };
            let text = format!(
                "the program as published prints its first tick after {}, the computation being {computed}",
                time("published", FIRST)
            );
            (tendency, text)
        };
        vec![
            Part::new(tendency, text),
            Part::new(
                at_least(&share_of_computation(samples, "slept", GAP), NEARLY_ALL),
                format!(
                    "with one await asyncio.sleep(0) before it, {} tick after {} and then none for {}, \
                     the computation being {}",
                    show(samples.median("slept", TICKS), Unit::Count),
                    time("slept", FIRST),
                    time("slept", GAP),
                    time("slept", COMPUTED)
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let samples = &by_way(samples);
        let track = |(arm, label): (&str, &str)| {
            let sample = samples.of(arm).last()?;
            let &[from, to] = sample.series(MAIN) else {
                return None;
            };
            // A tick has no length; this much can be seen.
            let wide = to / 60.0;
            let ticks = sample.series(TIMES).iter();
            let ticks = ticks.map(|at| (*at, at + wide, "tick"));
            let main = (arm != "calm").then_some((from + wide, to, "computes"));
            Some(Track::new(label, ticks.chain(main)))
        };
        let tracks: Vec<Track> = ARMS.into_iter().filter_map(track).collect();
        if tracks.is_empty() {
            return Vec::new();
        }
        vec![Figure::new(
            "When the ticker ticked, in the last run of each arm.",
            Content::Timeline { tracks },
        )]
    }
}

/// The samples by way alone, whatever interpreter they come from.
fn by_way(samples: &Samples) -> Samples {
    let mut named = Samples::new();
    for arm in samples.arms() {
        let (way, _) = arm.split_once('-').unwrap_or((arm, ""));
        for sample in samples.of(arm) {
            named.push(way, sample.clone());
        }
    }
    named
}

/// A time of each run as a share of what the computation took in it.
fn share_of_computation(samples: &Samples, arm: &str, key: &str) -> Summary {
    let share = |sample: &Sample| sample.get(key) / sample.get(COMPUTED);
    Summary::of(samples.of(arm).iter().map(share))
}

fn run(way: &str, python: &str, computing: Duration) -> Result<Sample, ArmError> {
    let seconds = |time: Duration| time.as_secs_f64().to_string();
    let arguments = [way.to_owned(), seconds(computing), seconds(PERIOD)];
    python::run(python, SCRIPT, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    /// What was measured, in shares of the computation where it is a time.
    #[derive(Clone, Copy)]
    struct Machine {
        /// The first tick of the published program, if there was one.
        first: Option<f64>,
        gap: f64,
        calm: f64,
        pending: f64,
        computed: f64,
    }

    /// As the text has it.
    const PUBLISHED: Machine = Machine {
        first: Some(1.0),
        gap: 1.0,
        calm: 12.0,
        pending: 1.0,
        computed: 60.0 * MS,
    };

    impl Machine {
        fn verdict(self) -> Verdict {
            let mut samples = Samples::new();
            for _ in 0..5 {
                let sample = || {
                    let sample = Sample::new().with(COMPUTED, self.computed);
                    sample.with(PENDING, self.pending)
                };
                let published = match self.first {
                    Some(share) => sample().with(TICKS, 1.0).with(FIRST, share * self.computed),
                    None => sample().with(TICKS, 0.0),
                };
                let mut add = |way: &str, sample| {
                    samples.push(&format!("{way}-python:/usr/bin/python3"), sample);
                };
                add("published", published);
                let slept = sample().with(TICKS, 1.0).with(FIRST, 1e4);
                add("slept", slept.with(GAP, self.gap * self.computed));
                add("calm", sample().with(TICKS, self.calm));
            }
            decide(
                &PublishedTicker.premises(&samples),
                &PublishedTicker.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(PUBLISHED.verdict(), Verdict::Confirmed);
        let machine = |first| Machine { first, ..PUBLISHED };
        assert_eq!(machine(None).verdict(), Verdict::NotHere);
        assert_eq!(machine(Some(0.001)).verdict(), Verdict::NotHere);
        let thawed = Machine {
            gap: 0.1,
            ..PUBLISHED
        };
        assert_eq!(thawed.verdict(), Verdict::NotHere);
    }

    #[test]
    fn a_single_run_without_a_tick_refutes() {
        let mut samples = Samples::new();
        let sample = || Sample::new().with(COMPUTED, 60.0 * MS);
        for _ in 0..4 {
            samples.push(
                "published",
                sample().with(TICKS, 1.0).with(FIRST, 60.0 * MS),
            );
        }
        samples.push("published", sample().with(TICKS, 0.0));
        let parts = PublishedTicker.judge(&samples);
        assert_eq!(parts[0].tendency, Tendency::Fails);
    }

    /// Plants a ticker that does not tick even where nothing computes.
    #[test]
    fn a_ticker_that_never_ticks_decides_nothing() {
        let dead = Machine {
            calm: 0.0,
            first: None,
            ..PUBLISHED
        };
        assert_inconclusive(&dead.verdict(), "the ticker ticks");
    }

    /// Plants a ticker that had ended before the computation was over.
    #[test]
    fn a_ticker_that_had_ended_decides_nothing() {
        let ended = Machine {
            pending: 0.0,
            first: None,
            ..PUBLISHED
        };
        assert_inconclusive(&ended.verdict(), "still there");
    }

    /// Plants a computation that was over before a tick was due.
    #[test]
    fn a_computation_that_did_not_compute_decides_nothing() {
        let short = Machine {
            computed: 1.0 * MS,
            first: None,
            ..PUBLISHED
        };
        assert_inconclusive(&short.verdict(), "four periods");
    }

    #[test]
    fn the_published_program_never_gives_its_ticker_a_turn() {
        let ticks = |way: &str| {
            let (_, python) = python::newest_by(way).split_once('-').unwrap();
            match run(way, python, Duration::from_millis(20)) {
                Ok(sample) => Some((sample.get(TICKS), sample.series(TIMES).len())),
                Err(ArmError::Skipped(_)) => None,
                Err(error) => panic!("{error:?}"),
            }
        };
        if let Some(published) = ticks("published") {
            assert_eq!(published, (0.0, 0));
            assert_eq!(ticks("slept"), Some((1.0, 1)));
            assert!(ticks("calm").is_some_and(|(count, _)| count >= 1.0));
        }
    }

    #[test]
    fn the_figure_shows_the_ticks_of_the_last_run_beside_the_computation() {
        let mut samples = Samples::new();
        let run = Sample::new()
            .with_series(TIMES, [1e4])
            .with_series(MAIN, [2e4, 60.0 * MS]);
        samples.push("slept", run);
        let figures = PublishedTicker.figures(&samples);
        let Content::Timeline { tracks } = &figures[0].content else {
            panic!("{figures:?}");
        };
        let words: Vec<_> = tracks[0].spans.iter().map(|s| s.what.as_str()).collect();
        assert_eq!(words, ["tick", "computes"]);
        assert!(PublishedTicker.figures(&Samples::new()).is_empty());
    }
}
