//! What an `Async` shares with the driver: who waits for each direction of its descriptor (`waiters.rs`), and the watches
//! behind which they wait.
//!
//! # Invariants
//!
//! 1. Who waits has taken [`Seen`] before its attempt; what happens afterwards fires the watch (`fd.rs` of the runtime,
//!    invariant 1).
//! 2. While a watch is armed a counted reference to the source belongs to the alarm: its token.
//! 3. All calls for a watch are made under the lock of its direction.
//! 4. Lock order: a direction, an entry of the runtime's table, the alarms.
//!
//! In the child of a fork a direction whose lock another thread held stays locked, as any lock would.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use brigade_runtime::alarms::{Armed, Watch};
use brigade_runtime::descriptors::{Fd, Interest, Seen};

use crate::driver::{Driver, driver};
use crate::waiters::{Place, Waiters};

/// Where a watch is armed.
#[derive(Clone, Copy)]
struct Post {
    driver: &'static Driver,
    /// The number, and which file it names.
    file: (i32, u32),
}

impl Post {
    fn is_for(self, fd: Fd) -> bool {
        self.driver.is_ours() && self.file == file_of(fd)
    }
}

fn file_of(fd: Fd) -> (i32, u32) {
    (fd.number(), fd.incarnation())
}

struct Direction {
    waiters: Waiters<Post>,
    watch: Watch,
}

/// See the module.
#[repr(align(8))]
pub(crate) struct Source {
    directions: [Direction; 2],
}

/// What is waited for: something that happens to the descriptor after the look.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) fd: Fd,
    pub(crate) interest: Interest,
    pub(crate) seen: Seen,
    /// As for [`Watch::arm`].
    pub(crate) trusted: bool,
}

impl Source {
    pub(crate) fn new() -> Arc<Source> {
        let directions = [Interest::Read, Interest::Write].map(|interest| Direction {
            waiters: Waiters::new(),
            watch: Watch::new(interest),
        });
        Arc::new(Source { directions })
    }

    /// Pending: the task will be woken when something has happened.
    pub(crate) fn poll(
        self: &Arc<Source>,
        wanted: Wanted,
        place: &mut Place,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the lock: it may start a thread.
        let driver = driver()?;
        let waker = cx.waker().clone();
        let Wanted { fd, interest, .. } = wanted;
        self.directions[interest as usize].waiters.wait(
            place,
            waker,
            || fd.is_still(interest, wanted.seen),
            |post| post.is_for(fd),
            |before| self.arm(driver, wanted, before),
        )
    }

    /// Under the lock of the direction.
    fn arm(
        self: &Arc<Source>,
        driver: &'static Driver,
        wanted: Wanted,
        before: Option<Post>,
    ) -> io::Result<Option<Post>> {
        let watch = &self.directions[wanted.interest as usize].watch;
        if let Some(post) = before.filter(|post| post.driver.is_ours()) {
            // It waits for another file.
            if !watch.disarm() {
                // It has fired: then all who wait will be woken, and come here again.
                return Ok(before);
            }
            self.take_back(post);
        }
        let owned = Arc::into_raw(Arc::clone(self));
        let token = owned.expose_provenance() | wanted.interest as usize;
        let Wanted { fd, seen, .. } = wanted;
        // SAFETY: the watch is at our disposal: it was never armed in this process, or answered, or disarmed. It lives in
        // an `Arc` of which a reference goes with the token, and the caller holds the lock.
        let armed = unsafe { watch.arm(fd, seen, wanted.trusted, &driver.alarms, token) };
        if let Ok(Armed::Waits) = armed {
            driver.note_armed();
            return Ok(Some(Post {
                driver,
                file: file_of(fd),
            }));
        }
        // SAFETY: the watch is not armed, so the reference is ours again. It is not the last: `self` is one.
        drop(unsafe { Arc::from_raw(owned) });
        armed.map(|_| None).map_err(io::Error::from_raw_os_error)
    }

    /// A watch was disarmed: the reference that went with the token.
    fn take_back(self: &Arc<Source>, post: Post) {
        post.driver.note_disarmed();
        // SAFETY: the watch was armed and has not fired, so the reference is ours again. It is not the last: `self` is
        // one.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
    }

    /// A future waits no longer.
    pub(crate) fn leave(&self, interest: Interest, place: &Place) {
        self.directions[interest as usize].waiters.leave(place);
    }

    /// The descriptor's owner goes away: nobody waits any more.
    pub(crate) fn close(self: &Arc<Source>) {
        for Direction { waiters, watch } in &self.directions {
            if let Some(post) = waiters.close(|post| post.driver.is_ours(), || watch.disarm()) {
                self.take_back(post);
            }
        }
    }
}

/// By the driver: the watch with this token has fired. Adds the wakers of all who waited.
///
/// # Safety
///
/// The token must be one that [`Source::arm`] passed, handed out by the alarms for the first time.
pub(crate) unsafe fn fired(token: usize, wakers: &mut Vec<Waker>) {
    let place = ptr::with_exposed_provenance::<Source>(token & !1);
    // SAFETY: the reference that went with the token.
    let source = unsafe { Arc::from_raw(place) };
    if let Some(post) = source.directions[token & 1].waiters.fired(wakers) {
        post.driver.note_disarmed();
    }
}
