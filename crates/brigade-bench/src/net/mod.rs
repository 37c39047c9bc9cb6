//! Lines about connections: a server of the rival's in a process of its own, and one client for all of them.
//!
//! The child that takes the sample is the client. It starts the server (this binary's hidden `serve` command), opens
//! the connections, and drives them from one thread with epoll (`client`), every reply checked byte by byte
//! (`protocol`). What counts is the processor time of the server's process per request, over the measured requests
//! only. Both processes share the machine, so wall figures say less than that.
//!
//! All servers are given the same backlog, since a listener's default differs between libraries (std has 128, tokio
//! 1024) and a full one costs its clients a second.
//!
//! Rejected: a load generator from elsewhere. It must be there, and its own cost differs between versions; what is
//! compared here is only the server.

mod client;
mod protocol;
pub(crate) mod server;

use std::time::{Duration, Instant};

use crate::line::{Line, Work};
use crate::rival::Rival;
use crate::sample::Sample;

use client::Client;
pub(crate) use protocol::Protocol;
use server::Server;

/// What a line asks of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What is spoken.
    protocol: Protocol,
    /// Connections that are open.
    open: usize,
    /// Connections that always have a request under way.
    active: usize,
}

impl Load {
    /// The load of a line; `None` for the lines about threads.
    pub(crate) fn of(line: Line, n: u64) -> Option<Load> {
        let load = |protocol, open, active| {
            Some(Load {
                protocol,
                open,
                active,
            })
        };
        match line {
            Line::Echo100 => load(Protocol::Echo, 100, 100),
            Line::Echo1000 => load(Protocol::Echo, 1_000, 1_000),
            // A quick run opens no more than it uses.
            Line::Echo10000 => load(Protocol::Echo, n.min(10_000) as usize, 100),
            Line::Http100 => load(Protocol::Http, 100, 100),
            Line::Http1000 => load(Protocol::Http, 1_000, 1_000),
            Line::Accept10000 => load(Protocol::Byte, n as usize, 0),
            _ => None,
        }
    }
}

/// How many connections are opened at a time where that is not what is measured; fewer than any backlog.
const BATCH: usize = 100;

/// Takes the sample of `work` on a server of `rival`.
///
/// # Errors
///
/// When the server cannot be started, a connection breaks, or a reply is wrong.
pub(crate) fn run(rival: Rival, work: &Work, load: Load) -> Result<Sample, String> {
    raise_descriptor_limit(load.open)?;
    let server = Server::start(rival, load.protocol, work.workers, load.open)?;
    let mut client = Client::new(server.port(), load.protocol, load.open)?;
    match load.active {
        0 => opened_at_once(&server, &mut client, load.open),
        _ => in_flight(&server, &mut client, load, work.n),
    }
}

/// Opens all connections at once: time until every one has had an answer.
fn opened_at_once(server: &Server, client: &mut Client, open: usize) -> Result<Sample, String> {
    let (start, cpu) = (Instant::now(), server.cpu_time()?);
    client.open(open)?;
    let took = start.elapsed();
    let cpu = server.cpu_time()?.saturating_sub(cpu);
    Ok(Sample::default()
        .with("all_ms", took.as_secs_f64() * 1e3)
        .with("cpu_us", micros(cpu) / open as f64))
}

/// Keeps a request under way on each active connection until `n` have been answered.
fn in_flight(server: &Server, client: &mut Client, load: Load, n: u64) -> Result<Sample, String> {
    let idle = server.resident_bytes()?;
    for first in (0..load.open).step_by(BATCH) {
        client.open(BATCH.min(load.open - first))?;
    }
    let resident = server.resident_bytes()?.saturating_sub(idle);
    let step = load.open / load.active;
    for connection in (0..load.open).step_by(step) {
        client.request(connection)?;
    }
    client.answered(n / 10 + 2 * load.active as u64)?;
    let (start, cpu) = (Instant::now(), server.cpu_time()?);
    let mut latencies = client.answered(n)?;
    let took = start.elapsed();
    let cpu = server.cpu_time()?.saturating_sub(cpu);
    latencies.sort_unstable();
    let rank = |p: f64| {
        let at = (p * latencies.len() as f64).ceil() as usize;
        micros(latencies[at.clamp(1, latencies.len()) - 1])
    };
    Ok(Sample::default()
        .with("cpu_us", micros(cpu) / n as f64)
        .with("req_per_s", n as f64 / took.as_secs_f64())
        .with("p50_us", rank(0.5))
        .with("p99_us", rank(0.99))
        .with("connection_bytes", resident as f64 / load.open as f64))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Lets this process have `connections` descriptors and some more.
fn raise_descriptor_limit(connections: usize) -> Result<(), String> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit to a live one.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let needed = connections as u64 + 64;
    if got != 0 || limit.rlim_max < needed {
        let most = limit.rlim_max;
        return Err(format!(
            "{needed} descriptors are needed, the hard limit is {most}"
        ));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is a valid structure.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(format!("setrlimit: {}", std::io::Error::last_os_error())),
    }
}
