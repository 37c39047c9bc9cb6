//! The graph: which class of locks was taken while which other one was held.
//!
//! A repeat costs one load: a matrix of bits says which edges are known. A new edge is looked at under a lock: if its
//! end leads back to its beginning, over any number of edges, the classes are taken in a circle.
//!
//! # Invariants
//!
//! 1. A bit of `known` is set under the lock of `learned`, once the edge has its record and the search for a way back
//!    is over. It is never cleared. So each edge is searched for once, by one thread, and of two threads that close a
//!    circle together the second finds it.
//! 2. Nothing here allocates: the locks held may be those of an allocator.
//!
//! # Rejected
//!
//! A graph of the locks themselves, which sees an inversion only if both orders are taken with the very same locks,
//! and grows without end. Searching at each taking. Only pairs instead of all circles. A hash of the whole list of held
//! locks, as in Linux' lockdep: lists are short here, and a bit per pair needs no second table.

use std::mem::MaybeUninit;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use brigade_event::{Mode, OrderEdge, OrderKind, OrderReport, Taking, ThreadLabel};
use brigade_runtime::park::RawLock;

use super::classes::{ClassTable, MAX_CLASSES};

/// Edges that are kept.
pub(super) const MAX_EDGES: usize = 16 * 1024;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = MAX_CLASSES / WORD_BITS;

/// Bits of `LockOrder::nested`.
const SAME_CLASS: u8 = 1;
const READ_TWICE: u8 = 2;

/// A lock that a thread holds or takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// The number of its class, which somebody found in the table.
    pub(super) class: u16,
    pub(super) address: usize,
    pub(super) rank: u16,
    pub(super) mode: Mode,
    pub(super) site: &'static Location<'static>,
}

/// What is known of the order of locks.
pub(super) struct LockOrder {
    pub(super) classes: ClassTable,
    /// Row: what was held; bit in it: what was taken.
    known: [[AtomicU64; WORDS]; MAX_CLASSES],
    /// Which nestings within a class have been reported.
    nested: [AtomicU8; MAX_CLASSES],
    /// No more edges are learned.
    full: AtomicBool,
    learned: RawLock<Learned>,
}

struct Learned {
    /// So many of `edges` are written.
    len: usize,
    edges: [MaybeUninit<Edge>; MAX_EDGES],
    search: Search,
}

#[derive(Clone, Copy)]
struct Edge {
    held: Taken,
    taken: Taken,
    thread: ThreadLabel,
}

/// What a search for a way back needs.
struct Search {
    /// By which class a class was reached; 0 for none.
    parent: [u16; MAX_CLASSES],
    queue: [u16; MAX_CLASSES],
}

/// What came of a look at an edge.
#[expect(clippy::large_enum_variant, reason = "nothing may be allocated")]
pub(super) enum Finding {
    /// Nothing to say.
    Fine,
    /// Something to report.
    Report(OrderReport),
    /// There is no room for the edge; `first` if this is the first time.
    NoRoom {
        /// Nobody was told so far.
        first: bool,
    },
}

impl LockOrder {
    pub(super) const fn new() -> LockOrder {
        LockOrder {
            classes: ClassTable::new(),
            known: [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_CLASSES],
            nested: [const { AtomicU8::new(0) }; MAX_CLASSES],
            full: AtomicBool::new(false),
            learned: RawLock::new(Learned {
                len: 0,
                edges: [const { MaybeUninit::uninit() }; MAX_EDGES],
                search: Search {
                    parent: [0; MAX_CLASSES],
                    queue: [0; MAX_CLASSES],
                },
            }),
        }
    }

    /// Whether there is nothing to learn from taking `taken` while `held` is held. The common case, and cheap.
    #[inline(always)]
    pub(super) fn is_known(&self, held: u16, taken: u16) -> bool {
        let taken = usize::from(taken);
        let word = &self.known[usize::from(held)][taken / WORD_BITS];
        // ORDER: Relaxed: the bit stands for itself; who wants the record takes the lock.
        word.load(Ordering::Relaxed) & 1 << (taken % WORD_BITS) != 0
    }

    /// Looks at a lock that `thread` takes while it holds another.
    #[cold]
    #[inline(never)]
    pub(super) fn look(&self, held: &Taken, taken: &Taken, thread: ThreadLabel) -> Finding {
        if held.class == taken.class {
            return self.look_within(held, taken, thread);
        }
        // ORDER: Relaxed: a hint that spares the lock.
        if self.full.load(Ordering::Relaxed) {
            return Finding::NoRoom { first: false };
        }
        let mut learned = self.learned.lock();
        if self.is_known(held.class, taken.class) {
            return Finding::Fine;
        }
        if learned.len == MAX_EDGES {
            // ORDER: Relaxed: under the lock; readers take it as a hint.
            let first = !self.full.swap(true, Ordering::Relaxed);
            return Finding::NoRoom { first };
        }
        let edge = Edge {
            held: *held,
            taken: *taken,
            thread,
        };
        let way_back = self.search(&mut learned.search, taken.class, held.class);
        let report = way_back.map(|len| self.report(&learned, len, &edge));
        learned.add(edge);
        self.set_known(held.class, taken.class);
        drop(learned);
        report.map_or(Finding::Fine, Finding::Report)
    }

