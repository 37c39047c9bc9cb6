#![allow(missing_docs)]
use std::sync::Arc;
use std::time::Instant;
fn cpu() -> f64 { unsafe { let mut u: libc::rusage = std::mem::zeroed(); libc::getrusage(libc::RUSAGE_SELF, &mut u); (u.ru_utime.tv_sec + u.ru_stime.tv_sec) as f64 * 1e9 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) as f64 * 1e3 } }
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let which = args[1].as_str();
    let threads: usize = args[2].parse().unwrap();
    let workers: usize = args[3].parse().unwrap();
    let n: usize = 4_000_000;
    brigade::sync::order::watch(false);
    if threads > 0 {
    let runtime = brigade::runtime::Builder::new().workers(workers).build().unwrap();
    macro_rules! run { ($m:expr) => {{
        let m = Arc::new($m);
        let (t0, c0) = (Instant::now(), cpu());
        let m2 = m.clone();
        runtime.run(move || {
            let hs: Vec<_> = (0..threads).map(|_| { let m = m2.clone(); brigade::thread::spawn(move || for _ in 0..n/threads { *m.lock().unwrap() += 1; }) }).collect();
            for h in hs { h.join().unwrap(); }
        });
        let ns = t0.elapsed().as_nanos() as f64 / n as f64;
        let c = (cpu() - c0) / n as f64;
        let met = runtime.metrics();
        println!("{which} threads {threads} workers {workers}: wall {ns:.1} cpu {c:.1} ns  switches {} parks {} steals {} handoffs {} carriers {} searches {}", met.switches, met.parks, met.steals, met.handoffs, met.carriers_started, met.searches);
    }}}
    if which == "std" { run!(std::sync::Mutex::new(0u64)) } else { run!(brigade::sync::Mutex::new(0u64)) }
    } else {
        macro_rules! one { ($n:expr, $m:expr, $l:ident) => {{ let b = $m; let t0=cpu(); for _ in 0..20_000_000 { *std::hint::black_box(&b).$l().unwrap() += 1; } println!("uncontended {} {:.2}", $n, (cpu()-t0)/2e7); }} }
        for _ in 0..2 {
        one!("brigade", brigade::sync::Mutex::new(0u64), lock);
        one!("std", std::sync::Mutex::new(0u64), lock);
        one!("brigade rw write", brigade::sync::RwLock::new(0u64), write);
        one!("std rw write", std::sync::RwLock::new(0u64), write);
        }
    }
}
