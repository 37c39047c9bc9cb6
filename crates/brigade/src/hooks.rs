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

// Functions that the `libc` crate does not declare. Only their addresses are used.
#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn __poll_chk();
    fn __ppoll_chk();
    fn __pread64_chk();
    fn __read_chk();
    fn __recv_chk();
    fn __recvfrom_chk();
    fn closefrom();
    fn epoll_pwait2();
    fn fcntl64();
}

/// The address that code of this crate calls under `name`.
#[cfg(target_env = "gnu")]
fn address(name: &str) -> Option<*const ()> {
    let addresses: [(&str, *const ()); 49] = [
        ("__poll_chk", __poll_chk as *const ()),
        ("__ppoll_chk", __ppoll_chk as *const ()),
        ("__pread64_chk", __pread64_chk as *const ()),
        ("__read_chk", __read_chk as *const ()),
        ("__recv_chk", __recv_chk as *const ()),
        ("__recvfrom_chk", __recvfrom_chk as *const ()),
        ("closefrom", closefrom as *const ()),
        ("epoll_pwait2", epoll_pwait2 as *const ()),
        ("fcntl64", fcntl64 as *const ()),
        ("accept", libc::accept as *const ()),
        ("accept4", libc::accept4 as *const ()),
        ("close", libc::close as *const ()),
        ("close_range", libc::close_range as *const ()),
        ("connect", libc::connect as *const ()),
        ("dup", libc::dup as *const ()),
        ("dup2", libc::dup2 as *const ()),
        ("dup3", libc::dup3 as *const ()),
        ("epoll_pwait", libc::epoll_pwait as *const ()),
        ("epoll_wait", libc::epoll_wait as *const ()),
        ("fcntl", libc::fcntl as *const ()),
        ("fdopen", libc::fdopen as *const ()),
        ("ioctl", libc::ioctl as *const ()),
        ("lockf", libc::lockf as *const ()),
        ("pipe", libc::pipe as *const ()),
        ("pipe2", libc::pipe2 as *const ()),
        ("poll", libc::poll as *const ()),
        ("ppoll", libc::ppoll as *const ()),
        ("pread", libc::pread as *const ()),
        ("pread64", libc::pread64 as *const ()),
        ("preadv", libc::preadv as *const ()),
        ("preadv64", libc::preadv64 as *const ()),
        ("pselect", libc::pselect as *const ()),
        ("read", libc::read as *const ()),
        ("readv", libc::readv as *const ()),
        ("recv", libc::recv as *const ()),
        ("recvfrom", libc::recvfrom as *const ()),
        ("recvmmsg", libc::recvmmsg as *const ()),
        ("recvmsg", libc::recvmsg as *const ()),
        ("sched_yield", libc::sched_yield as *const ()),
        ("select", libc::select as *const ()),
        ("send", libc::send as *const ()),
        ("sendmmsg", libc::sendmmsg as *const ()),
        ("sendmsg", libc::sendmsg as *const ()),
        ("sendto", libc::sendto as *const ()),
        ("setsockopt", libc::setsockopt as *const ()),
        ("socket", libc::socket as *const ()),
        ("socketpair", libc::socketpair as *const ()),
        ("write", libc::write as *const ()),
        ("writev", libc::writev as *const ()),
    ];
    addresses
        .into_iter()
        .find_map(|(known, address)| (known == name).then_some(address))
}

/// Elsewhere nothing is hooked.
#[cfg(not(target_env = "gnu"))]
fn address(_name: &str) -> Option<*const ()> {
    None
}
