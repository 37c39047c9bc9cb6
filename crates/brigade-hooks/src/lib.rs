//! libc's blocking functions, defined again: on a green thread they park it instead of blocking its kernel thread.
//!
//! The executable that links this crate exports these symbols, so the standard library, other crates and C libraries
//! come here without knowing it. What libc calls inside itself does not.
//!
//! # Rules
//!
//! 1. Hooks translate: they convert arguments, call the runtime and set errno. What waits and who wakes is decided
//!    there.
//! 2. Where [`Green::current`](brigade_runtime::park::Green::current) is none, a hook calls the next definition of
//!    its symbol (`symbols/next.rs`) with the arguments it got, and does nothing else.
//! 3. Nothing in this crate calls a symbol that it or `brigade-context` exports; it makes raw system calls, or calls
//!    the next definition. `xtask` compares the lists.
//! 4. Nothing allocates or unwinds, and nothing runs under a lock but the few lines that the lock is for: callers may
//!    be allocators, signal handlers, or C.
//! 5. errno is the green thread's own, and is written only where libc would write it.
//! 6. A green thread parks only on its own stack. A signal handler on another stack blocks the kernel thread.
//!
//! Which symbols there are and whether they are reached in this very program is told by [`Hook`] and [`hooks`].
//! Elsewhere than on Linux, x86-64 and dynamic glibc there are no green threads, and the crate exports nothing.

// Elsewhere only the protocol is of interest, to the model checker.
#[cfg_attr(
    not(all(
        target_arch = "x86_64",
        target_os = "linux",
        target_env = "gnu",
        not(target_feature = "crt-static"),
        not(miri)
    )),
    allow(dead_code)
)]
mod bucket;
mod prim;
mod status;

#[cfg(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri),
    not(loom)
))]
mod symbols;
#[cfg(not(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri),
    not(loom)
)))]
#[path = "unsupported.rs"]
mod symbols;

#[cfg(all(loom, test))]
mod models;

pub use status::{Hook, hooks};
