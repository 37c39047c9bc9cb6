//! A server with many open connections of which few are active: a thread per connection, one event loop,
//! green threads.
//!
//! Every arm has its server in a process of its own and measures that process from outside, with the same
//! client. Memory is what the server's process grew by from the first connection to the last: resident
//! pages, page tables, and the kernel's own stacks of its threads, which the kernel tells for the whole
//! machine only. What the kernel keeps for a socket is the same for all and not counted.
//!
//! The latency is that of a busy server: each active connection sends its next message when the last
//! answer is there, and one client thread measures them all, so what it takes is in the number, for every
//! server alike. It depends on what else the machine does; so the claim is judged by memory, switches and
//! CPU time, which are the server's own.

use std::iter;
use std::net::TcpListener;

use crate::echo::client::Client;
use crate::echo::servers;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::peer::Peer;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::quantile;
use crate::units::{Unit, counted, show};
use crate::verdict::{Part, Premise, at_most_unless_past, times_larger};

/// The experiment.
pub(super) struct EventLoopScale;

static INFO: Info = Info {
    name: "event-loop-scale",
    claim: "One event loop serves thousands of connections with a fraction of the memory and of \
            the kernel's switches that a kernel thread for each takes, and idle ones cost it \
            nothing; so do green threads, with plain blocking code.",
    said_in: "texts on epoll, nginx and Node.js, and on the C10K problem",
    method: "Echo servers in processes of their own: many connections are open, 50 (100 at full \
             scale) send a message of 64 bytes whenever the last answer is there. Memory per \
             connection, switches per answer and the latency of answers count.",
    control: "The same active connections without the idle ones.",
    premise: "Every message is answered, a kernel thread per connection exists where it should and \
              nowhere else.",
    next: "lost-updates (what threads that share a counter do to it)",
};

const NAME: &str = "event-loop-scale";

const P50: &str = "p50";
const P99: &str = "p99";
const MEMORY: &str = "memory";
const SWITCHES: &str = "switches";
const CPU: &str = "cpu";
const THREADS: &str = "threads";
const ANSWERED: &str = "answered";

static METRICS: [Metric; 7] = [
    Metric::main(P50, "latency p50", Unit::Nanoseconds),
    Metric::aside(MEMORY, "memory each", Unit::Bytes),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::data(P99, "p99", Unit::Nanoseconds),
    Metric::data(CPU, "CPU", Unit::Nanoseconds),
    Metric::data(THREADS, "kernel thr.", Unit::Share),
    Metric::data(ANSWERED, "answered", Unit::Share),
];

/// A server and who speaks of it.
struct Server {
    arm: &'static str,
    /// The arm with the same server and no idle connections, if there is one.
    alone: Option<&'static str>,
    role: &'static str,
    name: &'static str,
}

const SERVERS: [Server; 3] = [
    Server {
        arm: "kernel",
        alone: None,
        role: "threads",
        name: "kernel threads",
    },
    Server {
        arm: "loop",
        alone: Some("loop-alone"),
        role: "loop",
        name: "the event loop",
    },
    Server {
        arm: "green",
        alone: Some("green-alone"),
        role: "green",
        name: "green threads",
    },
];

/// By how much more "a fraction" is outdone.
const FRACTION: f64 = 2.0;

/// By how much CPU time may grow and still be called the same.
const SLACK: f64 = 1.5;

/// A kernel thread with its stacks and socket, to ask for before trying.
const KERNEL_THREAD: f64 = 60.0 * 1024.0;

/// How many connections there are and what they do.
#[derive(Clone, Copy)]
struct Load {
    idle: usize,
    active: usize,
    warm_up: u32,
    messages: u32,
}

fn load(scale: Scale) -> Load {
    Load {
        idle: scale.pick(500, 10_000),
        active: scale.pick(50, 100),
        warm_up: 5,
        messages: scale.pick(40, 500),
    }
}

