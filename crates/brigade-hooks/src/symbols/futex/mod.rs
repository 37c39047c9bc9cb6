//! Futexes: the locks, condition variables, channels and parkers of std, parking_lot, crossbeam and libstdc++, which
//! all wait through libc's `syscall`.
//!
//! # Who waits where
//!
//! | waiter | place |
//! |---|---|
//! | green thread, `WAIT` or `WAIT_BITSET` on a private word | the table (`table.rs`) |
//! | green thread, any other futex operation that waits (shared words, `CLOCK_REALTIME`, PI) | the kernel, with its processor given away |
//! | kernel thread | the kernel |
//!
//! A wake of a private word looks into the table and then, for what is left of its count, into the kernel. As in the
//! kernel, private waits and shared wakes do not meet.
//!
//! # Invariants
//!
//! 1. A wake never wakes more than it was asked for, and returns the sum of both.
//! 2. *Fairness.* A wake that cannot wake everybody serves the kernel's waiters first now and then ([`Turn`]): every
//!    second time on average where that found some, else about every 16th. So neither kind is passed over for ever.
//!    No count of kernel waiters is kept: a wait that goes to the kernel costs what it costs without us, and
//!    waiters that came by another way than this symbol count too.
//! 3. What the table does not know (odd operations, bad addresses and times) goes to the kernel, whose answer it is.
//! 4. Requeuing and `WAKE_OP` wake every green waiter of their words. Futex waits may end for no reason.
//! 5. A carrier that waits in the kernel inside the runtime, for the lock of an allocator, holds its processor. A wake
//!    that went to a green thread instead could leave nobody to run that thread. So while such a carrier waits for a
//!    word of the bucket, the kernel's waiters are always served first. It passes the wake on when it has had the lock.
//!
//! # Limits
//!
//! A private word that is not mapped is a segmentation fault instead of `EFAULT`, if its address looks like one. A
//! signal handler that wakes a word of the bucket whose lock the interrupted code holds (for some 50 ns) hangs.
//! Other system calls made through `syscall` pass straight on; if one blocks, the monitor hands the processor off.
//!
//! # Rejected
//!
//! A count of hooked kernel waiters for the fairness: two locked instructions on each of their waits, and blind to
//! those that came another way.

mod table;

use brigade_runtime::park::{self, Green};
use brigade_runtime::raw::sys;
use core::sync::atomic::{AtomicU32, Ordering};
use libc::{c_int, c_long, timespec};

use super::clock::{self, NEVER};
use super::errno::{errno, from_kernel, set_errno};
use super::memory;
use super::next::Next;
use super::parkable;
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 1] = [SYSCALL.hook(syscall as *const ())];

type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;
// SAFETY: libc's function is variadic and takes up to six words, from the registers and the stack place where this
// type has them.
static SYSCALL: Next<Syscall> = unsafe { Next::new(c"syscall") };
const _: Syscall = syscall;
const _: unsafe extern "C" fn(c_long, ...) -> c_long = libc::syscall;

const WAIT: c_int = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
const WAIT_BITSET: c_int = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
const WAKE: c_int = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
const WAKE_BITSET: c_int = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
const REQUEUE: c_int = libc::FUTEX_REQUEUE | libc::FUTEX_PRIVATE_FLAG;
const CMP_REQUEUE: c_int = libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG;
const WAKE_OP: c_int = libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG;

const ALL_BITS: u32 = u32::MAX;

/// The arguments of a futex operation, as the caller passed them.
#[derive(Clone, Copy)]
struct Call([c_long; 6]);

impl Call {
    fn address(self) -> usize {
        self.0[0] as usize
    }

    fn operation(self) -> c_int {
        self.0[1] as c_int
    }

    /// The value to wait for, or how many to wake.
    fn value(self) -> u32 {
        self.0[2] as u32
    }

    fn timeout(self) -> *const timespec {
        self.0[3] as *const timespec
    }

