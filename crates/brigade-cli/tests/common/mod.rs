//! Starting the program under test.

#![allow(dead_code, reason = "each test program needs another part of it")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The program, without what the caller's terminal asks of it.
pub(crate) fn brigade() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// The program's output for `arguments`.
pub(crate) fn run(arguments: &[&str]) -> Output {
    brigade()
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// What was written, as text.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A folder of this test's own, removed with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// A new folder whose name has `name` in it.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("brigade-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
