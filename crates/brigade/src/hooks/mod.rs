//! Which libc functions park a green thread instead of blocking its kernel thread, and whether this program reaches
//! them.
//!
//! A program that depends on this crate defines the hooked functions itself, so the standard library, other crates
//! and C libraries call them without any change. [`status`] looks whether that is so in the program that asks, and
//! [`self_test`] makes the calls. The first runtime of a process looks too, and names hooks that are not live in a line
//! on standard error: what they are for blocks kernel threads then, and freezes nothing.
//!
//! ```
//! for hook in brigade::hooks::status() {
//!     assert!(hook.is_live(), "{} is not hooked here", hook.name());
//! }
//! ```

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use brigade_hooks::Hook;

#[cfg(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri)
))]
mod calls;
#[cfg(not(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri)
)))]
#[path = "no_calls.rs"]
mod calls;

/// How this crate, which is not the one with the hooks, calls a hooked function.
struct Call {
    name: &'static str,
    /// The address that the linker put for the name.
    address: *const (),
    /// A call that does nothing, if there is one.
    harmless: Option<fn()>,
}

/// What is known about one hook in this program.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    hook: &'static Hook,
    linked: bool,
    exported: bool,
    reached: Option<bool>,
}

impl Status {
    /// The name of the libc function.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.hook.name()
    }

    /// Whether Rust and C code that is linked into the program calls the hook.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether shared libraries call the hook.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.exported
    }

    /// Whether a call arrived; `None` if none was made, because [`self_test`] was not asked or no call of this
    /// function is harmless.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        self.reached
    }

    /// Whether everybody calls the hook, as far as is known.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.linked && self.exported && self.reached != Some(false)
    }
}

/// Finds out for each hook whether it is live, from the addresses alone. Does not block.
///
/// Empty where there are no green threads: elsewhere than on Linux, x86-64, with a shared glibc.
#[must_use]
pub fn status() -> Vec<Status> {
    brigade_hooks::hooks()
        .map(|hook| Status {
            hook,
            linked: call(hook).is_some_and(|call| hook.is_at(call.address)),
            exported: hook.is_exported(),
            reached: None,
        })
        .collect()
}

/// As [`status`], and calls each hooked function that has a harmless call, with arguments that make it fail or do
/// nothing, to see the call arrive.
///
/// # Blocking
///
/// Blocks the calling thread, of either kind, for less than a millisecond: the calls are made on a kernel thread of
/// their own.
///
/// # Errors
///
/// When that kernel thread cannot be started.
///
/// # Panics
///
/// Never.
///
/// # Examples
///
/// ```
/// let hooks = brigade::hooks::self_test()?;
/// assert!(hooks.iter().all(|hook| hook.is_reached() != Some(false)));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn self_test() -> io::Result<Vec<Status>> {
    let test = || {
        let mut all = status();
        for status in &mut all {
            let harmless = call(status.hook).and_then(|call| call.harmless);
            status.reached = harmless.map(|harmless| status.hook.is_reached_by(harmless));
        }
        all
    };
    let thread = thread::Builder::new()
        .name("brigade-self-test".to_owned())
        .spawn(test)?;
    Ok(thread.join().unwrap_or_default())
}

/// The runtime of the current thread, or the default one.
#[inline]
pub(crate) fn runtime_here() -> io::Result<brigade_runtime::RuntimeHandle> {
    check_once();
    brigade_runtime::current_or_default()
}

/// Before a runtime starts, once: complains about hooks that are not live, and sees to it that somebody looks when
/// everything waits.
#[inline]
pub(crate) fn check_once() {
    static CHECKED: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: a complaint that is made once; nothing is published.
    if !CHECKED.load(Ordering::Relaxed) && !CHECKED.swap(true, Ordering::Relaxed) {
        check_slow();
    }
}

#[cold]
fn check_slow() {
    brigade_diag::install();
    if let Some(text) = complaint(&status()) {
        // Nobody is there to hear of a standard error that is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// What to say about hooks that are not live.
fn complaint(all: &[Status]) -> Option<String> {
    let dead: Vec<&str> = all
        .iter()
        .filter(|hook| !hook.is_live())
        .map(Status::name)
        .collect();
    (!dead.is_empty()).then(|| {
        format!(
            "brigade: {} of {} libc hooks are not live in this program; what calls {} blocks a kernel thread",
            dead.len(),
            all.len(),
            dead.join(", ")
        )
    })
}

fn call(hook: &Hook) -> Option<&'static Call> {
    calls::CALLS.iter().find(|call| call.name == hook.name())
}

// SAFETY: `address` is that of a function, which is the same for all threads and which nobody writes through.
unsafe impl Sync for Call {}

#[cfg(test)]
mod tests {
    use super::{complaint, status};

    #[test]
    fn hooks_that_are_all_live_are_no_reason_to_complain() {
        assert_eq!(complaint(&status()), None);
    }

    #[test]
    fn a_complaint_names_each_hook_that_is_not_live() {
        let mut all = status();
        let Some(first) = all.first_mut() else {
            return;
        };
        first.linked = false;
        let name = first.name();
        all[1].exported = false;
        let text = complaint(&all).expect("a complaint");
        assert!(text.contains("2 of "), "{text}");
        assert!(
            text.contains(name) && text.contains(all[1].name()),
            "{text}"
        );
        assert!(!text.contains(all[2].name()), "{text}");
    }
}
