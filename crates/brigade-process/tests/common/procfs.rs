//! The processes of the machine, as the kernel tells.

use std::fs;
use std::path::Path;

/// Number, state and parent of all processes.
fn all() -> Vec<(u32, char, u32)> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name before it may contain anything.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?.chars().next()?;
            Some((pid, state, fields.next()?.parse().ok()?))
        })
        .collect()
}

/// The children of a process, zombies too, each with its state.
pub(crate) fn children(parent: u32) -> Vec<(u32, char)> {
    all()
        .into_iter()
        .filter(|&(_, _, of)| of == parent)
        .map(|(pid, state, _)| (pid, state))
        .collect()
}

/// Whether there is a process of this number, and be it a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The open descriptors of a process, by number, with what they are.
pub(crate) fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let directory = format!("/proc/{pid}/fd");
    let mut found: Vec<_> = fs::read_dir(&directory)
        .expect("the descriptors of a process of ours")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let number = name.to_str()?.parse().ok()?;
            let target = fs::read_link(format!("{directory}/{number}")).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found
}

/// A line of `/proc/PID/status`.
pub(crate) fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no line {name}"))
        .trim()
        .to_owned()
}
