//! Names of hosts. libc reads files and asks servers for them by calls of its own that no hook sees, so the whole
//! look-up is made without a processor.
//!
//! The databases of users, groups and services have no hooks: they are files on most machines, and where they are not
//! the monitor hands the processor off.

use libc::{addrinfo, c_char, c_int, c_void, hostent, size_t, sockaddr, socklen_t};

use super::blocking;
use super::next::Next;
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 8] = [
    GETADDRINFO.hook(getaddrinfo as *const ()),
    GETNAMEINFO.hook(getnameinfo as *const ()),
    GETHOSTBYNAME.hook(gethostbyname as *const ()),
    GETHOSTBYNAME2.hook(gethostbyname2 as *const ()),
    GETHOSTBYADDR.hook(gethostbyaddr as *const ()),
    GETHOSTBYNAME_R.hook(gethostbyname_r as *const ()),
    GETHOSTBYNAME2_R.hook(gethostbyname2_r as *const ()),
    GETHOSTBYADDR_R.hook(gethostbyaddr_r as *const ()),
];

type Getaddrinfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const addrinfo,
    *mut *mut addrinfo,
) -> c_int;
// SAFETY: the signature is compared in the line after.
static GETADDRINFO: Next<Getaddrinfo> = unsafe { Next::new(c"getaddrinfo") };
const _: [Getaddrinfo; 2] = [getaddrinfo, libc::getaddrinfo];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETADDRINFO.get()(node, service, hints, result) })
}

type Getnameinfo = unsafe extern "C" fn(
    *const sockaddr,
    socklen_t,
    *mut c_char,
    socklen_t,
    *mut c_char,
    socklen_t,
    c_int,
) -> c_int;
// SAFETY: the signature is compared in the line after.
static GETNAMEINFO: Next<Getnameinfo> = unsafe { Next::new(c"getnameinfo") };
const _: [Getnameinfo; 2] = [getnameinfo, libc::getnameinfo];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    address_bytes: socklen_t,
    host: *mut c_char,
    host_bytes: socklen_t,
    service: *mut c_char,
    service_bytes: socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe {
        GETNAMEINFO.get()(
            address,
            address_bytes,
            host,
            host_bytes,
            service,
            service_bytes,
            flags,
        )
    })
}

type Gethostbyname = unsafe extern "C" fn(*const c_char) -> *mut hostent;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYNAME: Next<Gethostbyname> = unsafe { Next::new(c"gethostbyname") };
const _: Gethostbyname = gethostbyname;

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETHOSTBYNAME.get()(name) })
}

type Gethostbyname2 = unsafe extern "C" fn(*const c_char, c_int) -> *mut hostent;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYNAME2: Next<Gethostbyname2> = unsafe { Next::new(c"gethostbyname2") };
const _: Gethostbyname2 = gethostbyname2;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETHOSTBYNAME2.get()(name, family) })
}

type Gethostbyaddr = unsafe extern "C" fn(*const c_void, socklen_t, c_int) -> *mut hostent;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYADDR: Next<Gethostbyaddr> = unsafe { Next::new(c"gethostbyaddr") };
const _: Gethostbyaddr = gethostbyaddr;

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyaddr(
    address: *const c_void,
    bytes: socklen_t,
    family: c_int,
) -> *mut hostent {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETHOSTBYADDR.get()(address, bytes, family) })
}

type GethostbynameR = unsafe extern "C" fn(
    *const c_char,
    *mut hostent,
    *mut c_char,
    size_t,
    *mut *mut hostent,
    *mut c_int,
) -> c_int;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYNAME_R: Next<GethostbynameR> = unsafe { Next::new(c"gethostbyname_r") };
const _: GethostbynameR = gethostbyname_r;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    host: *mut hostent,
    buffer: *mut c_char,
    bytes: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETHOSTBYNAME_R.get()(name, host, buffer, bytes, result, error) })
}

type Gethostbyname2R = unsafe extern "C" fn(
    *const c_char,
    c_int,
    *mut hostent,
    *mut c_char,
    size_t,
    *mut *mut hostent,
    *mut c_int,
) -> c_int;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYNAME2_R: Next<Gethostbyname2R> = unsafe { Next::new(c"gethostbyname2_r") };
const _: Gethostbyname2R = gethostbyname2_r;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    bytes: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { GETHOSTBYNAME2_R.get()(name, family, host, buffer, bytes, result, error) })
}

type GethostbyaddrR = unsafe extern "C" fn(
    *const c_void,
    socklen_t,
    c_int,
    *mut hostent,
    *mut c_char,
    size_t,
    *mut *mut hostent,
    *mut c_int,
) -> c_int;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static GETHOSTBYADDR_R: Next<GethostbyaddrR> = unsafe { Next::new(c"gethostbyaddr_r") };
const _: GethostbyaddrR = gethostbyaddr_r;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gethostbyaddr_r(
    address: *const c_void,
    address_bytes: socklen_t,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    bytes: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe {
        GETHOSTBYADDR_R.get()(
            address,
            address_bytes,
            family,
            host,
            buffer,
            bytes,
            result,
            error,
        )
    })
}
