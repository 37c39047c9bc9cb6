//! The caller's memory. The kernel answers a bad pointer with `EFAULT`; so must a hook that reads what a pointer
//! points to.

use brigade_runtime::park::Green;
use brigade_runtime::raw::sys;

/// The lowest address at which a program has memory, unless it was configured otherwise.
const LOWEST: usize = 4096;
/// One past the highest address of user memory, with four levels of page tables.
const HIGHEST: usize = 1 << 47;

/// Whether `address` could be that of a `T`: aligned, and where programs have their memory. If not, the kernel knows
/// which error it is.
#[inline]
pub(crate) fn is_plausible<T>(address: usize) -> bool {
    (LOWEST..HIGHEST).contains(&address) && address.is_multiple_of(align_of::<T>())
}

/// The value at `from`; none if there is no readable memory. Costs a system call or two if it is not on the green
/// thread's own stack.
#[inline]
pub(crate) fn read<T: Copy>(green: Green, from: *const T) -> Option<T> {
    if !green.has_on_stack(from.addr(), size_of::<T>()) && !is_readable(from.addr(), size_of::<T>())
    {
        return None;
    }
    // SAFETY: the memory is readable; `T` is plain data of a libc structure, which callers need not align.
    Some(unsafe { from.read_unaligned() })
}

/// Asks the kernel whether the bytes can be read: it copies 8 of them for a system call that it then refuses. Bytes
/// in between lie on the same or the neighbouring page, as long as there are not more than a page of them.
#[cold]
fn is_readable(address: usize, bytes: usize) -> bool {
    /// The kernel's size of a signal set.
    const SET_BYTES: usize = 8;
    const NO_SUCH_WAY: usize = 99;
    let block = |address: usize| {
        // SAFETY: the kernel checks the pointer; the way to change the mask is none, so it changes nothing.
        let refused = unsafe {
            sys::call(
                libc::SYS_rt_sigprocmask,
                [NO_SUCH_WAY, address & !(SET_BYTES - 1), 0, SET_BYTES, 0, 0],
            )
        };
        address != 0 && refused == -(libc::EINVAL as isize)
    };
    bytes <= 4096 && block(address) && block(address.saturating_add(bytes - 1))
}
