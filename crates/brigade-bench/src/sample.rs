//! What one child process reports: metrics by name, and the tools to take them.
//!
//! Every duration is wall time unless its name says `cpu`. Invariants:
//! 1. A metric's unit is the end of its name (`_ns`, `_us`, `_ms`, `_s`, `_bytes`, `_per_s`).
//! 2. Smaller is better for every metric but a rate (`_per_s`), which is therefore never the first of a line nor
//!    has a target; the report relies on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One child's result.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Metrics by name.
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl Sample {
    /// Adds a metric.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    /// Runs `pass` `passes` times in this process and keeps per-operation times.
    ///
    /// `op_ns` and `op_cpu_ns` are medians of the warm passes; `first_ns` is the
    /// first pass, which also pays for every page and cache touched first. `pass`
    /// returns how many operations it did.
    pub(crate) fn of_passes(
        passes: u32,
        mut pass: impl FnMut() -> Result<u64, String>,
    ) -> Result<Self, String> {
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..passes.max(1) {
            let watch = Stopwatch::start();
            let ops = pass()?.max(1) as f64;
            let lap = watch.lap();
            wall.push(lap.wall.as_nanos() as f64 / ops);
            cpu.push(lap.cpu.as_nanos() as f64 / ops);
        }
        let first = wall[0];
        let warm = usize::from(wall.len() > 1);
        Ok(Sample::default()
            .with("op_ns", crate::stats::median(&wall[warm..]))
            .with("op_cpu_ns", crate::stats::median(&cpu[warm..]))
            .with("first_ns", first))
    }

    /// A ticker's lateness, in milliseconds.
    pub(crate) fn of_lateness(mut late: Vec<Duration>) -> Result<Self, String> {
        if late.is_empty() {
            return Err("the ticker never ticked".to_owned());
        }
        late.sort_unstable();
        let rank = |p: f64| {
            let at = (p * late.len() as f64).ceil() as usize;
            late[at.clamp(1, late.len()) - 1].as_secs_f64() * 1e3
        };
        Ok(Sample::default()
            .with("p50_ms", rank(0.5))
            .with("p99_ms", rank(0.99))
            .with("max_ms", rank(1.0)))
    }
}

/// Wall and processor time since `start`.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

/// What a stopwatch read.
pub(crate) struct Lap {
    /// Wall time.
    pub(crate) wall: Duration,
    /// User and system time of every thread of the process.
    pub(crate) cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self {
            cpu: cpu_time(),
            wall: Instant::now(),
        }
    }

    /// Reads without stopping.
    pub(crate) fn lap(&self) -> Lap {
        Lap {
            wall: self.wall.elapsed(),
            cpu: cpu_time().saturating_sub(self.cpu),
        }
    }
}

/// Processor time this process has used.
fn cpu_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes one timespec through a pointer to a live, exclusive one.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    assert_eq!(rc, 0, "clock_gettime(CLOCK_PROCESS_CPUTIME_ID) failed");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Memory of a process as the kernel counts it, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident set (`VmRSS`).
    pub(crate) resident: u64,
    /// Page tables (`VmPTE`).
    pub(crate) tables: u64,
}

impl Memory {
    /// Reads `/proc/self/status`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or lacks a field.
    pub(crate) fn now() -> Result<Self, String> {
        Self::of("/proc/self/status")
    }

    /// Reads the status file of any process.
    ///
    /// # Errors
    ///
    /// As [`Memory::now`].
    pub(crate) fn of(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("reading {path}: {e}"))?;
        let field = |name: &str| {
            text.lines()
                .find_map(|l| {
                    l.strip_prefix(name)?
                        .split_whitespace()
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .map(|kib| kib * 1024)
                .ok_or_else(|| format!("{path} has no {name}"))
        };
        Ok(Self {
            resident: field("VmRSS:")?,
            tables: field("VmPTE:")?,
        })
    }

    /// Growth since `before`, per thread, as a sample.
    pub(crate) fn per_thread(self, before: Memory, threads: u64) -> Sample {
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / threads.max(1) as f64;
        Sample::default()
            .with("resident_bytes", each(self.resident, before.resident))
            .with("tables_bytes", each(self.tables, before.tables))
    }
}
