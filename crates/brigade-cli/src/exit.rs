//! Exit codes.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for is confirmed or clean.
    Clean,
    /// There is a finding: a claim is refuted, or the machine lacks something.
    Finding,
    /// The arguments make no sense.
    Usage,
    /// No answer: inconclusive, skipped, or the result could not be written.
    Inconclusive,
    /// A signal ended the run; what there was is printed.
    Signal(u8),
}

impl Exit {
    /// The exit code.
    ///
    /// ```
    /// use brigade_cli::exit::Exit;
    /// assert_eq!(Exit::Finding.code(), 1);
    /// assert_eq!(Exit::Signal(2).code(), 130);
    /// ```
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Finding => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
