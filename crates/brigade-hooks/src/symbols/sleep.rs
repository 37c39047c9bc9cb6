//! Sleeping and yielding.

use brigade_runtime::park;
use libc::c_int;

use super::next::Next;
use super::parkable;
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 1] = [SCHED_YIELD.hook(sched_yield as *const ())];

type Yield = unsafe extern "C" fn() -> c_int;
// SAFETY: the signature is compared below.
static SCHED_YIELD: Next<Yield> = unsafe { Next::new(c"sched_yield") };
const _: [Yield; 2] = [sched_yield, libc::sched_yield];

/// Lets other green threads run.
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sched_yield() -> c_int {
    if parkable().is_none() {
        // SAFETY: the function has no preconditions.
        return unsafe { SCHED_YIELD.get()() };
    }
    park::yield_now();
    0
}
