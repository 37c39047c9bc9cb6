//! Shared libraries in C and C++ that Brigade's tests load at run time.
//!
//! Each library is built by `build.rs` from one file of `c/`; this crate only knows where the results are.

use std::path::Path;

/// Library with general-dynamic thread-local storage: `dynamic_bump`, `dynamic_address`, `dynamic_image_is_intact`.
pub fn tls_dynamic() -> &'static Path {
    Path::new(env!("TESTLIB_TLS_DYNAMIC"))
}

/// Library with eight bytes of initial-exec thread-local storage: `static_value`, `static_bump`.
pub fn tls_static_small() -> &'static Path {
    Path::new(env!("TESTLIB_TLS_STATIC_SMALL"))
}

/// Library with 1 KiB of initial-exec thread-local storage: `static_value`.
pub fn tls_static_large() -> &'static Path {
    Path::new(env!("TESTLIB_TLS_STATIC_LARGE"))
}

/// C++ library with a `thread_local` object and exceptions: `cpp_bump`, `cpp_living_objects`,
/// `cpp_throw_and_rethrow`, `cpp_unwind_through`.
pub fn tls_cpp() -> &'static Path {
    Path::new(env!("TESTLIB_TLS_CPP"))
}
