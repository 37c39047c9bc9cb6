//! Two cooks who are said to be 2.67 times as fast as one, in a small kitchen that is carried out for real.
//!
//! A dish is chopped, blended, baked and dressed. Chopping, blending and dressing are computation of a fixed length;
//! there is one blender, which is a mutex; baking is a wait in which nobody need stand by. Four dishes are two
//! published hours in turn: one hour of work and one hour of the oven.
//!
//! Two workers halve the work at best (Amdahl, with nothing that only one of them can do); what they gain beyond that
//! is not parallelism but the overlap of waits with work, of which one cook alone is capable as well. So there are two
//! things to vary, the cooks and the overlap, and an arm for each combination.
//!
//! Each run does the dishes in turn as well, so that the gain is a number of one process and one moment.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::compute::{Pace, burn};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Track};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::together::{self, Start};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least};

/// The experiment.
pub(super) struct TwoCooks;

static INFO: Info = Info {
    name: "two-cooks",
    claim: "Two cooks who work in parallel are done in 45 minutes with what takes one of them two \
            hours.",
    said_in: "a text on concurrency and parallelism, as its first example",
    method: "Four dishes are chopped, blended, baked and dressed: an hour of work and an hour of the \
             oven, half a millisecond being a minute (5 ms at full scale). By one cook or two, each \
             dish from start to end or the next one while one bakes. The gain over one cook who \
             does them in turn, in the same run, counts.",
    control: "One cook who uses the time of the oven; two cooks whose dishes need no oven; and the \
              dishes in turn against themselves.",
    premise: "The cooks had a CPU each while they worked, the oven took its time, and the same work \
              twice took the same time.",
    next: "timeline (the same difference, seen on the CPUs), pool-size (how many cooks then)",
};

const GAIN: &str = "gain";
const TOOK: &str = "took";
const GIVEN: &str = "given";
const BAKED: &str = "baked";
/// What the cooks did, by cook: from, to, and the place in [`STEPS`].
const DID: [&str; 2] = ["first_cook", "second_cook"];

static METRICS: [Metric; 4] = [
    Metric::main(GAIN, "faster by", Unit::Count),
    Metric::aside(TOOK, "took", Unit::Nanoseconds),
    Metric::aside(GIVEN, "CPU given", Unit::Share),
    Metric::data(BAKED, "baked", Unit::Share),
];

/// What a cook may be doing.
const STEPS: [&str; 4] = ["chops", "blends", "dresses", "waits"];
const WAITS: usize = 3;

const DISHES: usize = 4;
/// In minutes of the text.
const CHOP: u32 = 10;
const BLEND: u32 = 2;
const BAKE: u32 = 15;
const DRESS: u32 = 3;

/// Two hours for 45 minutes.
const PUBLISHED: f64 = 120.0 / 45.0;
/// What share of it is near enough.
const NEARLY: f64 = 0.9;

/// An arm: how many cooks, whether they use the time of the oven, and whether there is an oven.
#[derive(Clone, Copy)]
struct Way {
    key: &'static str,
    label: &'static str,
    cooks: usize,
    overlap: bool,
    oven: bool,
}

const WAYS: [Way; 5] = [
    Way {
        key: "in-turn",
        label: "1 cook, in turn",
        cooks: 1,
        overlap: false,
        oven: true,
    },
    Way {
        key: "overlap",
        label: "1 cook, overlapping",
        cooks: 1,
        overlap: true,
        oven: true,
    },
    Way {
        key: "work-only",
        label: "2 cooks, no oven",
        cooks: 2,
        overlap: false,
        oven: false,
    },
    Way {
        key: "two",
        label: "2 cooks",
        cooks: 2,
        overlap: false,
        oven: true,
    },
    Way {
        key: "two-overlap",
        label: "2 cooks, overlapping",
        cooks: 2,
        overlap: true,
        oven: true,
    },
];

