//! Names the green thread whose stack overflowed.
//!
//! A SIGSEGV handler on the carrier's alternate signal stack. If the faulting address is in the guard of a
//! slot, it says which thread it was and how large the stack is, and aborts. Every other fault goes to
//! the handler that was there before.
//!
//! Invariants
//! 1. The handler calls nothing that is not async-signal-safe: raw `write`, a walk over the region
//!    table, `abort`.
//! 2. `PREVIOUS` is written before the handler can run and never again.
//!
//! Rejected: replacing the panic hook (a panic on an overflowed stack cannot unwind).

use crate::prim::{RawLock, sys};
use crate::stack::region;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;

/// Longest text that is written about one thread.
const NAME_BYTES: usize = 128;

type Describe = fn(&mut [u8]) -> usize;

/// The function that names the running thread; 0 until one was given.
static DESCRIBE: AtomicUsize = AtomicUsize::new(0);
static INSTALLED: RawLock<bool> = RawLock::new(false);
static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));

struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written once under `INSTALLED` before the handler exists, read only by the handler.
unsafe impl Sync for Previous {}

/// Installs the SIGSEGV handler, once; later calls only replace `describe`.
///
/// `describe` writes the running thread's name and id into the buffer and returns how many bytes it
/// wrote. It runs in a signal handler, so it must not allocate, lock or touch lazily made thread-locals.
///
/// # Errors
/// When the kernel refuses the handler.
pub fn install_overflow_handler(describe: fn(&mut [u8]) -> usize) -> io::Result<()> {
    // ORDER: Relaxed: the address of a function, nothing is published with it.
    DESCRIBE.store(describe as usize, Ordering::Relaxed);
    let mut installed = INSTALLED.lock();
    if *installed {
        return Ok(());
    }
    // SAFETY: plain old data; the previous action is stored before the new one is set, so the handler
    // always finds it. The handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        if libc::sigaction(
            libc::SIGSEGV,
            core::ptr::null(),
            (*PREVIOUS.0.get()).as_mut_ptr(),
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        if libc::sigaction(libc::SIGSEGV, &action, core::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    *installed = true;
    Ok(())
}

/// Writes the running thread's description; "a green thread" when nobody told how.
pub(crate) fn describe_into(buffer: &mut [u8]) -> usize {
    // ORDER: Relaxed: see `install_overflow_handler`.
    let address = DESCRIBE.load(Ordering::Relaxed);
    // SAFETY: 0 or a function of this type.
    match unsafe { core::mem::transmute::<usize, Option<Describe>>(address) } {
        Some(describe) => describe(buffer).min(buffer.len()),
        None => {
            let text = b"<green>";
            let n = text.len().min(buffer.len());
            buffer[..n].copy_from_slice(&text[..n]);
            n
        }
    }
}

/// Writes "thread 'NAME' " and the message to standard error, as one piece, and aborts.
/// Async-signal-safe as far as the arguments are.
pub(crate) fn die(message: fmt::Arguments<'_>) -> ! {
    let mut name = [0u8; NAME_BYTES];
    let length = describe_into(&mut name);
    let mut text = Text {
        bytes: [0; 640],
        length: 0,
    };
    text.push(b"\nthread '");
    text.push(&name[..length]);
    text.push(b"' ");
    // `Text` never fails; it cuts.
    let _ = text.write_fmt(message);
    text.push(b"\n");
    sys::write_stderr(&text.bytes[..text.length]);
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

/// A text of bounded length; what does not fit is cut.
struct Text {
    bytes: [u8; 640],
    length: usize,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.length..];
        let n = bytes.len().min(room.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.length += n;
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

unsafe extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo of a fault.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // A positive code says that the kernel raised it, so that the address means something.
    if code > 0
        && let Some(place) = region::find(address)
        && place.in_guard(address)
    {
        die(format_args!(
            "has overflowed its stack of {} KiB\nfatal runtime error: stack overflow, aborting \
             (a larger stack: brigade::thread::Builder::stack_size)",
            place.size / 1024
        ));
    }
    // SAFETY: invariant 2; the arguments are the kernel's own.
    unsafe { chain(signal, info, context) }
}

/// # Safety
/// Called by the SIGSEGV handler with its own arguments.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    type WithInfo = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);
    type Plain = unsafe extern "C" fn(i32);
    // SAFETY: `PREVIOUS` was filled before this handler existed; a handler that is neither default nor
    // ignore has the signature that its flags say.
    unsafe {
        let previous = (*PREVIOUS.0.get()).assume_init_ref();
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // The fault happens again as soon as we return, and then ends the process.
                let mut default: libc::sigaction = core::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, core::ptr::null_mut());
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                core::mem::transmute::<usize, WithInfo>(handler)(signal, info, context);
            }
            handler => core::mem::transmute::<usize, Plain>(handler)(signal),
        }
    }
}

/// Takes the lock of this module, for fork.
pub(crate) fn lock() {
    INSTALLED.acquire();
}

/// Gives back what [`lock`] took.
///
/// # Safety
/// The caller called [`lock`] before, once.
pub(crate) unsafe fn unlock() {
    // SAFETY: the caller holds it.
    unsafe { INSTALLED.release() };
}
