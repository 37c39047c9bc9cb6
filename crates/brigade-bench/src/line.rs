//! The lines of the comparison: what is measured, on whom, how much of it, and
//! what Brigade wants to reach.
//!
//! One table, `LINES`, is the only place where sizes, rivals and targets are
//! written. Rejected: a size flag per line. Sizes change what is measured
//! (pooled against first-touched memory), so two runs must use the same ones.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::rival::Rival;

/// A line's identity; its command-line name is the kebab-case form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Spawn n threads, then join all.
    SpawnJoinAll,
    /// Spawn and join one thread at a time.
    SpawnJoinOne,
    /// Two threads yield in turn.
    #[value(name = "yield-2")]
    #[serde(rename = "yield-2")]
    Yield2,
    /// A thousand threads yield in turn.
    #[value(name = "yield-1000")]
    #[serde(rename = "yield-1000")]
    Yield1000,
    /// A tree of threads, ten children each.
    Skynet,
    /// Eight threads on one mutex.
    #[value(name = "mutex-8")]
    #[serde(rename = "mutex-8")]
    Mutex8,
    /// A thousand threads on one mutex.
    #[value(name = "mutex-1000")]
    #[serde(rename = "mutex-1000")]
    Mutex1000,
    /// Two threads, a message there and back.
    PingPong,
    /// Four producers, four consumers, one bounded channel.
    #[value(name = "channel-4x4")]
    #[serde(rename = "channel-4x4")]
    Channel4x4,
    /// A token around a ring of threads.
    #[value(name = "ring-503")]
    #[serde(rename = "ring-503")]
    Ring503,
    /// Fibonacci by fork/join.
    Fib,
    /// Memory of parked threads.
    ParkedMemory,
    /// Many threads sleep one second.
    #[value(name = "sleep-1m")]
    #[serde(rename = "sleep-1m")]
    Sleep1m,
    /// A ticker beside threads that compute.
    TickerHogs,
    /// A ticker beside threads that block the kernel thread.
    TickerBlocking,
    /// Echo on a hundred connections.
    #[value(name = "echo-100")]
    #[serde(rename = "echo-100")]
    Echo100,
    /// Echo on a thousand connections.
    #[value(name = "echo-1000")]
    #[serde(rename = "echo-1000")]
    Echo1000,
    /// Echo on a hundred of ten thousand connections.
    #[value(name = "echo-10000")]
    #[serde(rename = "echo-10000")]
    Echo10000,
    /// HTTP with keep-alive on a hundred connections.
    #[value(name = "http-100")]
    #[serde(rename = "http-100")]
    Http100,
    /// HTTP with keep-alive on a thousand connections.
    #[value(name = "http-1000")]
    #[serde(rename = "http-1000")]
    Http1000,
    /// Ten thousand connections opened at once.
    #[value(name = "accept-10000")]
    #[serde(rename = "accept-10000")]
    Accept10000,
}

/// One unit of work for one child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Which line.
    pub(crate) line: Line,
    /// Its size; the meaning is the line's (`Spec::counts`).
    pub(crate) n: u64,
    /// Processors (or worker threads) of the runtime.
    pub(crate) workers: usize,
    /// How often the work is repeated in the process, where it is steady state.
    pub(crate) passes: u32,
}

/// What Brigade wants on a metric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At most `factor` times what the rival took in the same run.
    Times(f64, Rival),
    /// At most this much of the metric, whatever the rivals do.
    AtMost(f64),
}

/// A line of the table.
pub(crate) struct Spec {
    /// Identity.
    pub(crate) line: Line,
    /// One sentence.
    pub(crate) about: &'static str,
    /// What `n` counts.
    pub(crate) counts: &'static str,
    /// Metrics shown, the first one decides ratios.
    pub(crate) metrics: &'static [&'static str],
    /// `n` of a full run.
    pub(crate) full: u64,
    /// `n` of `--quick`.
    pub(crate) quick: u64,
    /// Who runs it, with the largest `n` the rival gets through in reasonable time or memory.
    pub(crate) rivals: &'static [(Rival, u64)],
    /// What Brigade wants, per metric.
    pub(crate) targets: &'static [(&'static str, Target)],
    /// Seconds after which a child counts as hung.
    pub(crate) timeout_s: u64,
}

