//! The switch for x86-64 Linux with glibc.
//!
//! # The frame of a suspended context
//!
//! ```text
//!   sp + 28  x87 control word (2 bytes)
//!   sp + 24  MXCSR (4 bytes)
//!   sp + 16  rbx
//!   sp +  8  rbp
//!   sp +  0  address to go on at
//! ```
//!
//! The other callee-saved registers are declared as clobbered, so the compiler saves those that are
//! live at the place of the switch, and only those. rbx and rbp cannot be declared, so they are in the
//! frame.
//!
//! # Carrier words
//!
//! Three words of the TLS block belong to the kernel thread and not to the green thread: glibc
//! malloc's cache and arena, and [`carrier_word`]. The switch copies them from the block that it
//! leaves to the block that it enters. Where malloc is not glibc's, the two malloc offsets are those
//! of the carrier word, and the copy is the same word three times.
//!
//! Invariants
//! 1. Between `wrfsbase` and the change of rsp nothing reads TLS but the copies above.
//! 2. The thread pointer of a green thread never changes, so an address of a thread-local variable
//!    that the compiler keeps over a switch stays right. Only the carrier word changes its *value*;
//!    it is read by volatile assembly alone.
//! 3. The switch ends with a jump to the address in the frame: every place of a switch is its own
//!    branch for the predictor, and the return stack of the processor is not misled.
//!
//! Rejected: a called routine ending in `ret` (mispredicts each switch); reloading MXCSR and the x87
//! control word always (both serialise; a compare is free); comparing MXCSR's sticky exception flags too
//! (every rounded result sets one, so nearly every switch would reload; the ABI lets any call change them).

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicIsize, Ordering};

/// Whether this build has a switch at all.
pub(crate) const SUPPORTED: bool = true;

/// MXCSR at the start of a thread: all exceptions masked, round to nearest.
const MXCSR_DEFAULT: u32 = 0x1f80;
/// x87 control word at the start of a thread: all exceptions masked, 64-bit mantissa.
const X87_CW_DEFAULT: u32 = 0x037f;
/// Bytes of the frame drawn at the top of this file.
const FRAME_BYTES: usize = 32;

/// Where a suspended thread goes on: its stack pointer and its thread pointer.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    sp: usize,
    tp: usize,
}

impl Context {
    /// A context that nothing was saved in yet.
    pub const fn empty() -> Context {
        Context { sp: 0, tp: 0 }
    }

    /// The saved stack pointer; 0 when nothing was saved yet.
    pub const fn stack_pointer(&self) -> usize {
        self.sp
    }

    /// The saved thread pointer; 0 when nothing was saved yet.
    pub const fn thread_pointer(&self) -> usize {
        self.tp
    }
}

/// TLS offsets of glibc malloc's two words; the carrier word's own offset where nothing is swapped.
static MALLOC_WORDS: [AtomicIsize; 2] = [const { AtomicIsize::new(0) }; 2];
/// TLS offset of `errno`.
static ERRNO_OFFSET: AtomicIsize = AtomicIsize::new(0);

// The carrier word: a thread-local of the executable, zero on a new thread.
global_asm!(
    ".pushsection .tbss.brigade_context_carrier,\"awT\",@nobits",
    ".globl brigade_context_carrier",
    ".hidden brigade_context_carrier",
    ".type brigade_context_carrier, @object",
    ".size brigade_context_carrier, 8",
    ".balign 8",
    "brigade_context_carrier:",
    ".zero 8",
    ".popsection",
);

// First code of a new context. On entry rsp points at [argument, entry]; nothing else is set.
// The return address is pushed by hand: a call that never returns would mislead the return stack of the
// processor. It gives `entry` the usual alignment; the undefined rip ends backtraces here.
global_asm!(
    ".pushsection .text.brigade_context_start,\"ax\",@progbits",
    ".globl brigade_context_start",
    ".hidden brigade_context_start",
    ".type brigade_context_start, @function",
    "brigade_context_start:",
    ".cfi_startproc",
    ".cfi_undefined rip",
    "pop rdi",
    "pop rax",
    "xor ebp, ebp",
    "lea rcx, [rip + 22f]",
    "push rcx",
    "jmp rax",
    "nop",
    "22:",
    "ud2",
    ".cfi_endproc",
    ".size brigade_context_start, . - brigade_context_start",
    ".popsection",
);

