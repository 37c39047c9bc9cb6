//! What differs from processor to processor: the switch, the thread pointer, raw system calls.
//!
//! Each file offers the same names. `unsupported.rs` compiles everywhere and says so through
//! [`SUPPORTED`], upon which [`crate::support`] refuses before anything else here is called.
//!
//! Another processor is one more file with the names of `x86_64.rs`, and one more line here.

#[cfg(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]
#[path = "x86_64.rs"]
mod imp;

#[cfg(not(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static")
)))]
#[path = "unsupported.rs"]
mod imp;

pub use imp::{Context, switch};
pub(crate) use imp::{
    SUPPORTED, call_with_tp, carrier_offset, carrier_word, fsbase_is_writable, initial_context,
    rseq_area, set_carrier_word, set_errno_offset, set_malloc_words, set_thread_pointer,
    shadow_stack_is_on, syscall, thread_pointer,
};
