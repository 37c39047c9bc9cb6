//! Jobs, and the list of a program's jobs.
//!
//! The list is a type: `Jobs<(B, (A, ()))>` after `Jobs::new().with::<A>().with::<B>()`. So a pool knows at compile
//! time which jobs its workers can do, both processes number them alike, and there is nothing global to register in.
//!
//! Rejected: a table of names filled at run time (a job that was forgotten is found when it is submitted);
//! registration by constructors before `main` (runs code nobody sees, and needs another crate).

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Kind};
use crate::pool::PoolBuilder;
use crate::{panic_text, worker};

/// Work that a worker process can do: a request, and the reply to it.
///
/// The value itself is sent to the worker, [`run`](Job::run) there, and the reply sent back, both in serde's sense.
/// The format ([postcard](https://docs.rs/postcard)) does not describe itself: attributes such as
/// `#[serde(flatten)]`, `untagged` or `skip_serializing_if` do not work in it.
///
/// # Examples
///
/// ```
/// use brigade_process::Job;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Fib(u32);
///
/// impl Job for Fib {
///     type Reply = u64;
///     const NAME: &'static str = "fib";
///
///     fn run(self) -> u64 {
///         (0..self.0).fold((0, 1), |(a, b), _| (b, a + b)).0
///     }
/// }
///
/// assert_eq!(Fib(10).run(), 55);
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// What comes back.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// What the job is called in messages; unique among the jobs of a program.
    const NAME: &'static str;

    /// Does the work. Runs in a worker process, on the thread that registered the jobs.
    ///
    /// It may block, panic, abort and crash: that is an error for this job alone.
    fn run(self) -> Self::Reply;
}

/// One job of the list, as a worker needs it.
#[derive(Clone, Copy)]
pub struct Entry {
    pub(crate) name: &'static str,
    request: fn() -> &'static str,
    reply: fn() -> &'static str,
    /// Does the job in a body and makes the frame of the answer; the last argument is the limit.
    pub(crate) answer: fn(&[u8], u64, usize) -> Vec<u8>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A list of jobs: `()`, or a job and a list.
pub trait JobList: sealed::Sealed + 'static {
    /// Puts the jobs in front of nothing, in the order of their numbers.
    #[doc(hidden)]
    fn collect(into: &mut Vec<Entry>);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<J: super::Job, L: super::JobList> Sealed for (J, L) {}
}

impl JobList for () {
    fn collect(_: &mut Vec<Entry>) {}
}

impl<J: Job, L: JobList> JobList for (J, L) {
    fn collect(into: &mut Vec<Entry>) {
        into.push(Entry {
            name: J::NAME,
            request: type_name::<J>,
            reply: type_name::<J::Reply>,
            answer: answer::<J>,
        });
        L::collect(into);
    }
}

/// Where a job is in a list: at its head.
#[derive(Debug)]
pub struct Here(());

/// Where a job is in a list: at `I` of what follows the head.
#[derive(Debug)]
pub struct There<I>(PhantomData<I>);

/// The list has the job `J`. `I`, which says where, is always inferred.
#[diagnostic::on_unimplemented(
    message = "the job `{J}` is not registered with this pool",
    label = "no worker of this pool can do this",
    note = "add `.with::<{J}>()` where the jobs of the pool are listed"
)]
pub trait Registered<J, I>: JobList {
    /// The number of the job.
    #[doc(hidden)]
    const INDEX: u32;
}

impl<J: Job, L: JobList> Registered<J, Here> for (J, L) {
    const INDEX: u32 = 0;
}

impl<J, H: Job, L: Registered<J, I>, I> Registered<J, There<I>> for (H, L) {
    const INDEX: u32 = 1 + L::INDEX;
}

/// The jobs that a program's worker processes can do.
///
/// A worker process is the same program, started once more. Make this list, and call
/// [`serve_if_worker`](Jobs::serve_if_worker) or start a pool, first thing in `main`: in a worker that call serves the
/// pool and never returns. Whatever `main` does before it, each worker does too.
///
/// # Examples
///
/// ```
/// # use brigade_process::Job;
/// # use serde::{Deserialize, Serialize};
/// use brigade_process::Jobs;
///
/// #[derive(Serialize, Deserialize)]
/// struct Square(u64);
///
/// impl Job for Square {
///     type Reply = u64;
///     const NAME: &'static str = "square";
///
///     fn run(self) -> u64 {
///         self.0 * self.0
///     }
/// }
///
/// fn main() {
///     let jobs = Jobs::new().with::<Square>();
///     jobs.serve_if_worker();
///
///     let pool = jobs.pool().workers(2).start().unwrap();
///     assert_eq!(pool.run(Square(12)).unwrap(), 144);
/// }
/// ```
///
/// A job that is not in the list cannot be submitted:
///
/// ```compile_fail,E0277
/// # use brigade_process::{Job, Jobs};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Square(u64);
/// # impl Job for Square {
/// #     type Reply = u64;
/// #     const NAME: &'static str = "square";
/// #     fn run(self) -> u64 { self.0 * self.0 }
/// # }
/// let pool = Jobs::new().pool().start().unwrap();
/// pool.run(Square(12));
/// ```
#[must_use = "workers need the list to be served or a pool to be started"]
pub struct Jobs<L = ()> {
    list: PhantomData<fn() -> L>,
}

impl Jobs {
    /// No jobs yet.
    pub const fn new() -> Jobs {
        Jobs { list: PhantomData }
    }
}

