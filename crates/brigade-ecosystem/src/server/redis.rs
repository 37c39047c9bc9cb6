//! A redis-server without persistence.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::{program, start_on_free_port};

/// A running redis-server.
#[derive(Debug)]
pub struct Redis {
    // Before the directory: the server ends before its directory goes.
    _daemon: Daemon,
    port: u16,
    _directory: TempDir,
}

impl Redis {
    /// Starts a server for this test; `None` if the test is to be skipped.
    ///
    /// # Panics
    ///
    /// If it does not start, and if there is none where servers are required.
    #[must_use]
    pub fn start() -> Option<Redis> {
        let server = program("redis-server", &[])?;
        Some(start_on_free_port("redis-server", |port| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            Redis::start_in(&server, directory, port)
        }))
    }

    fn start_in(server: &Path, directory: TempDir, port: u16) -> Result<Redis, String> {
        let mut command = Command::new(server);
        command
            .current_dir(directory.path())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        let log = directory.path().join("log");
        let daemon = Daemon::start(command, &log, libc::SIGKILL, || answers(port))?;
        Ok(Redis {
            _daemon: daemon,
            port,
            _directory: directory,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }
}

/// Whether a redis-server answers on this port.
fn answers(port: u16) -> bool {
    let ping = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ping().is_ok_and(|answer| &answer == b"+PONG\r\n")
}
