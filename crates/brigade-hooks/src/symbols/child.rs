//! Child processes: waiting for their end, and starting them.
//!
//! A wait for the end of one child parks in the reactor on the child's pidfd until the wait cannot block any more;
//! then the call is made as it came, so that status, usage and errors are the kernel's own. Waits for a group or for
//! any child, for stopped or continued children, and for clones block in the kernel, with the processor given away.
//!
//! `posix_spawn` returns when the child has executed its program, which takes the better part of a millisecond:
//! it, `system` and `pclose` are made without a processor too. `fork` is not hooked: it copies the caller alone.
//! `pidfd_spawn` is not hooked either: the standard library takes the symbol for proof that libc has it.
//!
//! # Invariants
//!
//! 1. The pidfd is opened before the child is seen to be alive. If the number of the process went to another in
//!    between, the pidfd is that of a process that has ended, and the wait looks again.

use brigade_runtime::descriptors::{self, Fd, Interest, Wait, fact};
use brigade_runtime::park::Green;
use brigade_runtime::raw::sys;
use libc::{
    FILE, c_char, c_int, id_t, idtype_t, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t,
    rusage, siginfo_t,
};

use super::clock::NEVER;
use super::errno::set_errno;
use super::next::Next;
use super::{blocking, parkable};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 9] = [
    WAIT.hook(wait as *const ()),
    WAITPID.hook(waitpid as *const ()),
    WAITID.hook(waitid as *const ()),
    WAIT3.hook(wait3 as *const ()),
    WAIT4.hook(wait4 as *const ()),
    POSIX_SPAWN.hook(posix_spawn as *const ()),
    POSIX_SPAWNP.hook(posix_spawnp as *const ()),
    SYSTEM.hook(system as *const ()),
    PCLOSE.hook(pclose as *const ()),
];

type WaitAny = unsafe extern "C" fn(*mut c_int) -> pid_t;
// SAFETY: the signature is compared in the line after.
static WAIT: Next<WaitAny> = unsafe { Next::new(c"wait") };
const _: [WaitAny; 2] = [wait, libc::wait];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { WAIT.get()(status) })
}

type Waitpid = unsafe extern "C" fn(pid_t, *mut c_int, c_int) -> pid_t;
// SAFETY: the signature is compared in the line after.
static WAITPID: Next<Waitpid> = unsafe { Next::new(c"waitpid") };
const _: [Waitpid; 2] = [waitpid, libc::waitpid];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's contract, which is the original's.
    wait_for(pid, options, || unsafe {
        WAITPID.get()(pid, status, options)
    })
}

type Wait3 = unsafe extern "C" fn(*mut c_int, c_int, *mut rusage) -> pid_t;
// SAFETY: glibc's signature; the libc crate has no such function to compare with.
static WAIT3: Next<Wait3> = unsafe { Next::new(c"wait3") };
const _: Wait3 = wait3;

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn wait3(
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    // SAFETY: the caller's contract, which is the original's.
    wait_for(-1, options, || unsafe {
        WAIT3.get()(status, options, usage)
    })
}

type Wait4 = unsafe extern "C" fn(pid_t, *mut c_int, c_int, *mut rusage) -> pid_t;
// SAFETY: the signature is compared in the line after.
static WAIT4: Next<Wait4> = unsafe { Next::new(c"wait4") };
const _: [Wait4; 2] = [wait4, libc::wait4];

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn wait4(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    // SAFETY: the caller's contract, which is the original's.
    wait_for(pid, options, || unsafe {
        WAIT4.get()(pid, status, options, usage)
    })
}

type Waitid = unsafe extern "C" fn(idtype_t, id_t, *mut siginfo_t, c_int) -> c_int;
// SAFETY: the signature is compared in the line after.
static WAITID: Next<Waitid> = unsafe { Next::new(c"waitid") };
const _: [Waitid; 2] = [waitid, libc::waitid];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn waitid(
    kind: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    let pass_on = || unsafe { WAITID.get()(kind, id, info, options) };
    let is_one = kind == libc::P_PID || (kind == libc::P_PIDFD && !is_nonblocking(id));
    let is_end = options & !libc::WNOWAIT == libc::WEXITED;
    wait_until_ended(is_one && is_end, options, Child { kind, id }, pass_on)
}

/// One child, as `waitid` names it.
#[derive(Clone, Copy)]
struct Child {
    kind: idtype_t,
    id: id_t,
}

/// `call` waits for the process `pid` if that is positive.
fn wait_for(pid: pid_t, options: c_int, call: impl FnOnce() -> pid_t) -> pid_t {
    let child = Child {
        kind: libc::P_PID,
        id: pid.cast_unsigned(),
    };
    wait_until_ended(pid > 0 && options == 0, options, child, call)
}

