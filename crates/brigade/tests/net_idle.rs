//! Twenty thousand connections that say nothing cost a few kernel threads and delay nobody.
//!
//! The server is a child process with a green thread per connection; this process is the client. Each has one
//! descriptor per connection.

mod common;

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::thread;
use common::net::{descriptor_limits, limit_descriptors, reset_on_drop};
use common::{Watch, child};

const CONNECTIONS: u64 = 20_000;

/// What each process has open besides.
const SPARE_DESCRIPTORS: u64 = 60;

/// How many connections are opened before the first of them is used; less than a listener's backlog.
const BATCH: usize = 100;

fn serve() {
    limit_descriptors(descriptor_limits().1);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    runtime.run(|| {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound"));
        for stream in listener.incoming() {
            let mut stream = stream.expect("there are descriptors left");
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    stream
                        .write_all(&buffer[..length])
                        .expect("the client reads");
                }
            });
        }
    });
}

/// Sends a number and waits until it comes back.
fn ping(mut stream: &TcpStream, number: u64) {
    let mut answer = [0; 8];
    stream
        .write_all(&number.to_le_bytes())
        .expect("the server is there");
    stream
        .read_exact(&mut answer)
        .expect("the server answers in time");
    assert_eq!(u64::from_le_bytes(answer), number);
}

/// Connects to the server on one of four addresses: the kernel is slow to find a local port when most are taken.
fn connect(server: SocketAddr, number: usize) -> TcpStream {
    let host = [127, 0, 0, 1 + (number % 4) as u8];
    let stream =
        TcpStream::connect((IpAddr::from(host), server.port())).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout can be set");
    // 20,000 ports in TIME_WAIT would be missed by the next test.
    reset_on_drop(&stream);
    stream
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory)
        .expect("the server lives")
        .count()
}

#[test]
fn twenty_thousand_idle_connections_delay_nobody() {
    let mut server = child::start("twenty_thousand_idle_connections_delay_nobody", serve);
    let _watch = Watch::new("a server with idle connections");
    let (_, hard) = descriptor_limits();
    limit_descriptors(hard);
    let count = CONNECTIONS.min(hard - SPARE_DESCRIPTORS);
    let pid = server.process.id();
    let address = loop {
        let mut line = String::new();
        let length = server.output.read_line(&mut line);
        assert!(length.expect("a pipe can be read") > 0, "the server ended");
        // The test harness of the child talks too.
        if let Ok(address) = line.trim().parse() {
            break address;
        }
    };
    let mut idle: Vec<TcpStream> = Vec::new();
    while (idle.len() as u64) < count {
        let batch = BATCH.min(count as usize - idle.len());
        let new: Vec<_> = (0..batch).map(|number| connect(address, number)).collect();
        new.iter()
            .zip(0..)
            .for_each(|(stream, number)| ping(stream, number));
        idle.extend(new);
    }
    if count < CONNECTIONS {
        eprintln!(
            "{count} connections instead of {CONNECTIONS}: the hard limit on descriptors is {hard}"
        );
    }
    let threads = entries(&format!("/proc/{pid}/task"));
    let descriptors = entries(&format!("/proc/{pid}/fd"));
    eprintln!("{descriptors} descriptors, {threads} kernel threads");
    assert!(descriptors as u64 > count);
    assert!(
        threads < 50,
        "{threads} kernel threads for {count} connections"
    );

    let start = Instant::now();
    let active = &idle[idle.len() / 2];
    (0..2_000).for_each(|number| ping(active, number));
    let took = start.elapsed();
    eprintln!("2000 answers beside them took {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?} for 2000 answers");

    // Every one of them is still served, and the end of every one is seen.
    idle.iter()
        .zip(7..)
        .for_each(|(stream, number)| ping(stream, number));
    drop(idle);
    while entries(&format!("/proc/{pid}/fd")) > SPARE_DESCRIPTORS as usize {
        std::thread::yield_now();
    }
}
