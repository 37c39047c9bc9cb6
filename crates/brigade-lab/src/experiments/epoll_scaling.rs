//! Waiting for one of many descriptors: what do the idle ones cost?
//!
//! `poll` and `select` are handed all descriptors at each call, and the kernel asks each of them. `epoll` is told once,
//! and what becomes ready puts itself into a list. So the one takes as long as there are descriptors, the other as long
//! as there are ready ones.
//!
//! Exactly one descriptor is ready at each wait, another one every time, and what is measured is the CPU time of the
//! thread: it does not sleep, and other programs are not in the number. Writing to the descriptor and reading it again
//! is the same in all arms; the control does only that.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Content, Figure, Line};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, fails_only_if};

/// The experiment.
pub(super) struct EpollScaling;

static INFO: Info = Info {
    name: "epoll-scaling",
    claim: "To wait by epoll costs the same however many idle descriptors there are; by poll it costs \
            more with each of them.",
    said_in: "texts on epoll and the C10K problem (\"O(1) instead of O(n)\")",
    method: "One of 16, 128, 1,024 or 4,096 descriptors (8,192 at full scale) is made ready, waited for \
             and read, by epoll and by poll. CPU time of a wait, with the write and the read.",
    control: "The same writes and reads without a wait.",
    premise: "Each wait found exactly the one descriptor that was ready, and the writes and reads alone \
              cost the same for any number.",
    next: "event-loop-scale (a server with idle connections, from end to end)",
};

const COST: &str = "cost";
const FEWEST: &str = "cost_fewest";
const GROWTH: &str = "growth";
const FOUND: &str = "found";
/// The number of descriptors and the cost, in turn.
const CURVE: &str = "curve";

static METRICS: [Metric; 4] = [
    Metric::main(COST, "most", Unit::Nanoseconds),
    Metric::aside(FEWEST, "fewest", Unit::Nanoseconds),
    Metric::aside(GROWTH, "times", Unit::Count),
    Metric::data(FOUND, "found", Unit::Share),
];

const ARMS: [(&str, &str); 3] = [("epoll", "epoll"), ("poll", "poll"), ("none", "no wait")];

/// What is called the same, and what is not any more.
const SAME: f64 = 1.5;
const OTHER: f64 = 3.0;
/// The growth that shows that each descriptor is looked at; there are hundreds of times as many.
const GROWN: f64 = 8.0;

fn counts(scale: Scale) -> [usize; 4] {
    [16, 128, 1_024, scale.pick(4_096, 8_192)]
}

fn waits(scale: Scale) -> usize {
    scale.pick(128, 2_048)
}

