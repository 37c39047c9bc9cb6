//! `brigade sim` from outside.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_brigade"))
        .arg("sim")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// A file of a task set that ends with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("brigade-sim-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("the directory for temporary files");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// One line on standard error that contains `words`, exit code 2, and nothing on standard output.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn every_built_in_set_is_listed_and_played_in_80_columns() {
    let listed = sim(&["list", "--json"]);
    let list: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let sets = list["sets"].as_array().expect("sets");
    assert!(sets.len() >= 8);
    for set in sets {
        let name = set["name"].as_str().expect("a name");
        assert!(text(&sim(&["list"]).stdout).contains(name));
        let output = sim(&["--builtin", name]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(text(&output.stderr), "");
        let widest = text(&output.stdout)
            .lines()
            .map(|line| line.chars().count());
        assert!(widest.max() <= Some(80), "{name}");
    }
}

#[test]
fn the_same_seed_and_file_give_the_same_output_byte_for_byte() {
    let file = File::new("seed.toml", b"[[task]]\nname = \"a\"\ncount = 3\nrepeat = 4\nsteps = [\"compute 1ms..9ms\", \"wait 1ms..9ms\"]\n");
    for format in [&[][..], &["--json"]] {
        let run = |seed: &str| sim(&[&[file.path(), "--seed", seed], format].concat()).stdout;
        assert_eq!(run("3"), run("3"));
        assert_ne!(run("3"), run("4"));
    }
}

#[test]
fn json_has_every_policy_that_was_asked_for() {
    let output = sim(&["--builtin", "convoy", "--policy", "fifo,rr", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["schema_version"], 1);
    let runs = document["runs"].as_array().expect("runs");
    let names: Vec<_> = runs.iter().map(|run| &run["scheduler"]["kernel"]).collect();
    assert_eq!(names, ["fifo", "round-robin"]);
    // The first short task comes at 1 ms and waits for the end of the long one.
    assert_eq!(runs[0]["tasks"][1]["waiting_ns"], 29_002_000);
}

#[test]
fn options_go_before_what_the_set_says() {
    let with = |more: &[&str]| {
        let arguments = [
            &["--builtin", "two-cooks", "--policy", "rr", "--json"],
            more,
        ]
        .concat();
        serde_json::from_slice::<Value>(&sim(&arguments).stdout).expect("JSON")["runs"][0].clone()
    };
    assert_eq!(with(&["--cores", "3"])["cores"], 3);
    assert_eq!(with(&["--until", "5ms"])["length_ns"], 5_000_000);
    let switches = |more: &[&str]| with(more)["switches"].as_u64();
    assert!(switches(&["--quantum", "1ms", "--cores", "1"]) > switches(&["--cores", "1"]));
}

#[test]
fn a_set_comes_from_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_brigade"))
        .args(["sim", "-", "--policy", "fifo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let set = b"[[task]]\nname = \"only\"\nsteps = [\"compute 1ms\"]\n";
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(set)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(text(&output.stdout).contains("A only"));
}

#[test]
fn a_file_that_is_wrong_gets_one_line_with_its_place() {
    let step = File::new(
        "step.toml",
        b"[[task]]\nname = \"a\"\nsteps = [\"nap 1ms\"]\n",
    );
    refused(&sim(&[step.path()]), &["step.toml", "line 3", "nap 1ms"]);
    let cut = File::new("cut.toml", b"cores = 2\n[[task]]\nname = \"a");
    refused(&sim(&[cut.path()]), &["line 3"]);
    let bytes = File::new("bytes.toml", b"\xff\xfe\x00");
    refused(&sim(&[bytes.path()]), &["not text"]);
    refused(
        &sim(&["/nonexistent/set.toml"]),
        &["/nonexistent/set.toml", "No such file"],
    );
    refused(&sim(&["/"]), &["cannot read /"]);
    refused(&sim(&["/dev/zero"]), &["larger than 1 MiB"]);
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    for (arguments, nearest) in [
        (["--policy", "eevfd"], "'eevdf'"),
        (["--policy", "fifo,hand-of"], "'hand-off'"),
        (["--builtin", "convoi"], "'convoy'"),
    ] {
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(nearest),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "");
    }
    for arguments in [["--cores", "0"], ["--quantum", "fast"], ["--quantum", "0"]] {
        assert_eq!(sim(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}
