//! What an arm reads about its own process and thread while it measures.
//!
//! Everything here comes from `/proc` or from system calls that need no privilege. Reading a file
//! of `/proc` takes tens of microseconds, so arms read before and after what they measure, never
//! in between.

use std::fs;

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use crate::experiment::ArmError;

/// The value of `field` in the text of a `status` or `meminfo` file, without its unit.
pub(crate) fn field(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Result<String, ArmError> {
    fs::read_to_string(path)
        .map_err(|error| ArmError::Skipped(format!("cannot read {path}: {error}")))
}

fn require(text: &str, name: &str) -> Result<u64, ArmError> {
    field(text, name).ok_or_else(|| ArmError::Skipped(format!("the kernel does not report {name}")))
}

/// How often the calling kernel thread has been switched away from so far, of its own will or not.
pub(crate) fn switches_of_this_thread() -> Result<u64, ArmError> {
    let status = read("/proc/thread-self/status")?;
    Ok(require(&status, "voluntary_ctxt_switches")?
        + require(&status, "nonvoluntary_ctxt_switches")?)
}

/// The memory of this process, in bytes, and how many kernel threads it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) address_space: f64,
    pub(crate) page_tables: f64,
    /// The kernel's own stacks of all kernel threads on the machine.
    pub(crate) kernel_stacks: f64,
    pub(crate) threads: u64,
}

/// Reads the memory of this process.
pub(crate) fn memory() -> Result<Memory, ArmError> {
    let status = read("/proc/self/status")?;
    let machine = read("/proc/meminfo")?;
    let kib = |name| require(&status, name).map(|kib| kib as f64 * 1024.0);
    Ok(Memory {
        resident: kib("VmRSS")?,
        address_space: kib("VmSize")?,
        page_tables: kib("VmPTE")?,
        kernel_stacks: require(&machine, "KernelStack")? as f64 * 1024.0,
        threads: require(&status, "Threads")?,
    })
}

/// CPU time that this process has used, in nanoseconds, over all its kernel threads.
pub(crate) fn cpu_time_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// CPU time that the calling kernel thread has used, in nanoseconds.
pub(crate) fn thread_cpu_time_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// How many CPUs this process may run on, cgroup quota included.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Restricts the calling thread, and every thread it starts, to the CPU it runs on now.
pub(crate) fn pin_to_one_cpu() -> Result<(), ArmError> {
    let mut set = CpuSet::new();
    set.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| ArmError::Skipped(format!("cannot pin a thread to one CPU: {error}")))
}

/// Skips the arm unless `bytes` are at most three quarters of the memory that is free now.
pub(crate) fn require_memory(bytes: f64) -> Result<(), ArmError> {
    let free = crate::machine::memory_available();
    if bytes <= free * 0.75 {
        return Ok(());
    }
    let show = |bytes| crate::units::show(bytes, crate::units::Unit::Bytes);
    Err(ArmError::Skipped(format!(
        "needs about {} of memory and may use three quarters of the {} that are free",
        show(bytes),
        show(free)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text =
            "VmSize:\t  100 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(text, "voluntary_ctxt_switches"), Some(3));
        assert_eq!(field(text, "VmSize"), Some(100));
        assert_eq!(field(text, "Vm"), None);
    }

    #[test]
    fn this_process_can_read_itself() {
        assert!(memory().unwrap().resident > 0.0);
        switches_of_this_thread().unwrap();
        assert!(cpu_time_ns() > 0.0);
    }
}