impl Default for Jobs {
    /// No jobs yet.
    fn default() -> Jobs {
        Jobs::new()
    }
}

impl<L: JobList> Jobs<L> {
    /// Adds the job `J`.
    ///
    /// # Panics
    ///
    /// If a job of the same name is in the list.
    #[track_caller]
    pub fn with<J: Job>(self) -> Jobs<(J, L)> {
        if let Some(other) = entries::<L>().iter().find(|entry| entry.name == J::NAME) {
            panic!(
                "two jobs are called {:?}: {} and {}",
                J::NAME,
                (other.request)(),
                type_name::<J>()
            );
        }
        Jobs { list: PhantomData }
    }

    /// In a worker process, does what the pool asks for until the pool ends, and then ends the process. Anywhere else,
    /// returns at once.
    ///
    /// [`PoolBuilder::start`] does the same before it starts a pool; call this where `main` begins if the pool is
    /// started later, or only sometimes.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread of a worker for as long as the worker lives.
    ///
    /// # Panics
    ///
    /// If this process is marked as a worker but has no connection to a pool.
    pub fn serve_if_worker(&self) {
        worker::serve_if_worker(&entries::<L>());
    }

    /// A pool of workers for these jobs, to be configured and started.
    pub fn pool(&self) -> PoolBuilder<L> {
        PoolBuilder::new()
    }
}

impl<L> Clone for Jobs<L> {
    fn clone(&self) -> Jobs<L> {
        *self
    }
}

impl<L> Copy for Jobs<L> {}

impl<L: JobList> fmt::Debug for Jobs<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = entries::<L>();
        f.debug_list()
            .entries(entries.iter().map(|entry| entry.name))
            .finish()
    }
}

/// The jobs of a list, by number.
pub(crate) fn entries<L: JobList>() -> Vec<Entry> {
    let mut entries = Vec::new();
    L::collect(&mut entries);
    entries
}

/// A number that differs where two lists differ in their jobs, the order of these, or the names of their types.
pub(crate) fn fingerprint(entries: &[Entry]) -> u64 {
    // FNV-1a: the ends are the same program and do not cheat each other.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for entry in entries {
        for part in [entry.name, (entry.request)(), (entry.reply)(), ";"] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    hash
}

/// Does one job, in a worker.
fn answer<J: Job>(request: &[u8], id: u64, limit: usize) -> Vec<u8> {
    // All that is foreign happens in here, the drop of the reply too.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let job: J = postcard::from_bytes(request)
            .map_err(|error| format!("the worker cannot read the job: {error}"))?;
        let reply = job.run();
        let bytes = frame::begin(Kind::Reply, id);
        let mut bytes = postcard::to_extend(&reply, bytes)
            .map_err(|error| format!("the worker cannot write the reply: {error}"))?;
        match frame::finish(&mut bytes, limit) {
            Ok(()) => Ok(bytes),
            Err(too_large) => Err(format!(
                "the reply has {} bytes, and the pool takes at most {limit}",
                too_large.bytes
            )),
        }
    }));
    match outcome {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(why)) => frame::text(Kind::Failed, id, &why, limit),
        Err(panic) => frame::text(Kind::Panicked, id, &panic_text(panic), limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize)]
    struct A;
    impl Job for A {
        type Reply = ();
        const NAME: &'static str = "a";
        fn run(self) {}
    }

    #[derive(Serialize, Deserialize)]
    struct B;
    impl Job for B {
        type Reply = u8;
        const NAME: &'static str = "b";
        fn run(self) -> u8 {
            1
        }
    }

    #[derive(Serialize, Deserialize)]
    struct AlsoA;
    impl Job for AlsoA {
        type Reply = u8;
        const NAME: &'static str = "a";
        fn run(self) -> u8 {
            2
        }
    }

    fn index<J: Job, L: Registered<J, I>, I>(_: Jobs<L>) -> u32 {
        L::INDEX
    }

    fn print<L: JobList>(_: Jobs<L>) -> u64 {
        fingerprint(&entries::<L>())
    }

    #[test]
    fn the_number_of_a_job_is_its_place_among_the_entries() {
        let jobs = Jobs::new().with::<A>().with::<B>();
        let entries = entries::<(B, (A, ()))>();
        assert_eq!(entries[index::<A, _, _>(jobs) as usize].name, "a");
        assert_eq!(entries[index::<B, _, _>(jobs) as usize].name, "b");
    }

    #[test]
    fn lists_that_differ_have_other_fingerprints() {
        let prints = [
            print(Jobs::new()),
            print(Jobs::new().with::<A>()),
            print(Jobs::new().with::<AlsoA>()),
            print(Jobs::new().with::<B>()),
            print(Jobs::new().with::<A>().with::<B>()),
            print(Jobs::new().with::<B>().with::<A>()),
        ];
        for (n, print) in prints.iter().enumerate() {
            assert!(!prints[..n].contains(print), "{prints:?}");
        }
        assert_eq!(prints[1], print(Jobs::new().with::<A>()));
    }

    #[test]
    fn a_second_job_of_the_same_name_is_refused_with_both_types() {
        let panic = catch_unwind(|| Jobs::new().with::<A>().with::<AlsoA>()).unwrap_err();
        let text = panic_text(panic);
        assert!(
            text.contains("\"a\"") && text.contains("::A ") && text.contains("::AlsoA"),
            "{text}"
        );
    }
}
