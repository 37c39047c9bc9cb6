//! What does a message cost, and what does a buffer change?
//!
//! A channel is a lock, a queue, and somebody who may have to wait. The lock and the queue take tens of
//! nanoseconds; the waiting is what differs. Without a buffer one side waits for each message, and a kernel
//! thread that waits is a system call, a switch and a wake-up. With a buffer a thread moves many messages each
//! time that it runs. Between green threads the switch itself is cheap.
//!
//! The loops run for a fixed time and count what they moved, because the arms differ a hundredfold. Each
//! message carries a number; count and sum of what arrived must be those of what was sent.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brigade::sync;

use crate::channel::{Receiver, channel};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Role, Scale, unknown_arm};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::shared::Access;
use crate::together::{self, Kind};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, times_larger};

/// The experiment.
pub(super) struct Channels;

static INFO: Info = Info {
    name: "channels",
    claim: "A message costs a switch when somebody must wait for it: a buffer makes channels \
            cheaper, green threads make the waiting cheap, and adding under a mutex is cheaper \
            still.",
    said_in: "texts on message passing against shared memory, and on buffered channels",
    method: "Two threads play ping-pong through channels without a buffer; four send to one \
             through buffers of 0, 1, 64 and any number of messages. Kernel threads use std's \
             channels, green threads Brigade's.",
    control: "Four threads add to one number under a mutex and send nothing.",
    premise: "Every message arrives once, and kernel threads really wait in ping-pong.",
    next: "deadlock (when the waiting never ends)",
};

const TIME: &str = "ns";
const SWITCHES: &str = "switches";
const CPU: &str = "cpu";
const WRONG: &str = "wrong";

static METRICS: [Metric; 4] = [
    Metric::main(TIME, "per message", Unit::Nanoseconds),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::aside(CPU, "CPU time", Unit::Nanoseconds),
    Metric::data(WRONG, "wrong", Unit::Count),
];

const PRODUCERS: usize = 4;
/// After how many messages a thread looks at the time.
const LOOK: u64 = 16;
/// By how much "cheap" must be cheaper.
const CHEAP: f64 = 3.0;

/// What the threads of an arm do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    PingPong,
    /// [`PRODUCERS`] to one, through a buffer of that many messages.
    FanIn(Option<usize>),
    Mutex,
}

const ARMS: [(&str, &str, Kind, Play); 12] = {
    use Kind::{Green, Kernel};
    use Play::{FanIn, Mutex, PingPong};
    [
        ("kernel-ping", "kernel, ping-pong", Kernel, PingPong),
        (
            "kernel-fan-0",
            "kernel, 4 to 1, buffer 0",
            Kernel,
            FanIn(Some(0)),
        ),
        (
            "kernel-fan-1",
            "kernel, 4 to 1, buffer 1",
            Kernel,
            FanIn(Some(1)),
        ),
        (
            "kernel-fan-64",
            "kernel, 4 to 1, buffer 64",
            Kernel,
            FanIn(Some(64)),
        ),
        (
            "kernel-fan-any",
            "kernel, 4 to 1, unbounded",
            Kernel,
            FanIn(None),
        ),
        ("kernel-mutex", "kernel, add under mutex", Kernel, Mutex),
        ("green-ping", "green, ping-pong", Green, PingPong),
        (
            "green-fan-0",
            "green, 4 to 1, buffer 0",
            Green,
            FanIn(Some(0)),
        ),
        (
            "green-fan-1",
            "green, 4 to 1, buffer 1",
            Green,
            FanIn(Some(1)),
        ),
        (
            "green-fan-64",
            "green, 4 to 1, buffer 64",
            Green,
            FanIn(Some(64)),
        ),
        (
            "green-fan-any",
            "green, 4 to 1, unbounded",
            Green,
            FanIn(None),
        ),
        ("green-mutex", "green, add under mutex", Green, Mutex),
    ]
};