    /// How many to requeue, where the operation takes that instead of a timeout.
    fn second_value(self) -> u32 {
        self.0[3] as u32
    }

    fn second_address(self) -> usize {
        self.0[4] as usize
    }

    fn bits(self) -> u32 {
        self.0[5] as u32
    }

    /// The call as it came, to libc.
    fn pass_on(self) -> c_long {
        let [a, b, c, d, e, f] = self.0;
        // SAFETY: the caller's arguments.
        unsafe { SYSCALL.get()(libc::SYS_futex, a, b, c, d, e, f) }
    }

    /// The call as it came, to libc, which may wait in the kernel.
    #[cold]
    fn pass_on_blocking(self) -> c_long {
        if parkable().is_none() {
            return self.pass_on();
        }
        park::blocking(|| self.pass_on())
    }

    /// A wake of this kind for `count` waiters, to the kernel: its result.
    fn wake_in_kernel(self, count: u32) -> isize {
        let mut arguments = self.0.map(|argument| argument as usize);
        arguments[2] = count as usize;
        // SAFETY: a wake reads no memory of the program.
        unsafe { sys::call(libc::SYS_futex, arguments) }
    }
}

/// libc's variadic `syscall`.
///
/// # Safety
/// What the system call `number` asks of its arguments.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number != libc::SYS_futex || !concerns_greens(b as c_int, a as usize) {
        // SAFETY: the caller's contract.
        return unsafe { SYSCALL.get()(number, a, b, c, d, e, f) };
    }
    futex(Call([a, b, c, d, e, f]))
}

/// Whether a futex operation may have to do with green threads or carriers. Where it has not, it passes straight on.
#[inline(always)]
fn concerns_greens(operation: c_int, address: usize) -> bool {
    match operation {
        WAIT | WAIT_BITSET => Green::is_on_carrier(),
        WAKE | WAKE_BITSET => !table::is_empty(address),
        _ => true,
    }
}

#[inline(never)]
fn futex(call: Call) -> c_long {
    match call.operation() {
        WAIT | WAIT_BITSET => match Green::current() {
            Some(green) => wait(green, call),
            None if Green::is_on_carrier() => wait_below(call),
            None => call.pass_on(),
        },
        WAKE => wake(call, ALL_BITS),
        WAKE_BITSET => wake(call, call.bits()),
        _ => other(call),
    }
}

fn wait(green: Green, call: Call) -> c_long {
    let is_bitset = call.operation() == WAIT_BITSET;
    let bits = if is_bitset { call.bits() } else { ALL_BITS };
    if bits == 0 || !memory::is_plausible::<u32>(call.address()) || !green.is_on_own_stack() {
        return call.pass_on_blocking();
    }
    let mut deadline_ns = NEVER;
    if !call.timeout().is_null() {
        deadline_ns = match memory::read(green, call.timeout()) {
            Some(time) if !clock::is_valid(time) => return call.pass_on_blocking(),
            Some(time) if is_bitset => clock::to_ns(time),
            Some(time) => clock::deadline_after(time),
            None => return call.pass_on_blocking(),
        };
    }
    // SAFETY: the caller's contract: there is a futex word at the address.
    let word = unsafe { AtomicU32::from_ptr(call.address() as *mut u32) };
    from_kernel(table::wait(green, word, call.value(), bits, deadline_ns)) as c_long
}

/// A wait in the kernel that holds a processor (invariant 5).
#[cold]
fn wait_below(call: Call) -> c_long {
    let below = table::below(call.address());
    // ORDER: SeqCst: before the kernel compares the word; its partner is the fence in `Bucket::is_empty`.
    below.fetch_add(1, Ordering::SeqCst);
    let result = call.pass_on();
    // ORDER: Relaxed: a wake that still counts this wait asks the kernel first, which finds nobody.
    below.fetch_sub(1, Ordering::Relaxed);
    result
}

