//! Pages: `--html FILE`, and `lab report` from a saved document.
//!
//! # Invariants
//!
//! 1. Whether a page can be written is known before anything is measured: [`refused`] tries.
//! 2. A regular file is replaced as a whole, by a rename within its folder; until then it stays what it was.
//!    What is no regular file, such as a pipe, is written to as it is.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use brigade_lab::Document;
use clap::Args;

use crate::exit::Exit;
use crate::output::Output;
use crate::saved;

/// The arguments of `lab report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A document that 'brigade lab --json' wrote
    #[arg(value_name = "FILE.json")]
    document: PathBuf,
    /// Where to write the page
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

/// Makes the page of a saved document.
pub(crate) fn report(args: &ReportArgs, out: &Output) -> io::Result<Exit> {
    if let Some(exit) = refused(Some(&args.html), out) {
        return Ok(exit);
    }
    let document = match saved::read(&args.document) {
        Ok(document) => document,
        Err(fault) => return Ok(out.refuse(&fault)),
    };
    write(Some(&args.html), || brigade_report::page(&document), out)?;
    Ok(Exit::Clean)
}

/// The end of the program if there is to be a page and `path` cannot be written, having said why.
pub(crate) fn refused(path: Option<&Path>, out: &Output) -> Option<Exit> {
    let path = path?;
    let error = tried(path).err()?;
    Some(out.refuse(&format!("cannot write {}: {error}", path.display())))
}

/// Writes the page of `document` if there is to be one.
///
/// # Errors
///
/// Those of the file system; the message names the file.
pub(crate) fn write_document(
    path: Option<&Path>,
    document: &Document,
    out: &Output,
) -> io::Result<()> {
    write(path, || brigade_report::page(document), out)
}

/// Writes what `page` makes, if there is a place for it.
///
/// # Errors
///
/// As [`write_document`].
pub(crate) fn write(
    path: Option<&Path>,
    page: impl FnOnce() -> String,
    out: &Output,
) -> io::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    replace(path, page().as_bytes()).map_err(named)?;
    out.note(&format!("the page is {}", path.display()));
    Ok(())
}

/// Where the bytes go in the end: a link stays a link.
fn place(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
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
    let text = io::Error::from(error.kind()).to_string();
    let code = error
        .get_ref()
        .and_then(|inner| inner.source())
        .and_then(|source| source.downcast_ref::<io::Error>().map(ToString::to_string));
    code.unwrap_or(text)
}

/// Can `path` be written? Leaves nothing behind.
fn tried(path: &Path) -> io::Result<()> {
    if path.file_name().is_none() {
        return Err(io::Error::other("it is not the name of a file"));
    }
    let place = place(path)?;
    let replaceable = is_replaceable(&place)?;
    if place.exists() {
        // A pipe blocks an open until somebody reads: it is tried at the end.
        if replaceable {
            OpenOptions::new().write(true).open(&place)?;
        }
    }
    if replaceable {
        drop(beside(&place)?);
    }
    Ok(())
}

/// Writes `bytes` to `path`, whole or not at all.
///
/// # Errors
///
/// Those of the file system, without the name of the file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
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
        tried(&link).unwrap();
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
    fn trying_leaves_nothing_behind_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        tried(&folder.path().join("page.html")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = tried(folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "it is a folder");
        let error = tried(&folder.path().join("none/page.html")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        tried(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        replace(Path::new("/dev/null"), b"page").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