impl Experiment for Channels {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let arm = |(key, label, _, play): (_, _, _, Play)| {
            let mut arm = Arm::measured(key, label);
            if play == Play::Mutex {
                arm.role = Role::Control;
            }
            arm
        };
        ARMS.map(arm).into()
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (_, _, kind, play) = ARMS
            .into_iter()
            .find(|(key, ..)| *key == arm)
            .ok_or_else(|| unknown_arm(arm))?;
        let time = Duration::from_millis(scale.pick(15, 150));
        kind.host(|| {
            let (cpu, switches, begun) = (probe::cpu_time_ns(), probe::switches(), Instant::now());
            let moved = match play {
                Play::PingPong => ping_pong(kind, begun + time)?,
                Play::FanIn(buffer) => fan_in(kind, buffer, begun + time)?,
                Play::Mutex => add_under_mutex(kind, begun + time)?,
            };
            let messages = moved.received.count as f64;
            Ok(Sample::new()
                .with(TIME, begun.elapsed().as_nanos() as f64 / messages)
                .with(SWITCHES, (probe::switches() - switches) / messages)
                .with(CPU, (probe::cpu_time_ns() - cpu) / messages)
                .with(WRONG, moved.wrong()))
        })
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let wrong: Vec<f64> = ARMS
            .iter()
            .map(|(arm, ..)| samples.summary(arm, WRONG).max)
            .collect();
        let switches = samples.summary("kernel-ping", SWITCHES);
        vec![
            Premise::new(
                wrong.iter().all(|wrong| *wrong == 0.0),
                format!(
                    "every message arrived once ({} did not)",
                    show(wrong.iter().copied().fold(f64::NAN, f64::max), Unit::Count)
                ),
            ),
            Premise::new(
                switches.q1 >= 0.5,
                format!(
                    "kernel threads wait for each other in ping-pong ({} switches per message)",
                    show(switches.median, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let of = |arm: &str| samples.summary(arm, TIME);
        let time = |arm: &str| show(of(arm).median, Unit::Nanoseconds);
        let mut parts = vec![Part::new(
            times_larger(&of("kernel-ping"), &of("green-ping"), CHEAP),
            format!(
                "a message of ping-pong takes {} between kernel threads and {} between green ones",
                time("kernel-ping"),
                time("green-ping")
            ),
        )];
        for (kind, name) in [("kernel", "kernel threads"), ("green", "green threads")] {
            let arm = |how: &str| format!("{kind}-{how}");
            let [none, some, mutex] = ["fan-0", "fan-64", "mutex"].map(arm);
            parts.push(Part::new(
                times_larger(&of(&none), &of(&some), 1.0),
                format!(
                    "{name}, 4 to 1: {} without a buffer, {} with 64",
                    time(&none),
                    time(&some)
                ),
            ));
            parts.push(Part::new(
                times_larger(&of(&some), &of(&mutex), 1.0),
                format!("an addition under a mutex {}", time(&mutex)),
            ));
        }
        parts
    }
}

/// How many numbers there were, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    fn one(number: u64) -> Self {
        Self {
            count: 1,
            sum: number,
        }
    }
}

/// What was sent and what arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    sent: Tally,
    received: Tally,
}

impl Moved {
    /// How many messages did not arrive once, as far as count and sum tell.
    fn wrong(self) -> f64 {
        let difference = self.sent.count.abs_diff(self.received.count);
        difference.max(u64::from(self.sent != self.received)) as f64
    }
}

/// Sends numbers until `deadline`, and some at least.
fn send_until(
    deadline: Instant,
    mut send: impl FnMut(u64) -> Result<(), ArmError>,
) -> Result<Tally, ArmError> {
    let mut sent = Tally::default();
    while sent.count == 0 || sent.count % LOOK != 0 || Instant::now() < deadline {
        let number = sent.count;
        send(number)?;
        sent.add(Tally::one(number));
    }
    Ok(sent)
}

/// Receives until there is no sender left.
fn receive_all(from: &Receiver<u64>) -> Tally {
    let mut received = Tally::default();
    while let Some(number) = from.receive() {
        received.add(Tally::one(number));
    }
    received
}

fn ping_pong(kind: Kind, deadline: Instant) -> Result<Moved, ArmError> {
    let (there, arriving) = channel(kind, Some(0));
    let (back, returning) = channel(kind, Some(0));
    let echo = kind.spawn(move || {
        let mut arrived = Tally::default();
        while let Some(number) = arriving.receive() {
            arrived.add(Tally::one(number));
            back.send(number)?;
        }
        Ok::<_, ArmError>(arrived)
    })?;
    let player = kind.spawn(move || {
        let mut returned = Tally::default();
        let mut sent = send_until(deadline, |number| {
            there.send(number)?;
            returned.add(returning.receive().map(Tally::one).unwrap_or_default());
            Ok(())
        })?;
        // What was sent there was sent back too.
        sent.add(sent);
        Ok::<_, ArmError>((sent, returned))
    })?;
    let (sent, mut received) = player.join()??;
    received.add(echo.join()??);
    Ok(Moved { sent, received })
}

fn fan_in(kind: Kind, buffer: Option<usize>, deadline: Instant) -> Result<Moved, ArmError> {
    let (sender, receiver) = channel(kind, buffer);
    let consumer = kind.spawn(move || receive_all(&receiver))?;
    let mut producers = Vec::with_capacity(PRODUCERS);
    for _ in 0..PRODUCERS {
        let sender = sender.clone();
        producers.push(kind.spawn(move || send_until(deadline, |number| sender.send(number)))?);
    }
    drop(sender);
    let sent = together::join_all(producers)?;
    let received = consumer.join()?;
    Ok(Moved {
        sent: total(sent)?,
        received,
    })
}

