//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes `text` into a new file beside `path` and gives it that name when it is complete. What was there
/// before stays until then, and after an error.
///
/// # Errors
///
/// Those of the file system, with the path in the text.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = temporary(path);
    let written = write_through(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // It may not exist.
        let _ = fs::remove_file(&beside);
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    // Some file systems report that they are full only here.
    file.sync_all()
}

/// A name beside `path` that no other process uses.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = std::env::temp_dir().join(format!("brigade-files-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("page");
        write_whole(&path, "old").unwrap();
        write_whole(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        // A folder cannot be replaced by a file: the error comes at the last step.
        let error = write_whole(&dir, "text").unwrap_err();
        assert!(error.to_string().contains("brigade-files"), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let leftover = temporary(&dir);
        assert!(!leftover.exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
