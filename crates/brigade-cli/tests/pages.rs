//! Pages, comparisons and the schema, from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use brigade_lab::Document;
use serde_json::Value;
use tempfile::TempDir;

const FIXTURE: &str = include_str!("../../brigade-report/tests/data/every-figure.json");

fn brigade(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = brigade(folder).args(arguments).output();
    output.expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program refused with one line that has each of `words`, and wrote no result.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(stdout(output), "");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

/// A folder with the fixture in `a.json`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), FIXTURE).unwrap();
    folder
}

/// Writes the fixture with `change` made to it.
fn changed(folder: &Path, name: &str, change: fn(&mut Value)) -> PathBuf {
    let mut value: Value = serde_json::from_str(FIXTURE).unwrap();
    change(&mut value);
    let path = folder.join(name);
    fs::write(&path, value.to_string()).unwrap();
    path
}

#[test]
fn a_page_comes_beside_the_document_and_holds_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "lab",
        "run",
        "lost-updates",
        "--seed",
        "42",
        "--json",
        "--html",
        "page.html",
    ];
    let output = run(folder.path(), &arguments);
    let document: Document = serde_json::from_slice(&output.stdout).expect("one document");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let report = serde_json::to_string(&document.reports[0]).unwrap();
    assert!(page.contains(&report.replace('<', "\\u003c")));
    assert!(page.contains("brigade lab run lost-updates --seed 42"));
    assert_eq!(
        names_in(folder.path()),
        BTreeSet::from(["page.html".to_owned()])
    );
}

#[test]
fn a_page_comes_beside_the_text_and_changes_nothing_about_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        folder.path(),
        &["lab", "run", "lost-updates", "--html", "page.html"],
    );
    assert!(stdout(&output).contains("lost-updates"));
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)));
    assert!(
        fs::read_to_string(folder.path().join("page.html"))
            .unwrap()
            .ends_with("</html>")
    );
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_runs() {
    let folder = folder();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let before = names_in(folder.path());
    let refused = |arguments: &[&str], words: &[&str]| {
        assert_refused(&run(folder.path(), arguments), words);
    };
    refused(
        &["lab", "run", "all", "--full", "--html", "none/page.html"],
        &["error: cannot write none/page.html: No such file"],
    );
    refused(
        &["lab", "--html", "sub"],
        &["cannot write sub: it is a folder"],
    );
    refused(&["lab", "--html", "a.json/page.html"], &["Not a directory"]);
    refused(&["lab", "--html", ""], &["a value is required"]);
    refused(
        &["lab", "report", "a.json", "--html", "none/x"],
        &["none/x"],
    );
    refused(
        &["lab", "compare", "a.json", "a.json", "--html", "sub"],
        &["sub"],
    );
    assert_eq!(names_in(folder.path()), before, "nothing is left behind");
}

