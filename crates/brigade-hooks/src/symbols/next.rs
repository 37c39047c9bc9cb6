//! The next definition of a symbol after the executable's, which is libc's unless something is preloaded.
//!
//! Calls are passed on through it and not by raw system calls: libc's functions are cancellation points, and other
//! interposers (sanitizers, preloaded libraries) keep their place in the chain. The cost is a load and an indirect
//! call.
//!
//! The look-up happens at the first call that is passed on. `dlsym` takes the dynamic linker's lock, which is
//! recursive, and allocates nothing when it finds the symbol; so a first call from a signal handler works.
//!
//! Rejected: looking all symbols up before `main`; every program that links the crate would pay for it.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use brigade_runtime::raw::sys;

use crate::status::{Hook, Symbol};

/// The next definition of a symbol: a function of type `F`.
pub(crate) struct Next<F> {
    symbol: Symbol,
    signature: PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// # Safety
    /// `F` is a function pointer with the signature of the symbol of that name.
    pub(crate) const unsafe fn new(name: &'static CStr) -> Next<F> {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        Next {
            symbol: Symbol {
                name,
                next: AtomicUsize::new(0),
            },
            signature: PhantomData,
        }
    }

    /// The entry of the hook in its table. `own` is its address.
    pub(crate) const fn hook(&'static self, own: *const ()) -> Hook {
        Hook::new(&self.symbol, own)
    }

    /// The next definition.
    #[inline(always)]
    pub(crate) fn get(&self) -> F {
        // ORDER: Relaxed: the address of a function, nothing is published with it.
        let address = match self.symbol.next.load(Ordering::Relaxed) {
            0 => find_slow(&self.symbol),
            address => address,
        };
        // SAFETY: the contract of `new`; the address is not 0.
        unsafe { core::mem::transmute_copy(&address) }
    }
}

#[cold]
#[inline(never)]
fn find_slow(symbol: &Symbol) -> usize {
    // SAFETY: a lookup by a valid C string.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, symbol.name.as_ptr()) };
    if address.is_null() {
        sys::write_stderr(b"brigade: the C library has no ");
        sys::write_stderr(symbol.name.to_bytes());
        sys::write_stderr(b"\n");
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
    // ORDER: Relaxed: as in `get`; a race stores the same address twice.
    symbol.next.store(address as usize, Ordering::Relaxed);
    address as usize
}
