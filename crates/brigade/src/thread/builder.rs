//! Spawning: [`spawn`] and [`Builder`].

use std::io;
use std::panic::Location;
use std::sync::Arc;

use brigade_runtime::SpawnOptions;

use super::{JoinHandle, Scope, ScopedJoinHandle};

/// Spawns a thread. See [`std::thread::spawn`].
///
/// From a green thread the new one belongs to the same runtime, from a kernel thread to the default runtime, which
/// is started if need be. The closure and its result need `Send` and `'static`, no more: thread-locals, `Rc` and
/// guards may be held over anything that blocks.
///
/// # Blocking
///
/// Does not block. The stack is bound when the thread first runs.
///
/// # Panics
///
/// If a limit of the machine is hit; [`Builder::spawn`] returns an error instead.
///
/// # Examples
///
/// ```
/// let thread = brigade::thread::spawn(|| "done");
/// assert_eq!(thread.join().unwrap(), "done");
/// ```
///
/// What may not move to another thread does not compile:
///
/// ```compile_fail,E0277
/// let local = std::rc::Rc::new(1);
/// brigade::thread::spawn(move || println!("{local}"));
/// ```
///
/// Nor does what may not live long enough:
///
/// ```compile_fail,E0373
/// let local = 1;
/// brigade::thread::spawn(|| println!("{local}"));
/// ```
#[inline]
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Builder::new().spawn(f) {
        Ok(handle) => handle,
        Err(error) => panic!("brigade: failed to spawn a thread: {error}"),
    }
}

/// Configures a thread before it is spawned. See [`std::thread::Builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until its thread is spawned"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// A builder with the defaults: no name, the runtime's stack size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the thread. The name stands in reports; the kernel does not see it.
    ///
    /// As in std, a name with a NUL byte makes [`Builder::spawn`] panic.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// The stack in bytes, guard page and thread-local storage included; rounded up to a power of two of at least
    /// 16 KiB. At most 1 GiB. Only touched pages take memory.
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// Spawns the thread.
    ///
    /// # Errors
    ///
    /// * `InvalidInput`: the stack size is zero or above 1 GiB.
    /// * `OutOfMemory`: a limit was hit; the text names it: the address space (`ulimit -v`), `vm.max_map_count`,
    ///   `vm.overcommit_memory`, or memory itself.
    /// * Other: the runtime is shutting down, or the default runtime could not be started.
    ///
    /// # Panics
    ///
    /// If the name contains a NUL byte.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = brigade::thread::Builder::new().stack_size(0).spawn(|| ()).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    #[inline]
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let options = self.options(Location::caller());
        match brigade_runtime::spawn_here(options, f) {
            Ok(spawned) => spawned.map(JoinHandle::new),
            Err((options, f)) => crate::hooks::runtime_here()?
                .spawn(options, f)
                .map(JoinHandle::new),
        }
    }

    /// Spawns a thread of `scope`, which may borrow. See [`super::scope`].
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    ///
    /// # Panics
    ///
    /// If the name contains a NUL byte.
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let mut options = self.options(Location::caller());
        options.scope = Some(Arc::clone(scope.count()));
        let handle = crate::hooks::runtime_here()?;
        // SAFETY: what is borrowed lives for 'scope, and `thread::scope` does not return before the count's
        // `wait` has.
        let join = unsafe { handle.spawn_borrowing(options, f)? };
        Ok(ScopedJoinHandle::new(join))
    }

    #[inline]
    #[track_caller]
    fn options(self, site: &'static Location<'static>) -> SpawnOptions {
        let name = self.name.map(|name| {
            assert!(
                !name.contains('\0'),
                "thread name may not contain interior null bytes"
            );
            name.into_boxed_str()
        });
        SpawnOptions {
            name,
            stack: self.stack_size,
            site,
            scope: None,
        }
    }
}
