//! Which symbols are hooked, and whether this program reaches them.
//!
//! A hook is live when whoever calls the symbol comes to our definition. Three facts show it, none of which costs a
//! hook anything:
//!
//! * *linked*: another crate of the program took the symbol's address, and it is ours ([`Hook::is_at`]). Asked from
//!   inside this crate the answer would always be yes.
//! * *exported*: the dynamic linker finds ours first, so C libraries and a shared libstd come here too
//!   ([`Hook::is_exported`]).
//! * *reached*: a call arrived. A hook that passes a call on looks the next definition up once and keeps it; if it
//!   is made to forget it, the next call shows as a new look-up ([`Hook::is_reached_by`]).

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::symbols::TABLES;

/// A symbol and the next definition of it, found when it is first needed.
#[derive(Debug)]
pub(crate) struct Symbol {
    pub(crate) name: &'static CStr,
    /// The address of the next definition, or 0 while it is not known.
    pub(crate) next: AtomicUsize,
}

/// A libc function that this crate defines.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    symbol: &'static Symbol,
    own: *const (),
}

// SAFETY: `own` is the address of a function, which nobody writes through.
unsafe impl Sync for Hook {}
// SAFETY: the address of a function is the same for all threads.
unsafe impl Send for Hook {}

impl Hook {
    /// The hook for `symbol` at the address `own`.
    #[allow(dead_code, reason = "elsewhere than on Linux there are no hooks")]
    pub(crate) const fn new(symbol: &'static Symbol, own: *const ()) -> Hook {
        Hook { symbol, own }
    }

    /// The name of the function.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.symbol.name.to_str().unwrap_or("")
    }

    /// Whether `address` is that of the hook. Ask with the address that another crate sees under the hook's name.
    #[must_use]
    pub fn is_at(&self, address: *const ()) -> bool {
        core::ptr::eq(self.own, core::hint::black_box(address))
    }

    /// Whether the dynamic linker finds the hook under its name, as it does for shared libraries. Does not block.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        // SAFETY: a lookup by a valid C string.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.symbol.name.as_ptr()) };
        core::ptr::eq(self.own, found.cast_const().cast())
    }

    /// Runs `call` and says whether a call to the hook was passed on to libc meanwhile, by this thread or another.
    /// It must be one that is passed on: made on an ordinary kernel thread.
    pub fn is_reached_by(&self, call: impl FnOnce()) -> bool {
        // ORDER: Relaxed: a hook that reads 0 looks the address up again, which is always right.
        self.symbol.next.store(0, Ordering::Relaxed);
        call();
        // ORDER: Relaxed: stored by this thread in `call`, or by another whose call is as good.
        self.symbol.next.load(Ordering::Relaxed) != 0
    }
}

/// All hooks of this build.
pub fn hooks() -> impl Iterator<Item = &'static Hook> {
    TABLES.iter().flat_map(|table| table.iter())
}
