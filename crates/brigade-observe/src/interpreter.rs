//! Whether a process runs an interpreter that lets one thread compute at a time.

use std::path::Path;

use serde::Serialize;

use crate::proc_text::{clean, mappings};
use crate::source::Source;

/// An interpreter in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Interpreter {
    /// Its name and version, as far as its file tells.
    pub name: String,
    /// Whether it has a lock that lets one thread compute at a time.
    pub has_lock: bool,
    /// The file that tells.
    pub evidence: String,
}

impl Interpreter {
    /// The interpreter of a process, from its program file and the libraries it has mapped; none if it has none, or if
    /// neither can be read.
    #[must_use]
    pub fn of(source: &Source, pid: u32) -> Option<Interpreter> {
        let directory = source.process(pid);
        let program = std::fs::read_link(directory.join("exe")).ok();
        let by_program = program.and_then(|path| Interpreter::from_file(&path));
        by_program.or_else(|| {
            let maps = source.text(&directory.join("maps")).ok()?;
            mappings(&maps).find_map(|mapping| Interpreter::from_file(Path::new(mapping.path)))
        })
    }

    /// What a file says by its name.
    fn from_file(path: &Path) -> Option<Interpreter> {
        let file = path.file_name()?.to_str()?;
        let file = file.trim_end_matches(" (deleted)");
        let (stem, is_library) = match file.strip_prefix("lib") {
            Some(library) => (library.split_once(".so")?.0, true),
            None => (file, false),
        };
        let python = stem
            .strip_prefix("python")
            .map(|version| ("Python", version));
        let ruby = stem.strip_prefix("ruby").map(|version| ("Ruby", version));
        let (language, version) = python.or(ruby)?;
        let version = version.trim_start_matches('-');
        // `python3.13t` is built without the lock.
        let free = language == "Python" && version.ends_with('t');
        let number = version.trim_end_matches('t');
        let is_version = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        if !is_version || is_library && number.is_empty() && language == "Python" {
            return None;
        }
        let name = format!("{language} {number}").trim_end().to_owned();
        Some(Interpreter {
            name: if free {
                name + " (free-threaded)"
            } else {
                name
            },
            has_lock: !free,
            evidence: clean(&path.to_string_lossy()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str) -> Option<(String, bool)> {
        let found = Interpreter::from_file(Path::new(path))?;
        Some((found.name, found.has_lock))
    }

    #[test]
    fn interpreters_with_a_lock_are_told_from_those_without_and_from_other_files() {
        let lock = |name: &str| Some((name.to_owned(), true));
        assert_eq!(seen("/usr/bin/python3.11"), lock("Python 3.11"));
        assert_eq!(seen("/usr/bin/python3.11 (deleted)"), lock("Python 3.11"));
        assert_eq!(seen("/usr/lib/libpython3.12.so.1.0"), lock("Python 3.12"));
        assert_eq!(seen("/usr/bin/ruby"), lock("Ruby"));
        assert_eq!(seen("/usr/lib/libruby-3.1.so.3.1"), lock("Ruby 3.1"));
        let free = Some(("Python 3.13 (free-threaded)".to_owned(), false));
        assert_eq!(seen("/usr/bin/python3.13t"), free);
        assert_eq!(seen("/usr/lib/libpython3.13t.so.1.0"), free);
        for other in [
            "/usr/bin/sh",
            "/opt/pythonista",
            "/lib/libc.so.6",
            "/x/libpython.txt",
        ] {
            assert_eq!(seen(other), None, "{other}");
        }
    }
}
