//! Files: what waits for a disk, a lock or the other end of a copy. Done without a processor.
//!
//! A call that is going to wait for a disk cannot be waited for, so it holds a kernel thread; others run meanwhile.
//! Giving the processor away and getting one again costs a tenth of a microsecond when nobody else wants to run; when
//! all processors are busy the thread queues for one, which takes some 10 µs and more.
//!
//! `flock` first tries without waiting. Reading and writing are in other modules.
//!
//! Not hooked, since they seldom take long and the monitor hands the processor off if they do: `open`, also of a FIFO
//! that has no other end yet (to find out what a name stands for costs more than it saves), `stat`, directories,
//! `ftruncate`, `fallocate`, `rename`.

use brigade_runtime::park;
use brigade_runtime::raw::sys;
use libc::{c_int, c_uint, c_void, iovec, off_t, off64_t, size_t, ssize_t};

use super::errno::from_kernel;
use super::next::Next;
use super::{blocking, parkable};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 15] = [
    FLOCK.hook(flock as *const ()),
    FSYNC.hook(fsync as *const ()),
    FDATASYNC.hook(fdatasync as *const ()),
    SYNC.hook(sync as *const ()),
    SYNCFS.hook(syncfs as *const ()),
    SYNC_FILE_RANGE.hook(sync_file_range as *const ()),
    MSYNC.hook(msync as *const ()),
    LOCKF.hook(lockf as *const ()),
    LOCKF64.hook(lockf64 as *const ()),
    SENDFILE.hook(sendfile as *const ()),
    SENDFILE64.hook(sendfile64 as *const ()),
    SPLICE.hook(splice as *const ()),
    TEE.hook(tee as *const ()),
    VMSPLICE.hook(vmsplice as *const ()),
    COPY_FILE_RANGE.hook(copy_file_range as *const ()),
];

type Flock = unsafe extern "C" fn(c_int, c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static FLOCK: Next<Flock> = unsafe { Next::new(c"flock") };
const _: [Flock; 2] = [flock, libc::flock];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    let pass_on = || unsafe { FLOCK.get()(fd, operation) };
    if operation & libc::LOCK_NB != 0 || parkable().is_none() {
        return pass_on();
    }
    let at_once = operation | libc::LOCK_NB;
    // SAFETY: any numbers will do.
    let result = unsafe { sys::call(libc::SYS_flock, [fd as usize, at_once as usize, 0, 0, 0, 0]) };
    if result == -(libc::EWOULDBLOCK as isize) {
        return park::blocking(pass_on);
    }
    from_kernel(result) as c_int
}

type Fsync = unsafe extern "C" fn(c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static FSYNC: Next<Fsync> = unsafe { Next::new(c"fsync") };
const _: [Fsync; 2] = [fsync, libc::fsync];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { FSYNC.get()(fd) })
}

type Fdatasync = unsafe extern "C" fn(c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static FDATASYNC: Next<Fdatasync> = unsafe { Next::new(c"fdatasync") };
const _: [Fdatasync; 2] = [fdatasync, libc::fdatasync];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { FDATASYNC.get()(fd) })
}

type Sync = unsafe extern "C" fn();
// SAFETY: the signature is compared in the line after.
static SYNC: Next<Sync> = unsafe { Next::new(c"sync") };
const _: [Sync; 2] = [sync, libc::sync];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sync() {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SYNC.get()() })
}

type Syncfs = unsafe extern "C" fn(c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static SYNCFS: Next<Syncfs> = unsafe { Next::new(c"syncfs") };
const _: [Syncfs; 2] = [syncfs, libc::syncfs];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn syncfs(fd: c_int) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SYNCFS.get()(fd) })
}

type SyncFileRange = unsafe extern "C" fn(c_int, off64_t, off64_t, c_uint) -> c_int;
// SAFETY: the signature is compared in the line after.
static SYNC_FILE_RANGE: Next<SyncFileRange> = unsafe { Next::new(c"sync_file_range") };
const _: [SyncFileRange; 2] = [sync_file_range, libc::sync_file_range];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sync_file_range(
    fd: c_int,
    offset: off64_t,
    bytes: off64_t,
    flags: c_uint,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SYNC_FILE_RANGE.get()(fd, offset, bytes, flags) })
}

