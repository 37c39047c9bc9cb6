//! The machine and the versions a result belongs to.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::rival::{Rival, go};

/// What to know before comparing two results.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processor name.
    pub(crate) cpu: String,
    /// CPUs this process may use.
    pub(crate) cpus: usize,
    /// Kernel name and release.
    pub(crate) kernel: String,
    /// Memory, GiB.
    pub(crate) memory_gib: f64,
    /// One-minute load average at the start.
    pub(crate) load: f64,
    /// Version by package.
    pub(crate) versions: BTreeMap<&'static str, String>,
}

impl Machine {
    /// Looks at this machine; what cannot be read is left empty.
    pub(crate) fn look() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let row = text
                .lines()
                .find_map(|l| l.strip_prefix(name).map(str::to_owned));
            row.unwrap_or_default()
                .trim_start_matches([' ', '\t', ':'])
                .to_owned()
        };
        let kib = after(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = kib
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0.0);
        let load = read("/proc/loadavg");
        Self {
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            memory_gib: (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            load: load
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
            versions: versions(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            cpus,
            kernel,
            memory_gib,
            load,
            versions,
        } = self;
        writeln!(
            f,
            "{cpu}, {cpus} CPUs, {memory_gib} GiB, {kernel}, load {load}"
        )?;
        let versions: Vec<_> = versions.iter().map(|(k, v)| format!("{k} {v}")).collect();
        write!(f, "{}", versions.join(", "))
    }
}

fn versions() -> BTreeMap<&'static str, String> {
    let lock = include_str!("../../../Cargo.lock");
    let here = |r: &&Rival| r.unavailable().is_none();
    let packages = Rival::value_variants().iter().filter(here);
    let mut versions: BTreeMap<_, _> = packages
        .filter_map(|r| r.package())
        .map(|p| (p, locked_version(lock, p).unwrap_or_default()))
        .collect();
    versions.extend(go::version().map(|v| ("go", v)));
    versions
}

/// The version of a package in a lock file.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let mut rows = lock
        .lines()
        .skip_while(|l| *l != format!("name = \"{package}\""));
    let version = rows.nth(1)?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_version_of_every_rust_rival() {
        let lock = include_str!("../../../Cargo.lock");
        let rivals = Rival::value_variants().iter();
        for package in rivals.filter_map(|r| r.package()) {
            let version = locked_version(lock, package).unwrap();
            assert!(version.split('.').count() == 3, "{package} {version}");
        }
    }
}