impl Experiment for EventLoopScale {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let labels = scale.pick(
            [
                "kernel threads, 500 idle",
                "event loop, 500 idle",
                "green threads, 500 idle",
            ],
            [
                "kernel thr., 10,000 idle",
                "event loop, 10,000 idle",
                "green thr., 10,000 idle",
            ],
        );
        vec![
            Arm::measured("kernel", labels[0]).timeout(60),
            Arm::measured("loop", labels[1]).timeout(60),
            Arm::measured("green", labels[2]).timeout(60),
            Arm::control("loop-alone", "event loop, none idle"),
            Arm::control("green-alone", "green threads, none idle"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let load = load(scale);
        let alone = Load { idle: 0, ..load };
        let (role, load) = SERVERS
            .iter()
            .find_map(|server| match arm {
                _ if arm == server.arm => Some((server.role, load)),
                _ if server.alone == Some(arm) => Some((server.role, alone)),
                _ => None,
            })
            .ok_or_else(|| unknown_arm(arm))?;
        probe::require_files(load.idle + load.active + 100)?;
        if role == "threads" {
            let count = (load.idle + load.active) as u32;
            probe::require_kernel_threads(count)?;
            probe::require_memory(f64::from(count) * KERNEL_THREAD)?;
        }
        load.put_on(&Peer::start(NAME, role, scale)?)
    }

    fn serve(&self, role: &str, listener: TcpListener) -> Result<(), ArmError> {
        match role {
            "threads" => servers::kernel_threads(&listener),
            "loop" => servers::event_loop(&listener),
            "green" => servers::green_threads(&listener),
            _ => Err(unknown_arm(role)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let all = SERVERS
            .iter()
            .flat_map(|server| iter::once(server.arm).chain(server.alone));
        let answered: Vec<f64> = all.map(|arm| samples.summary(arm, ANSWERED).min).collect();
        let threads = |arm| samples.summary(arm, THREADS);
        let (kernel, one, green) = (threads("kernel"), threads("loop"), threads("green"));
        let share = |share| show(share, Unit::Share);
        vec![
            Premise::new(
                answered.iter().all(|share| *share == 1.0),
                format!(
                    "every message was answered ({} at least)",
                    share(answered.iter().copied().fold(f64::NAN, f64::min))
                ),
            ),
            Premise::new(
                kernel.min >= 1.0 && one.max <= 0.01 && green.max <= 0.1,
                format!(
                    "a kernel thread for each connection exists for the kernel threads ({}), not \
                     for the event loop ({}) and not for green threads ({})",
                    share(kernel.min),
                    share(one.max),
                    share(green.max)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let mut parts = Vec::new();
        let kernel = |key| samples.summary("kernel", key);
        for server in &SERVERS {
            let Some(alone) = server.alone else { continue };
            let (of, name) = (|key| samples.summary(server.arm, key), server.name);
            let show = |key, unit| show(of(key).median, unit);
            parts.push(Part::new(
                times_larger(&kernel(MEMORY), &of(MEMORY), FRACTION),
                format!("{name}: {} per connection", show(MEMORY, Unit::Bytes)),
            ));
            parts.push(Part::new(
                times_larger(&kernel(SWITCHES), &of(SWITCHES), FRACTION),
                counted(
                    of(SWITCHES).median,
                    "switch per answer",
                    "switches per answer",
                ),
            ));
            let undisturbed = samples.median(alone, CPU);
            parts.push(Part::new(
                at_most_unless_past(&of(CPU), SLACK * undisturbed, 2.0 * SLACK * undisturbed),
                format!(
                    "{} of CPU time per answer with idle connections and {} without, latency p50 \
                     {}, p99 {}",
                    show(CPU, Unit::Nanoseconds),
                    crate::units::show(undisturbed, Unit::Nanoseconds),
                    show(P50, Unit::Nanoseconds),
                    show(P99, Unit::Nanoseconds)
                ),
            ));
        }
        let median = |key, unit| show(kernel(key).median, unit);
        if let Some(last) = parts.last_mut() {
            last.text += &format!(
                "; against {}, {} and {} for kernel threads (p50 {}, p99 {})",
                median(MEMORY, Unit::Bytes),
                counted(kernel(SWITCHES).median, "switch", "switches"),
                median(CPU, Unit::Nanoseconds),
                median(P50, Unit::Nanoseconds),
                median(P99, Unit::Nanoseconds)
            );
        }
        parts
    }
}

impl Load {
    /// Opens the connections, lets the active ones talk, and measures the server meanwhile.
    fn put_on(self, server: &Peer) -> Result<Sample, ArmError> {
        let pid = server.pid();
        let mut client = Client::new(server.address());
        // The first connection starts what the server starts once.
        client.open(1)?;
        let empty = probe::memory_of(pid)?;
        let more = self.idle + self.active - 1;
        client.open(more)?;
        let full = probe::memory_of(pid)?;
        client.talk(self.active, self.warm_up)?;
        let before = probe::activity_of(pid)?;
        let latencies = client.talk(self.active, self.messages)?;
        let after = probe::activity_of(pid)?;
        let asked = self.active as f64 * f64::from(self.messages);
        let grown = full.total() - empty.total();
        Ok(Sample::new()
            .with(P50, quantile(&latencies, 0.5))
            .with(P99, quantile(&latencies, 0.99))
            .with(MEMORY, grown / more as f64)
            .with(SWITCHES, (after.switches - before.switches) / asked)
            .with(CPU, (after.cpu_ns - before.cpu_ns) / asked)
            .with(THREADS, full.threads as f64 / (more + 1) as f64)
            .with(ANSWERED, latencies.len() as f64 / asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    struct Green {
        memory: f64,
        switches: f64,
        cpu: f64,
        threads: f64,
        answered: f64,
    }

    const GOOD: Green = Green {
        memory: 5_000.0,
        switches: 0.05,
        cpu: 6e3,
        threads: 0.004,
        answered: 1.0,
    };

    fn machine(green: &Green) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, server: &Green| {
                let sample = Sample::new()
                    .with(CPU, server.cpu * noise)
                    .with(MEMORY, server.memory * noise)
                    .with(SWITCHES, server.switches * noise)
                    .with(THREADS, server.threads)
                    .with(ANSWERED, server.answered);
                samples.push(arm, sample);
            };
            let kernel = Green {
                memory: 28_000.0,
                switches: 1.0,
                threads: 1.0,
                ..GOOD
            };
            add("kernel", &kernel);
            let one = Green {
                memory: 150.0,
                threads: 0.001,
                ..GOOD
            };
            add("loop", &one);
            add("loop-alone", &one);
            add("green", green);
            add("green-alone", &GOOD);
        }
        samples
    }

    fn verdict(green: &Green) -> Verdict {
        let samples = machine(green);
        decide(
            &EventLoopScale.premises(&samples),
            &EventLoopScale.judge(&samples),
        )
    }

    #[test]
    fn messages_without_an_answer_decide_nothing() {
        let lost = Green {
            answered: 0.99,
            ..GOOD
        };
        assert!(
            matches!(verdict(&lost), Verdict::Inconclusive(reason) if reason.contains("answered"))
        );
    }

    #[test]
    fn green_threads_that_hold_a_kernel_thread_each_decide_nothing() {
        let held = Green {
            threads: 1.0,
            ..GOOD
        };
        assert!(
            matches!(verdict(&held), Verdict::Inconclusive(reason) if reason.contains("green threads (100 %)"))
        );
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(&GOOD), Verdict::Confirmed);
        let refuted = [
            Green {
                memory: 20_000.0,
                ..GOOD
            },
            Green {
                switches: 0.9,
                ..GOOD
            },
            Green { cpu: 30e3, ..GOOD },
        ];
        for green in refuted {
            assert_eq!(verdict(&green), Verdict::NotHere);
        }
    }
}
