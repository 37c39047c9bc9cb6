//! Kernel threads that run green threads.
//!
//! The *carrier word* is a thread-local that every switch takes along: on the carrier itself and on
//! every green thread that it runs, the word is the address of the carrier's [`CarrierBase`]. Elsewhere
//! it is null.
//!
//! Who owns what: the runtime owns the [`CarrierBase`] (as the first field of its own record) and keeps
//! it alive from [`CarrierBase::attach`] to [`CarrierBase::detach`]; this module owns the alternate
//! signal stack in it.
//!
//! Invariants
//! 1. A value of [`carrier`] is right until the next switch, and must not be kept over one.
//! 2. `pins` counts the [`RawLock`](crate::prim::RawLock)s that code on the carrier holds, and the calls of
//!    [`on_carrier`] that it is in. A green thread does not switch meanwhile, so the count belongs to the carrier.
//! 3. [`on_carrier`] runs with the kernel thread's own thread pointer, so nothing in it is a green
//!    thread's, and it must not switch: a libc hook that would park blocks the kernel thread.

use crate::arch;
use core::cell::Cell;
use core::mem::MaybeUninit;
use std::io;

/// What this crate knows about one carrier; the first field of the runtime's own record.
#[repr(C)]
#[derive(Debug)]
pub struct CarrierBase {
    /// The kernel thread's own thread pointer; 0 while not attached.
    pub tp: usize,
    pins: Cell<u32>,
    signal_stack: usize,
    signal_stack_bytes: usize,
}

impl CarrierBase {
    /// A carrier that is not attached.
    pub const fn new() -> CarrierBase {
        CarrierBase {
            tp: 0,
            pins: Cell::new(0),
            signal_stack: 0,
            signal_stack_bytes: 0,
        }
    }

    /// Whether code on this carrier holds a [`RawLock`](crate::prim::RawLock) or runs in [`on_carrier`]: such code must
    /// not switch.
    #[inline(always)]
    pub fn is_pinned(&self) -> bool {
        self.pins.get() != 0
    }

    /// Makes the calling kernel thread a carrier: notes its thread pointer, gives it an alternate
    /// signal stack if it has none, and sets the carrier word.
    ///
    /// # Errors
    /// When the kernel gives no memory for the signal stack.
    ///
    /// # Safety
    /// `this` is valid until [`CarrierBase::detach`], which the same kernel thread calls before it ends;
    /// the thread is no green thread and no carrier yet.
    pub unsafe fn attach(this: *mut CarrierBase) -> io::Result<()> {
        // SAFETY: the caller keeps `this` valid and nobody else uses it yet.
        let base = unsafe { &mut *this };
        base.install_signal_stack()?;
        base.tp = arch::thread_pointer();
        arch::set_carrier_word(this as usize);
        Ok(())
    }

    /// Undoes [`CarrierBase::attach`].
    ///
    /// # Safety
    /// `this` is attached to the calling kernel thread, which runs on its own stack.
    pub unsafe fn detach(this: *mut CarrierBase) {
        arch::set_carrier_word(0);
        // SAFETY: the caller's contract.
        let base = unsafe { &mut *this };
        base.tp = 0;
        base.remove_signal_stack();
    }

    fn install_signal_stack(&mut self) -> io::Result<()> {
        let mut present = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: only asks; the kernel fills the structure.
        let present = unsafe {
            libc::sigaltstack(core::ptr::null(), present.as_mut_ptr());
            present.assume_init()
        };
        if present.ss_flags & libc::SS_DISABLE == 0 {
            return Ok(());
        }
        // SAFETY: reads the auxiliary vector.
        let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) as usize };
        let bytes = (least + 32 * 1024).next_multiple_of(4096);
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let memory = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = libc::stack_t {
            ss_sp: memory,
            ss_flags: 0,
            ss_size: bytes,
        };
        // SAFETY: the memory stays mapped until `remove_signal_stack`.
        if unsafe { libc::sigaltstack(&stack, core::ptr::null_mut()) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: mapped above, used by nobody.
            unsafe { libc::munmap(memory, bytes) };
            return Err(error);
        }
        self.signal_stack = memory as usize;
        self.signal_stack_bytes = bytes;
        Ok(())
    }

    fn remove_signal_stack(&mut self) {
        if self.signal_stack == 0 {
            return;
        }
        let none = libc::stack_t {
            ss_sp: core::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        // SAFETY: the stack is ours and we do not run on it; unmapped only after it is disabled.
        unsafe {
            if libc::sigaltstack(&none, core::ptr::null_mut()) == 0 {
                libc::munmap(self.signal_stack as *mut _, self.signal_stack_bytes);
            }
        }
        self.signal_stack = 0;
    }
}

