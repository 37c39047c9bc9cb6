//! The green threads of another process that runs Brigade: read from its memory, while nothing of it runs for that.
//!
//! So a process that hangs can be read, and one that is idle is not woken. What is needed is the right to trace the
//! process: that is, to be its user (and `kernel.yama.ptrace_scope` of 0), or root.
//!
//! # Limits
//!
//! Brigade is looked for in the program's own file, not in libraries that it loads, nor where the program is started
//! through the dynamic loader by name.

mod edges;
mod entries;
mod header;
mod image;
mod memory;
mod report;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use brigade_event::outside::Word;

pub use report::{GreenGroup, GreenReport, GreenThread, Held};

use self::entries::Reader;
use self::header::Header;
use self::memory::{Memory, ProcessMemory};
use crate::look::Process;
use crate::proc_text::Stat;
use crate::source::Source;

/// Reading ends after so long. Some millions of threads are read in it, and nobody has more.
const MOST_TIME: Duration = Duration::from_secs(10);

/// What is known of the green threads of a process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Green {
    /// The process runs Brigade, and these are its threads.
    Threads(Box<GreenReport>),
    /// The process does not run Brigade.
    NotBrigade,
    /// The kernel does not let this program look: why, and what would help.
    Denied {
        /// Why.
        why: String,
        /// What would help.
        remedy: &'static str,
    },
    /// The process runs Brigade and could not be read: why.
    Unreadable(String),
}

/// Reads the green threads of a process.
///
/// # Blocks
///
/// The kernel thread, for about two microseconds for each green thread. The process is not stopped.
///
/// # Examples
///
/// ```
/// use brigade_observe::{Green, Look, Source, green_threads};
///
/// let source = Source::new();
/// let me = Look::take(&source, std::process::id())?;
/// // This program does not start a runtime.
/// assert!(!matches!(green_threads(&source, &me.process), Green::Threads(_)));
/// # Ok::<(), brigade_observe::Error>(())
/// ```
#[must_use]
pub fn green_threads(source: &Source, process: &Process) -> Green {
    if process.is_kernel_thread || process.is_zombie {
        return Green::NotBrigade;
    }
    if !source.has_our_numbers() {
        return Green::Unreadable(
            "/proc here numbers processes as another PID namespace does".to_owned(),
        );
    }
    let found = read(source, process.memory_tid);
    // What was read may be another process: the number is free as soon as this one has ended.
    if !is_same(source, process) {
        return Green::Unreadable("it ended while it was read".to_owned());
    }
    match found {
        Ok(Some(report)) => Green::Threads(Box::new(report)),
        Ok(None) => Green::NotBrigade,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied(process),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Green::Unreadable(error.to_string())
        }
        Err(error) => Green::Unreadable(format!("its memory cannot be read: {error}")),
    }
}

/// Whether the number still is that of the process.
fn is_same(source: &Source, process: &Process) -> bool {
    let stat = source.text(&source.process(process.pid).join("stat"));
    let stat = stat.ok().and_then(|text| Stat::parse(&text));
    stat.is_some_and(|stat| stat.started_ticks == process.started_ticks)
}

fn read(source: &Source, pid: u32) -> io::Result<Option<GreenReport>> {
    let Some(address) = image::header_address(source, pid)? else {
        return Ok(None);
    };
    let memory =
        ProcessMemory::new(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    read_memory(&memory, address, Instant::now() + MOST_TIME).map(Some)
}

fn read_memory(memory: &dyn Memory, address: u64, until: Instant) -> io::Result<GreenReport> {
    let header = Header::read(memory, address)?;
    let mut reader = Reader::new(memory, header, until);
    if reader.header.get(Word::Started) != 0 {
        reader.read_all()?;
    }
    let edges = edges::find(&mut reader)?;
    Ok(report::build(&reader, &edges, monotonic_ms()))
}

/// Milliseconds of the clock that waits are measured with.
fn monotonic_ms() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1000)
        .wrapping_add(time.tv_nsec as u64 / 1_000_000)
}

fn denied(process: &Process) -> Green {
    // SAFETY: takes nothing and cannot fail.
    let me = unsafe { libc::geteuid() };
    let (why, remedy) = match process.user {
        Some(user) if user != me => (
            format!("the process belongs to user {user} and this program runs as user {me}"),
            "run as that user, or as root",
        ),
        _ => match ptrace_scope() {
            Some(scope) if scope > 0 => (
                format!("kernel.yama.ptrace_scope is {scope}"),
                "run as root, or set kernel.yama.ptrace_scope to 0",
            ),
            _ => (
                "the kernel does not let this user trace it".to_owned(),
                "run as root (CAP_SYS_PTRACE)",
            ),
        },
    };
    Green::Denied { why, remedy }
}

fn ptrace_scope() -> Option<u32> {
    let path = Path::new("/proc/sys/kernel/yama/ptrace_scope");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
