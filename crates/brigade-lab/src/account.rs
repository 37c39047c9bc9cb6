//! What the kernel's scheduler has written down about one kernel thread.
//!
//! A *voluntary* switch is one at which the thread had stopped wanting the CPU: it waits for something. At
//! an *involuntary* one it would have gone on. Between two switches a thread is on a CPU, or in the queue of
//! one (it could run and another thread does), or asleep; the kernel sums up the first two in nanoseconds,
//! and the third is the rest.
//!
//! Every user may read all of it of their own processes.

use std::fs;
use std::time::Instant;

use crate::experiment::ArmError;
use crate::probe::{self, field};

/// The account of one kernel thread up to now, or for some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Switches away from a thread that had stopped wanting the CPU.
    pub(crate) voluntary: f64,
    /// Switches away from a thread that would have gone on.
    pub(crate) involuntary: f64,
    /// Time on a CPU, in nanoseconds.
    pub(crate) run_ns: f64,
    /// Time in the queue of a CPU, in nanoseconds.
    pub(crate) queue_ns: f64,
}

/// The account of some time, and how long that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) account: Account,
    pub(crate) elapsed_ns: f64,
}

impl Account {
    /// That of the calling kernel thread up to now.
    ///
    /// # Errors
    ///
    /// Skipped if the kernel does not tell.
    pub(crate) fn of_this_thread() -> Result<Self, ArmError> {
        let status = read("/proc/thread-self/status")?;
        let times = read("/proc/thread-self/schedstat")?;
        // The file lags behind by up to a tick for a thread that is running; the clock does not.
        let run_ns = probe::thread_cpu_time_ns();
        Ok(Self {
            run_ns,
            ..Self::parse(&status, &times)?
        })
    }

    fn parse(status: &str, times: &str) -> Result<Self, ArmError> {
        let count = |name: &str| {
            let missing = || ArmError::Skipped(format!("the kernel does not report {name}"));
            field(status, name).map(|n| n as f64).ok_or_else(missing)
        };
        let (run_ns, queue_ns) = run_and_queue(times)?;
        Ok(Self {
            voluntary: count("voluntary_ctxt_switches")?,
            involuntary: count("nonvoluntary_ctxt_switches")?,
            run_ns,
            queue_ns,
        })
    }

    /// What has been added since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            voluntary: self.voluntary - earlier.voluntary,
            involuntary: self.involuntary - earlier.involuntary,
            run_ns: self.run_ns - earlier.run_ns,
            queue_ns: self.queue_ns - earlier.queue_ns,
        }
    }
}

impl Entry {
    /// What the calling kernel thread's account gets while it does `work`.
    ///
    /// # Errors
    ///
    /// Skipped if the kernel does not tell.
    pub(crate) fn of(work: impl FnOnce()) -> Result<Self, ArmError> {
        let before = Account::of_this_thread()?;
        let begun = Instant::now();
        work();
        let elapsed_ns = begun.elapsed().as_nanos() as f64;
        let account = Account::of_this_thread()?.since(before);
        Ok(Self {
            account,
            elapsed_ns,
        })
    }
}

/// The CPU time of the first thread of process `pid`, in nanoseconds; exact while that thread sleeps.
///
/// # Errors
///
/// Skipped if the kernel does not tell.
pub(crate) fn cpu_ns_of(pid: u32) -> Result<f64, ArmError> {
    let times = read(&format!("/proc/{pid}/schedstat"))?;
    Ok(run_and_queue(&times)?.0)
}

/// Reads `RUN QUEUE SLICES` of a `schedstat` file. A kernel that does not count leaves zeros; one that does
/// has counted a slice as soon as the thread runs.
fn run_and_queue(times: &str) -> Result<(f64, f64), ArmError> {
    let numbers: Vec<f64> = times
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [run, queue, slices, ..] if slices > 0.0 => Ok((run, queue)),
        _ => Err(ArmError::Skipped(
            "the kernel keeps no account of CPU time (CONFIG_SCHED_INFO)".into(),
        )),
    }
}

fn read(path: &str) -> Result<String, ArmError> {
    fs::read_to_string(path)
        .map_err(|error| ArmError::Skipped(format!("cannot read {path}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::compute;

    #[test]
    fn an_account_is_read_from_both_files() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n";
        let account = Account::parse(status, "500 20 9\n").unwrap();
        assert_eq!((account.voluntary, account.involuntary), (7.0, 3.0));
        assert_eq!((account.run_ns, account.queue_ns), (500.0, 20.0));
    }

    #[test]
    fn a_kernel_that_does_not_count_is_skipped_with_the_reason() {
        let status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n";
        for (status, times) in [
            (status, "0 0 0\n"),
            (status, ""),
            ("Name:\tx\n", "5 2 1\n"),
            (status, "5 2\n"),
        ] {
            let error = Account::parse(status, times).unwrap_err();
            assert!(matches!(error, ArmError::Skipped(_)), "{error:?}");
        }
    }

    #[test]
    fn naps_are_voluntary_and_computing_is_time_on_a_cpu() {
        let naps = || (0..5).for_each(|_| thread::sleep(Duration::from_micros(10)));
        assert!(Entry::of(naps).unwrap().account.voluntary >= 5.0);
        let mut used = 0.0;
        let computing = Entry::of(|| {
            let before = probe::thread_cpu_time_ns();
            compute::burn(1_000_000);
            used = probe::thread_cpu_time_ns() - before;
        });
        assert!(computing.unwrap().account.run_ns >= 0.9 * used);
    }

    #[test]
    fn a_thread_that_has_just_begun_has_an_account() {
        let account = thread::spawn(Account::of_this_thread).join().unwrap();
        assert!(account.unwrap().run_ns > 0.0);
    }

    #[test]
    fn a_process_that_sleeps_has_used_some_cpu() {
        assert!(cpu_ns_of(std::process::id()).unwrap() > 0.0);
    }
}