// call_with_tp(rdi = data, rsi = function, rdx = thread pointer to borrow). Uses rbx, r12-r15, which
// it saves. The two malloc words go along both ways, errno comes back.
global_asm!(
    ".pushsection .text.brigade_context_call_with_tp,\"ax\",@progbits",
    ".globl brigade_context_call_with_tp",
    ".hidden brigade_context_call_with_tp",
    ".type brigade_context_call_with_tp, @function",
    "brigade_context_call_with_tp:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "push r13",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r13, 0",
    "push r14",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r14, 0",
    "push r15",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r15, 0",
    "mov rbx, qword ptr fs:[0]",
    "mov r12, qword ptr [rip + {words}]",
    "mov r13, qword ptr [rip + {words} + 8]",
    "mov r14, qword ptr [rip + {errno}]",
    "mov rax, qword ptr fs:[r12]",
    "mov rcx, qword ptr fs:[r13]",
    "mov qword ptr [rdx + r12], rax",
    "mov qword ptr [rdx + r13], rcx",
    "wrfsbase rdx",
    "call rsi",
    "mov rax, qword ptr fs:[r12]",
    "mov rcx, qword ptr fs:[r13]",
    "mov edx, dword ptr fs:[r14]",
    "mov qword ptr [rbx + r12], rax",
    "mov qword ptr [rbx + r13], rcx",
    "mov dword ptr [rbx + r14], edx",
    "wrfsbase rbx",
    "pop r15",
    ".cfi_adjust_cfa_offset -8",
    "pop r14",
    ".cfi_adjust_cfa_offset -8",
    "pop r13",
    ".cfi_adjust_cfa_offset -8",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    "ret",
    ".cfi_endproc",
    ".size brigade_context_call_with_tp, . - brigade_context_call_with_tp",
    ".popsection",
    words = sym MALLOC_WORDS,
    errno = sym ERRNO_OFFSET,
);

unsafe extern "C" {
    fn brigade_context_start();
    fn brigade_context_call_with_tp(data: *mut (), f: unsafe extern "C" fn(*mut ()), tp: usize);
}