impl Default for CarrierBase {
    fn default() -> CarrierBase {
        CarrierBase::new()
    }
}

/// The code that runs here takes a lock below the scheduler, or changes its thread pointer.
#[inline(always)]
pub(crate) fn pin() {
    // SAFETY: a non-null carrier word points to an attached carrier, alive while the thread runs on it.
    if let Some(base) = unsafe { carrier().as_ref() } {
        base.pins.set(base.pins.get().wrapping_add(1));
    }
}

/// Undoes [`pin`].
#[inline(always)]
pub(crate) fn unpin() {
    // SAFETY: as in `pin`.
    if let Some(base) = unsafe { carrier().as_ref() } {
        base.pins.set(base.pins.get().wrapping_sub(1));
    }
}

/// The carrier that the caller runs on; null on other kernel threads. Read it anew after every switch.
#[inline(always)]
pub fn carrier() -> *mut CarrierBase {
    arch::carrier_word() as *mut CarrierBase
}

/// Whether the caller runs on a green thread's TLS block.
#[inline(always)]
pub fn on_green() -> bool {
    let carrier = carrier();
    // SAFETY: a non-null carrier word points to an attached carrier, alive while the thread runs on it;
    // nobody writes `tp` while it is attached.
    !carrier.is_null() && unsafe { (*carrier).tp } != arch::thread_pointer()
}

/// Runs `f` with the kernel thread's own thread pointer, for calls that must be made as the kernel
/// thread itself; errno comes back. Elsewhere than on a green thread it just calls `f`.
///
/// `f` must not switch. Its thread-locals are the carrier's.
///
/// # Panics
/// A panic that leaves `f` on a green thread aborts the process.
#[inline]
pub fn on_carrier<R>(f: impl FnOnce() -> R) -> R {
    if on_green() { on_carrier_slow(f) } else { f() }
}

struct Call<F, R> {
    f: MaybeUninit<F>,
    result: MaybeUninit<R>,
}

fn on_carrier_slow<F: FnOnce() -> R, R>(f: F) -> R {
    unsafe extern "C" fn run<F: FnOnce() -> R, R>(call: *mut ()) {
        // SAFETY: `call` is the local below; `f` is read once and the result written once.
        unsafe {
            let call = &mut *call.cast::<Call<F, R>>();
            let f = call.f.assume_init_read();
            call.result.write(f());
        }
    }
    let mut call = Call {
        f: MaybeUninit::new(f),
        result: MaybeUninit::<R>::uninit(),
    };
    pin();
    // SAFETY: `on_green` was true, so the word points to this kernel thread's carrier. `run` is an
    // `extern "C"` function, so it never unwinds; `f` does not switch, since it is pinned.
    let result = unsafe {
        arch::call_with_tp((*carrier()).tp, run::<F, R>, (&raw mut call).cast());
        call.result.assume_init()
    };
    unpin();
    result
}

/// Makes the calling thread an ordinary kernel thread again, in a child process after fork, where it
/// is the only thread and its carrier is gone.
///
/// # Safety
/// The caller is the child of a fork.
pub unsafe fn forget_carrier_after_fork() {
    let carrier = carrier();
    if carrier.is_null() {
        return;
    }
    // SAFETY: the carrier word is valid; the memory of the parent was copied with it.
    let own_tp = unsafe { (*carrier).tp };
    if own_tp != arch::thread_pointer() {
        unregister_rseq(own_tp);
    }
    arch::set_carrier_word(0);
}

/// Tells the kernel to stop writing into the carrier's block, which glibc may hand to a new thread.
fn unregister_rseq(tp: usize) {
    const RSEQ_FLAG_UNREGISTER: usize = 1;
    const RSEQ_SIGNATURE: usize = 0x5305_3053;
    if let Some((offset, size)) = arch::rseq_area() {
        let area = tp.wrapping_add_signed(offset);
        // SAFETY: unregistering writes only the area, which is still mapped.
        unsafe {
            arch::syscall(
                libc::SYS_rseq,
                [
                    area,
                    size.max(32),
                    RSEQ_FLAG_UNREGISTER,
                    RSEQ_SIGNATURE,
                    0,
                    0,
                ],
            )
        };
    }
}
