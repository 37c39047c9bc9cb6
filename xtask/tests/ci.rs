//! The script that runs everything is checked too: it must notice steps that fail, hang or run nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_ci_script_notices_failing_empty_and_hanging_steps() {
    let output = Command::new("bash")
        .arg(".ci/run")
        .arg("--self-test")
        .current_dir(root())
        .output();
    let output = output.expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("self-test ok"), "{text}");
    assert!(
        text.contains("FAILED (ran nothing)") && text.contains("FAILED (over 1 s)"),
        "{text}"
    );
}

#[test]
fn the_readme_and_ci_use_the_same_two_commands() {
    for path in ["README.md", ".ci/run"] {
        let text = read(path);
        for command in ["cargo run --release\n", "cargo test --workspace\n"] {
            assert!(
                text.contains(command),
                "{path} does not use `{}`",
                command.trim()
            );
        }
    }
}

#[test]
fn ci_keeps_every_kind_of_check() {
    let script = read(".ci/run");
    let kinds = [
        "cargo fmt --all --check",
        "clippy --workspace --all-targets -- -D warnings",
        "RUSTDOCFLAGS=\"-D warnings\" cargo doc",
        "-p xtask -- check",
        "RUSTFLAGS=\"--cfg loom\"",
        "--test million",
        "--test stress",
        "--test postgres --test redis",
        "export BRIGADE_REQUIRE_SERVERS=1",
        "brigade-bench -- --quick",
        ".ci/guide",
        ".ci/page-check --all",
        ".ci/loaded-machine",
        "set -euo pipefail",
    ];
    for kind in kinds {
        assert!(script.contains(kind), "`{kind}` is gone from .ci/run");
    }
}
