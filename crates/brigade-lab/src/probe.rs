//! What an arm reads about processes and threads while it measures: its own, and its peer's.
//!
//! Everything here comes from `/proc` or from system calls that need no privilege. Reading a file
//! of `/proc` takes tens of microseconds, so arms read before and after what they measure, never
//! in between.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem::MaybeUninit;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use crate::experiment::ArmError;
use crate::machine;
use crate::units::{Unit, show};

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
    switches_in(&read("/proc/thread-self/status")?)
}

/// If the kernel thread `thread` of this process sleeps in a `futex` call, where locks wait: how often it has
/// been switched away from so far. None if it does anything else, or has ended.
pub(crate) fn asleep_in_futex(thread: i32) -> Result<Option<u64>, ArmError> {
    let folder = format!("/proc/self/task/{thread}");
    let read_there = |file| match fs::read_to_string(format!("{folder}/{file}")) {
        Err(error) if ended_meanwhile(&error) => Ok(String::new()),
        Err(error) => Err(ArmError::Skipped(format!(
            "cannot read {folder}/{file}: {error}"
        ))),
        Ok(text) => Ok(text),
    };
    let (call, status) = (read_there("syscall")?, read_there("status")?);
    let number = call.split_whitespace().next().and_then(|n| n.parse().ok());
    let sleeps = status.lines().any(|line| line.starts_with("State:\tS"));
    if sleeps && number == Some(libc::SYS_futex) {
        switches_in(&status).map(Some)
    } else {
        Ok(None)
    }
}

fn ended_meanwhile(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn switches_in(status: &str) -> Result<u64, ArmError> {
    Ok(
        require(status, "voluntary_ctxt_switches")?
            + require(status, "nonvoluntary_ctxt_switches")?,
    )
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

impl Memory {
    /// All of it that is memory and not address space, in bytes.
    pub(crate) fn total(&self) -> f64 {
        self.resident + self.page_tables + self.kernel_stacks
    }
}

/// Reads the memory of this process.
pub(crate) fn memory() -> Result<Memory, ArmError> {
    memory_in("/proc/self/status")
}

/// Reads the memory of the process `pid`.
pub(crate) fn memory_of(pid: u32) -> Result<Memory, ArmError> {
    memory_in(&format!("/proc/{pid}/status"))
}

fn memory_in(status: &str) -> Result<Memory, ArmError> {
    let status = read(status)?;
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

/// What the kernel has counted for the kernel threads of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Switches away from a kernel thread, of its own will or not.
    pub(crate) switches: f64,
    /// CPU time in nanoseconds.
    pub(crate) cpu_ns: f64,
}

/// Sums up the activity of the kernel threads that the process `pid` has now; one that ends meanwhile
/// is passed over.
pub(crate) fn activity_of(pid: u32) -> Result<Activity, ArmError> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder)
        .map_err(|error| ArmError::Skipped(format!("cannot read {folder}: {error}")))?;
    let mut sum = Activity::default();
    for thread in threads.flatten() {
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else {
            continue;
        };
        sum.switches += (require(&status, "voluntary_ctxt_switches")?
            + require(&status, "nonvoluntary_ctxt_switches")?) as f64;
        if let Ok(times) = fs::read_to_string(thread.path().join("schedstat")) {
            let on_cpu = times.split_whitespace().next();
            sum.cpu_ns += on_cpu.and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN);
        }
    }
    Ok(sum)
}

/// Lets this process and those it starts have `files` open files, if the hard limit allows that.
pub(crate) fn require_files(files: usize) -> Result<(), ArmError> {
    let limit = getrlimit(Resource::Nofile);
    let files = files as u64;
    if limit.current.is_none_or(|now| now >= files) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < files) {
        let reason = format!("needs {files} open files and the limit is {most} (ulimit -Hn)");
        return Err(ArmError::Skipped(reason));
    }
    let raised = Rlimit {
        current: Some(files),
        ..limit
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| ArmError::Skipped(format!("cannot raise the limit of files: {error}")))
}

