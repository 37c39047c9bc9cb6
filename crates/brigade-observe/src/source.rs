//! Where the texts come from: `/proc`, or a tree that looks like it.
//!
//! A file that cannot be read is not an error of the look: it is remembered, with the reason and with what would make it
//! readable, and the look goes on without it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::is_gone;

/// Something that could not be read, and what would make it readable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// What is not shown.
    pub what: &'static str,
    /// Why.
    pub why: String,
    /// What would show it.
    pub remedy: &'static str,
}

/// Reads the files of processes.
#[derive(Debug)]
pub struct Source {
    root: PathBuf,
    missing: RefCell<BTreeMap<&'static str, Missing>>,
}

/// A file that is part of a look, and what a reader loses without it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) file: &'static str,
    pub(crate) what: &'static str,
    /// What the kernel needs for it.
    pub(crate) kernel: &'static str,
}

pub(crate) const SCHEDSTAT: Part = Part {
    file: "schedstat",
    what: "time in the run queue (CPU time is counted in ticks)",
    kernel: "a kernel with CONFIG_SCHED_INFO",
};
pub(crate) const STATUS: Part = Part {
    file: "status",
    what: "voluntary and involuntary switches",
    kernel: "a kernel that counts switches in /proc/PID/task/TID/status",
};
pub(crate) const WCHAN: Part = Part {
    file: "wchan",
    what: "what threads wait in (wait channel)",
    kernel: "a kernel with CONFIG_KALLSYMS",
};
pub(crate) const SCHED: Part = Part {
    file: "sched",
    what: "migrations between CPUs",
    kernel: "a kernel with CONFIG_SCHED_DEBUG",
};

const PRIVILEGE: &str = "run as the user of the process, or as root";

impl Source {
    /// The processes of this machine.
    #[must_use]
    pub fn new() -> Source {
        Source::at("/proc")
    }

    /// The processes in a tree that looks like `/proc`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Source {
        Source {
            root: root.into(),
            missing: RefCell::default(),
        }
    }

    /// What could not be read so far.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        self.missing.borrow().values().cloned().collect()
    }

    /// Whether processes have the numbers here that the kernel knows them by when this program asks for them: not so
    /// where `/proc` is that of another PID namespace, as in a container that was given the machine's.
    ///
    /// # Blocks
    ///
    /// The kernel thread, for a few microseconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_observe::Source;
    ///
    /// assert!(Source::new().has_our_numbers());
    /// assert!(!Source::at("/no/proc/here").has_our_numbers());
    /// ```
    #[must_use]
    pub fn has_our_numbers(&self) -> bool {
        let me = std::process::id().to_string();
        std::fs::read_link(self.root.join("self")).is_ok_and(|to| to == Path::new(&me))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn process(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    /// The text of a file below the root, whatever bytes it has.
    pub(crate) fn text(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::with_capacity(1024);
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a part; none where it cannot be read, which is remembered unless the thread has ended.
    pub(crate) fn part(&self, thread: &Path, part: Part) -> Option<String> {
        match self.text(&thread.join(part.file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.denied(part);
                None
            }
            // A file that is missing beside one that is there was never there.
            Err(error) if is_gone(&error) && !thread.join("stat").exists() => None,
            Err(error) => {
                self.lacks(part, &error.to_string());
                None
            }
        }
    }

    /// The part is there and says nothing.
    pub(crate) fn lacks(&self, part: Part, why: &str) {
        self.remember(part.what, why, part.kernel);
    }

    /// The part is not for this user.
    pub(crate) fn denied(&self, part: Part) {
        self.remember(part.what, "permission denied", PRIVILEGE);
    }

    pub(crate) fn remember(&self, what: &'static str, why: &str, remedy: &'static str) {
        let missing = || Missing {
            what,
            why: why.to_owned(),
            remedy,
        };
        self.missing
            .borrow_mut()
            .entry(what)
            .or_insert_with(missing);
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::new()
    }
}
