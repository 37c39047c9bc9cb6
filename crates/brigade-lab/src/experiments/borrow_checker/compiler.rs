//! The Rust compiler of this machine, asked whether it accepts a program.
//!
//! Nothing is linked and nothing runs: the library's metadata is all that is written, into a folder of its own that is
//! removed.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::experiment::ArmError;

/// What the compiler said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// By the first error that has a number.
    Refused {
        code: u32,
        message: String,
    },
}

/// A folder that is removed.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, ArmError> {
        let name = format!("brigade-lab-rustc-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One that is there already is somebody else's.
        fs::create_dir(&path).map_err(|error| {
            ArmError::Skipped(format!("cannot make {}: {error}", path.display()))
        })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, like all that is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives `program` to the compiler named `compiler`, as a library.
///
/// # Errors
///
/// Skipped if there is no compiler that works.
pub(super) fn ask(compiler: &str, program: &str) -> Result<Answer, ArmError> {
    let folder = Folder::new()?;
    ask_in(&folder.0, compiler, program)
}

fn ask_in(folder: &Path, compiler: &str, program: &str) -> Result<Answer, ArmError> {
    let started = Command::new(compiler)
        .args(["--edition", "2021", "--crate-type", "lib"])
        .args(["--emit", "metadata", "--error-format", "json", "--out-dir"])
        .arg(folder)
        .arg("-")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = started.map_err(|error| match error.kind() {
        ErrorKind::NotFound => ArmError::Skipped(format!("there is no {compiler} here")),
        _ => ArmError::Skipped(format!("cannot start {compiler}: {error}")),
    })?;
    if let Some(mut input) = running.stdin.take() {
        // One that ends without having read it tells why below.
        let _ = input.write_all(program.as_bytes());
    }
    let output = running.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(Answer::Accepted);
    }
    said.lines().find_map(refusal).ok_or_else(|| {
        let first = said.lines().next().unwrap_or("nothing is said");
        ArmError::Skipped(format!("{compiler} does not work: {first}"))
    })
}

/// The error of one line of messages, if it is one with a number.
fn refusal(line: &str) -> Option<Answer> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("level")?.as_str()? != "error" {
        return None;
    }
    let code = message.get("code")?.get("code")?.as_str()?;
    Some(Answer::Refused {
        code: code.strip_prefix('E')?.parse().ok()?,
        message: message.get("message")?.as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_with_a_number_refuse() {
        let line = r#"{"level":"error","code":{"code":"E0373"},"message":"may outlive"}"#;
        let answer = Answer::Refused {
            code: 373,
            message: "may outlive".to_owned(),
        };
        assert_eq!(refusal(line), Some(answer));
        let warning = r#"{"level":"warning","code":{"code":"E0373"},"message":"m"}"#;
        let lint = r#"{"level":"error","code":{"code":"unused"},"message":"m"}"#;
        for other in [warning, lint, "error: no toolchain", "{}"] {
            assert_eq!(refusal(other), None, "{other}");
        }
    }

    #[test]
    fn a_missing_compiler_and_one_that_does_not_work_are_skipped() {
        for (compiler, word) in [
            ("no-such-compiler", "there is no"),
            ("false", "does not work"),
        ] {
            let folder = std::env::temp_dir();
            let error = ask_in(&folder, compiler, "").unwrap_err();
            assert!(
                matches!(&error, ArmError::Skipped(why) if why.contains(word)),
                "{error:?}"
            );
        }
    }
}
