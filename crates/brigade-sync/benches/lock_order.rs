//! What it costs to watch the order of locks: uncontended locks on a kernel thread, with the watch off and on.
//!
//! `cargo bench -p brigade-sync --bench lock_order`

use std::hint::black_box;
use std::time::Instant;

use brigade_sync::{Mutex, order};

const ROUNDS: u32 = 20_000;
const REPEATS: usize = 401;

/// The quickest of many short runs, in nanoseconds for one lock and unlock.
fn ns_per_lock(depth: usize, on: bool, locks: &[Mutex<u64>]) -> f64 {
    order::watch(on);
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            nest(&locks[..depth]);
        }
        let total = begin.elapsed().as_nanos() as f64;
        best = best.min(total / f64::from(ROUNDS) / depth as f64);
    }
    best
}

fn nest(locks: &[Mutex<u64>]) {
    if let Some((first, rest)) = locks.split_first() {
        let mut guard = first.lock().unwrap();
        *black_box(&mut *guard) += 1;
        nest(rest);
    }
}

fn main() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let locks: Vec<Mutex<u64>> = NAMES
        .iter()
        .map(|name| Mutex::new(0).with_name(name))
        .collect();
    println!("depth   off (ns per lock)   on (ns per lock)");
    for depth in 1..=NAMES.len() {
        let off = ns_per_lock(depth, false, &locks);
        let on = ns_per_lock(depth, true, &locks);
        println!("{depth:>5} {off:>19.1} {on:>18.1}");
    }
}