type Msync = unsafe extern "C" fn(*mut c_void, size_t, c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static MSYNC: Next<Msync> = unsafe { Next::new(c"msync") };
const _: [Msync; 2] = [msync, libc::msync];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn msync(address: *mut c_void, bytes: size_t, flags: c_int) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { MSYNC.get()(address, bytes, flags) })
}

type Lockf = unsafe extern "C" fn(c_int, c_int, off_t) -> c_int;
// SAFETY: the signature is compared in the line after.
static LOCKF: Next<Lockf> = unsafe { Next::new(c"lockf") };
const _: [Lockf; 2] = [lockf, libc::lockf];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn lockf(fd: c_int, command: c_int, bytes: off_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    let pass_on = || unsafe { LOCKF.get()(fd, command, bytes) };
    if command == libc::F_LOCK {
        return blocking(pass_on);
    }
    pass_on()
}

type LockfWide = unsafe extern "C" fn(c_int, c_int, off64_t) -> c_int;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static LOCKF64: Next<LockfWide> = unsafe { Next::new(c"lockf64") };
const _: LockfWide = lockf64;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn lockf64(fd: c_int, command: c_int, bytes: off64_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    let pass_on = || unsafe { LOCKF64.get()(fd, command, bytes) };
    if command == libc::F_LOCK {
        return blocking(pass_on);
    }
    pass_on()
}

type Sendfile = unsafe extern "C" fn(c_int, c_int, *mut off_t, size_t) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static SENDFILE: Next<Sendfile> = unsafe { Next::new(c"sendfile") };
const _: [Sendfile; 2] = [sendfile, libc::sendfile];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendfile(
    to: c_int,
    from: c_int,
    offset: *mut off_t,
    bytes: size_t,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SENDFILE.get()(to, from, offset, bytes) })
}

type SendfileWide = unsafe extern "C" fn(c_int, c_int, *mut off64_t, size_t) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static SENDFILE64: Next<SendfileWide> = unsafe { Next::new(c"sendfile64") };
const _: [SendfileWide; 2] = [sendfile64, libc::sendfile64];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    offset: *mut off64_t,
    bytes: size_t,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SENDFILE64.get()(to, from, offset, bytes) })
}

type Splice =
    unsafe extern "C" fn(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static SPLICE: Next<Splice> = unsafe { Next::new(c"splice") };
const _: [Splice; 2] = [splice, libc::splice];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    bytes: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SPLICE.get()(from, from_offset, to, to_offset, bytes, flags) })
}

type Tee = unsafe extern "C" fn(c_int, c_int, size_t, c_uint) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static TEE: Next<Tee> = unsafe { Next::new(c"tee") };
const _: [Tee; 2] = [tee, libc::tee];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn tee(
    from: c_int,
    to: c_int,
    bytes: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { TEE.get()(from, to, bytes, flags) })
}

type Vmsplice = unsafe extern "C" fn(c_int, *const iovec, size_t, c_uint) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static VMSPLICE: Next<Vmsplice> = unsafe { Next::new(c"vmsplice") };
const _: [Vmsplice; 2] = [vmsplice, libc::vmsplice];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmsplice(
    to: c_int,
    vectors: *const iovec,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { VMSPLICE.get()(to, vectors, count, flags) })
}

type CopyFileRange =
    unsafe extern "C" fn(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t;
// SAFETY: the signature is compared in the line after.
static COPY_FILE_RANGE: Next<CopyFileRange> = unsafe { Next::new(c"copy_file_range") };
const _: [CopyFileRange; 2] = [copy_file_range, libc::copy_file_range];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    bytes: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { COPY_FILE_RANGE.get()(from, from_offset, to, to_offset, bytes, flags) })
}
