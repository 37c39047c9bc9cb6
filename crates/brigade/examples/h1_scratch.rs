#![allow(missing_docs)]
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let which = args[1].as_str();
    let threads: usize = args[2].parse().unwrap();
    let workers: usize = args[3].parse().unwrap();
    let n: usize = 4_000_000;
    let runtime = brigade::runtime::Builder::new()
        .workers(workers)
        .build()
        .unwrap();
    macro_rules! run { ($m:expr) => {{
        let m = Arc::new($m);
        let t0 = Instant::now();
        let m2 = m.clone();
        runtime.run(move || {
            let hs: Vec<_> = (0..threads).map(|_| { let m = m2.clone(); brigade::thread::spawn(move || for _ in 0..n/threads { *m.lock().unwrap() += 1; }) }).collect();
            for h in hs { h.join().unwrap(); }
        });
        let ns = t0.elapsed().as_nanos() as f64 / n as f64;
        let met = runtime.metrics();
        println!("{which} threads {threads} workers {workers}: {ns:.1} ns  switches {} parks {} steals {} handoffs {} carriers {} searches {}", met.switches, met.parks, met.steals, met.handoffs, met.carriers_started, met.searches);
    }}}
    if which == "std" {
        run!(std::sync::Mutex::new(0u64))
    } else {
        run!(brigade::sync::Mutex::new(0u64))
    }
    {
        let b = brigade::sync::Mutex::new(0u64);
        let t0 = Instant::now();
        for _ in 0..10_000_000 {
            *std::hint::black_box(&b).lock().unwrap() += 1;
        }
        println!(
            "uncontended brigade {:.2}",
            t0.elapsed().as_nanos() as f64 / 1e7
        );
        let b = std::sync::Mutex::new(0u64);
        let t0 = Instant::now();
        for _ in 0..10_000_000 {
            *std::hint::black_box(&b).lock().unwrap() += 1;
        }
        println!(
            "uncontended std {:.2}",
            t0.elapsed().as_nanos() as f64 / 1e7
        );
    }
}
