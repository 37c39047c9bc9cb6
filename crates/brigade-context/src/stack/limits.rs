//! Why the kernel refused memory, in words.
//!
//! `mmap` says `ENOMEM` for four different limits. This module asks which one it was, after the fact and
//! without any lock. It reads files by raw system calls, so that it never parks a green thread.

use crate::arch::syscall;
use core::ffi::CStr;
use std::io;

/// Why slots were refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// `mmap` of so many bytes failed.
    AddressSpace { bytes: usize },
    /// The guards would hit `vm.max_map_count`; at most so many slots fit.
    MapCount { most: usize },
    /// The table or the numbers ran out.
    TooManySlots,
    /// malloc failed.
    Memory,
    /// The kernel refused a guard with this errno.
    Guard(i32),
}

impl Refusal {
    /// The error for the user, naming the limit.
    pub(super) fn into_error(self, slot_bytes: usize) -> io::Error {
        let what = format!("no room for another stack of {slot_bytes} bytes: ");
        let why = match self {
            Refusal::AddressSpace { bytes } => address_space(bytes),
            Refusal::MapCount { most } => map_count(most),
            Refusal::TooManySlots => {
                "the process has as many stacks as brigade can number; use fewer threads".to_owned()
            }
            Refusal::Memory => "out of memory for the list of stacks".to_owned(),
            Refusal::Guard(errno) => format!(
                "out of memory: the kernel refused the stack's guard page ({})",
                io::Error::from_raw_os_error(errno)
            ),
        };
        io::Error::new(io::ErrorKind::OutOfMemory, what + &why)
    }
}

fn map_count(most: usize) -> String {
    format!(
        "vm.max_map_count allows {most} stacks on this kernel, which needs two mappings for each; \
         raise it with `sysctl vm.max_map_count`"
    )
}

fn address_space(bytes: usize) -> String {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills the structure.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY {
        return format!(
            "the address space limit (RLIMIT_AS, `ulimit -v`) is {} bytes and {bytes} more were \
             needed; raise it or ask for smaller stacks",
            limit.rlim_cur
        );
    }
    if read_number(c"/proc/sys/vm/overcommit_memory") == Some(2) {
        return format!(
            "strict overcommit (vm.overcommit_memory = 2) counts address space as memory and \
             refused {bytes} bytes; set it to 0 or ask for smaller stacks"
        );
    }
    if count_mappings() + 8 >= max_map_count() {
        return "the process has vm.max_map_count mappings; raise it with `sysctl vm.max_map_count`"
            .to_owned();
    }
    format!("out of memory: the kernel refused {bytes} bytes of address space")
}

/// The kernel's limit on mappings of a process.
pub(super) fn max_map_count() -> usize {
    const USUAL: usize = 65530;
    read_number(c"/proc/sys/vm/max_map_count").unwrap_or(USUAL)
}

fn read_number(path: &CStr) -> Option<usize> {
    let mut number = None;
    each_chunk(path, |chunk| {
        let digits = chunk.iter().take_while(|b| b.is_ascii_digit());
        number = Some(digits.fold(0usize, |n, b| {
            n.saturating_mul(10).saturating_add(usize::from(b - b'0'))
        }));
        false
    });
    number
}

fn count_mappings() -> usize {
    let mut lines = 0;
    each_chunk(c"/proc/self/maps", |chunk| {
        lines += chunk.iter().filter(|b| **b == b'\n').count();
        true
    });
    lines
}

/// Reads a file piece by piece until its end or until `f` returns false.
fn each_chunk(path: &CStr, mut f: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0u8; 4096];
    let at_cwd = libc::AT_FDCWD as isize as usize;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    // SAFETY: the path is a C string; the buffer is writable for the length given; the descriptor is
    // ours and closed once.
    unsafe {
        let fd = syscall(
            libc::SYS_openat,
            [at_cwd, path.as_ptr() as usize, flags, 0, 0, 0],
        );
        if fd < 0 {
            return;
        }
        let fd = fd as usize;
        loop {
            let n = syscall(
                libc::SYS_read,
                [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
            );
            if n <= 0 || !f(&buffer[..n as usize]) {
                break;
            }
        }
        syscall(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
    }
}
