//! What this process holds, as the kernel and as glibc count it.

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> usize {
    status_kib("VmRSS:") * 1024
}

/// Address space of this process, in bytes.
pub(crate) fn virtual_bytes() -> usize {
    status_kib("VmSize:") * 1024
}

/// One line of `/proc/self/status`, in KiB.
fn status_kib(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status
        .lines()
        .find(|line| line.starts_with(key))
        .expect("the kernel reports this line");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("the line holds a number")
}

/// Bytes that glibc's allocator has handed out and not got back; what a thread cache keeps counts as handed out.
pub(crate) fn allocated_bytes() -> usize {
    // SAFETY: mallinfo2 takes no arguments and returns a plain structure.
    unsafe { libc::mallinfo2() }.uordblks
}

/// How many kernel threads this process has.
pub(crate) fn kernel_threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("/proc is mounted")
        .count()
}