/// Nothing is sent here: each thread adds to one number instead.
fn add_under_mutex(kind: Kind, deadline: Instant) -> Result<Moved, ArmError> {
    match kind {
        Kind::Kernel => add_to(Arc::new(Mutex::new(0)), kind, deadline),
        Kind::Green => add_to(Arc::new(sync::Mutex::new(0)), kind, deadline),
    }
}

fn add_to(
    mut number: impl Access + Clone,
    kind: Kind,
    deadline: Instant,
) -> Result<Moved, ArmError> {
    let mut threads = Vec::with_capacity(PRODUCERS);
    for _ in 0..PRODUCERS {
        let mut access = number.clone();
        threads.push(kind.spawn(move || {
            let add = |_| {
                access.add();
                Ok(())
            };
            send_until(deadline, add)
        })?);
    }
    let sent = total(together::join_all(threads)?)?;
    let received = Tally {
        count: number.read(),
        ..sent
    };
    Ok(Moved { sent, received })
}

fn total(tallies: Vec<Result<Tally, ArmError>>) -> Result<Tally, ArmError> {
    tallies
        .into_iter()
        .try_fold(Tally::default(), |mut sum, tally| {
            sum.add(tally?);
            Ok(sum)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        kernel_ping: f64,
        buffered: f64,
        mutex: f64,
        switches: f64,
        wrong: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        kernel_ping: 5000.0,
        buffered: 150.0,
        mutex: 30.0,
        switches: 1.0,
        wrong: 0.0,
    };

    fn verdict(machine: Machine) -> Verdict {
        let mut samples = Samples::new();
        for (arm, _, kind, play) in ARMS {
            let ns = match (kind, play) {
                (Kind::Kernel, Play::PingPong) => machine.kernel_ping,
                (Kind::Green, Play::PingPong) => 200.0,
                (_, Play::FanIn(Some(0))) => 400.0,
                (_, Play::FanIn(_)) => machine.buffered,
                (_, Play::Mutex) => machine.mutex,
            };
            for i in 0..5 {
                let sample = Sample::new()
                    .with(TIME, ns * (1.0 + 0.01 * f64::from(i)))
                    .with(SWITCHES, machine.switches)
                    .with(WRONG, machine.wrong);
                samples.push(arm, sample);
            }
        }
        decide(&Channels.premises(&samples), &Channels.judge(&samples))
    }

    fn inconclusive_for(machine: Machine, word: &str) {
        assert_inconclusive(&verdict(machine), word);
    }

    #[test]
    fn kernel_threads_that_never_wait_decide_nothing() {
        let spinning = Machine {
            switches: 0.01,
            ..AS_CLAIMED
        };
        inconclusive_for(spinning, "wait for each other");
    }

    #[test]
    fn messages_that_are_lost_or_doubled_decide_nothing() {
        let lossy = Machine {
            wrong: 1.0,
            ..AS_CLAIMED
        };
        inconclusive_for(lossy, "arrived once");
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(AS_CLAIMED), Verdict::Confirmed);
        let refuted = [
            Machine {
                kernel_ping: 300.0,
                ..AS_CLAIMED
            },
            Machine {
                buffered: 900.0,
                ..AS_CLAIMED
            },
            Machine {
                mutex: 600.0,
                ..AS_CLAIMED
            },
        ];
        for machine in refuted {
            assert_eq!(verdict(machine), Verdict::NotHere);
        }
    }

    #[test]
    fn count_and_sum_tell_lost_doubled_and_changed_messages() {
        let tally = |numbers: &[u64]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|n| tally.add(Tally::one(*n)));
            tally
        };
        let wrong = |received: &[u64]| {
            Moved {
                sent: tally(&[1, 2, 3]),
                received: tally(received),
            }
            .wrong()
        };
        assert_eq!(wrong(&[3, 1, 2]), 0.0);
        assert_eq!(wrong(&[1, 3]), 1.0);
        assert_eq!(wrong(&[1, 2, 3, 3, 3]), 2.0);
        assert_eq!(wrong(&[1, 2, 2]), 1.0);
    }

    #[test]
    fn every_play_moves_messages_and_gets_each_of_them() {
        let plays: [fn(Instant) -> Result<Moved, ArmError>; 4] = [
            |deadline| ping_pong(Kind::Kernel, deadline),
            |deadline| fan_in(Kind::Kernel, Some(0), deadline),
            |deadline| fan_in(Kind::Kernel, None, deadline),
            |deadline| add_under_mutex(Kind::Kernel, deadline),
        ];
        for play in plays {
            let moved = play(Instant::now() + Duration::from_millis(1)).unwrap();
            assert!(moved.received.count > 0);
            assert_eq!(moved.wrong(), 0.0);
        }
    }
}
