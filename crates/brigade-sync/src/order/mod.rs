//! Lock order: which classes of locks are taken while which others are held, and whether that can end in a deadlock.
//!
//! Locks that are taken in contradictory orders deadlock only when threads meet in between, perhaps once a year. Here
//! the second of two orders is reported when it is first taken, by whichever thread and with whichever locks of the
//! same classes, though nothing waits. A class is all locks made at one place in the source, or given one name.
//!
//! # What counts
//!
//! * Taking a lock while others are held is an edge from each of them to it. `try_lock` and waits with a deadline give
//!   up, so they are no edge; but what they took is held, and is the beginning of later edges.
//! * Reading counts as writing: a reader waits behind a writer that waits, so readers too wait for readers.
//! * Locks of one class that are held at once need ranks, taken in rising order. One lock that is read twice is
//!   reported, because a writer that comes in between stops the thread for ever.
//! * Only locks. Channels, semaphores and condition variables have no owners, so an order among them means little.
//!
//! # Invariants
//!
//! 1. Nothing here allocates or waits while it learns; a lock of a global allocator may be a lock of Brigade.
//! 2. Locks that are held are never looked at, only what the thread's entry remembers of them: a guard may have been
//!    forgotten and its lock freed.
//! 3. While a thread is inside, in a handler above all, what it locks is not learned (`BUSY`).
//! 4. Each circle of classes is reported once, when its last edge is first taken; each class once for its nesting, and
//!    once for being read twice.
//!
//! # Limits
//!
//! 4095 classes and 16,384 edges. What goes beyond is counted ([`stats`]) and said once. A lock that was taken while
//! nobody watched has no class until it is taken again, and a handler of the program may do what it likes, so it may
//! allocate and wait.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use brigade_event::{LockTag, Mode, OrderReport};
use brigade_runtime::park::{Entry, HeldLock, RawLock, label, on_fork_once};

mod classes;
mod graph;

use classes::MAX_CLASSES;
use graph::{Finding, LockOrder, Taken};

/// Nobody has asked yet whether the order is to be watched.
const UNDECIDED: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

/// The variable that decides where the program does not.
const VARIABLE: &str = "BRIGADE_LOCK_ORDER";

type Handler = Arc<dyn Fn(&OrderReport) + Send + Sync>;

static SWITCH: AtomicU8 = AtomicU8::new(UNDECIDED);
static ORDER: LockOrder = LockOrder::new();
static HANDLER: RawLock<Option<Handler>> = RawLock::new(None);
static REPORTS: AtomicU64 = AtomicU64::new(0);
static UNCHECKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The thread is inside: it learns, or runs a handler.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// What the watch over the order of locks has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderStats {
    /// Classes of locks.
    pub classes: usize,
    /// Pairs of classes of which one was taken while the other was held.
    pub edges: usize,
    /// Reports.
    pub reports: u64,
    /// Locks for whose class there was no room, and takings for whose edge there was none: they were not checked.
    pub unchecked: u64,
}

/// Whether the order of locks may be watched: then each taking is to be told. One relaxed load.
#[inline(always)]
#[must_use]
pub fn is_on() -> bool {
    // ORDER: Relaxed: a switch that publishes nothing.
    SWITCH.load(Ordering::Relaxed) != OFF
}

/// Watches the order of locks from now on, or does so no longer.
pub fn watch(on: bool) {
    // ORDER: Relaxed: as in `is_on`.
    SWITCH.store(if on { ON } else { OFF }, Ordering::Relaxed);
}

/// Calls `handler` with each report, instead of printing it to stderr.
pub fn on_report(handler: impl Fn(&OrderReport) + Send + Sync + 'static) {
    register_fork_handlers();
    let handler: Handler = Arc::new(handler);
    let before = HANDLER.lock().replace(handler);
    drop(before);
}

/// What was seen so far.
#[must_use]
pub fn stats() -> OrderStats {
    register_fork_handlers();
    OrderStats {
        classes: ORDER.classes.count(),
        edges: ORDER.edge_count(),
        // ORDER: Relaxed: a counter that publishes nothing.
        reports: REPORTS.load(Ordering::Relaxed),
        // ORDER: Relaxed: as above.
        unchecked: UNCHECKED.load(Ordering::Relaxed),
    }
}

/// The current thread is going to take a lock, and will wait for it as long as it takes. A panic of the handler comes
/// out of here.
#[inline(never)]
pub fn before_lock(
    me: &'static Entry,
    tag: &LockTag,
    mode: Mode,
    site: &'static Location<'static>,
) {
    let Some(class) = class_for(tag) else { return };
    if !me.holds_any() {
        return;
    }
    let taken = Taken {
        class,
        address: tag.address(),
        rank: tag.rank(),
        mode,
        site,
    };
    me.for_each_held(|held| {
        let is_counted = held.class != 0 && usize::from(held.class) < MAX_CLASSES;
        if is_counted && !ORDER.is_known(held.class, class) {
            look(&held, &taken);
        }
    });
}