use Rival::{
    AsyncChannel, Brigade, BrigadeStd, BrigadeTask, Crossbeam, Flume, Go, Kernel, May, ParkingLot,
    Rayon, Tokio,
};

/// How many messages the channel of `channel-4x4` holds; the Go program has the same number.
pub(crate) const CHANNEL_CAPACITY: usize = 128;

const ALL: u64 = u64::MAX;
const PER_OP: &[&str] = &["op_ns", "op_cpu_ns", "first_ns"];
const LATENESS: &[&str] = &["p99_ms", "p50_ms", "max_ms"];
const SERVED: &[&str] = &["cpu_us", "req_per_s", "p50_us", "p99_us"];
const SERVERS: &[(Rival, u64)] = &[(Brigade, ALL), (Tokio, ALL), (May, ALL), (Kernel, ALL)];
const AS_TOKIO: &[(&str, Target)] = &[("cpu_us", Target::Times(1.0, Tokio))];
const AS_MAY_AND_TOKIO: &[(&str, Target)] = &[
    ("cpu_us", Target::Times(1.0, May)),
    ("cpu_us", Target::Times(1.0, Tokio)),
];

/// Every line, in the order of the report.
pub(crate) const LINES: &[Spec] = &[
    Spec {
        line: Line::SpawnJoinAll,
        about: "spawn n threads from one, then join them all",
        counts: "threads",
        metrics: PER_OP,
        full: 1_000_000,
        quick: 2_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, 30_000),
            (Kernel, 20_000),
        ],
        targets: &[("op_ns", Target::Times(0.5, Go))],
        timeout_s: 120,
    },
    Spec {
        line: Line::SpawnJoinOne,
        about: "spawn a thread, join it, n times over",
        counts: "threads",
        metrics: PER_OP,
        full: 300_000,
        quick: 1_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, 100_000),
            (Kernel, 10_000),
        ],
        targets: &[("op_ns", Target::Times(0.4, Go))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Yield2,
        about: "two threads yield, n yields together",
        counts: "yields",
        metrics: PER_OP,
        full: 4_000_000,
        quick: 20_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, 1_000_000),
        ],
        targets: &[("op_ns", Target::Times(1.0, May))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Yield1000,
        about: "a thousand threads yield, n yields together",
        counts: "yields",
        metrics: PER_OP,
        full: 4_000_000,
        quick: 20_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, 1_000_000),
        ],
        targets: &[("op_ns", Target::Times(1.0, May))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Skynet,
        about: "a tree of threads, ten children each, n leaves",
        counts: "leaves",
        metrics: PER_OP,
        full: 1_000_000,
        quick: 1_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, 10_000),
            (Kernel, 10_000),
        ],
        targets: &[("op_ns", Target::Times(0.5, Go))],
        timeout_s: 120,
    },
    Spec {
        line: Line::Mutex8,
        about: "8 threads add to one mutex, n locks together",
        counts: "locks",
        metrics: PER_OP,
        full: 4_000_000,
        quick: 16_000,
        rivals: &[
            (Brigade, ALL),
            (BrigadeStd, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, ALL),
            (ParkingLot, ALL),
        ],
        targets: &[("op_ns", Target::AtMost(39.0))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Mutex1000,
        about: "1000 threads add to one mutex, n locks together",
        counts: "locks",
        metrics: PER_OP,
        full: 4_000_000,
        quick: 16_000,
        rivals: &[
            (Brigade, ALL),
            (BrigadeStd, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, ALL),
            (ParkingLot, ALL),
        ],
        targets: &[("op_ns", Target::AtMost(42.0))],
        timeout_s: 60,
    },
    Spec {
        line: Line::PingPong,
        about: "two threads, n round trips over two rendezvous channels",
        counts: "round trips",
        metrics: PER_OP,
        full: 1_000_000,
        quick: 1_000,
        rivals: &[
            (Brigade, ALL),
            (BrigadeStd, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (Flume, ALL),
            (AsyncChannel, ALL),
            (May, ALL),
            (Kernel, 100_000),
            (Crossbeam, 100_000),
        ],
        targets: &[("op_ns", Target::Times(0.35, Go))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Channel4x4,
        about: "n messages, 4 producers, 4 consumers, a channel for 128",
        counts: "messages",
        metrics: PER_OP,
        full: 4_000_000,
        quick: 4_000,
        rivals: &[
            (Brigade, ALL),
            (BrigadeStd, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (Flume, ALL),
            (AsyncChannel, ALL),
            (May, ALL),
            (Kernel, ALL),
            (Crossbeam, ALL),
        ],
        targets: &[
            ("op_ns", Target::AtMost(58.0)),
            ("op_ns", Target::Times(1.0, Crossbeam)),
        ],
        timeout_s: 60,
    },
    Spec {
        line: Line::Ring503,
        about: "a token around 503 threads, n hops over rendezvous channels",
        counts: "hops",
        metrics: PER_OP,
        full: 1_000_000,
        quick: 2_000,
        rivals: &[
            (Brigade, ALL),
            (BrigadeStd, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (Flume, ALL),
            (AsyncChannel, ALL),
            (May, ALL),
            (Kernel, 100_000),
            (Crossbeam, 100_000),
        ],
        targets: &[("op_ns", Target::Times(0.4, Go))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Fib,
        about: "fib(n), one branch spawned, the other called, then join",
        counts: "th number",
        metrics: PER_OP,
        full: 27,
        quick: 12,
        rivals: &[
            (Brigade, ALL),
            (Rayon, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, 18),
            (Kernel, 14),
        ],
        targets: &[("op_ns", Target::AtMost(350.0))],
        timeout_s: 60,
    },
    Spec {
        line: Line::ParkedMemory,
        about: "memory of each of n threads parked at once",
        counts: "threads",
        metrics: &["resident_bytes", "tables_bytes"],
        full: 1_000_000,
        quick: 2_000,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, 30_000),
            (Kernel, 10_000),
        ],
        targets: &[("resident_bytes", Target::AtMost(4_403.0))],
        timeout_s: 120,
    },
    Spec {
        line: Line::Sleep1m,
        about: "n threads sleep 1 s; first spawn to last join",
        counts: "threads",
        metrics: &["wall_s", "cpu_s"],
        full: 1_000_000,
        quick: 2_000,
        rivals: &[(Brigade, ALL), (Go, ALL), (BrigadeTask, ALL), (Tokio, ALL)],
        targets: &[("wall_s", Target::AtMost(2.0))],
        timeout_s: 120,
    },
    Spec {
        line: Line::TickerHogs,
        about: "a 10 ms ticker's lateness beside 8 threads that compute",
        counts: "ms",
        metrics: LATENESS,
        full: 4_000,
        quick: 200,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, ALL),
        ],
        targets: &[
            ("p99_ms", Target::AtMost(3.0)),
            ("max_ms", Target::AtMost(10.0)),
        ],
        timeout_s: 60,
    },
    Spec {
        line: Line::TickerBlocking,
        about: "a 10 ms ticker's lateness beside 8 threads that block",
        counts: "ms",
        metrics: LATENESS,
        full: 4_000,
        quick: 200,
        rivals: &[
            (Brigade, ALL),
            (Go, ALL),
            (BrigadeTask, ALL),
            (Tokio, ALL),
            (May, ALL),
            (Kernel, ALL),
        ],
        targets: &[("p99_ms", Target::AtMost(1.0))],
        timeout_s: 60,
    },
    Spec {
        line: Line::Echo100,
        about: "64 bytes echoed n times, 100 connections busy",
        counts: "requests",
        metrics: SERVED,
        full: 300_000,
        quick: 2_000,
        rivals: SERVERS,
        targets: AS_TOKIO,
        timeout_s: 60,
    },
    Spec {
        line: Line::Echo1000,
        about: "64 bytes echoed n times, 1000 connections busy",
        counts: "requests",
        metrics: SERVED,
        full: 300_000,
        quick: 2_000,
        rivals: SERVERS,
        targets: AS_TOKIO,
        timeout_s: 60,
    },
    Spec {
        line: Line::Echo10000,
        about: "64 bytes echoed n times, 10000 connections open, 100 busy",
        counts: "requests",
        metrics: SERVED,
        full: 300_000,
        quick: 2_000,
        rivals: SERVERS,
        targets: AS_MAY_AND_TOKIO,
        timeout_s: 60,
    },
    Spec {
        line: Line::Http100,
        about: "hello by HTTP n times, keep-alive, 100 connections busy",
        counts: "requests",
        metrics: SERVED,
        full: 300_000,
        quick: 2_000,
        rivals: SERVERS,
        targets: AS_MAY_AND_TOKIO,
        timeout_s: 60,
    },
    Spec {
        line: Line::Http1000,
        about: "hello by HTTP n times, keep-alive, 1000 connections busy",
        counts: "requests",
        metrics: SERVED,
        full: 300_000,
        quick: 2_000,
        rivals: SERVERS,
        targets: AS_MAY_AND_TOKIO,
        timeout_s: 60,
    },
    Spec {
        line: Line::Accept10000,
        about: "n connections opened at once, one byte echoed on each",
        counts: "connections",
        metrics: &["all_ms", "cpu_us"],
        full: 10_000,
        quick: 300,
        rivals: SERVERS,
        targets: &[("all_ms", Target::Times(1.0, Tokio))],
        timeout_s: 60,
    },
];

impl Line {
    /// The name used on the command line and in the report.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no line is hidden");
        value.get_name().to_owned()
    }

    /// Threads of the lines that have a fixed number of them.
    pub(crate) fn threads(self) -> u64 {
        match self {
            Line::Yield2 => 2,
            Line::Mutex8 => 8,
            Line::Yield1000 | Line::Mutex1000 => 1_000,
            Line::Ring503 => 503,
            _ => 1,
        }
    }
}

