//! What the machine is and what it offers, read without privilege.
//!
//! Every reader returns `None` where the kernel does not say (another version, a container that
//! hides a file); nothing is guessed. [`Environment`] goes into every report, because a number
//! without its machine cannot be compared with anything.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{MembarrierCommand, membarrier_query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::probe::field;
use crate::units::{Unit, show};

/// The machine a run was made on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Kernel release.
    pub kernel: String,
    /// Processor architecture.
    pub arch: String,
    /// Model name of the CPU.
    pub cpu: Option<String>,
    /// CPUs that are switched on.
    pub cpus_online: usize,
    /// CPUs this process may use, affinity and cgroup quota included.
    pub cpus_usable: usize,
    /// CPUs' worth of time that the cgroup allows.
    pub cgroup_cpus: Option<f64>,
    /// What the machine runs on, if it is virtual.
    pub virtualization: Option<String>,
    /// Whether two CPUs share one core.
    pub smt: Option<bool>,
    /// Frequency governor of the first CPU.
    pub governor: Option<String>,
    /// Clock source.
    pub clocksource: Option<String>,
    /// Processes that wanted a CPU during the last minute, on average, before the run.
    pub load: Option<f64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Version of the C library.
    pub libc: Option<String>,
    /// Whether the program was built without optimisation; its numbers are then worth little.
    pub debug_build: bool,
}

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn read() -> Self {
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: cpu_model(),
            cpus_online: cpus_online(),
            cpus_usable: crate::probe::cpus(),
            cgroup_cpus: cgroup_cpus(),
            virtualization: virtualization(),
            smt: word("/sys/devices/system/cpu/smt/active").map(|active| active == "1"),
            governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clocksource: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            load: load(),
            memory_bytes: meminfo("MemTotal").map(|kib| kib * 1024),
            libc: libc_version(),
            debug_build: cfg!(debug_assertions),
        }
    }

    /// The environment in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = vec![format!("Linux {} {}", self.kernel, self.arch)];
        parts.extend(self.cpu.clone());
        parts.push(match self.cgroup_cpus {
            Some(quota) => format!("{} CPUs, cgroup quota {quota:.1}", self.cpus_usable),
            None => format!("{} of {} CPUs", self.cpus_usable, self.cpus_online),
        });
        parts.extend(self.smt.filter(|smt| *smt).map(|_| "SMT".to_owned()));
        parts.extend(
            self.virtualization
                .as_ref()
                .map(|v| format!("virtual ({v})")),
        );
        parts.extend(
            self.memory_bytes
                .map(|bytes| show(bytes as f64, Unit::Bytes)),
        );
        parts.extend(
            self.governor
                .as_ref()
                .map(|governor| format!("governor {governor}")),
        );
        parts.extend(
            self.clocksource
                .as_ref()
                .map(|source| format!("clock {source}")),
        );
        parts.extend(self.load.map(|load| format!("load {load:.2}")));
        parts.join(", ")
    }
}

/// The first line of a file without white space at its ends; `None` if empty or not readable.
#[must_use]
pub fn word(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The number in a file of one number; `None` if it holds none.
#[must_use]
pub fn number(path: &str) -> Option<u64> {
    word(path)?.parse().ok()
}

fn meminfo(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

/// Bytes of memory that can be used now without swapping, the cgroup's limit included. Infinite
/// if the kernel does not say.
#[must_use]
pub fn memory_available() -> f64 {
    let machine = meminfo("MemAvailable").map_or(f64::INFINITY, |kib| kib as f64 * 1024.0);
    cgroup_memory_left().map_or(machine, |left| machine.min(left))
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(crate) fn cpus_online() -> usize {
    word("/sys/devices/system/cpu/online")
        .and_then(|list| count_list(&list))
        .unwrap_or(1)
}

/// How many numbers a list such as `0-3,8` names.
fn count_list(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (usize, usize) = (low.parse().ok()?, high.parse().ok()?);
        Some(sum + (high + 1).checked_sub(low)?)
    })
}

fn load() -> Option<f64> {
    word("/proc/loadavg")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The hypervisor's or container host's name for itself, if the CPU says that there is one.
fn virtualization() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    if !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return None;
    }
    let vendor = word("/sys/class/dmi/id/sys_vendor").or_else(|| word("/sys/hypervisor/type"));
    Some(vendor.unwrap_or_else(|| "hypervisor".to_owned()))
}

/// The version of glibc that this process runs with; `None` with another C library.
#[must_use]
pub fn libc_version() -> Option<String> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the function takes nothing and has no precondition.
        let text = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: it returns a NUL-terminated string literal of the library, which is not unloaded
        // while this process runs and which nothing writes to.
        let text = unsafe { std::ffi::CStr::from_ptr(text) };
        Some(format!("glibc {}", text.to_string_lossy()))
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// Where the files of this process's control group are, from its own group up to the root.
fn cgroup_folders() -> Vec<String> {
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    let mut path = path.trim_end_matches('/');
    let mut folders = Vec::new();
    loop {
        folders.push(format!("/sys/fs/cgroup{path}"));
        match path.rfind('/') {
            Some(cut) => path = &path[..cut],
            None => return folders,
        }
    }
}

