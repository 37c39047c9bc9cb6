//! Everything waits: the look at a process in which no green thread runs.
//!
//! # When it is certain
//!
//! 1. Every green thread waits, without a deadline, for something that only a thread can give: not for a time, a
//!    descriptor, a child process.
//! 2. Every kernel thread that is not a runtime's own is in a `futex` call without a deadline, on memory that no other
//!    process shares: the kernel says so in `/proc`. That covers kernel threads of any kind: in Brigade's waits, in
//!    std's locks and joins, in libc.
//! 3. Both were so at two looks, and nobody has run in between: the waits have the same numbers, and the kernel has
//!    switched to none of the kernel threads.
//!
//! Then all of them were stopped at one moment, and nothing inside can wake one. Left out are signals: a handler could.
//!
//! A process with a kernel thread that waits for a descriptor, a time or a signal is therefore never reported: it may be
//! the one that wakes the others. Neither is one whose `/proc` cannot be read.

use std::fs;
use std::ops::Range;

use brigade_event::{AwaitedObject, DeadlockKind, DeadlockReport, DeadlockedThread, ThreadInfo};
use brigade_runtime::waits::{self, Stall};

/// Lets the runtimes of the process look for stalls.
pub fn install() {
    waits::set_stall_inspector(inspect);
}

/// One look, by the monitor of a runtime that has been idle for some time.
fn inspect() -> Stall {
    let Some(before) = waits::picture() else {
        return Stall::No;
    };
    let Some(kernel_before) = kernel_picture(&before.futexes) else {
        return Stall::Perhaps;
    };
    if kernel_picture(&before.futexes).as_ref() != Some(&kernel_before)
        || waits::picture().as_ref() != Some(&before)
    {
        return Stall::Perhaps;
    }
    waits::report_deadlock(&report());
    Stall::No
}

/// A kernel thread that is not a runtime's.
#[derive(Debug, PartialEq, Eq)]
struct KernelThread {
    tid: u32,
    /// Times the kernel has switched away from it.
    switches: u64,
}

/// The kernel threads that are not a runtime's, if all of them are stopped and nothing outside the process can wake
/// them or a waiter for one of `futexes`.
fn kernel_picture(futexes: &[usize]) -> Option<Vec<KernelThread>> {
    let ours = waits::kernel_threads();
    let mut shared = None;
    let mut all = Vec::new();
    for task in fs::read_dir("/proc/self/task").ok()? {
        let tid: u32 = task.ok()?.file_name().to_str()?.parse().ok()?;
        if ours.contains(&tid) {
            continue;
        }
        let call = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
        let wait = FutexWait::parse(&call)?;
        if wait.timed || !wait.private && is_shared(wait.address, &mut shared)? {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?;
        all.push(KernelThread {
            tid,
            switches: switches(&status)?,
        });
    }
    for &address in futexes {
        if is_shared(address, &mut shared)? {
            return None;
        }
    }
    Some(all)
}

/// A thread that waits in the kernel for a futex.
#[derive(Debug, PartialEq, Eq)]
struct FutexWait {
    address: usize,
    private: bool,
    timed: bool,
}

impl FutexWait {
    /// Reads `/proc/PID/task/TID/syscall`: the number of the call, its six arguments, stack and instruction pointer.
    fn parse(line: &str) -> Option<FutexWait> {
        const FUTEX: &str = if cfg!(target_arch = "x86_64") {
            "202"
        } else {
            "98"
        };
        const PRIVATE: usize = 128;
        const CLOCK_REALTIME: usize = 256;
        const WAIT: usize = 0;
        const WAIT_BITSET: usize = 9;
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some(FUTEX) {
            return None;
        }
        let mut number = || usize::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        let (address, operation, _, timeout) = (number()?, number()?, number()?, number()?);
        let command = operation & !(PRIVATE | CLOCK_REALTIME);
        matches!(command, WAIT | WAIT_BITSET).then_some(FutexWait {
            address,
            private: operation & PRIVATE != 0,
            timed: timeout != 0,
        })
    }
}

/// Times the kernel has switched away from a thread, by its `status`.
fn switches(status: &str) -> Option<u64> {
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse::<u64>().ok()
    };
    Some(number("voluntary_ctxt_switches:")? + number("nonvoluntary_ctxt_switches:")?)
}

/// Whether other processes may have the memory at `address` too. The list of such memory is read once.
fn is_shared(address: usize, shared: &mut Option<Vec<Range<usize>>>) -> Option<bool> {
    if shared.is_none() {
        *shared = Some(shared_memory(&fs::read_to_string("/proc/self/maps").ok()?));
    }
    let ranges = shared.as_ref()?;
    Some(ranges.iter().any(|range| range.contains(&address)))
}

/// The shared mappings in `/proc/self/maps`.
fn shared_memory(maps: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let is_shared = words.next()?.ends_with('s');
        let hex = |text| usize::from_str_radix(text, 16).ok();
        is_shared.then_some(hex(begin)?..hex(end)?)
    };
    maps.lines().filter_map(range).collect()
}

/// All threads that wait through Brigade.
fn report() -> DeadlockReport {
    let mut threads = Vec::new();
    waits::threads(|info| threads.extend(stuck(info)));
    threads.sort_by_key(|thread| thread.thread.id);
    DeadlockReport::new(DeadlockKind::AllWait, threads)
}

fn stuck(info: ThreadInfo) -> Option<DeadlockedThread> {
    let mut wait = info.waits_for?;
    if let AwaitedObject::Lock(lock) = wait.object {
        // SAFETY: the thread waits for the lock, and goes on doing so: nothing can wake it.
        wait.object = AwaitedObject::Lock(unsafe { waits::describe_stuck_lock(lock.address) });
    }
    let mut thread = DeadlockedThread::new(info.thread, wait);
    thread.green = info.green;
    thread.spawned_at = info.spawned_at;
    thread.holds = info.holds;
    Some(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_a_futex_is_told_from_other_calls() {
        let line = "202 0x7f0000001000 0x89 0xffffffff 0x0 0x0 0xffffffff 0x7ffc 0x7fae\n";
        let wait = FutexWait {
            address: 0x7f00_0000_1000,
            private: true,
            timed: false,
        };
        if cfg!(target_arch = "x86_64") {
            assert_eq!(FutexWait::parse(line), Some(wait));
        }
        let timed = line.replace("0xffffffff 0x0 0x0", "0xffffffff 0x7ffc0 0x0");
        assert!(FutexWait::parse(&timed).is_none_or(|wait| wait.timed));
        let wake = line.replace("0x89", "0x81");
        assert_eq!(FutexWait::parse(&wake), None);
        assert_eq!(FutexWait::parse("running\n"), None);
        assert_eq!(
            FutexWait::parse("0 0x3 0x7ffc 0x1 0x0 0x0 0x0 0x0 0x0"),
            None
        );
    }

    #[test]
    fn only_shared_mappings_count_as_shared() {
        let maps = "1000-2000 rw-p 0 00:00 0\n3000-4000 rw-s 0 00:01 5 /dev/shm/x\nnonsense\n";
        assert_eq!(shared_memory(maps), vec![0x3000..0x4000; 1]);
    }

    #[test]
    fn switches_of_both_kinds_are_added() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches(status), Some(7));
        assert_eq!(switches("Name:\tx\n"), None);
    }
}