/// The current thread is going to try to take a lock, and gives up if it cannot have it.
#[inline]
pub fn before_try(tag: &LockTag) {
    if tag.class() == 0 {
        class_for(tag);
    }
}

/// The class of a lock that is to be watched.
#[inline]
fn class_for(tag: &LockTag) -> Option<u16> {
    // ORDER: Relaxed: as in `is_on`.
    if SWITCH.load(Ordering::Relaxed) != ON && !is_decided_on_slow() {
        return None;
    }
    if tag.class() == 0 {
        return first_class_slow(tag);
    }
    if BUSY.get() {
        return None;
    }
    ORDER.classes.number_of(tag)
}

#[cold]
fn first_class_slow(tag: &LockTag) -> Option<u16> {
    let _busy = Busy::enter()?;
    register_fork_handlers();
    let class = ORDER.classes.number_of(tag);
    if class.is_none() {
        // ORDER: Relaxed: a counter; the first to count says it.
        if UNCHECKED.fetch_add(1, Ordering::Relaxed) == 0 {
            say(format_args!(
                "brigade: more than {} classes of locks; the order of further ones is not watched",
                MAX_CLASSES - 1
            ));
        }
    }
    class
}

#[cold]
fn look(held: &HeldLock, taken: &Taken) {
    let Some(_busy) = Busy::enter() else { return };
    let held = Taken {
        class: held.class,
        address: held.address,
        rank: held.rank,
        mode: held.mode,
        site: held.site,
    };
    match ORDER.look(&held, taken, label()) {
        Finding::Fine => {}
        Finding::Report(report) => deliver(&report),
        Finding::NoRoom { first } => {
            // ORDER: Relaxed: a counter.
            UNCHECKED.fetch_add(1, Ordering::Relaxed);
            if first {
                say(format_args!(
                    "brigade: more than {} pairs of classes of locks; no further orders are learned",
                    graph::MAX_EDGES
                ));
            }
        }
    }
}

fn deliver(report: &OrderReport) {
    // ORDER: Relaxed: a counter.
    REPORTS.fetch_add(1, Ordering::Relaxed);
    let handler = HANDLER.lock().clone();
    match handler {
        Some(handler) => handler(report),
        None => say(format_args!("brigade: {report}")),
    }
}

/// Decides whether the order is watched, if the program has not: by the variable, else by the kind of build.
#[cold]
fn is_decided_on_slow() -> bool {
    // ORDER: Relaxed: as in `is_on`.
    if SWITCH.load(Ordering::Relaxed) == UNDECIDED {
        let Some(_busy) = Busy::enter() else {
            return false;
        };
        let wish = std::env::var_os(VARIABLE);
        let is_on = match wish.as_ref().map(|wish| wish.as_encoded_bytes()) {
            Some(b"1") => true,
            Some(b"0") => false,
            other => {
                if other.is_some_and(|text| !text.is_empty()) {
                    say(format_args!("brigade: {VARIABLE} is neither 0 nor 1"));
                }
                cfg!(debug_assertions)
            }
        };
        let decision = if is_on { ON } else { OFF };
        // ORDER: Relaxed: as in `is_on`; what the program has decided meanwhile stands.
        let _ = SWITCH.compare_exchange(UNDECIDED, decision, Ordering::Relaxed, Ordering::Relaxed);
    }
    // ORDER: Relaxed: as in `is_on`.
    SWITCH.load(Ordering::Relaxed) == ON
}

/// Keeps the tables whole across forks. Called before anybody takes one of the locks.
fn register_fork_handlers() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if DONE.load(Ordering::Relaxed) {
        return;
    }
    let before = || {
        HANDLER.acquire();
        ORDER.lock_for_fork();
    };
    let after = || {
        // SAFETY: `before` was called before this.
        unsafe {
            ORDER.unlock_after_fork();
            HANDLER.release();
        }
    };
    on_fork_once(&DONE, before, after, after);
}

/// The time in which a thread is inside.
struct Busy;

impl Busy {
    /// None if it is inside already.
    fn enter() -> Option<Busy> {
        // Not `then_some`, which would make one all the same, and drop it.
        (!BUSY.replace(true)).then(|| Busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(false);
    }
}

/// Writes a line to stderr without allocating.
fn say(line: fmt::Arguments<'_>) {
    let mut text = Text {
        len: 0,
        bytes: [0; Text::CAPACITY],
    };
    // Nobody is left to tell that stderr takes nothing.
    let _ = text.write_fmt(line);
    let _ = text.write_char('\n');
    text.flush();
}

/// What goes to stderr in one piece.
struct Text {
    len: usize,
    bytes: [u8; Text::CAPACITY],
}

impl Text {
    const CAPACITY: usize = 2048;

    fn flush(&mut self) {
        let _ = std::io::stderr().write_all(&self.bytes[..self.len]);
        self.len = 0;
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for chunk in piece.as_bytes().chunks(Text::CAPACITY) {
            if self.len + chunk.len() > Text::CAPACITY {
                self.flush();
            }
            self.bytes[self.len..self.len + chunk.len()].copy_from_slice(chunk);
            self.len += chunk.len();
        }
        Ok(())
    }
}
