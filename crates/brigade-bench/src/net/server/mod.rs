//! The servers, each as a user of the rival would write it: one thread, coroutine or task per connection.

mod blocking;
#[cfg(feature = "rivals")]
mod tokio;

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use super::Protocol;
use crate::child::die_with_parent;
use crate::rival::Rival;

/// Connections that may wait to be accepted; the kernel lowers it to its `somaxconn`.
const BACKLOG: libc::c_int = 16_384;

/// The server's side: listens on any free port, says which, and serves until the process is killed.
///
/// # Errors
///
/// When the rival is none that serves, or cannot start.
pub(crate) fn serve(
    rival: Rival,
    protocol: Protocol,
    workers: usize,
    connections: usize,
) -> Result<Infallible, String> {
    super::raise_descriptor_limit(connections)?;
    match rival {
        Rival::Brigade => blocking::brigade(protocol, workers),
        Rival::Kernel => blocking::kernel(protocol, workers),
        #[cfg(feature = "rivals")]
        Rival::May => blocking::may(protocol, workers),
        #[cfg(feature = "rivals")]
        Rival::Tokio => tokio::serve(protocol, workers),
        other => Err(format!("{} has no server", other.name())),
    }
}

/// Listens on any free port of all addresses of this machine, as all servers do, and tells the parent.
fn listen() -> Result<TcpListener, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| format!("listening: {e}"))?;
    announce(&listener, listener.local_addr())?;
    Ok(listener)
}

/// Gives a listener the common backlog and prints its port.
fn announce(listener: &impl AsRawFd, address: io::Result<SocketAddr>) -> Result<(), String> {
    // SAFETY: listen takes two numbers; on a socket that listens it changes the backlog.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } != 0 {
        return Err(format!("listen: {}", io::Error::last_os_error()));
    }
    let port = address
        .map_err(|e| format!("asking for the port: {e}"))?
        .port();
    let mut out = io::stdout().lock();
    writeln!(out, "{port}")
        .and_then(|()| out.flush())
        .map_err(|e| format!("telling the port: {e}"))
}

/// A server process, killed when it goes out of scope.
pub(super) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one and waits until it listens.
    pub(super) fn start(
        rival: Rival,
        protocol: Protocol,
        workers: usize,
        connections: usize,
    ) -> Result<Self, String> {
        let me = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
        let protocol = protocol.to_possible_value().expect("none is hidden");
        let mut command = Command::new(me);
        command
            .args(["serve", "--rival", rival.name()])
            .args(["--protocol", protocol.get_name()])
            .args(["--workers", &workers.to_string()])
            .args(["--connections", &connections.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(|e| format!("starting the server: {e}"))?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
        let mut server = Self { child, port: 0 };
        server.port = read
            .ok()
            .and_then(|_| line.trim().parse().ok())
            .ok_or_else(|| format!("the server says {line:?} instead of its port"))?;
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Processor time that all threads of the server have used, to the nanosecond.
    pub(super) fn cpu_time(&self) -> Result<Duration, String> {
        let mut clock = 0;
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: the id of the clock is written to a live one.
        let rc = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        if rc != 0 {
            return Err(format!("the server's clock: error {rc}"));
        }
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time is written to a live timespec.
        match unsafe { libc::clock_gettime(clock, &raw mut time) } {
            0 => Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32)),
            _ => Err(format!(
                "the server's clock: {}",
                io::Error::last_os_error()
            )),
        }
    }

    /// Resident memory of the server.
    pub(super) fn resident_bytes(&self) -> Result<u64, String> {
        crate::sample::Memory::of(&format!("/proc/{}/status", self.child.id()))
            .map(|memory| memory.resident)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; waiting makes its processor time count as this process's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
