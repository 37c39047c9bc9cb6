//! The arithmetic of switches a second, checked on a server.
//!
//! "10,000 requests a second, two switches each, 5 µs a switch: 100 ms of every second, a tenth of a CPU, goes
//! into switching." The arithmetic has three numbers, and two of them can be counted: a small server with a
//! thread for each connection answers 10,000 requests a second, and the kernel tells how often its threads left
//! the CPU. (It counts leaving only; whoever leaves to wait for the next request comes back for it, so one
//! departure is two switches in the article's count.) The third one, what a switch costs, comes from strict turns
//! through pipes, without the calls.
//!
//! Beside the budget stands what the server really used: its CPU time less that of the same calls by one thread
//! alone. The kernel charges a thread for the way out and in, and not for what an idle CPU does meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::account::Account;
use crate::echo::client::Client;
use crate::echo::{MESSAGE, servers};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::peer::Peer;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::turns::{self, Alone, Pair, Rounds};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, within};

/// The experiment.
pub(super) struct SwitchBudget;

static INFO: Info = Info {
    name: "switch-budget",
    claim: "10,000 requests a second with two switches each cost 100 ms of CPU time a second in \
            switches alone.",
    said_in: "texts on event loops, as the arithmetic against a thread for each connection",
    method: "A server with a thread for each of ten connections, in a process of its own, answers \
             10,000 requests a second; the kernel's count of its switches and its CPU time are \
             read. A switch by strict turns gives the cost of 20,000.",
    control: "The same calls by one thread alone, which makes no switch: what the server takes \
              without switching.",
    premise: "The requests came at that rate and were answered; each strict turn made a switch, the \
              control none.",
    next: "event-loop-scale (servers of other kinds)",
};

const NAME: &str = "switch-budget";

const TIME: &str = "ns";
const EACH: &str = "each";
const SWITCHES: &str = "switches";
const RATE: &str = "rate";
const INTACT: &str = "intact";
const ALONE_SWITCHES: &str = "alone_switches";

static METRICS: [Metric; 6] = [
    Metric::main(TIME, "CPU /s", Unit::Nanoseconds),
    Metric::aside(EACH, "each", Unit::Nanoseconds),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::data(RATE, "rate", Unit::Share),
    Metric::data(INTACT, "intact", Unit::Share),
    Metric::data(ALONE_SWITCHES, "a. switches", Unit::Count),
];

const SERVER: &str = "server";
const CALLS: &str = "calls";
const TURNS: &str = "turns";
const REST: &str = "rest";

/// Requests a second.
const REQUESTS: f64 = 10_000.0;
/// Switches for each request, as published: away and back.
const SWITCHES_EACH: f64 = 2.0;
/// Between one request and the next.
const INTERVAL: Duration = Duration::from_micros(100);
const CONNECTIONS: usize = 10;

/// The published 100 ms, half and twice.
const BUDGET_LOW: f64 = 50e6;
const BUDGET_HIGH: f64 = 200e6;

