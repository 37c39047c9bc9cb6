//! libc functions that cannot work unchanged on a green thread, interposed.
//!
//! The executable defines these symbols, so every caller in the process gets them. On an ordinary kernel
//! thread, and for arguments that have nothing to do with green threads, each passes straight on to
//! libc. On a green thread there are four answers:
//!
//! | answer | functions |
//! |---|---|
//! | refused: message and abort | PI mutexes, `pthread_exit`, `pthread_cancel` of a green thread |
//! | `EINVAL` | `pthread_join`, `pthread_detach` of a green thread |
//! | done as the kernel thread | the `set*id` family; affinity, scheduling and clock of a green thread |
//! | done differently | `pthread_getattr_np` (the true stack), keys (destructors noted), `dlopen` (blocks patched), `pthread_join` of a kernel thread (without a processor) |
//!
//! Invariants
//! 1. The originals are found by `dlsym(RTLD_NEXT)` once and kept in an atomic; nothing here allocates.
//! 2. A `pthread_t` is a green thread's exactly when it is the thread pointer of a slot.
//! 3. No function switches, but what the scheduler does after a `pthread_join` (`blocking.rs`).
//!
//! Rejected: hooking inside libc (its internal calls do not go through these symbols, and need not).

mod dl;
mod ids;
mod mutex;
mod threads;

use core::ffi::CStr;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The next definition of a symbol after the executable's: a function of type `F`.
struct Next<F> {
    name: &'static CStr,
    address: AtomicUsize,
    signature: PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// # Safety
    /// `F` is a function pointer with the signature of the symbol of that name.
    const unsafe fn new(name: &'static CStr) -> Next<F> {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        Next {
            name,
            address: AtomicUsize::new(0),
            signature: PhantomData,
        }
    }

    /// The original.
    #[inline]
    fn get(&self) -> F {
        // ORDER: Relaxed: the address of a function, nothing is published with it.
        let address = match self.address.load(Ordering::Relaxed) {
            0 => self.get_slow(),
            address => address,
        };
        // SAFETY: the contract of `new`; the address is not 0.
        unsafe { core::mem::transmute_copy(&address) }
    }

    #[cold]
    fn get_slow(&self) -> usize {
        // SAFETY: a lookup by a valid C string.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if address.is_null() {
            crate::prim::sys::write_stderr(b"brigade: the C library has no ");
            crate::prim::sys::write_stderr(self.name.to_bytes());
            crate::prim::sys::write_stderr(b"\n");
            // SAFETY: ends the process.
            unsafe { libc::abort() }
        }
        // ORDER: Relaxed: as in `get`; a race stores the same address twice.
        self.address.store(address as usize, Ordering::Relaxed);
        address as usize
    }
}
