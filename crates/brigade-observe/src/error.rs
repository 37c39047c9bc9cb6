//! Why a process could not be looked at.

use std::fmt;
use std::io;

/// Why a process could not be looked at. The message names the process and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pid: u32,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Gone,
    Denied,
    NoProc,
    Other(String),
}

impl Error {
    pub(crate) fn no_proc(pid: u32) -> Error {
        Error {
            pid,
            kind: Kind::NoProc,
        }
    }

    pub(crate) fn other(pid: u32, text: &str) -> Error {
        Error {
            pid,
            kind: Kind::Other(text.to_owned()),
        }
    }

    pub(crate) fn from_io(pid: u32, error: &io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            _ if is_gone(error) => Kind::Gone,
            _ => Kind::Other(error.to_string()),
        };
        Error { pid, kind }
    }

    /// Whether there is no such process, or no longer.
    #[must_use]
    pub fn is_no_such_process(&self) -> bool {
        self.kind == Kind::Gone
    }

    /// Whether the kernel refused.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }
}

/// Whether the error says that what was read has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.pid;
        match &self.kind {
            Kind::Gone => write!(
                f,
                "there is no process {pid}, or it has ended (or /proc hides it: hidepid)"
            ),
            Kind::Denied => write!(
                f,
                "no permission to look at process {pid}: run as its user, or as root"
            ),
            Kind::NoProc => write!(f, "cannot look at process {pid}: /proc is not mounted here"),
            Kind::Other(text) => write!(f, "cannot look at process {pid}: {text}"),
        }
    }
}

impl std::error::Error for Error {}
