//! What the kernel shows of the threads of a process to everybody: `/proc/PID/task`, which `ps -L` and `top -H` read, too.
//!
//! An entry may go while it is read: a thread that ended meanwhile is passed over.
//!
//! A sample holds numbers, so what a figure quotes goes into a series as the bytes of its text ([`to_series`]).

use std::fs;

use crate::experiment::ArmError;

/// One entry of `/proc/PID/task`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) thread: u32,
    /// At most 15 bytes of the thread's name.
    pub(crate) name: String,
    /// The letter that `ps` shows.
    pub(crate) state: char,
    /// The kernel function it sleeps in, as far as the kernel tells.
    pub(crate) wait_channel: String,
}

/// The entries of the process `pid`, in the order of their numbers.
///
/// # Errors
///
/// Skipped if there is no such folder.
pub(crate) fn entries_of(pid: u32) -> Result<Vec<Entry>, ArmError> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder)
        .map_err(|error| ArmError::Skipped(format!("cannot read {folder}: {error}")))?;
    let mut entries = Vec::new();
    for thread in threads.flatten() {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else {
            continue;
        };
        let wait_channel = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        entries.extend(entry(&stat, &wait_channel));
    }
    entries.sort_by_key(|entry| entry.thread);
    Ok(entries)
}

/// The letter of the first thread of the process `pid`; none if there is no such process any more.
pub(crate) fn letter_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    entry(&stat, "").map(|entry| entry.state)
}

/// CPU time that the first thread of the process `pid` has used, in nanoseconds: exact if it does not run now.
pub(crate) fn cpu_time_ns_of(pid: u32) -> Option<f64> {
    let times = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    times.split_whitespace().next()?.parse().ok()
}

/// Reads a `stat` file. The name stands in parentheses and may contain some.
fn entry(stat: &str, wait_channel: &str) -> Option<Entry> {
    let (thread, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    Some(Entry {
        thread: thread.parse().ok()?,
        name: name.to_owned(),
        state: rest.chars().next()?,
        wait_channel: match wait_channel {
            "" | "0" => "-".to_owned(),
            function => function.to_owned(),
        },
    })
}

/// `text` as a series of its bytes.
pub(crate) fn to_series(text: &str) -> Vec<f64> {
    text.bytes().map(f64::from).collect()
}

/// The text of a series of [`to_series`].
pub(crate) fn from_series(series: &[f64]) -> String {
    let bytes: Vec<u8> = series.iter().map(|byte| *byte as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let read = entry("12 (a) (b) c) S 1 2", "futex_wait_queue").unwrap();
        assert_eq!((read.thread, read.name.as_str()), (12, "a) (b) c"));
        assert_eq!(
            (read.state, read.wait_channel.as_str()),
            ('S', "futex_wait_queue")
        );
        assert_eq!(entry("garbled", ""), None);
    }

    #[test]
    fn this_process_lists_the_thread_that_looks_as_running() {
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let entries = entries_of(std::process::id()).unwrap();
        let own = entries.iter().find(|entry| entry.thread == own).unwrap();
        assert_eq!(own.state, 'R');
        assert_eq!(letter_of(u32::MAX), None);
        assert!(cpu_time_ns_of(std::process::id()).is_some());
    }

    #[test]
    fn text_survives_the_way_through_a_series() {
        assert_eq!(from_series(&to_series("µs 12\nS")), "µs 12\nS");
    }
}
