//! Green threads that wait in known ways, for somebody outside to look at.
//!
//! `parked mix N`: N threads sleep for an hour, one holds a mutex "till" and three want it, one joins the holder.
//! `parked headless N`: the same, and the main thread of the program has ended.
//! `parked deadlock`: two threads take two mutexes in opposite orders, and the main thread joins them.
//! `parked churn`: threads begin, wait and end as fast as they can.
//!
//! "ready" on standard output says that all are there; the end of standard input ends `mix` and `churn`.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::sync::{Barrier, Mutex};
use brigade::thread;

const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = arguments.get(1).and_then(|text| text.parse().ok());
    match arguments.first().map(String::as_str) {
        Some("mix") => mix(number.unwrap_or(10)),
        Some("headless") => headless(number.unwrap_or(10)),
        Some("deadlock") => deadlock(),
        Some("churn") => churn(number.unwrap_or(4)),
        _ => eprintln!("usage: parked mix|headless|deadlock|churn [N]"),
    }
}

fn say_ready_and_wait_for_the_end() {
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

fn headless(sleepers: usize) {
    std::thread::spawn(move || mix(sleepers));
    // SAFETY: ends this thread and nothing else; nothing on its stack is in use by others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

fn mix(sleepers: usize) {
    for _ in 0..sleepers {
        thread::spawn(|| thread::sleep(HOUR));
    }
    let till = Arc::new(Mutex::new(0).with_name("till"));
    let (taken, holds) = std::sync::mpsc::channel();
    let holder = {
        let till = Arc::clone(&till);
        let hold = move || {
            let _guard = till.lock();
            let _ = taken.send(());
            thread::sleep(HOUR);
        };
        named("clerk").spawn(hold).expect("a thread")
    };
    let _ = holds.recv();
    for _ in 0..3 {
        let till = Arc::clone(&till);
        let wait = move || drop(till.lock());
        named("customer").spawn(wait).expect("a thread");
    }
    let join = move || drop(holder.join());
    named("boss").spawn(join).expect("a thread");
    say_ready_and_wait_for_the_end();
}

fn deadlock() {
    let fork = Arc::new(Mutex::new(()).with_name("fork"));
    let knife = Arc::new(Mutex::new(()).with_name("knife"));
    let both = Arc::new(Barrier::new(2));
    let dine = |name: &str, first: &Arc<Mutex<()>>, second: &Arc<Mutex<()>>| {
        let (first, second) = (Arc::clone(first), Arc::clone(second));
        let both = Arc::clone(&both);
        let eat = move || {
            let _first = first.lock();
            both.wait();
            let _second = second.lock();
        };
        named(name).spawn(eat).expect("a thread")
    };
    let one = dine("left", &fork, &knife);
    let other = dine("right", &knife, &fork);
    println!("ready");
    let _ = one.join();
    let _ = other.join();
}

fn churn(chains: usize) {
    let go_on = Arc::new(AtomicBool::new(true));
    let chain: Vec<_> = (0..chains)
        .map(|number| {
            let go_on = Arc::clone(&go_on);
            thread::spawn(move || {
                // ORDER: Relaxed: a mark without data.
                while go_on.load(Ordering::Relaxed) {
                    let nap = || thread::sleep(Duration::from_micros(50));
                    let child = named(&format!("child of {number}")).spawn(nap);
                    let _ = child.expect("a thread").join();
                }
            })
        })
        .collect();
    say_ready_and_wait_for_the_end();
    // ORDER: Relaxed: as above.
    go_on.store(false, Ordering::Relaxed);
    for thread in chain {
        let _ = thread.join();
    }
}
