//! What a check hands back: how much it looked at and which faults it found.

use std::fmt;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Path relative to the workspace root.
    pub path: String,
    /// Line, counted from 1; 0 when the fault belongs to the whole file.
    pub line: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.path, self.message)
        } else {
            write!(f, "{}:{}: {}", self.path, self.line, self.message)
        }
    }
}

/// The result of one check.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many things (see the check's unit) were examined.
    pub examined: usize,
    /// The faults, in the order found.
    pub faults: Vec<Fault>,
}

impl Outcome {
    /// Counts one more thing as examined.
    pub fn saw_one(&mut self) {
        self.examined += 1;
    }

    /// Adds a fault at `path`, `line`.
    pub fn fault(&mut self, path: &str, line: usize, message: impl Into<String>) {
        let fault = Fault {
            path: path.to_owned(),
            line,
            message: message.into(),
        };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}