/// Saves the running context in `*from` and goes on at `*to`.
///
/// Returns when somebody switches back to `*from`, maybe on another kernel thread. Registers, MXCSR,
/// x87 control word, stack and thread pointer are those of before; the carrier words are those of the
/// kernel thread that it now runs on.
///
/// # Safety
/// - [`crate::support`] returned `Ok` in this process.
/// - `*to` was filled by [`crate::prepare`] or by an earlier `switch`, nobody has switched to it since,
///   and its stack and TLS block are alive and not running anywhere.
/// - `from` is valid for writing and stays so until the context is resumed or thrown away; nobody
///   else switches to `*from` before this switch is over.
/// - The kernel thread is attached as a carrier ([`crate::CarrierBase::attach`]) unless only the
///   caller's own code runs on the other side.
/// - The other side does not unwind into this frame.
#[inline(always)]
pub unsafe fn switch(from: *mut Context, to: *const Context) {
    // SAFETY: the frame is built below the stack pointer, which a block without `nostack` may do; all
    // registers that the other side may change are restored or declared. The rest is the caller's.
    unsafe {
        asm!(
            "lea rax, [rip + 22f]",
            "sub rsp, 32",
            "mov qword ptr [rsp], rax",
            "mov qword ptr [rsp + 8], rbp",
            "mov qword ptr [rsp + 16], rbx",
            "stmxcsr dword ptr [rsp + 24]",
            "fnstcw word ptr [rsp + 28]",
            "mov rax, qword ptr fs:[0]",
            "mov qword ptr [rdi], rsp",
            "mov qword ptr [rdi + 8], rax",
            // The carrier words of the block that is left.
            "mov r8, qword ptr [rip + {words}]",
            "mov r9, qword ptr [rip + {words} + 8]",
            "mov r10, qword ptr [rip + brigade_context_carrier@gottpoff]",
            "mov r11, qword ptr fs:[r8]",
            "mov r12, qword ptr fs:[r9]",
            "mov r13, qword ptr fs:[r10]",
            "mov edx, dword ptr [rsp + 24]",
            "movzx ecx, word ptr [rsp + 28]",
            // From here on everything is the other context's.
            "mov rax, qword ptr [rsi + 8]",
            "mov rsp, qword ptr [rsi]",
            // The words first: a signal finds them right on either side of the next instruction.
            "mov qword ptr [rax + r8], r11",
            "mov qword ptr [rax + r9], r12",
            "mov qword ptr [rax + r10], r13",
            "wrfsbase rax",
            // The control bits alone: the status bits are nobody's over a call.
            "xor edx, dword ptr [rsp + 24]",
            "test edx, 0xffc0",
            "jne 23f",
            "24:",
            "cmp cx, word ptr [rsp + 28]",
            "jne 25f",
            "26:",
            "mov rbx, qword ptr [rsp + 16]",
            "mov rbp, qword ptr [rsp + 8]",
            "mov rax, qword ptr [rsp]",
            "add rsp, 32",
            "jmp rax",
            "23:",
            "ldmxcsr dword ptr [rsp + 24]",
            "jmp 24b",
            "25:",
            "fldcw word ptr [rsp + 28]",
            "jmp 26b",
            "22:",
            words = sym MALLOC_WORDS,
            inout("rdi") from => _,
            inout("rsi") to => _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        );
    }
}

/// The context whose first switch calls `entry(arg)` on the stack below `top`, with thread pointer `tp`.
///
/// # Safety
/// `[top - 64, top)` is writable and nobody else's; `top` is a multiple of 16.
#[inline]
pub(crate) unsafe fn initial_context(
    top: usize,
    tp: usize,
    entry: unsafe extern "C" fn(*mut ()) -> !,
    arg: *mut (),
) -> Context {
    let sp = top - 16 - FRAME_BYTES;
    let frame: [usize; 6] = [
        brigade_context_start as *const () as usize,
        0,
        0,
        MXCSR_DEFAULT as usize | (X87_CW_DEFAULT as usize) << 32,
        arg as usize,
        entry as *const () as usize,
    ];
    // SAFETY: 48 bytes below `top` are ours by contract, and aligned since `top` is.
    unsafe { (sp as *mut [usize; 6]).write(frame) };
    Context { sp, tp }
}

/// The thread pointer of the running thread.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let tp: usize;
    // SAFETY: reads the first word of the TCB, which the ABI makes the thread pointer itself.
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) tp, options(nostack, preserves_flags, readonly));
    }
    tp
}

/// Sets the thread pointer of the calling kernel thread.
///
/// # Safety
/// `tp` is a TLS block that is complete and that nobody runs on; the compiler may hold addresses of
/// the old block's thread-locals, so the caller touches none before it puts the old pointer back.
#[inline(always)]
pub(crate) unsafe fn set_thread_pointer(tp: usize) {
    // SAFETY: the caller's contract; FSGSBASE was checked by `support`.
    unsafe { asm!("wrfsbase {}", in(reg) tp, options(nostack, preserves_flags)) };
}

/// Runs `f(data)` on this stack with the thread pointer `tp`, taking the malloc words along and
/// bringing errno back.
///
/// # Safety
/// `tp` is the block of the calling kernel thread; `f` neither switches nor unwinds; `f(data)` is sound.
#[inline]
pub(crate) unsafe fn call_with_tp(tp: usize, f: unsafe extern "C" fn(*mut ()), data: *mut ()) {
    // SAFETY: the caller's contract.
    unsafe { brigade_context_call_with_tp(data, f, tp) };
}