    /// Two locks of one class, or one lock twice.
    fn look_within(&self, held: &Taken, taken: &Taken, thread: ThreadLabel) -> Finding {
        let is_same_lock = held.address == taken.address;
        let is_read_twice = held.mode == Mode::Shared && taken.mode == Mode::Shared;
        let (kind, bit) = match (is_same_lock, is_read_twice) {
            (true, true) => (OrderKind::ReadTwice, READ_TWICE),
            // The thread is going to wait for itself, which the search for deadlocks says.
            (true, false) => return Finding::Fine,
            (false, _) if held.rank != 0 && held.rank < taken.rank => return Finding::Fine,
            (false, _) => (OrderKind::SameClass, SAME_CLASS),
        };
        // ORDER: Relaxed: decides only who reports.
        let before = self.nested[usize::from(taken.class)].fetch_or(bit, Ordering::Relaxed);
        if before & bit != 0 {
            return Finding::Fine;
        }
        let edge = OrderEdge::new(thread, self.taking(held), self.taking(taken));
        Finding::Report(OrderReport::new(kind, edge))
    }

    fn set_known(&self, held: u16, taken: u16) {
        let taken = usize::from(taken);
        let word = &self.known[usize::from(held)][taken / WORD_BITS];
        // ORDER: Relaxed: as in `is_known`.
        word.fetch_or(1 << (taken % WORD_BITS), Ordering::Relaxed);
    }

    /// Looks for a shortest way from one class to another. If there is one, the classes on it, ends included, are the
    /// first of `search.queue`, and their number is returned.
    fn search(&self, search: &mut Search, from: u16, to: u16) -> Option<usize> {
        search.parent.fill(0);
        let Search { parent, queue } = search;
        parent[usize::from(from)] = from;
        queue[0] = from;
        let (mut next, mut end) = (0, 1);
        while next < end && parent[usize::from(to)] == 0 {
            let class = queue[next];
            next += 1;
            for (index, word) in self.known[usize::from(class)].iter().enumerate() {
                // ORDER: Relaxed: under the lock, where bits are set.
                let mut bits = word.load(Ordering::Relaxed);
                while bits != 0 {
                    let reached = index * WORD_BITS + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if parent[reached] == 0 {
                        parent[reached] = class;
                        queue[end] = reached as u16;
                        end += 1;
                    }
                }
            }
        }
        if parent[usize::from(to)] == 0 {
            return None;
        }
        let mut len = 1;
        queue[0] = to;
        while queue[len - 1] != from {
            queue[len] = parent[usize::from(queue[len - 1])];
            len += 1;
        }
        queue[..len].reverse();
        Some(len)
    }

    /// The report of a new edge from which a way of so many classes leads back.
    fn report(&self, learned: &Learned, len: usize, new: &Edge) -> OrderReport {
        let edge = |edge: &Edge| {
            OrderEdge::new(
                edge.thread,
                self.taking(&edge.held),
                self.taking(&edge.taken),
            )
        };
        let mut report = OrderReport::new(OrderKind::Inversion, edge(new));
        for pair in learned.search.queue[..len].windows(2) {
            if let Some(known) = learned.find(pair[0], pair[1]) {
                report.push(edge(known));
            }
        }
        report
    }

    fn taking(&self, taken: &Taken) -> Taking {
        // SAFETY: a `Taken` has a number that somebody found in the table, and told through a lock or to itself.
        let class = unsafe { self.classes.read(taken.class) };
        let mut taking = Taking::new(class, taken.mode, taken.site);
        taking.rank = taken.rank;
        taking
    }

    /// How many edges there are.
    pub(super) fn edge_count(&self) -> usize {
        self.learned.lock().len
    }

    pub(super) fn lock_for_fork(&self) {
        self.learned.acquire();
        self.classes.lock_for_fork();
    }

    /// # Safety
    ///
    /// The caller has called [`LockOrder::lock_for_fork`].
    pub(super) unsafe fn unlock_after_fork(&self) {
        // SAFETY: the caller's contract.
        unsafe {
            self.classes.unlock_after_fork();
            self.learned.release();
        }
    }
}

impl Learned {
    fn add(&mut self, edge: Edge) {
        self.edges[self.len].write(edge);
        self.len += 1;
    }

    fn find(&self, held: u16, taken: u16) -> Option<&Edge> {
        self.edges[..self.len]
            .iter()
            // SAFETY: the first `len` are written.
            .map(|edge| unsafe { edge.assume_init_ref() })
            .find(|edge| edge.held.class == held && edge.taken.class == taken)
    }
}

#[cfg(test)]
mod tests;
