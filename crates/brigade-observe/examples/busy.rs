//! A program that does one thing, for somebody outside to judge.
//!
//! `busy hogs N`: N threads compute. `busy sleeper`: one thread sleeps. `busy sockets N`: N threads each wait for a
//! socket. `busy bursts`: one thread computes for a moment and waits for a socket in turn.
//!
//! "ready" on standard output says that all have begun; it runs until it is killed.

use std::hint::black_box;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = arguments.get(1).and_then(|text| text.parse().ok());
    let mut kept = Vec::new();
    match arguments.first().map(String::as_str) {
        Some("hogs") => (0..number.unwrap_or(8)).for_each(|_| drop(thread::spawn(compute))),
        Some("sockets") => {
            for _ in 0..number.unwrap_or(200) {
                let (mut mine, other) = UnixStream::pair().expect("sockets");
                kept.push(other);
                thread::spawn(move || mine.read(&mut [0; 1]));
            }
        }
        Some("bursts") => drop(thread::spawn(bursts)),
        Some("sleeper") => {}
        _ => return eprintln!("usage: busy hogs|sleeper|sockets|bursts [N]"),
    }
    println!("ready");
    thread::sleep(HOUR);
}

fn compute() {
    loop {
        black_box((0..1000_u64).fold(0, |sum, number| sum ^ black_box(number)));
    }
}

/// Computes for a quarter of the time, in short turns.
fn bursts() {
    let (mut mine, other) = UnixStream::pair().expect("sockets");
    let _other = other;
    loop {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(500) {
            black_box(begun);
        }
        let pause = Some(Duration::from_micros(1500));
        mine.set_read_timeout(pause).expect("a socket");
        let _ = mine.read(&mut [0; 1]);
    }
}