#[test]
fn an_interrupted_run_writes_a_page_of_what_there_is_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.html"), "an older page").unwrap();
    let mut child = brigade(folder.path())
        .args(["lab", "run", "all", "--full", "--html", "page.html"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut head = String::new();
    while !head.contains("Run") {
        head.clear();
        assert_ne!(
            lines.read_line(&mut head).unwrap(),
            0,
            "the head comes first"
        );
    }
    let page = || fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert_eq!(page(), "an older page");
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: sends a signal to a child of this process that has not been waited for, so the id
    // still names it; no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    lines.read_to_string(&mut head).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(page().contains("This run was interrupted."));
    assert_eq!(
        names_in(folder.path()),
        BTreeSet::from(["page.html".to_owned()])
    );
}

#[test]
fn a_saved_document_makes_a_page_again() {
    let folder = folder();
    let output = run(
        folder.path(),
        &["lab", "report", "a.json", "--html", "page.html"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document: Document = serde_json::from_str(FIXTURE).unwrap();
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert_eq!(page, brigade_report::page(&document));
}

#[test]
fn what_is_no_document_is_refused_in_one_line_with_the_place_and_leaves_the_old_page() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("page.html"), "an older page").unwrap();
    fs::write(path.join("cut.json"), &FIXTURE[..20_000]).unwrap();
    fs::write(path.join("other.json"), "{\n  \"schema_version\": 1\n}").unwrap();
    fs::write(path.join("text.json"), "Claim: none").unwrap();
    changed(path, "wrong.json", |value| value["reports"] = 7.into());
    let cases: [(&str, &[&str]); 6] = [
        ("cut.json", &["error: cut.json: line 1, column ", "cut off"]),
        (
            "other.json",
            &["other.json: schema version 1, and this program reads version 2"],
        ),
        ("text.json", &["text.json: line 1, column 1: no JSON"]),
        (
            "wrong.json",
            &["wrong.json: line 1, column ", "no document"],
        ),
        ("none.json", &["cannot read none.json: No such file"]),
        (".", &["cannot read .: Is a directory"]),
    ];
    for (file, words) in cases {
        assert_refused(
            &run(path, &["lab", "report", file, "--html", "page.html"]),
            words,
        );
        assert_refused(&run(path, &["lab", "compare", "a.json", file]), words);
        assert_refused(
            &run(path, &["lab", "compare", file, "a.json", "--json"]),
            words,
        );
    }
    assert_eq!(
        fs::read_to_string(path.join("page.html")).unwrap(),
        "an older page"
    );
}

#[test]
fn a_comparison_says_by_its_exit_code_whether_a_verdict_differs() {
    let folder = folder();
    let path = folder.path();
    changed(path, "other.json", |value| {
        value["reports"][0]["verdict"] = serde_json::json!({"kind": "not_here"});
        value["environment"]["kernel"] = "6.1.0".into();
    });
    changed(path, "none.json", |value| {
        value["reports"] = Value::Array(Vec::new())
    });
    let same = run(path, &["lab", "compare", "a.json", "a.json"]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let other = run(
        path,
        &[
            "lab",
            "compare",
            "a.json",
            "other.json",
            "--html",
            "page.html",
        ],
    );
    assert_eq!(other.status.code(), Some(1), "{}", stderr(&other));
    assert!(
        stdout(&other).contains("bars  CONFIRMED -> NOT HERE"),
        "{}",
        stdout(&other)
    );
    assert!(stdout(&other).contains("6.1.0"));
    let page = fs::read_to_string(path.join("page.html")).unwrap();
    assert!(page.contains("1 verdict differs among 6 common experiments."));
    let none = run(path, &["lab", "compare", "a.json", "none.json"]);
    assert_eq!(none.status.code(), Some(3), "{}", stderr(&none));
    let json = run(path, &["lab", "compare", "a.json", "other.json", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("one document");
    assert_eq!(
        (&json["comparison_version"], &json["changed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json["experiments"][0]["state"], "changed");
}

fn schema() -> Value {
    let output = run(Path::new("."), &["lab", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).expect("one schema")
}

#[test]
fn what_a_run_writes_satisfies_the_schema_and_planted_faults_do_not() {
    let validator = jsonschema::validator_for(&schema()).expect("a valid schema");
    let faults = |value: &Value| -> Vec<String> {
        validator
            .iter_errors(value)
            .map(|fault| fault.to_string())
            .collect()
    };
    let output = run(Path::new("."), &["lab", "run", "lost-updates", "--json"]);
    let real: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(faults(&real), Vec::<String>::new());
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    assert_eq!(faults(&fixture), Vec::<String>::new());
    let planted: [fn(&mut Value); 6] = [
        |value| value["seed"] = "42".into(),
        |value| drop(value.as_object_mut().unwrap().remove("environment")),
        |value| value["reports"][0]["verdict"]["kind"] = "perhaps".into(),
        |value| value["reports"][0]["arms"][0]["samples"][0]["ns"] = "fast".into(),
        |value| value["reports"][0]["figures"][0]["content"]["kind"] = "pie".into(),
        |value| value["reports"][2]["verdict"] = serde_json::json!({"kind": "inconclusive"}),
    ];
    for (number, plant) in planted.iter().enumerate() {
        let mut value = fixture.clone();
        plant(&mut value);
        assert!(!faults(&value).is_empty(), "planted fault {number}");
    }
}

/// Every name of a field below `schema`.
fn fields(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                into.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| fields(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[test]
fn the_page_on_the_json_describes_every_field_of_the_schema_and_of_a_comparison() {
    let text = include_str!("../../../docs/src/lab-json.md");
    let mut names = BTreeSet::new();
    fields(&schema(), &mut names);
    let folder = folder();
    let output = run(
        folder.path(),
        &["lab", "compare", "a.json", "a.json", "--json"],
    );
    let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
    names.extend(comparison.as_object().unwrap().keys().cloned());
    for part in ["runs", "experiments"] {
        names.extend(comparison[part][0].as_object().unwrap().keys().cloned());
    }
    let arm = &comparison["experiments"][0]["arms"][0];
    names.extend(arm.as_object().unwrap().keys().cloned());
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        assert!(
            text.contains(&format!("| `{name}` |")),
            "docs/src/lab-json.md: {name}"
        );
    }
}
