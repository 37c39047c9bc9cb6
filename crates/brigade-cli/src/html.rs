//! Pages: `--html FILE`, and `lab report` from a saved document.
//!
//! # Invariants
//!
//! 1. Whether a page can be written is known before anything is measured: [`refused`] tries.
//! 2. A page is there whole or not at all, and until then what was there before.

use std::io;
use std::path::{Path, PathBuf};

use brigade_lab::Document;
use clap::Args;

use crate::exit::Exit;
use crate::files;
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
    let error = files::try_whole(path).err()?;
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
    files::write_whole(path, &page())?;
    out.note(&format!("the page is {}", path.display()));
    Ok(())
}
