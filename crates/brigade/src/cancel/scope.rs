//! Scopes whose threads are cancelled together: [`scope`].

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use super::CancelToken;
use crate::thread::{self, Builder, ScopedJoinHandle};

/// A scope in which threads that borrow can be spawned, with a token; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    threads: thread::Scope<'scope, 'env>,
    token: CancelToken,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// The token of the scope, which is the current one of its threads and of the closure that was passed to [`scope`].
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.token
    }

    /// Spawns a green thread that may borrow from outside the scope. If it panics, the scope's token is cancelled.
    ///
    /// # Panics
    ///
    /// If a limit of the machine is hit; [`spawn_with`](Scope::spawn_with) returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(handle) => handle,
            Err(error) => panic!("brigade: failed to spawn a thread: {error}"),
        }
    }

    /// As [`spawn`](Scope::spawn), with a name or a stack of a certain size.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    #[track_caller]
    pub fn spawn_with<F, T>(
        &'scope self,
        builder: Builder,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let token = self.token.clone();
        builder.spawn_scoped(&self.threads, move || {
            let guard = token.cancel_on_drop();
            let value = token.enter(f);
            guard.disarm();
            value
        })
    }

    /// As [`spawn`](Scope::spawn), but the others go on if the thread panics: who joins it sees the panic, and if nobody
    /// does, the scope panics in the end.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Scope::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel;
    ///
    /// cancel::scope(|s| {
    ///     let other = s.spawn(|| 1);
    ///     assert!(s.spawn_isolated(|| panic!("alone")).join().is_err());
    ///     assert!(!s.token().is_cancelled());
    ///     assert_eq!(other.join().unwrap(), 1);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_isolated<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let token = self.token.clone();
        let spawned = Builder::new().spawn_scoped(&self.threads, move || token.enter(f));
        match spawned {
            Ok(handle) => handle,
            Err(error) => panic!("brigade: failed to spawn a thread: {error}"),
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Makes a scope with a token, and waits for all threads that were spawned in it.
///
/// The token is a child of the [current](CancelToken::current) one and becomes the current one of the closure and of the
/// threads. It is cancelled
///
/// * when `f` panics: its threads are cancelled, then joined, then the panic goes on;
/// * when a thread of the scope panics: its siblings and the waits of `f` are cancelled at once, whether or not somebody
///   is going to join that thread; see [`Scope::spawn_isolated`] for another choice;
/// * by hand, and with the scopes around it.
///
/// It is not cancelled when `f` returns: as in std, the scope then waits for its threads to end by themselves.
///
/// On a kernel thread the threads of the scope are green threads of the default runtime.
///
/// # Blocking
///
/// Blocks the calling thread only, until the closure and all threads of the scope have returned. A thread that ignores
/// its token is waited for as long as it takes.
///
/// # Panics
///
/// With the panic of `f`, after all threads have ended; and if a thread panicked that was not joined.
///
/// # Examples
///
/// The first answer wins, and the others stop waiting:
///
/// ```
/// use brigade::cancel;
/// use std::time::Duration;
///
/// let delays = [3600, 0, 7200];
/// let winner = brigade::run(move || {
///     let (sender, receiver) = brigade::sync::channel::bounded(3);
///     cancel::scope(|s| {
///         for delay in &delays {
///             s.spawn(|| {
///                 cancel::sleep(Duration::from_secs(*delay))?;
///                 let _ = sender.send(*delay);
///                 Ok::<_, cancel::Cancelled>(())
///             });
///         }
///         let winner = receiver.recv();
///         s.token().cancel();
///         winner
///     })
/// });
/// assert_eq!(winner, Ok(0));
/// ```
///
/// A panic takes the others down:
///
/// ```should_panic
/// use brigade::cancel;
/// use std::time::Duration;
///
/// cancel::scope(|s| {
///     s.spawn(|| cancel::sleep(Duration::from_secs(3600)));
///     s.spawn(|| panic!("now"));
/// });
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    run(CancelToken::current().child(), f)
}

/// As [`scope`], with a token that ends at `deadline` at the latest.
///
/// # Blocking
///
/// As [`scope`]: the deadline ends waits, and the scope waits for what the threads do then.
///
/// # Panics
///
/// As [`scope`].
#[track_caller]
pub fn scope_with_deadline<'env, F, T>(deadline: Instant, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    run(CancelToken::current().child_with_deadline(deadline), f)
}

/// As [`scope`], with a token that ends after `timeout` at the latest.
///
/// # Blocking
///
/// As [`scope`]: the deadline ends waits, and the scope waits for what the threads do then.
///
/// # Panics
///
/// As [`scope`].
///
/// # Examples
///
/// ```
/// use brigade::cancel;
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
///
/// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
/// let mut silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// let read = brigade::run(move || {
///     cancel::scope_with_timeout(Duration::from_millis(1), |_| cancel::io(|| silent.read(&mut [0])))
/// });
/// assert!(cancel::Cancelled::of(&read.unwrap_err()).unwrap().is_timed_out());
/// ```
#[track_caller]
pub fn scope_with_timeout<'env, F, T>(timeout: Duration, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    run(CancelToken::current().child_with_timeout(timeout), f)
}

#[track_caller]
fn run<'env, F, T>(token: CancelToken, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        threads: thread::Scope::open(),
        token,
    };
    let result = catch_unwind(AssertUnwindSafe(|| scope.token.enter(|| f(&scope))));
    if result.is_err() {
        scope.token.cancel();
    }
    let panicked = scope.threads.wait();
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if panicked => panic!("a thread of the scope panicked"),
        Ok(value) => value,
    }
}
