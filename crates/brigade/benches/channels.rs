//! What channel operations cost. `cargo bench -p brigade --bench channels`, with a part of a name to select.
//!
//! Each line is the best and the median of several runs, in nanoseconds of wall time per operation.

use std::time::{Duration, Instant};

use brigade::runtime::{Builder, Runtime};
use brigade::select;
use brigade::sync::channel::{Receiver, Sender, bounded, unbounded};

const RUNS: usize = 7;

fn report(name: &str, operations: usize, mut run: impl FnMut() -> Duration) {
    if let Some(part) = std::env::args().skip(1).find(|a| !a.starts_with("--"))
        && !name.contains(&part)
    {
        return;
    }
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| run().as_nanos() as f64 / operations as f64)
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<34} {:>8.1} {:>8.1}", times[0], times[RUNS / 2]);
}

fn timed(runtime: &Runtime, body: impl FnOnce() + Send + 'static) -> Duration {
    runtime
        .spawn(|| {
            let start = Instant::now();
            body();
            start.elapsed()
        })
        .join()
        .expect("no panic")
}

fn alone(make: impl Fn() -> (Sender<usize>, Receiver<usize>)) -> Duration {
    const BATCH: usize = 16;
    let (sender, receiver) = make();
    let start = Instant::now();
    for n in 0..100_000 / BATCH {
        for _ in 0..BATCH {
            let _ = sender.send(n);
        }
        for _ in 0..BATCH {
            let _ = receiver.recv();
        }
    }
    start.elapsed()
}

fn ping_pong(rounds: usize) {
    let (ping, pings) = bounded::<usize>(0);
    let (pong, pongs) = bounded::<usize>(0);
    let other = brigade::thread::spawn(move || {
        for message in pings {
            if pong.send(message).is_err() {
                return;
            }
        }
    });
    for n in 0..rounds {
        let _ = ping.send(n);
        assert_eq!(pongs.recv(), Ok(n));
    }
    drop(ping);
    other.join().expect("no panic");
}

fn four_by_four(messages: usize, make: impl Fn() -> (Sender<usize>, Receiver<usize>)) {
    let (sender, receiver) = make();
    let producers: Vec<_> = (0..4)
        .map(|_| {
            let sender = sender.clone();
            brigade::thread::spawn(move || {
                for n in 0..messages / 4 {
                    let _ = sender.send(n);
                }
            })
        })
        .collect();
    drop(sender);
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let receiver = receiver.clone();
            brigade::thread::spawn(move || receiver.iter().count())
        })
        .collect();
    for producer in producers {
        producer.join().expect("no panic");
    }
    let counts = consumers.into_iter().map(|c| c.join().expect("no panic"));
    assert_eq!(counts.sum::<usize>(), messages);
}

fn ring(hops: usize, capacity: usize) {
    const THREADS: usize = 503;
    let channels: Vec<_> = (0..THREADS).map(|_| bounded::<usize>(capacity)).collect();
    let (done, is_done) = bounded(1);
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let receiver = channels[n].1.clone();
            let sender = channels[(n + 1) % THREADS].0.clone();
            let done = done.clone();
            brigade::thread::spawn(move || {
                for left in receiver {
                    if left == 0 {
                        let _ = done.send(());
                        return;
                    }
                    if sender.send(left - 1).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let _ = channels[0].0.send(hops);
    drop(channels);
    let _ = is_done.recv();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn select_two(rounds: usize) {
    let (one, ones) = bounded::<usize>(0);
    let (two, twos) = bounded::<usize>(0);
    let other = brigade::thread::spawn(move || {
        for n in 0..rounds {
            let _ = if n % 2 == 0 { one.send(n) } else { two.send(n) };
        }
    });
    for _ in 0..rounds {
        select! {
            recv(ones) -> message => assert!(message.is_ok()),
            recv(twos) -> message => assert!(message.is_ok()),
        }
    }
    other.join().expect("no panic");
}

fn main() {
    report("send + recv, one thread, bounded", 100_000, || {
        alone(|| bounded(64))
    });
    report("send + recv, one thread, unbounded", 100_000, || {
        alone(unbounded)
    });
    for workers in [1, 2] {
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        let line = |name: &str, operations, body: fn()| {
            report(&format!("{name}, {workers} workers"), operations, || {
                timed(&runtime, body)
            });
        };
        line("ping-pong", 200_000, || ping_pong(200_000));
        line("ring of 503, rendezvous", 500_000, || ring(500_000, 0));
        line("ring of 503, bounded(1)", 500_000, || ring(500_000, 1));
        line("4x4, bounded(1)", 200_000, || {
            four_by_four(200_000, || bounded(1));
        });
        line("4x4, bounded(64)", 1_000_000, || {
            four_by_four(1_000_000, || bounded(64));
        });
        line("4x4, bounded(1024)", 1_000_000, || {
            four_by_four(1_000_000, || bounded(1024));
        });
        line("4x4, unbounded", 1_000_000, || {
            four_by_four(1_000_000, unbounded);
        });
        line("select of two", 200_000, || select_two(200_000));
    }
}