/// How many spawns `fib(n)` by fork/join makes.
pub(crate) fn fib_spawns(n: u64) -> u64 {
    if n < 2 {
        0
    } else {
        1 + fib_spawns(n - 1) + fib_spawns(n - 2)
    }
}

/// The n-th Fibonacci number, to check the parallel ones against.
pub(crate) fn fib_value(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// The sum of all numbers below `n`: of skynet's leaves, of what spawned threads return, of messages.
pub(crate) fn sum_below(n: u64) -> u64 {
    n * (n - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_one_row_and_a_brigade_column() {
        for line in Line::value_variants() {
            let rows: Vec<_> = LINES.iter().filter(|s| s.line == *line).collect();
            assert_eq!(rows.len(), 1, "{}", line.name());
            assert_eq!(rows[0].rivals[0].0, Brigade, "{}", line.name());
        }
    }

    #[test]
    fn every_target_names_a_metric_and_a_rival_of_its_line() {
        for spec in LINES {
            assert!(!spec.metrics[0].ends_with("_per_s"), "{}", spec.line.name());
            for (metric, target) in spec.targets {
                assert!(
                    spec.metrics.contains(metric),
                    "{}: {metric}",
                    spec.line.name()
                );
                assert!(
                    !metric.ends_with("_per_s"),
                    "{metric} is better when larger"
                );
                if let Target::Times(_, rival) = target {
                    assert!(
                        spec.rivals.iter().any(|(r, _)| r == rival),
                        "{}",
                        spec.line.name()
                    );
                }
            }
        }
    }

    #[test]
    fn the_channel_of_the_go_program_holds_as_many_messages() {
        let go = include_str!("../rivals/go/main.go");
        assert!(go.contains(&format!("const channelCapacity = {CHANNEL_CAPACITY}\n")));
        let spec = LINES.iter().find(|s| s.line == Line::Channel4x4).unwrap();
        assert!(spec.about.contains(&format!(" {CHANNEL_CAPACITY}")));
    }

    #[test]
    fn fork_join_fib_spawns_once_per_inner_call() {
        assert_eq!((fib_spawns(2), fib_spawns(3), fib_spawns(10)), (1, 2, 88));
        assert_eq!(fib_value(27), 196_418);
    }

    #[test]
    fn skynet_needs_powers_of_ten() {
        for n in [1_000_000, 10_000, 1_000_u64] {
            assert_eq!(10_u64.pow(n.ilog10()), n);
        }
    }
}
