//! Files that are there whole or not at all.
//!
//! # Invariants
//!
//! 1. A regular file is replaced by a rename within its folder; until then it stays what it was. It keeps its
//!    permissions, and a link to it stays a link.
//! 2. What is no regular file, such as a pipe or `/dev/null`, is written to and never replaced.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes `text` into a new file beside `path` and gives it that name when it is complete. What was there
/// before stays until then, and after an error.
///
/// # Errors
///
/// Those of the file system, with the path in the text.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text.as_bytes())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Where the bytes go in the end: a link stays a link, also one to a file that is not there yet.
fn place(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        // A chain of links that ends: of one that does not, the error is another.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(to) => place(&path.parent().unwrap_or(Path::new("")).join(to)),
            Err(_) => Ok(path.to_owned()),
        },
        other => other,
    }
}

/// Is it a file that a rename may replace, or the name of none yet?
fn is_replaceable(place: &Path) -> io::Result<bool> {
    match fs::metadata(place) {
        Ok(found) if found.is_dir() => Err(io::Error::other("it is a folder")),
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// A nameless neighbour of `place` that can take its name.
fn beside(place: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // What the caller's umask leaves of this, as for any file.
    let permissions = Permissions::from_mode(0o666);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".brigade-").permissions(permissions);
    builder
        .tempfile_in(folder)
        .map_err(|error| io::Error::new(error.kind(), plain(&error)))
}

/// The error without the temporary name, which says nothing to anybody.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" at path ").next().unwrap_or(&text).to_owned()
}

/// Can `path` be written by [`write_whole`]? Leaves nothing behind.
///
/// # Errors
///
/// What [`write_whole`] would say, without the path.
pub(crate) fn try_whole(path: &Path) -> io::Result<()> {
    if path.file_name().is_none() {
        return Err(io::Error::other("it is not the name of a file"));
    }
    let place = place(path)?;
    let replaceable = is_replaceable(&place)?;
    // Opening a pipe blocks until somebody reads from it: that one is tried at the end.
    if replaceable && place.exists() {
        OpenOptions::new().write(true).open(&place)?;
    }
    if replaceable {
        drop(beside(&place)?);
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = place(path)?;
    if !is_replaceable(&place)? {
        return OpenOptions::new()
            .write(true)
            .open(&place)?
            .write_all(bytes);
    }
    let mut file = beside(&place)?;
    if let Ok(before) = fs::metadata(&place) {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&place).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_permissions_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.html");
        fs::write(&file, "before, and longer than what comes after").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.html");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        try_whole(&link).unwrap();
        replace(&link, b"after").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"after");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, to: &str| {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            link
        };
        let (first, _) = (link("first", "second"), link("second", "page.html"));
        try_whole(&first).unwrap();
        write_whole(&first, "page").unwrap();
        assert!(fs::symlink_metadata(&first).unwrap().is_symlink());
        let page = fs::read_to_string(folder.path().join("page.html"));
        assert_eq!(page.unwrap(), "page");
        let astray = link("astray", "none/page.html");
        assert!(try_whole(&astray).is_err());
        assert!(fs::symlink_metadata(&astray).unwrap().is_symlink());
    }

    #[test]
    fn trying_leaves_nothing_behind_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        try_whole(&folder.path().join("page.html")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = try_whole(folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is a folder");
        let error = try_whole(&folder.path().join("none/page.html")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        try_whole(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        replace(Path::new("/dev/null"), b"page").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

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
        fs::remove_dir_all(&dir).unwrap();
    }
}
