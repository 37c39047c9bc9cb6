//! Green threads with the semantics of `std::thread`.
//!
//! A green thread has its own stack, its own thread-locals, its own `errno` and panic count, and its own
//! `std::thread::current()`. Many of them run on a few kernel threads; they move between those, and no safe code
//! can tell. A thread that blocks the kernel or computes for long costs the others nothing: its *processor* is
//! handed to another kernel thread.
//!
//! ```
//! let sum: u64 = brigade::run(|| {
//!     let threads: Vec<_> = (0..1000_u64)
//!         .map(|n| {
//!             brigade::thread::spawn(move || {
//!                 brigade::thread::sleep(std::time::Duration::from_millis(10));
//!                 n
//!             })
//!         })
//!         .collect();
//!     threads.into_iter().map(|thread| thread.join().unwrap()).sum()
//! });
//! assert_eq!(sum, 499_500);
//! ```
//!
//! # What blocks what
//!
//! The functions of [`thread`] block the calling green thread only; on an ordinary kernel thread they block that
//! one. So do the blocking functions of std (`std::net`, `std::sync`, `std::thread::sleep`, pipes, child processes)
//! and of everything else that blocks through libc: a program that links this crate defines those functions itself
//! ([`hooks`]). What blocks without them (a system call made by inline assembly, a wait inside libc, a disk) blocks the
//! kernel thread that carries the green thread; then the processor is handed on after about a millisecond, or at
//! once if the call is wrapped in [`blocking`].

pub mod alloc;
pub mod cancel;
pub mod diag;
#[doc(hidden)]
pub mod doctor;
pub mod hooks;
pub mod pool;
#[cfg(feature = "process")]
pub mod process;
pub mod runtime;
pub mod sync;
pub mod task;
pub mod thread;

#[cfg(doctest)]
mod compile_fail;
#[cfg(doctest)]
mod guide;
/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use brigade_macros::main;
pub use brigade_sync::select;

/// Runs `f` as a green thread of the default runtime and returns what it returns.
///
/// The default runtime is started if it does not run yet.
///
/// # Blocking
///
/// Blocks the calling thread until `f` has returned: a kernel thread as such, a green thread by parking. Other
/// threads that were spawned go on.
///
/// # Panics
///
/// With the panic of `f`, and if the runtime or the thread cannot be started.
///
/// # Examples
///
/// ```
/// assert_eq!(brigade::run(|| 6 * 7), 42);
/// ```
///
/// A panic comes out where `run` was called:
///
/// ```should_panic
/// brigade::run(|| panic!("out"));
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match crate::hooks::runtime_here() {
        Ok(handle) => handle.run(f),
        Err(error) => panic!("brigade: cannot start the default runtime: {error}"),
    }
}

/// Runs `f`, which is going to block the kernel thread, without holding a processor.
///
/// The processor goes to other threads at once instead of after about a millisecond. Use it around system calls
/// and foreign code that wait; it is not needed around the functions of this crate. When `f` has returned the
/// thread needs a processor again and may have to queue for one.
///
/// On an ordinary kernel thread, and with one kernel thread in all
/// ([`runtime::Model::ManyToOne`]), it just calls `f`.
///
/// Interpreter locks that the thread holds are given up meanwhile
/// ([`sync::InterpreterLock::allow_threads`]).
///
/// # Blocking
///
/// As `f` does, but only the calling green thread.
/// Giving the processor away and getting one again is cheap when nobody else wants to run; otherwise it costs a
/// switch of kernel threads.
///
/// # Panics
///
/// With the panic of `f`.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// # let path = std::env::current_exe().unwrap();
/// let first = brigade::run(|| {
///     brigade::blocking(|| {
///         let mut byte = [0];
///         std::fs::File::open(path)?.read_exact(&mut byte)?;
///         std::io::Result::Ok(byte[0])
///     })
/// });
/// assert!(first.is_ok());
/// ```
#[track_caller]
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    sync::InterpreterLock::allow_threads(|| brigade_runtime::park::blocking(f))
}