/// Makes `call`; on a green thread, if `is_ours`, when it does not block any more.
fn wait_until_ended(
    is_ours: bool,
    options: c_int,
    child: Child,
    call: impl FnOnce() -> c_int,
) -> c_int {
    match parkable() {
        _ if options & libc::WNOHANG != 0 => call(),
        None => call(),
        Some(_) if is_ours && child.has_ended() => call(),
        Some(green) if is_ours => match wait_pidfd(green, child) {
            Ended::Yes => call(),
            Ended::Cancelled => {
                set_errno(libc::ECANCELED);
                -1
            }
            Ended::Unknown => blocking(call),
        },
        Some(_) => blocking(call),
    }
}

/// What a wait for the end of a child came to.
enum Ended {
    Yes,
    Cancelled,
    /// It cannot be waited for: the call must block.
    Unknown,
}

/// Whether waits for the pidfd fail instead of blocking.
fn is_nonblocking(pidfd: id_t) -> bool {
    // SAFETY: asks for flags; any number will do.
    let flags = unsafe {
        let arguments = [pidfd as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
        sys::call(libc::SYS_fcntl, arguments)
    };
    flags >= 0 && flags as c_int & libc::O_NONBLOCK != 0
}

impl Child {
    /// Whether a wait for its end would return at once. The child stays as it is.
    fn has_ended(self) -> bool {
        // SAFETY: all zeros are a valid record: of no signal and no process.
        let mut info: siginfo_t = unsafe { core::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let at = &raw mut info as usize;
        // SAFETY: the kernel writes a record to `info`.
        let failed = unsafe {
            let arguments = [
                self.kind as usize,
                self.id as usize,
                at,
                options as usize,
                0,
                0,
            ];
            sys::call(libc::SYS_waitid, arguments)
        };
        // SAFETY: the kernel fills in the process if there is one, and zero otherwise.
        failed != 0 || unsafe { info.si_pid() } != 0
    }
}

/// Parks until a wait for the child's end would return at once.
fn wait_pidfd(green: Green, child: Child) -> Ended {
    loop {
        let Some(pidfd) = Pidfd::of(child) else {
            return Ended::Unknown;
        };
        let Some(fd) = Fd::get(pidfd.number) else {
            return Ended::Unknown;
        };
        let seen = fd.seen(Interest::Read);
        if child.has_ended() {
            return Ended::Yes;
        }
        match green.wait_fd(fd, Interest::Read, seen, NEVER) {
            Ok(Wait::Cancelled) => return Ended::Cancelled,
            Ok(_) => {}
            Err(_) => return Ended::Unknown,
        }
    }
}

/// A descriptor of a process; closed if it is ours.
struct Pidfd {
    number: c_int,
    is_ours: bool,
}

impl Pidfd {
    fn of(child: Child) -> Option<Pidfd> {
        if child.kind == libc::P_PIDFD {
            return Some(Pidfd {
                number: child.id.cast_signed(),
                is_ours: false,
            });
        }
        // SAFETY: any number will do; no memory is passed.
        let opened = unsafe { sys::call(libc::SYS_pidfd_open, [child.id as usize, 0, 0, 0, 0, 0]) };
        let number = c_int::try_from(opened).ok().filter(|&number| number >= 0)?;
        descriptors::opened(number, fact::KNOWN);
        Some(Pidfd {
            number,
            is_ours: true,
        })
    }
}

impl Drop for Pidfd {
    fn drop(&mut self) {
        if self.is_ours && descriptors::closing(self.number) {
            // SAFETY: opened by `of` and given to nobody.
            unsafe { sys::call(libc::SYS_close, [self.number as usize, 0, 0, 0, 0, 0]) };
        }
    }
}

type PosixSpawn = unsafe extern "C" fn(
    *mut pid_t,
    *const c_char,
    *const posix_spawn_file_actions_t,
    *const posix_spawnattr_t,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;
// SAFETY: the signature is compared in the line after.
static POSIX_SPAWN: Next<PosixSpawn> = unsafe { Next::new(c"posix_spawn") };
const _: [PosixSpawn; 2] = [posix_spawn, libc::posix_spawn];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe {
        POSIX_SPAWN.get()(pid, path, actions, attributes, arguments, environment)
    })
}

// SAFETY: the signature is compared in the line after.
static POSIX_SPAWNP: Next<PosixSpawn> = unsafe { Next::new(c"posix_spawnp") };
const _: [PosixSpawn; 2] = [posix_spawnp, libc::posix_spawnp];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attributes: *const posix_spawnattr_t,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe {
        POSIX_SPAWNP.get()(pid, file, actions, attributes, arguments, environment)
    })
}

type System = unsafe extern "C" fn(*const c_char) -> c_int;
// SAFETY: the signature is compared in the line after.
static SYSTEM: Next<System> = unsafe { Next::new(c"system") };
const _: [System; 2] = [system, libc::system];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn system(command: *const c_char) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { SYSTEM.get()(command) })
}

type Pclose = unsafe extern "C" fn(*mut FILE) -> c_int;
// SAFETY: the signature is compared in the line after.
static PCLOSE: Next<Pclose> = unsafe { Next::new(c"pclose") };
const _: [Pclose; 2] = [pclose, libc::pclose];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pclose(stream: *mut FILE) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    blocking(|| unsafe { PCLOSE.get()(stream) })
}
