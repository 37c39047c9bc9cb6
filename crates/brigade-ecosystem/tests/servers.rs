//! The servers of the tests leave nothing behind, even when a test is killed.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_ecosystem::server::{Postgres, Redis};

/// Set in the process that is going to be killed.
const VICTIM: &str = "BRIGADE_TEST_VICTIM";

/// How long a server may take to go, in seconds.
const GONE_WITHIN_SECONDS: u64 = 20;

#[test]
fn servers_end_when_the_process_of_their_test_is_killed() {
    let servers = (Postgres::start(), Redis::start());
    let (Some(postgres), Some(redis)) = &servers else {
        return;
    };
    if std::env::var_os(VICTIM).is_some() {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "\nserver {}", postgres.address()).expect("the parent reads");
        writeln!(stdout, "server {}", redis.address()).expect("the parent reads");
        std::thread::sleep(Duration::MAX);
    }
    let mut victim = Command::new(std::env::current_exe().expect("the path of this test binary"))
        .args([
            "servers_end_when_the_process_of_their_test_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let lines = BufReader::new(victim.stdout.take().expect("stdout is piped")).lines();
    let addresses: Vec<SocketAddr> = lines
        .map(|line| line.expect("a text"))
        .filter_map(|line| line.strip_prefix("server ")?.parse().ok())
        .take(2)
        .collect();
    assert_eq!(addresses.len(), 2, "the child did not start its servers");
    assert!(
        addresses
            .iter()
            .all(|address| TcpStream::connect(address).is_ok())
    );
    victim.kill().expect("a child of this process");
    victim.wait().expect("a child of this process");
    for address in addresses {
        assert_gone(address);
    }
    let addresses = [postgres.address(), redis.address()];
    assert!(
        addresses
            .iter()
            .all(|address| TcpStream::connect(address).is_ok())
    );
    drop(servers);
    for address in addresses {
        assert_gone(address);
    }
}

/// Fails if somebody goes on listening.
#[track_caller]
fn assert_gone(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(GONE_WITHIN_SECONDS);
    while TcpStream::connect(address).is_ok() {
        assert!(
            Instant::now() < deadline,
            "a server still listens on {address}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
