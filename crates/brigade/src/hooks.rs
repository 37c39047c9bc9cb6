//! Which libc functions park a green thread instead of blocking its kernel thread, and whether this program reaches
//! them.
//!
//! A program that depends on this crate defines the hooked functions itself, so the standard library, other crates
//! and C libraries call them without any change. [`status`] proves it for the program that asks.
//!
//! ```
//! for hook in brigade::hooks::status() {
//!     assert!(hook.is_live(), "{} is not hooked here", hook.name());
//! }
//! ```

use brigade_hooks::Hook;

/// What is known about one hook in this program.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    hook: &'static Hook,
    linked: bool,
    exported: bool,
}

impl Status {
    /// The name of the libc function.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.hook.name()
    }

    /// Whether Rust and C code linked into the program calls the hook.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether shared libraries, such as those of C programs, call the hook.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.exported
    }

    /// Whether everybody calls the hook.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.linked && self.exported
    }
}

/// Finds out for each hook whether it is live. Does not block.
///
/// Empty where there are no green threads: elsewhere than on Linux, x86-64, with a shared glibc.
#[must_use]
pub fn status() -> Vec<Status> {
    brigade_hooks::hooks()
        .map(|hook| Status {
            hook,
            linked: address(hook.name()).is_some_and(|address| hook.is_at(address)),
            exported: hook.is_exported(),
        })
        .collect()
}

/// The address that code of this crate calls under `name`.
fn address(name: &str) -> Option<*const ()> {
    let addresses: [(&str, *const ()); 1] = [("sched_yield", libc::sched_yield as *const ())];
    addresses
        .into_iter()
        .find_map(|(known, address)| (known == name).then_some(address))
}