impl Experiment for TwoCooks {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let arm = |way: Way| match way.key {
            "two" | "two-overlap" => Arm::measured(way.key, way.label),
            _ => Arm::control(way.key, way.label),
        };
        WAYS.map(arm).into()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let way = WAYS.into_iter().find(|way| way.key == arm);
        let way = way.ok_or_else(|| unknown_arm(arm))?;
        if way.cooks > probe::cpus() {
            return Err(ArmError::Skipped("needs a CPU for each cook".into()));
        }
        let minute = scale.pick(Duration::from_micros(500), Duration::from_millis(5));
        compare(minute, way)
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let keys = WAYS.map(|way| way.key);
        let given = keys.map(|arm| samples.median(arm, GIVEN));
        let baked = WAYS.iter().filter(|way| way.oven);
        let baked: Vec<f64> = baked.map(|way| samples.median(way.key, BAKED)).collect();
        let least = given.into_iter().fold(f64::NAN, f64::min);
        let longest = baked.iter().copied().fold(f64::NAN, f64::max);
        let same = samples.summary("in-turn", GAIN);
        vec![
            Premise::new(
                given.iter().all(|share| *share >= 0.85),
                format!(
                    "the cooks had a CPU each while they worked ({} of it at least)",
                    show(least, Unit::Share)
                ),
            ),
            Premise::new(
                baked.iter().all(|share| (1.0..=1.5).contains(share)),
                format!(
                    "the oven took its time ({} of it at most)",
                    show(longest, Unit::Share)
                ),
            ),
            Premise::new(
                same.q1 >= 0.85 && same.q3 <= 1.18,
                format!(
                    "the same work twice took the same time ({} times)",
                    show(same.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let gain = |arm| samples.summary(arm, GAIN);
        let times = |arm| show(gain(arm).median, Unit::Count);
        let needed = NEARLY * PUBLISHED;
        vec![
            Part::new(
                at_least(&gain("two"), needed),
                format!(
                    "two cooks in parallel are {} times as fast, not {}: two workers halve the time \
                     at best (what needs no oven {} times)",
                    times("two"),
                    show(PUBLISHED, Unit::Count),
                    times("work-only")
                ),
            ),
            Part::new(
                at_least(&gain("two-overlap"), needed),
                format!(
                    "two who also work while something bakes {} times; one alone who does so {}",
                    times("two-overlap"),
                    times("overlap")
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let tracks = |way: &Way| {
            let sample = samples.of(way.key).last();
            let cooks = DID.iter().zip(["cook 1", "cook 2"]).take(way.cooks);
            let track = move |(key, cook): (&&str, &str)| {
                let did = sample?.series(key).chunks_exact(3);
                let span = |span: &[f64]| {
                    let step = STEPS.get(span[2] as usize)?;
                    Some((span[0], span[1], *step))
                };
                let label = match way.cooks {
                    1 => way.label.to_owned(),
                    _ => format!("{}: {cook}", way.label),
                };
                Some(Track::new(&label, did.filter_map(span)))
            };
            cooks.filter_map(track).collect::<Vec<_>>()
        };
        let tracks: Vec<Track> = WAYS.iter().flat_map(tracks).collect();
        if tracks.is_empty() {
            return Vec::new();
        }
        vec![Figure::new(
            "What each cook does, in the last run of each arm.",
            Content::Timeline { tracks },
        )]
    }
}

/// The kitchen, and how long a minute is in it.
struct Kitchen {
    minute: Duration,
    rounds_per_minute: u64,
    oven: bool,
    blender: Mutex<()>,
    begun: Instant,
}

/// What one cook did.
#[derive(Default)]
struct Diary {
    /// From, to, and the place in [`STEPS`].
    did: Vec<[f64; 3]>,
    /// How long the work took, and how much CPU time of it was given.
    worked_ns: f64,
    cpu_ns: f64,
    /// How long each dish was in the oven, as it was seen.
    baked_ns: Vec<f64>,
}

impl Kitchen {
    fn new(minute: Duration, oven: bool) -> Self {
        Self {
            minute,
            rounds_per_minute: Pace::measure().rounds(minute),
            oven,
            blender: Mutex::new(()),
            begun: Instant::now(),
        }
    }

    /// The cooks make all dishes, each of them as many as any other.
    fn make_all(&mut self, way: Way) -> Result<Vec<Diary>, ArmError> {
        let start = Start::new(way.cooks);
        self.begun = Instant::now();
        let kitchen = &*self;
        let cook = || {
            start.wait(thread::yield_now);
            kitchen.cook(DISHES / way.cooks, way.overlap)
        };
        thread::scope(|scope| {
            let cooks: Vec<_> = (0..way.cooks).map(|_| scope.spawn(cook)).collect();
            let diaries = cooks.into_iter().map(thread::ScopedJoinHandle::join);
            diaries
                .collect::<Result<_, _>>()
                .map_err(|_| ArmError::Failed("a cook panicked".into()))
        })
    }

    fn cook(&self, dishes: usize, overlap: bool) -> Diary {
        let mut diary = Diary::default();
        let mut baking = Vec::with_capacity(dishes);
        for _ in 0..dishes {
            self.work(&mut diary, 0, CHOP);
            let blender = self.blender.lock().unwrap_or_else(PoisonError::into_inner);
            self.work(&mut diary, 1, BLEND);
            drop(blender);
            baking.push(Instant::now());
            if !overlap {
                self.take_out(&mut diary, &mut baking);
            }
        }
        self.take_out(&mut diary, &mut baking);
        diary
    }

    /// Waits for each dish in the oven, and dresses it.
    fn take_out(&self, diary: &mut Diary, baking: &mut Vec<Instant>) {
        for put_in in baking.drain(..) {
            if self.oven {
                let from = Instant::now();
                let due = put_in + self.minute * BAKE;
                thread::sleep(due.saturating_duration_since(from));
                let to = Instant::now();
                // Who comes late to the oven has not waited for it.
                if from < due {
                    diary.baked_ns.push((to - put_in).as_nanos() as f64);
                    self.note(diary, WAITS, from, to);
                }
            }
            self.work(diary, 2, DRESS);
        }
    }

    fn work(&self, diary: &mut Diary, step: usize, minutes: u32) {
        let span = together::Span::of(|| burn(self.rounds_per_minute * u64::from(minutes)));
        diary.worked_ns += span.elapsed_ns();
        diary.cpu_ns += span.cpu_ns;
        self.note(diary, step, span.begun, span.ended);
    }

    fn note(&self, diary: &mut Diary, step: usize, from: Instant, to: Instant) {
        let at = |moment: Instant| (moment - self.begun).as_nanos() as f64;
        diary.did.push([at(from), at(to), step as f64]);
    }
}

/// The time at which the last cook was done, in nanoseconds from the beginning.
fn took(diaries: &[Diary]) -> f64 {
    let ends = diaries.iter().flat_map(|diary| diary.did.iter());
    ends.map(|did| did[1]).fold(f64::NAN, f64::max)
}

/// The dishes in turn and then by `way`.
fn compare(minute: Duration, way: Way) -> Result<Sample, ArmError> {
    let mut kitchen = Kitchen::new(minute, way.oven);
    let in_turn = kitchen.make_all(Way {
        cooks: 1,
        overlap: false,
        ..way
    })?;
    let by_way = kitchen.make_all(way)?;
    let given = |diaries: &[Diary]| {
        let sum = |number: fn(&Diary) -> f64| diaries.iter().map(number).sum::<f64>();
        sum(|diary| diary.cpu_ns) / sum(|diary| diary.worked_ns)
    };
    let baked = by_way.iter().flat_map(|diary| diary.baked_ns.iter());
    let longest = baked.copied().fold(f64::NAN, f64::max);
    let sample = Sample::new()
        .with(GAIN, took(&in_turn) / took(&by_way))
        .with(TOOK, took(&by_way))
        .with(GIVEN, given(&in_turn).min(given(&by_way)))
        .with(BAKED, longest / (minute * BAKE).as_nanos() as f64);
    let diaries = DID.iter().zip(&by_way);
    Ok(diaries.fold(sample, |sample, (key, diary)| {
        sample.with_series(key, diary.did.iter().flatten().copied())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// What was measured.
    #[derive(Clone, Copy)]
    struct Machine {
        two: f64,
        two_overlap: f64,
        same: f64,
        given: f64,
        baked: f64,
    }

    /// As the text has it.
    const PUBLISHED_SO: Machine = Machine {
        two: 2.67,
        two_overlap: 2.9,
        same: 1.0,
        given: 0.99,
        baked: 1.02,
    };

    impl Machine {
        fn samples(self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + 0.01 * f64::from(i);
                for way in WAYS {
                    let gain = match way.key {
                        "two" => self.two,
                        "two-overlap" => self.two_overlap,
                        "in-turn" => self.same,
                        _ => 1.8,
                    };
                    let sample = Sample::new()
                        .with(GAIN, gain * noise)
                        .with(GIVEN, self.given)
                        .with(BAKED, self.baked)
                        .with_series(DID[0], [0.0, 5.0, 0.0, 5.0, 9.0, 3.0])
                        .with_series(DID[1], [0.0, 5.0, 0.0]);
                    samples.push(way.key, sample);
                }
            }
            samples
        }

        fn verdict(self) -> Verdict {
            let samples = self.samples();
            decide(&TwoCooks.premises(&samples), &TwoCooks.judge(&samples))
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(PUBLISHED_SO.verdict(), Verdict::Confirmed);
        let amdahl = Machine {
            two: 1.95,
            ..PUBLISHED_SO
        };
        assert_eq!(amdahl.verdict(), Verdict::NotHere);
        let slow = Machine {
            two_overlap: 1.9,
            ..PUBLISHED_SO
        };
        assert_eq!(slow.verdict(), Verdict::NotHere);
    }

    #[test]
    fn a_gain_on_both_sides_of_the_published_one_is_noise() {
        let verdict = Machine {
            two: 2.36,
            ..PUBLISHED_SO
        }
        .verdict();
        assert_inconclusive(&verdict, "noise");
    }

    /// Plants cooks who had to share a CPU with somebody.
    #[test]
    fn cooks_without_a_cpu_each_decide_nothing() {
        let verdict = Machine {
            given: 0.5,
            ..PUBLISHED_SO
        }
        .verdict();
        assert_inconclusive(&verdict, "a CPU each");
    }

    /// Plants an oven that is slow, so that everything is a wait.
    #[test]
    fn an_oven_that_takes_twice_its_time_decides_nothing() {
        let verdict = Machine {
            baked: 2.0,
            ..PUBLISHED_SO
        }
        .verdict();
        assert_inconclusive(&verdict, "oven took its time");
    }

    /// Plants a machine that changes its pace between two runs of the same.
    #[test]
    fn a_machine_that_is_faster_the_second_time_decides_nothing() {
        let verdict = Machine {
            same: 1.4,
            ..PUBLISHED_SO
        }
        .verdict();
        assert_inconclusive(&verdict, "same work twice");
    }

    #[test]
    fn every_cook_does_every_step_of_every_dish() {
        for way in WAYS {
            let mut kitchen = Kitchen {
                rounds_per_minute: 1,
                ..Kitchen::new(Duration::from_micros(1), way.oven)
            };
            let diaries = kitchen.make_all(way).unwrap();
            assert_eq!(diaries.len(), way.cooks);
            for (step, name) in STEPS.iter().enumerate().take(WAITS) {
                let did = diaries.iter().flat_map(|diary| diary.did.iter());
                let count = did.filter(|did| did[2] == step as f64).count();
                assert_eq!(count, DISHES, "{}: {name}", way.key);
            }
        }
    }

    #[test]
    fn a_cook_in_turn_waits_for_each_dish_and_one_without_an_oven_for_none() {
        let waits = |way: Way| {
            let minute = Duration::from_micros(50);
            let sample = compare(minute, way).unwrap();
            let did = sample.series(DID[0]).chunks_exact(3);
            did.filter(|did| did[2] == WAITS as f64).count()
        };
        // Who gets the CPU back only after the oven is done has not waited; that is not so for every dish.
        assert!((1..=DISHES).contains(&waits(WAYS[0])));
        assert_eq!(waits(WAYS[2]), 0);
    }

    #[test]
    fn the_figure_has_a_row_for_each_cook() {
        let figures = TwoCooks.figures(&PUBLISHED_SO.samples());
        let Content::Timeline { tracks } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            tracks.len(),
            WAYS.iter().map(|way| way.cooks).sum::<usize>()
        );
        let words: Vec<_> = tracks[0].spans.iter().map(|s| s.what.as_str()).collect();
        assert_eq!(words, ["chops", "waits"]);
        assert!(TwoCooks.figures(&Samples::new()).is_empty());
    }
}