/// The carrier word of the running thread. Volatile: each call reads it again.
#[inline(always)]
pub(crate) fn carrier_word() -> usize {
    let word: usize;
    // SAFETY: reads a thread-local of this crate; not `pure`, so never merged over a switch.
    unsafe {
        asm!(
            "mov {w}, qword ptr [rip + brigade_context_carrier@gottpoff]",
            "mov {w}, qword ptr fs:[{w}]",
            w = out(reg) word,
            options(nostack, preserves_flags, readonly),
        );
    }
    word
}

/// Sets the carrier word of the running thread.
#[inline]
pub(crate) fn set_carrier_word(word: usize) {
    // SAFETY: writes a thread-local of this crate that only this module reads.
    unsafe {
        asm!(
            "mov {t}, qword ptr [rip + brigade_context_carrier@gottpoff]",
            "mov qword ptr fs:[{t}], {w}",
            t = out(reg) _,
            w = in(reg) word,
            options(nostack, preserves_flags),
        );
    }
}

/// Where the carrier word lies, relative to the thread pointer.
pub(crate) fn carrier_offset() -> isize {
    let offset: isize;
    // SAFETY: reads a constant that the linker wrote.
    unsafe {
        asm!(
            "mov {}, qword ptr [rip + brigade_context_carrier@gottpoff]",
            out(reg) offset,
            options(nostack, preserves_flags, readonly),
        );
    }
    offset
}

/// Tells the switch which two words malloc's state is.
pub(crate) fn set_malloc_words(words: [isize; 2]) {
    for (slot, word) in MALLOC_WORDS.iter().zip(words) {
        // ORDER: Relaxed: `support` publishes its result by a Release store after this.
        slot.store(word, Ordering::Relaxed);
    }
}

/// Tells [`call_with_tp`] where errno lies.
pub(crate) fn set_errno_offset(offset: isize) {
    // ORDER: Relaxed: `support` publishes its result by a Release store after this.
    ERRNO_OFFSET.store(offset, Ordering::Relaxed);
}

/// Whether user code may write the FS base (the kernel says so in the auxiliary vector).
pub(crate) fn fsbase_is_writable() -> bool {
    const HWCAP2_FSGSBASE: u64 = 1 << 1;
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Whether the kernel keeps a shadow stack for the calling thread.
pub(crate) fn shadow_stack_is_on() -> bool {
    const ARCH_SHSTK_STATUS: usize = 0x5005;
    let mut features: u64 = 0;
    // SAFETY: the kernel writes one u64, or refuses.
    let r = unsafe {
        syscall(
            libc::SYS_arch_prctl,
            [ARCH_SHSTK_STATUS, &raw mut features as usize, 0, 0, 0, 0],
        )
    };
    r == 0 && features & 1 != 0
}

/// Offset from the thread pointer and size of glibc's rseq area; `None` where glibc has none.
pub(crate) fn rseq_area() -> Option<(isize, usize)> {
    let (offset, size): (*const isize, *const u32);
    // SAFETY: reads two addresses from the GOT; weak, so 0 where the symbol is missing.
    unsafe {
        asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "mov {}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            "mov {}, qword ptr [rip + __rseq_size@GOTPCREL]",
            out(reg) offset,
            out(reg) size,
            options(nostack, preserves_flags, readonly),
        );
    }
    if offset.is_null() || size.is_null() {
        return None;
    }
    // SAFETY: both are constants of glibc (public since 2.35), initialised before main.
    unsafe { Some((*offset, *size as usize)) }
}

/// One raw system call; the result is the kernel's, `-errno` on failure.
///
/// # Safety
/// As the call itself.
#[inline]
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the ABI of the kernel: rcx and r11 are lost, memory may be read and written.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
