//! Jobs in processes of their own: what becomes of each is said, and none harms another.
//! `isolated [JOB]...` with jobs `fib:N`, `panic`, `crash`, `exit:N`, `greedy`, `forever`; by default one of each kind.

use std::time::Duration;

use brigade::process::{Job, Jobs, StartError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Work(String);

impl Job for Work {
    type Reply = u64;
    const NAME: &'static str = "work";

    fn run(self) -> u64 {
        let (kind, n) = self.0.split_once(':').unwrap_or((&self.0, "0"));
        let n: u32 = n.parse().expect("a number after the colon");
        match kind {
            "fib" => (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0,
            "panic" => panic!("this job panics"),
            "crash" => std::process::abort(),
            "exit" => std::process::exit(n as i32),
            "greedy" => vec![1_u8; 4 << 30].len() as u64,
            "forever" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            _ => panic!("no such job"),
        }
    }
}

fn main() -> Result<(), StartError> {
    let jobs = Jobs::new().with::<Work>();
    // A worker is this program once more: there, this does not return.
    jobs.serve_if_worker();

    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = [
            "fib:90", "panic", "crash", "exit:3", "greedy", "forever", "fib:50",
        ]
        .map(str::to_owned)
        .to_vec();
    }
    let pool = jobs
        .pool()
        .timeout(Duration::from_secs(1))
        .memory_limit_bytes(1 << 30)
        .capture_stderr()
        .start()?;
    let results = brigade::run(|| pool.map(names.iter().cloned().map(Work)));
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(value) => println!("{name}: {value}"),
            Err(error) if error.is_panic() => {
                println!("{name}: panicked: {}", error.panic_message().unwrap_or("?"));
            }
            Err(error) if error.is_timeout() => println!("{name}: killed, it took too long"),
            Err(error) => match (error.signal(), error.exit_code()) {
                (Some(signal), _) => println!("{name}: killed by signal {signal}"),
                (_, Some(code)) => println!("{name}: exited with code {code}"),
                _ => println!("{name}: {error}"),
            },
        }
    }
    Ok(())
}