/// Skips the arm if a limit would stop `count` kernel threads, and names the limit.
pub(crate) fn require_kernel_threads(count: u32) -> Result<(), ArmError> {
    let spare = 500.0;
    let limits = [
        (
            "the kernel's threads-max",
            machine::number("/proc/sys/kernel/threads-max").map(|n| n as f64),
        ),
        (
            "the kernel's pid_max",
            machine::number("/proc/sys/kernel/pid_max").map(|n| n as f64),
        ),
        (
            "the user's process limit (ulimit -u)",
            machine::limits().tasks.map(|n| n as f64),
        ),
        ("the cgroup's pids.max", machine::cgroup_tasks()),
    ];
    for (name, limit) in limits {
        if limit.is_some_and(|limit| limit < f64::from(count) + spare) {
            let limit = show(limit.unwrap_or_default(), Unit::Count);
            return Err(ArmError::Skipped(format!("{name} is {limit}")));
        }
    }
    Ok(())
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

/// How often the kernel has switched away from a kernel thread of this process so far, those that have ended
/// included.
pub(crate) fn switches() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to room for one `rusage`, which the call may write.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if failed != 0 {
        return f64::NAN;
    }
    // SAFETY: the call has filled it in; a `rusage` is plain numbers besides, and was zeroed.
    let usage = unsafe { usage.assume_init() };
    (usage.ru_nvcsw + usage.ru_nivcsw) as f64
}

/// How many CPUs this process may run on, cgroup quota included.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Restricts the calling thread, and every thread it starts, to the CPU it runs on now.
pub(crate) fn pin_to_one_cpu() -> Result<(), ArmError> {
    pin_to(current_cpu())
}

/// The CPU that the calling thread runs on.
pub(crate) fn current_cpu() -> usize {
    rustix::thread::sched_getcpu()
}

/// Restricts the calling thread, and every thread it starts, to `cpu`.
pub(crate) fn pin_to(cpu: usize) -> Result<(), ArmError> {
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| ArmError::Skipped(format!("cannot pin a thread to one CPU: {error}")))
}

/// CPUs that this process may run on, at most one of each core, so that no two of them share the caches of
/// a core. Where the kernel does not say which CPUs share a core, each counts as one of its own.
pub(crate) fn cores() -> Result<Vec<usize>, ArmError> {
    let mut seen = BTreeSet::new();
    let first_of_core = |cpu: &usize| {
        let list = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        seen.insert(machine::word(&list).unwrap_or_else(|| cpu.to_string()))
    };
    let mut cpus = usable_cpus()?;
    cpus.retain(first_of_core);
    Ok(cpus)
}

/// The CPUs that this process may run on.
pub(crate) fn usable_cpus() -> Result<Vec<usize>, ArmError> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Skips the arm unless `bytes` are at most three quarters of the memory that is free now.
pub(crate) fn require_memory(bytes: f64) -> Result<(), ArmError> {
    let free = machine::memory_available();
    if bytes <= free * 0.75 {
        return Ok(());
    }
    Err(ArmError::Skipped(format!(
        "needs about {} of memory and may use three quarters of the {} that are free",
        show(bytes, Unit::Bytes),
        show(free, Unit::Bytes)
    )))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

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
        assert!(activity_of(std::process::id()).unwrap().switches > 0.0);
        assert!(cpu_time_ns() > 0.0);
    }

    #[test]
    fn switches_of_threads_that_have_ended_still_count() {
        let before = switches();
        let naps = || (0..5).for_each(|_| std::thread::sleep(std::time::Duration::from_micros(1)));
        std::thread::spawn(naps).join().unwrap();
        assert!(switches() - before >= 5.0);
    }

    #[test]
    fn a_thread_that_waits_for_a_lock_is_told_from_one_that_runs_or_waits_for_something_else() {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(asleep_in_futex(own), Ok(None));
        let lock = std::sync::Mutex::new(());
        let held = lock.lock().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let tell = || sender.send(rustix::thread::gettid().as_raw_nonzero().get());
        let (locking, of_reading) = std::thread::scope(|scope| {
            scope.spawn(|| {
                tell().unwrap();
                drop(lock.lock());
            });
            let locking = receiver.recv().unwrap();
            scope.spawn(|| {
                tell().unwrap();
                reader.read_exact(&mut [0]).unwrap_err();
            });
            let reading = receiver.recv().unwrap();
            let sleeps = |thread: i32| {
                let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"));
                status.unwrap().contains("State:\tS")
            };
            while !sleeps(reading) || asleep_in_futex(locking).unwrap().is_none() {
                std::thread::yield_now();
            }
            let of_reading = asleep_in_futex(reading);
            drop((held, writer));
            (locking, of_reading)
        });
        assert_eq!(of_reading, Ok(None));
        while fs::exists(format!("/proc/self/task/{locking}")).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(asleep_in_futex(locking), Ok(None), "it has ended");
    }

    #[test]
    fn a_thread_that_is_pinned_to_a_core_runs_there() {
        for cpu in cores().unwrap() {
            let pinned = std::thread::spawn(move || pin_to(cpu).map(|()| current_cpu()));
            assert_eq!(pinned.join().unwrap(), Ok(cpu));
        }
    }
}
