//! Documents that were saved: reading them back, or one line on why not.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use brigade_lab::{Document, SCHEMA_VERSION};
use serde::Deserialize;

/// No document of the lab comes near this.
const MOST_BYTES: u64 = 64 << 20;

/// What any version of a document has.
#[derive(Deserialize)]
struct AnyVersion {
    schema_version: u64,
}

/// Reads the document in `path`.
///
/// # Errors
///
/// One line that names the file, and the place in it where there is one: it cannot be read, is no JSON (cut
/// off, for example), has another schema version, or is not a document of the lab.
pub(crate) fn read(path: &Path) -> Result<Document, String> {
    let name = path.display();
    let text = read_bytes(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    parse(&text).map_err(|why| format!("{name}: {why}"))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut limited = File::open(path)?.take(MOST_BYTES + 1);
    limited.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(bytes)
}

fn parse(text: &[u8]) -> Result<Document, String> {
    let any: AnyVersion = serde_json::from_slice(text).map_err(|error| explain(&error, text))?;
    if any.schema_version != u64::from(SCHEMA_VERSION) {
        return Err(format!(
            "schema version {}, and this program reads version {SCHEMA_VERSION}",
            any.schema_version
        ));
    }
    serde_json::from_slice(text).map_err(|error| explain(&error, text))
}

/// What is wrong, in the words of somebody who has the file and not the program.
fn explain(error: &serde_json::Error, text: &[u8]) -> String {
    let (line, column) = (error.line(), error.column());
    // The reader takes half a number at the end for a wrong one.
    let mut lines = text.split(|byte| *byte == b'\n');
    let last = lines.next_back().unwrap_or_default();
    let is_at_end = line == lines.count() + 1 && column >= last.len();
    let half = is_at_end && last.last().is_some_and(|last| b"-+.eE".contains(last));
    let place = format!(" at line {line} column {column}");
    let said = error.to_string();
    let what = said.strip_suffix(&place).unwrap_or(&said);
    let kind = if error.is_eof() || (error.is_syntax() && half) {
        "it ends too early, as if cut off"
    } else if error.is_data() {
        "no document of 'brigade lab --json'"
    } else {
        "no JSON"
    };
    format!("line {line}, column {column}: {kind} ({what})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = include_str!("../../brigade-report/tests/data/every-figure.json");

    #[test]
    fn a_document_is_read_back_and_one_cut_off_anywhere_is_refused_with_the_place() {
        assert_eq!(parse(FIXTURE.as_bytes()).unwrap().reports.len(), 6);
        let half_numbers = FIXTURE
            .match_indices('.')
            .map(|(at, _)| at + 1)
            .step_by(101);
        for end in (0..FIXTURE.len() - 1).step_by(997).chain(half_numbers) {
            let cut = &FIXTURE.as_bytes()[..end];
            let why = parse(cut).unwrap_err();
            assert!(
                why.starts_with("line ") && why.contains("cut off"),
                "{end}: {why}"
            );
        }
    }

    #[test]
    fn another_version_is_named_before_anything_else_is_complained_about() {
        let why = parse(br#"{"schema_version": 3, "reports": 7}"#).unwrap_err();
        assert_eq!(why, "schema version 3, and this program reads version 2");
    }

    #[test]
    fn what_is_no_json_and_what_is_no_document_are_told_apart() {
        let why = parse(b"some file").unwrap_err();
        assert!(why.starts_with("line 1, column 1: no JSON"), "{why}");
        let why = parse(b"{\n  nonsense\n}").unwrap_err();
        assert!(why.starts_with("line 2, column 3: no JSON"), "{why}");
        let why = parse(br#"{"schema_version": 2}"#).unwrap_err();
        assert!(why.contains("no document"), "{why}");
        let why = parse(b"[]").unwrap_err();
        assert!(why.contains("no document"), "{why}");
    }
}
