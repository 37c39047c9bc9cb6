//! A statically linked program gets green threads too, or is told why not; the semantics are the same either way.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::child;

/// The static C library of this machine's compiler, if it has one.
fn static_c_library() -> Option<PathBuf> {
    let output = Command::new("cc")
        .arg("-print-file-name=libc.a")
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // The compiler repeats the bare name when it knows no such file.
    path.is_absolute().then_some(path)
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
fn a_static_program_keeps_the_semantics_of_threads() {
    if static_c_library().is_none() {
        println!("skipped: the C compiler of this machine has no static C library (libc.a)");
        return;
    }
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static_glibc");
    let target = "x86_64-unknown-linux-gnu";
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/static_glibc/Cargo.toml");
    // With an explicit target, the flags reach the program and not the macros that run inside the compiler.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target", target, "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo can be started");
    assert!(
        status.success(),
        "building the static program ended with {status}"
    );
    let ended = child::wait(Command::new(
        target_dir.join(target).join("debug/static-glibc"),
    ));
    ended.assert_success();
    println!("{}", ended.stdout);
    assert!(ended.stdout.contains("semantics hold"), "{ended:#?}");
    let many_to_many = ended.stdout.contains("model ManyToMany");
    assert!(
        many_to_many || ended.stdout.contains("because "),
        "another model without a reason: {ended:#?}"
    );
}