impl Experiment for SwitchBudget {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured(SERVER, "server, 10,000 requests/s"),
            Arm::control(CALLS, "their calls, alone"),
            Arm::derived(REST, "= server without its calls"),
            Arm::measured(TURNS, "20,000 switches by turns"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            SERVER => serve_requests(scale),
            CALLS => calls_alone(scale.pick(5_000, 50_000)),
            TURNS => switch_by_turns(scale),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn serve(&self, role: &str, listener: TcpListener) -> Result<(), ArmError> {
        match role {
            SERVER => servers::kernel_threads(&listener),
            _ => Err(unknown_arm(role)),
        }
    }

    fn derive(&self, samples: &mut Samples) {
        for i in 0..samples.of(SERVER).len().min(samples.of(CALLS).len()) {
            let less = |key| samples.of(SERVER)[i].get(key) - samples.of(CALLS)[i].get(key);
            let rest = Sample::new()
                .with(TIME, less(TIME))
                .with(EACH, less(EACH))
                .with(SWITCHES, samples.of(SERVER)[i].get(SWITCHES));
            samples.push(REST, rest);
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let rate = samples.summary(SERVER, RATE);
        let turns = samples.summary(TURNS, SWITCHES).median;
        let intact = samples.summary(TURNS, INTACT).median;
        let alone = [
            samples.median(CALLS, SWITCHES),
            samples.median(TURNS, ALONE_SWITCHES),
        ];
        vec![
            Premise::new(
                rate.median >= 0.9,
                format!(
                    "the requests came at {} of the rate and were answered",
                    show(rate.median, Unit::Share)
                ),
            ),
            Premise::new(
                turns >= 0.95,
                format!(
                    "each strict turn made a switch (counted {})",
                    show(turns, Unit::Count)
                ),
            ),
            Premise::new(
                intact >= 0.3,
                format!(
                    "they had the CPU to themselves often enough (in {} of the blocks)",
                    show(intact, Unit::Share)
                ),
            ),
            Premise::new(
                alone.iter().all(|count| *count <= 0.05),
                format!(
                    "the calls alone made no switches ({})",
                    show(alone.into_iter().fold(f64::NAN, f64::max), Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let departures = samples.summary(SERVER, SWITCHES);
        let budget = samples.summary(TURNS, TIME);
        let time = |arm, key| show(samples.median(arm, key), Unit::Nanoseconds);
        vec![
            Part::new(
                twice(&departures),
                format!(
                    "for each request the server's threads left the CPU {} times and came back",
                    show(departures.median, Unit::Count)
                ),
            ),
            Part::new(
                within(&budget, BUDGET_LOW, BUDGET_HIGH),
                format!(
                    "10,000 x 2 x {} = {} of CPU time a second ({} of a CPU); the server used {}, \
                     {} more than its calls take alone, for switches and for waking the client",
                    time(TURNS, EACH),
                    time(TURNS, TIME),
                    show(budget.median / 1e9, Unit::Share),
                    time(SERVER, TIME),
                    time(REST, TIME)
                ),
            ),
        ]
    }
}

/// Is it one departure for each request, which is two switches? A second one may follow when the client, which
/// the answer wakes, takes the CPU. It is not if there is less than one for two requests, or more than three for
/// each; what lies between, other programs may have made of it.
fn twice(departures: &Summary) -> Tendency {
    if departures.q1 >= 0.9 && departures.q3 <= 2.2 {
        Tendency::Holds
    } else if departures.q3 < 0.5 || departures.q1 > 3.0 {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// A client sends requests at the given rate, and the server is observed from outside.
fn serve_requests(scale: Scale) -> Result<Sample, ArmError> {
    let requests = scale.pick(1_500, 20_000);
    let server = Peer::start(NAME, SERVER, scale)?;
    let mut client = Client::new(server.address());
    client.open(CONNECTIONS)?;
    client.pace(100, INTERVAL)?;
    let before = probe::activity_of(server.pid())?;
    let took = client.pace(requests, INTERVAL)?;
    let after = probe::activity_of(server.pid())?;
    let each = (after.cpu_ns - before.cpu_ns) / f64::from(requests);
    let rate = f64::from(requests) / took.as_secs_f64();
    Ok(Sample::new()
        .with(TIME, each * REQUESTS)
        .with(EACH, each)
        .with(
            SWITCHES,
            (after.switches - before.switches) / f64::from(requests),
        )
        .with(RATE, rate / REQUESTS))
}

/// The calls for `requests` requests: one thread sends a message to itself and reads it.
fn calls_alone(requests: u32) -> Result<Sample, ArmError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    for stream in [&here, &there] {
        stream.set_nodelay(true)?;
    }
    let mut message = [7; MESSAGE];
    let mut calls = |count: u32| {
        (0..count).try_for_each(|_| {
            here.write_all(&message)?;
            there.read_exact(&mut message)
        })
    };
    calls(500)?;
    let account = Account::of_this_thread()?;
    let cpu_ns = probe::thread_cpu_time_ns();
    calls(requests)?;
    let each = (probe::thread_cpu_time_ns() - cpu_ns) / f64::from(requests);
    let account = Account::of_this_thread()?.since(account);
    Ok(Sample::new()
        .with(TIME, each * REQUESTS)
        .with(EACH, each)
        .with(SWITCHES, account.voluntary / f64::from(requests)))
}

/// What so many switches cost, by strict turns of two threads without the calls.
fn switch_by_turns(scale: Scale) -> Result<Sample, ArmError> {
    probe::pin_to_one_cpu()?;
    let rounds = Rounds {
        count: 150,
        blocks: scale.pick(31, 300),
    };
    let pairs = [Pair::with_thread(0)?, Pair::with_thread(0)?];
    let compared = turns::compare(pairs, Alone::with_own(0)?, rounds)?;
    let [one, other] = compared.pairs;
    let each = f64::midpoint(one.switch_ns, other.switch_ns);
    Ok(Sample::new()
        .with(TIME, each * REQUESTS * SWITCHES_EACH)
        .with(EACH, each)
        .with(SWITCHES, one.switches.min(other.switches))
        .with(ALONE_SWITCHES, compared.alone_switches)
        .with(INTACT, one.intact.min(other.intact)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        switch_ns: f64,
        noise: f64,
        departures: f64,
        rate: f64,
        turns: f64,
        alone: f64,
        intact: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        switch_ns: 5_000.0,
        noise: 0.01,
        departures: 1.0,
        rate: 1.0,
        turns: 1.0,
        alone: 0.0,
        intact: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + self.noise * f64::from(i);
                let sample = |each: f64, count: f64, switches: f64| {
                    Sample::new()
                        .with(TIME, each * count)
                        .with(EACH, each)
                        .with(SWITCHES, switches)
                };
                let server = sample(12_000.0, REQUESTS, self.departures * noise);
                samples.push(SERVER, server.with(RATE, self.rate));
                samples.push(CALLS, sample(5_000.0, REQUESTS, self.alone));
                let turns = sample(self.switch_ns * noise, 20_000.0, self.turns);
                let turns = turns.with(ALONE_SWITCHES, 0.0).with(INTACT, self.intact);
                samples.push(TURNS, turns);
            }
            SwitchBudget.derive(&mut samples);
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &SwitchBudget.premises(&samples),
                &SwitchBudget.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        for contrary in [
            Machine {
                switch_ns: 1_600.0,
                ..AS_CLAIMED
            },
            Machine {
                switch_ns: 15_000.0,
                ..AS_CLAIMED
            },
            Machine {
                departures: 0.1,
                ..AS_CLAIMED
            },
        ] {
            assert_eq!(contrary.verdict(), Verdict::NotHere);
        }
    }

    #[test]
    fn requests_that_come_too_slowly_decide_nothing() {
        let planted = Machine {
            rate: 0.4,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "at 40 % of the rate");
    }

    #[test]
    fn turns_that_make_no_switch_decide_nothing() {
        let planted = Machine {
            turns: 0.26,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "counted 0.26");
    }

    #[test]
    fn a_control_that_switches_decides_nothing() {
        let planted = Machine {
            alone: 0.9,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "made no switches (0.90)");
    }

    #[test]
    fn a_cpu_that_others_take_decides_nothing() {
        let planted = Machine {
            intact: 0.1,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "in 10 % of the blocks");
    }

    #[test]
    fn noise_around_a_limit_is_left_open() {
        let noisy = Machine {
            switch_ns: 2_300.0,
            noise: 0.05,
            ..AS_CLAIMED
        };
        assert_inconclusive(&noisy.verdict(), "noise");
        let between = Machine {
            departures: 2.5,
            ..AS_CLAIMED
        };
        assert_inconclusive(&between.verdict(), "noise");
    }

    #[test]
    fn the_budget_is_the_rate_times_two_times_the_cost_of_a_switch() {
        let samples = AS_CLAIMED.samples();
        assert_eq!(samples.summary(TURNS, TIME).min, 100e6);
        assert_eq!(samples.median(REST, EACH), 7_000.0);
    }

    #[test]
    fn a_thread_that_talks_to_itself_never_waits() {
        let sample = calls_alone(200).unwrap();
        assert!(sample.get(SWITCHES) < 0.5, "{sample:?}");
        assert!(sample.get(EACH) > 0.0);
    }
}