/// The kernel wakes one waiter even if it is asked for none, or for a negative number.
fn most(count: u32) -> u32 {
    (count as i32).max(1) as u32
}

fn wake(call: Call, bits: u32) -> c_long {
    if bits == 0 {
        return call.pass_on();
    }
    let most = most(call.value());
    let mut in_kernel = 0;
    // ORDER: Relaxed: after the fence in `Bucket::is_empty`; its partner is the count in `wait_below`.
    let is_held_up = table::below(call.address()).load(Ordering::Relaxed) != 0;
    let kernel_first = is_held_up || table::turn(call.address()).is_kernel_first();
    if kernel_first {
        in_kernel = call.wake_in_kernel(call.value());
        if in_kernel < 0 {
            return from_kernel(in_kernel) as c_long;
        }
        table::turn(call.address()).note(in_kernel > 0);
    }
    let mut woken = in_kernel as u32;
    if woken < most {
        woken += table::wake(call.address(), bits, most - woken);
    }
    if !kernel_first && woken == 0 {
        return call.pass_on();
    }
    if !kernel_first && woken < most {
        woken += call.wake_in_kernel(most - woken).max(0) as u32;
    }
    if let Some(green) = Green::current() {
        green.checkpoint();
    }
    c_long::from(woken)
}

/// Operations that are the kernel's: those that wait do so without a processor, those that wake or move waiters also
/// wake the green waiters of their words.
#[cold]
fn other(call: Call) -> c_long {
    match call.operation() {
        REQUEUE | CMP_REQUEUE => with_greens(call, &[call.address()]),
        WAKE_OP => with_greens(call, &[call.address(), call.second_address()]),
        _ => call.pass_on_blocking(),
    }
}

fn with_greens(call: Call, words: &[usize]) -> c_long {
    let done = call.pass_on();
    if done < 0 {
        return done;
    }
    let errno_before = errno();
    let woken: u32 = words
        .iter()
        .filter(|&&word| !table::is_empty(word))
        .map(|&word| table::wake(word, ALL_BITS, u32::MAX))
        .sum();
    set_errno(errno_before);
    let most = c_long::from(most(call.value())).saturating_add(c_long::from(call.second_value()));
    done.saturating_add(c_long::from(woken)).min(most.max(done))
}

/// Whose turn it is to be woken first; shared by the words of a bucket. Racing users only disturb its rhythm.
pub(crate) struct Turn(AtomicU32);

/// How many wakes serve green threads first, on average, after the kernel was seen to have no waiters.
const PERIOD: u32 = 16;
const PERIOD_BITS: u32 = 8;

impl Turn {
    pub(crate) const fn new() -> Turn {
        Turn(AtomicU32::new(0))
    }

    /// Whether this wake serves the kernel's waiters first. The low bits count down to that, the high ones are a
    /// pseudo-random sequence.
    fn is_kernel_first(&self) -> bool {
        // ORDER: Relaxed: a rhythm; nothing is published.
        let state = self.0.load(Ordering::Relaxed);
        let left = state & ((1 << PERIOD_BITS) - 1);
        if left <= 1 {
            return true;
        }
        // ORDER: Relaxed: as above.
        self.0.store(state - 1, Ordering::Relaxed);
        false
    }

    /// After a wake that served the kernel first: whether it had waiters. Draws when it is first again, so that two
    /// words of a bucket do not fall into step.
    fn note(&self, had_waiters: bool) {
        // ORDER: Relaxed: as above.
        let state = self.0.load(Ordering::Relaxed);
        let drawn = (state >> PERIOD_BITS)
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let mean = if had_waiters { 2 } else { PERIOD };
        let left = mean / 2 + 1 + (drawn >> 12) % mean;
        // ORDER: Relaxed: as above.
        self.0.store(drawn << PERIOD_BITS | left, Ordering::Relaxed);
    }
}
