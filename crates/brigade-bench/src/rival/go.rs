//! The Go rival: finds `go`, builds the program in `rivals/go`, and says which version it is.
//!
//! The program is built at each run, beside this one's executable: Go's own cache makes that quick, and
//! an interrupted run leaves nothing behind that `cargo clean` does not remove.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::line::Work;

/// The built program.
pub(crate) struct Program {
    executable: PathBuf,
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
        let me = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
        let executable = me.with_file_name("brigade-bench-go");
        let out = Command::new("go")
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .args(["build", "-o"])
            .arg(&executable)
            .arg(".")
            .output()
            .map_err(|e| format!("starting `go build` in {}: {e}", source.display()))?;
        if out.status.success() {
            return Ok(Self { executable });
        }
        Err(format!(
            "`go build` failed: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))
    }

    /// The command that does `work`.
    pub(crate) fn command(&self, work: &Work) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(["-line", &work.line.name()]);
        command.args(["-n", &work.n.to_string()]);
        command.args(["-workers", &work.workers.to_string()]);
        command.args(["-passes", &work.passes.to_string()]);
        command
    }
}
