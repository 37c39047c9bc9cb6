//! The Go rival: finds `go`, builds the program in `rivals/go`, and says which version it is.
//!
//! The program is built once per run into a directory of its own under the
//! system's temporary directory, removed when the `Program` is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::line::Work;

/// The built program.
pub(crate) struct Program {
    directory: PathBuf,
}

/// Whether a `go` command answers.
pub(crate) fn on_path() -> bool {
    version().is_some()
}

/// What `go version` says, without its first two words.
pub(crate) fn version() -> Option<String> {
    let out = Command::new("go").arg("version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    Some(text.strip_prefix("go version ")?.trim().to_owned())
}

impl Program {
    /// Builds the Go program.
    ///
    /// # Errors
    ///
    /// When `go build` cannot be started or fails; the message holds its output.
    pub(crate) fn build() -> Result<Self, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/go");
        let name = format!("brigade-bench-go-{}", std::process::id());
        let program = Self {
            directory: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(&program.directory)
            .map_err(|e| format!("making {}: {e}", program.directory.display()))?;
        let out = Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .args(["build", "-o"])
            .arg(program.executable())
            .arg(".")
            .output()
            .map_err(|e| format!("starting `go build` in {}: {e}", source.display()))?;
        if out.status.success() {
            return Ok(program);
        }
        Err(format!(
            "`go build` failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))
    }

    /// The command that does `work`.
    pub(crate) fn command(&self, work: &Work) -> Command {
        let mut command = Command::new(self.executable());
        command.args(["-line", &work.line.name()]);
        command.args(["-n", &work.n.to_string()]);
        command.args(["-workers", &work.workers.to_string()]);
        command.args(["-passes", &work.passes.to_string()]);
        command
    }

    fn executable(&self) -> PathBuf {
        self.directory.join("rival")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail a run that has its numbers.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