/// The tightest value of `file` from this process's group up to the root.
fn tightest(file: &str, read: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    let values = cgroup_folders().into_iter().filter_map(|folder| {
        let text = word(&format!("{folder}/{file}"))?;
        read(&text)
    });
    values.reduce(f64::min)
}

/// CPUs' worth of time that the control groups allow; `None` without a quota.
#[must_use]
pub fn cgroup_cpus() -> Option<f64> {
    tightest("cpu.max", quota).or_else(|| {
        let quota = number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
        let period = number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
        Some(quota as f64 / period as f64)
    })
}

/// Reads `QUOTA PERIOD` of a `cpu.max` file; `max` is no quota.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    Some(quota / period)
}

/// How many more kernel threads and processes the control groups allow; `None` without a limit.
#[must_use]
pub fn cgroup_tasks() -> Option<f64> {
    tightest("pids.max", |text| text.parse().ok())
}

fn cgroup_memory_left() -> Option<f64> {
    let left = cgroup_folders().into_iter().filter_map(|folder| {
        let limit = number(&format!("{folder}/memory.max"))?;
        let used = number(&format!("{folder}/memory.current"))?;
        Some(limit.saturating_sub(used) as f64)
    });
    left.reduce(f64::min)
}

/// Limits of this process; `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Kernel threads and processes of this user.
    pub tasks: Option<u64>,
    /// Address space in bytes.
    pub address_space: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
}

/// Reads the limits of this process.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        tasks: getrlimit(Resource::Nproc).current,
        address_space: getrlimit(Resource::As).current,
        files: getrlimit(Resource::Nofile).current,
    }
}

/// Whether a program may read and write the FS base without a system call. `None` where the
/// processor has no such instruction at all.
#[must_use]
pub fn fsgsbase() -> Option<bool> {
    /// Bit of the second word of hardware capabilities on x86-64.
    const FSGSBASE: usize = 1 << 1;
    cfg!(target_arch = "x86_64").then(|| rustix::param::linux_hwcap().1 & FSGSBASE != 0)
}

/// Whether the kernel offers the expedited private barrier between all threads of a process.
#[must_use]
pub fn membarrier() -> bool {
    membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
}

/// Whether the kernel can guard pages without splitting a mapping.
#[must_use]
pub fn light_guards() -> bool {
    /// `MADV_GUARD_INSTALL`, Linux 6.13.
    const GUARD_INSTALL: libc::c_int = 102;
    const PAGE: usize = 4096;
    // SAFETY: asks for a new private mapping at an address the kernel picks, so no existing memory
    // is touched; the arguments are those of an anonymous mapping.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: the page was mapped above, belongs to this function alone and is not accessed.
    let guarded = unsafe { libc::madvise(page, PAGE, GUARD_INSTALL) } == 0;
    // SAFETY: unmaps exactly what was mapped above; no reference into it exists.
    unsafe { libc::munmap(page, PAGE) };
    guarded
}

/// Bytes of a cache line, if the kernel says.
#[must_use]
pub fn cache_line_bytes() -> Option<u64> {
    number("/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size")
}

/// The caches for data of the first CPU, from the nearest on: the level and the size in bytes.
#[must_use]
pub fn caches() -> Vec<(u32, u64)> {
    let folder = |index: u32| format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
    let read = |index| {
        let folder = folder(index);
        let level = number(&format!("{folder}/level"))?;
        let size = word(&format!("{folder}/size"))?;
        Some((
            word(&format!("{folder}/type"))?,
            u32::try_from(level).ok()?,
            kib(&size)?,
        ))
    };
    let mut caches: Vec<_> = (0..)
        .map_while(read)
        .filter(|(kind, ..)| kind != "Instruction")
        .map(|(_, level, bytes)| (level, bytes))
        .collect();
    caches.sort_unstable();
    caches
}

/// Bytes of a size such as `48K`.
fn kib(size: &str) -> Option<u64> {
    Some(size.strip_suffix('K')?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("x"), None);
    }

    #[test]
    fn a_quota_is_a_share_of_its_period_and_max_is_none() {
        assert_eq!(quota("150000 100000"), Some(1.5));
        assert_eq!(quota("max 100000"), None);
    }

    #[test]
    fn sizes_of_caches_are_read_and_the_nearest_cache_comes_first() {
        assert_eq!(kib("48K"), Some(48 * 1024));
        assert_eq!(kib("48"), None);
        assert!(caches().is_sorted());
    }

    #[test]
    fn the_environment_fits_one_line_and_goes_through_json() {
        let environment = Environment::read();
        assert!(!environment.line().contains('\n'));
        assert!(environment.cpus_usable >= 1);
        let text = serde_json::to_string(&environment).unwrap();
        let back: Environment = serde_json::from_str(&text).unwrap();
        assert_eq!(back.kernel, environment.kernel);
    }
}
