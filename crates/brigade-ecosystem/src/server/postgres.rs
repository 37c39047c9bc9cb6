//! A PostgreSQL server with a fresh cluster, reached over loopback or a Unix socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::{program, start_on_free_port, versioned};

/// Where Debian keeps the programs that are not for `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The superuser of the cluster.
const USER: &str = "brigade";

/// Connections that a server accepts.
const MAX_CONNECTIONS: usize = 200;

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    // Before the directory: the server ends before its directory goes.
    _daemon: Daemon,
    port: u16,
    directory: TempDir,
}

/// Whom the server runs as, if not as us.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Creates a cluster and starts a server for this test; `None` if the test is to be skipped.
    ///
    /// # Panics
    ///
    /// If it does not start, and if there is none where servers are required.
    #[must_use]
    pub fn start() -> Option<Postgres> {
        let elsewhere = versioned(Path::new(DEBIAN));
        let initdb = program("initdb", &elsewhere)?;
        let server = program("postgres", &elsewhere)?;
        let user = unprivileged();
        Some(start_on_free_port("postgres", |port| {
            let directory = cluster(&initdb, user);
            Postgres::start_in(&server, directory, user, port)
        }))
    }

    fn start_in(
        server: &Path,
        directory: TempDir,
        user: Option<User>,
        port: u16,
    ) -> Result<Postgres, String> {
        let data = data_directory(&directory);
        let mut command = command(server, &directory, user);
        command
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-N", &MAX_CONNECTIONS.to_string(), "-F"]);
        // The server writes its state to the last line of this file, as `pg_ctl` reads it.
        let state = data.join("postmaster.pid");
        let ready = || {
            std::fs::read_to_string(&state)
                .is_ok_and(|text| text.lines().last().is_some_and(|s| s.trim() == "ready"))
        };
        let log = directory.path().join("log");
        // SIGQUIT ends the server and every process of a connection at once.
        let daemon = Daemon::start(command, &log, libc::SIGQUIT, ready)?;
        Ok(Postgres {
            _daemon: daemon,
            port,
            directory,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// How a client reaches it over TCP, in the form of libpq.
    #[must_use]
    pub fn over_tcp(&self) -> String {
        self.reached_at("127.0.0.1")
    }

    /// How a client reaches it over a Unix socket, in the form of libpq.
    ///
    /// # Panics
    ///
    /// If the temporary directory has a name that is not text.
    #[must_use]
    pub fn over_unix_socket(&self) -> String {
        self.reached_at(self.directory.path().to_str().expect("a path that is text"))
    }

    fn reached_at(&self, host: &str) -> String {
        format!("host={host} port={} user={USER} dbname=postgres", self.port)
    }
}

fn data_directory(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// A program of the server, run as the server's user in a directory that it may enter.
fn command(program: &Path, directory: &TempDir, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory.path()).env("LC_ALL", "C");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// A new cluster in a temporary directory.
fn cluster(initdb: &Path, user: Option<User>) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    if let Some(user) = user {
        chown(directory.path(), Some(user.uid), Some(user.gid)).expect("root may give files away");
    }
    let mut command = command(initdb, &directory, user);
    command.arg("-D").arg(data_directory(&directory)).args([
        "-U",
        USER,
        "--auth=trust",
        "--encoding=UTF8",
        "--no-sync",
    ]);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    directory
}

/// PostgreSQL refuses to run as root: then it runs as its own user, or as nobody.
fn unprivileged() -> Option<User> {
    // SAFETY: geteuid takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("a list of accounts");
    let find = |name: &str| {
        let fields = |line: &str| -> Option<User> {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(User { uid, gid })
        };
        accounts.lines().find_map(fields)
    };
    let user = find("postgres").or_else(|| find("nobody"));
    assert!(
        user.is_some(),
        "root needs an account `postgres` or `nobody` to run PostgreSQL as"
    );
    user
}
