//! Real servers for one test each: on loopback, with a data directory of their own, gone when the test ends.
//!
//! A test asks for a server and returns at once when there is none on this machine:
//!
//! - The server's programs are looked for in `PATH` and where Debian puts them.
//! - Where they are missing, a line `SKIPPED <test>: no <program>` goes to standard error, past the capture of the
//!   test harness; with `BRIGADE_REQUIRE_SERVERS=1` (as in `.ci/run`) that is a failure instead.
//! - A server ends with its test: stopped on drop, and by the kernel when the test's kernel thread dies without one.
//!   So the value stays on the kernel thread that started it.

mod daemon;
mod postgres;
mod redis;

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

pub use postgres::Postgres;
pub use redis::Redis;

/// Turns a missing server into a failure.
const REQUIRE: &str = "BRIGADE_REQUIRE_SERVERS";

/// How often a server is started when the port that was free is not any more.
const STARTS: usize = 3;

/// The program's path, or `None` after saying that the test is skipped.
///
/// # Panics
///
/// If the program is missing and servers are required.
fn program(name: &str, elsewhere: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    let found = std::env::split_paths(&path)
        .chain(elsewhere.iter().cloned())
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skip(name, std::env::var_os(REQUIRE).is_some());
    }
    found
}

/// Says that this test is skipped, or fails it where nothing may be skipped.
fn skip(program: &str, required: bool) {
    assert!(!required, "no {program}, and {REQUIRE} is set");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`, which the test harness captures.
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "SKIPPED {test}: no {program}");
}

/// Directories `parent/*/bin`, the last in alphabetical order first.
fn versioned(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    found.sort();
    found.reverse();
    found
}

/// A port of loopback that nobody listens on, for the moment.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port on loopback")
        .port()
}

/// Starts a server on a free port, and again on another one if it ends before it is ready.
fn start_on_free_port<T>(name: &str, start: impl Fn(u16) -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..STARTS {
        match start(free_port()) {
            Ok(server) => return server,
            Err(why) => last = why,
        }
    }
    panic!("{name} did not start in {STARTS} attempts: {last}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_path_and_elsewhere() {
        assert!(program("sh", &[]).is_some());
        let directory = tempfile::tempdir().expect("a temporary directory");
        let expected = directory.path().join("brigade-no-such-program");
        std::fs::write(&expected, "").expect("a file");
        let found = program("brigade-no-such-program", &[directory.path().to_owned()]);
        assert_eq!(found, Some(expected));
    }

    #[test]
    #[should_panic = "no brigade-no-such-program, and BRIGADE_REQUIRE_SERVERS is set"]
    fn a_missing_program_fails_the_test_where_servers_are_required() {
        skip("brigade-no-such-program", true);
    }
}