impl Experiment for EpollScaling {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("epoll", "epoll"),
            Arm::measured("poll", "poll"),
            Arm::control("none", "no wait"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let how = match arm {
            "epoll" => How::Epoll,
            "poll" => How::Poll,
            "none" => How::None,
            _ => return Err(unknown_arm(arm)),
        };
        sweep(how, &counts(scale), waits(scale))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let found = ["epoll", "poll"].map(|arm| samples.summary(arm, FOUND).min);
        let least = found.into_iter().fold(f64::NAN, f64::min);
        let alone = samples.summary("none", GROWTH);
        vec![
            Premise::new(
                found.iter().all(|share| *share == 1.0),
                format!(
                    "each wait found the one that was ready ({})",
                    show(least, Unit::Share)
                ),
            ),
            Premise::new(
                alone.median <= OTHER,
                format!(
                    "without a wait the number makes no difference ({} times)",
                    show(alone.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let cost = |arm, key| show(samples.median(arm, key), Unit::Nanoseconds);
        let [epoll, poll] = ["epoll", "poll"].map(|arm| samples.summary(arm, GROWTH));
        let [fewest, most] = ends(samples);
        let text = |arm, growth: &Summary| {
            format!(
                "{arm}: {} with {fewest} descriptors, {} with {most}, {} times as much",
                cost(arm, FEWEST),
                cost(arm, COST),
                show(growth.median, Unit::Count)
            )
        };
        // What a write and a read cost more with many, in caches that others fill, is not the wait's doing.
        let beyond = epoll.q1 > 2.0 * samples.summary("none", GROWTH).q3;
        vec![
            Part::new(
                fails_only_if(beyond, at_most_unless_past(&epoll, SAME, OTHER)),
                text("epoll", &epoll),
            ),
            Part::new(at_least(&poll, GROWN), text("poll", &poll)),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let line = |(arm, label): (&str, &str)| {
            let curves = samples.of(arm).iter().map(|sample| sample.series(CURVE));
            let curves: Vec<&[f64]> = curves.collect();
            let count = curves.iter().map(|curve| curve.len()).max()? / 2;
            // By the number of descriptors, the median of all runs.
            let point = |i: usize| {
                let at = |place| curves.iter().filter_map(move |c| c.get(place).copied());
                [
                    Summary::of(at(2 * i)).median,
                    Summary::of(at(2 * i + 1)).median,
                ]
            };
            Some(Line::new(label, (0..count).map(point)))
        };
        let lines: Vec<Line> = ARMS.into_iter().filter_map(line).collect();
        if lines.is_empty() {
            return Vec::new();
        }
        vec![Figure::new(
            "CPU time of a wait for the one descriptor that is ready.",
            Content::Lines {
                x: Axis::logarithmic("descriptors", Unit::Count),
                y: Axis::logarithmic("CPU time", Unit::Nanoseconds),
                lines,
                marks: Vec::new(),
            },
        )]
    }
}

/// The least and the largest number of descriptors, for people.
fn ends(samples: &Samples) -> [String; 2] {
    let curve = samples
        .of("epoll")
        .first()
        .map_or(&[][..], |s| s.series(CURVE));
    let number = |place: Option<usize>| {
        let number = place.and_then(|place| curve.get(place));
        show(number.copied().unwrap_or(f64::NAN), Unit::Count)
    };
    [number(Some(0)), number(curve.len().checked_sub(2))]
}

/// How the descriptor that is ready is found.
#[derive(Clone, Copy)]
enum How {
    Epoll,
    Poll,
    None,
}

/// What waits came to.
struct Waited {
    /// CPU time of one, in nanoseconds.
    each_ns: f64,
    /// How many of them found exactly what was ready.
    found: usize,
}

fn sweep(how: How, counts: &[usize], waits: usize) -> Result<Sample, ArmError> {
    let most = counts.iter().copied().max().unwrap_or(0);
    probe::require_files(most + 100)?;
    let mut curve = Vec::with_capacity(2 * counts.len());
    let mut found = 0;
    for count in counts {
        let descriptors = (0..*count).map(|_| eventfd(0, EventfdFlags::CLOEXEC));
        let descriptors: Vec<OwnedFd> = descriptors.collect::<Result<_, _>>()?;
        let waited = match how {
            How::Epoll => by_epoll(&descriptors, waits),
            How::Poll => by_poll(&descriptors, waits),
            How::None => timed(&descriptors, waits, |ready| Ok(Some(ready))),
        }?;
        found += waited.found;
        curve.extend([*count as f64, waited.each_ns]);
    }
    let cost = |place: Option<usize>| {
        let cost = place.and_then(|place| curve.get(place));
        cost.copied().unwrap_or(f64::NAN)
    };
    let (fewest, most) = (cost(Some(1)), cost(curve.len().checked_sub(1)));
    Ok(Sample::new()
        .with(COST, most)
        .with(FEWEST, fewest)
        .with(GROWTH, most / fewest)
        .with(FOUND, found as f64 / (waits * counts.len()) as f64)
        .with_series(CURVE, curve))
}

/// Makes one of `descriptors` ready after the other; `wait` returns the only one that is, given the one that ought to be.
fn timed(
    descriptors: &[OwnedFd],
    waits: usize,
    mut wait: impl FnMut(usize) -> Result<Option<usize>, ArmError>,
) -> Result<Waited, ArmError> {
    // An odd step, so that all places in the array get their turn.
    let place = |i: usize| (i * 37) % descriptors.len();
    let mut rounds = |count: usize| {
        let mut found = 0;
        for i in 0..count {
            let ready = place(i);
            rustix::io::write(&descriptors[ready], &1_u64.to_ne_bytes())?;
            found += usize::from(wait(ready)? == Some(ready));
            rustix::io::read(&descriptors[ready], &mut [0; 8])?;
        }
        Ok::<usize, ArmError>(found)
    };
    // The first calls find nothing in the caches.
    rounds(waits / 8)?;
    let before = probe::thread_cpu_time_ns();
    let found = rounds(waits)?;
    let used = probe::thread_cpu_time_ns() - before;
    Ok(Waited {
        each_ns: used / waits as f64,
        found,
    })
}

fn by_epoll(descriptors: &[OwnedFd], waits: usize) -> Result<Waited, ArmError> {
    let watched = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (i, descriptor) in descriptors.iter().enumerate() {
        let number = EventData::new_u64(i as u64);
        epoll::add(&watched, descriptor, number, EventFlags::IN)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(16);
    timed(descriptors, waits, |_| {
        events.clear();
        epoll::wait(&watched, rustix::buffer::spare_capacity(&mut events), None)?;
        Ok(match events[..] {
            [event] => Some(event.data.u64() as usize),
            _ => None,
        })
    })
}

fn by_poll(descriptors: &[OwnedFd], waits: usize) -> Result<Waited, ArmError> {
    let watched = descriptors
        .iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::IN));
    let mut watched: Vec<PollFd<'_>> = watched.collect();
    timed(descriptors, waits, |_| {
        if poll(&mut watched, None)? != 1 {
            return Ok(None);
        }
        // A program has to look for it as well.
        Ok(watched.iter().position(|one| !one.revents().is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// How much more the most descriptors cost than the fewest, and the share of waits that found theirs.
    #[derive(Clone, Copy)]
    struct Machine {
        epoll: f64,
        poll: f64,
        none: f64,
        found: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        epoll: 1.05,
        poll: 90.0,
        none: 1.0,
        found: 1.0,
    };

    impl Machine {
        fn samples(self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + 0.01 * f64::from(i);
                for (arm, growth) in [
                    ("epoll", self.epoll),
                    ("poll", self.poll),
                    ("none", self.none),
                ] {
                    let most = 900.0 * growth * noise;
                    let sample = Sample::new()
                        .with(COST, most)
                        .with(FEWEST, 900.0)
                        .with(GROWTH, growth * noise)
                        .with(FOUND, self.found)
                        .with_series(CURVE, [16.0, 900.0, 4096.0, most]);
                    samples.push(arm, sample);
                }
            }
            samples
        }

        fn verdict(self) -> Verdict {
            let samples = self.samples();
            decide(
                &EpollScaling.premises(&samples),
                &EpollScaling.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        let linear = Machine {
            epoll: 60.0,
            ..AS_CLAIMED
        };
        assert_eq!(linear.verdict(), Verdict::NotHere);
        let flat = Machine {
            poll: 1.1,
            ..AS_CLAIMED
        };
        assert_eq!(flat.verdict(), Verdict::NotHere);
    }

    #[test]
    fn a_growth_between_none_and_much_is_noise() {
        let between = Machine {
            epoll: 2.0,
            ..AS_CLAIMED
        };
        assert_inconclusive(&between.verdict(), "noise");
    }

    /// Plants waits that returned for another reason than the descriptor that was ready.
    #[test]
    fn waits_that_found_something_else_decide_nothing() {
        let blind = Machine {
            found: 0.99,
            ..AS_CLAIMED
        };
        assert_inconclusive(&blind.verdict(), "each wait found");
    }

    /// Plants writes and reads that cost more with more descriptors, whatever the wait does.
    #[test]
    fn a_control_that_grows_decides_nothing() {
        let cold = Machine {
            none: 20.0,
            ..AS_CLAIMED
        };
        assert_inconclusive(&cold.verdict(), "without a wait");
    }

    /// Plants caches in which many descriptors cost more, with a wait and without.
    #[test]
    fn a_growth_that_the_control_shows_in_part_is_not_blamed_on_the_wait() {
        let cold = Machine {
            epoll: 3.2,
            none: 2.6,
            ..AS_CLAIMED
        };
        assert_inconclusive(&cold.verdict(), "noise");
    }

    #[test]
    fn every_wait_finds_the_one_descriptor_that_is_ready() {
        for how in [How::Epoll, How::Poll, How::None] {
            let sample = sweep(how, &[1, 7, 40], 16).unwrap();
            assert_eq!(sample.get(FOUND), 1.0);
            assert_eq!(sample.series(CURVE).len(), 6);
        }
    }

    #[test]
    fn a_second_descriptor_that_is_ready_is_noticed() {
        let descriptors = [0, 1].map(|_| eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        rustix::io::write(&descriptors[1], &1_u64.to_ne_bytes()).unwrap();
        for by in [by_epoll, by_poll] {
            let waited = by(&descriptors[..], 1).unwrap();
            assert_eq!(waited.found, 0);
        }
    }

    #[test]
    fn the_figure_has_a_line_for_each_way_and_a_point_for_each_number() {
        let figures = EpollScaling.figures(&AS_CLAIMED.samples());
        let Content::Lines { lines, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].points.len(), 2);
        assert!(EpollScaling.figures(&Samples::new()).is_empty());
    }
}
