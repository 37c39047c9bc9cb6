//! The symbols, one module per family, each with its table of hooks.
//!
//! A hook is a plain exported function. Right beside it stand the next definition and a line that does not compile
//! unless the signature is the one of the `libc` crate:
//!
//! ```ignore
//! // SAFETY: the signature is compared below.
//! static SLEEP: Next<Sleep> = unsafe { Next::new(c"sleep") };
//! type Sleep = unsafe extern "C" fn(c_uint) -> c_uint;
//! const _: [Sleep; 2] = [sleep, libc::sleep];
//! ```
//!
//! Variadic functions are defined with fixed arguments: on x86-64 a caller passes both in the same registers.

mod child;
mod clock;
mod errno;
mod fd;
mod files;
mod futex;
mod memory;
mod names;
mod next;
mod poll;
mod sleep;
mod socket;
mod stream;
mod wait;

use brigade_runtime::park::{self, Green};

use crate::status::Hook;

/// The tables of all hooks.
pub(crate) static TABLES: [&[Hook]; 9] = [
    &child::HOOKS,
    &fd::HOOKS,
    &files::HOOKS,
    &futex::HOOKS,
    &names::HOOKS,
    &poll::HOOKS,
    &sleep::HOOKS,
    &socket::HOOKS,
    &stream::HOOKS,
];

/// The running green thread, where it may park: on its own stack. For slow paths.
#[inline]
fn parkable() -> Option<Green> {
    Green::current().filter(|green| green.is_on_own_stack())
}

/// Runs `call`, which may block its kernel thread: on a green thread without a processor.
#[inline]
fn blocking<R>(call: impl FnOnce() -> R) -> R {
    match parkable() {
        Some(_) => park::blocking(call),
        None => call(),
    }
}
