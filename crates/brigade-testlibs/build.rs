//! Builds each file of `c/` into a shared library of its own and hands its path to the crate.
//!
//! The `cc` crate only finds the compiler and its flags; shared objects are linked here, because `cc` itself builds
//! static archives, and the tests need libraries that are loaded while green threads already run.

use std::env;
use std::path::PathBuf;

/// Source file, environment variable that carries the built path, whether it is C++.
const LIBRARIES: [(&str, &str, bool); 4] = [
    ("tls_dynamic.c", "TESTLIB_TLS_DYNAMIC", false),
    ("tls_static_small.c", "TESTLIB_TLS_STATIC_SMALL", false),
    ("tls_static_large.c", "TESTLIB_TLS_STATIC_LARGE", false),
    ("tls_cpp.cpp", "TESTLIB_TLS_CPP", true),
];

fn main() {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (source, variable, cpp) in LIBRARIES {
        println!("cargo:rerun-if-changed=c/{source}");
        let built = out_dir.join(format!("lib{source}.so"));
        build(source, &built, cpp);
        println!("cargo:rustc-env={variable}={}", built.display());
    }
}

/// Compiles and links one source file into the shared library `built`.
fn build(source: &str, built: &PathBuf, cpp: bool) {
    let compiler = cc::Build::new()
        .cpp(cpp)
        .pic(true)
        .warnings(true)
        .get_compiler();
    let status = compiler
        .to_command()
        .arg("-shared")
        .arg("-o")
        .arg(built)
        .arg(PathBuf::from("c").join(source))
        .status()
        .unwrap_or_else(|error| panic!("cannot start the compiler for c/{source}: {error}"));
    assert!(status.success(), "building c/{source} ended with {status}");
}
