//! Who waits for whom: the search for a circle of threads that wait for each other.
//!
//! A thread that is going to wait, without a deadline, for something that has owners (a lock, the end of a thread, the
//! threads of a scope) asks first whether an owner waits for it in turn. All others that could be part of the circle
//! have asked before, so the last one finds it, and the rest of the program runs on.
//!
//! # The search
//!
//! It goes backwards, from the asking thread to those that wait for it, and on: who waits for a lock it holds (the lot
//! knows), who joins it, who opened its scope and waits at the end of that. If an owner of what it wants is among them,
//! the circle is closed. Backwards, because readers of a lock are known by their lists of held locks only, and because
//! a thread that holds nothing ends the search at once.
//!
//! # Why it is exact
//!
//! 1. *It finds every circle.* Each thread of a circle says that it waits (its record, and its place in the lot or as a
//!    joiner) before it searches; lots are read and written under their locks, the rest is behind a full fence. So the
//!    last thread that searches sees all others in their places.
//! 2. *It reports nothing else.* A path is looked at twice. Each wait in the lot has a number, and a thread whose number
//!    is the same at both looks has not run in between; neither has one that waits for the end of such a thread. So
//!    between the two looks all of them were stopped at once, and each waits for something that only the next can give.
//! 3. *It touches nothing that may be gone.* Locks are addresses until the second look has passed. Entries live for
//!    ever. The record of a thread in the lot is used under the lot's lock, and those of threads that join it, or whose
//!    scope waits for it, cannot go away before it ends.
//!
//! Waits with a deadline are no part of a circle: they end by themselves.
//!
//! # Limits
//!
//! [`NODES`] threads that hold something and wait, directly or not, for the asking one. A search that meets more gives
//! up, and is counted ([`abandoned`]).
//!
//! # Rejected
//!
//! Forwards from owner to owner: a lock with readers has no owner to start from. A search by a thread of its own, later:
//! the thread that closes the circle could not be told. Memory from malloc while the path is not certain: locks inside
//! the allocator search too.

use std::ptr::{self, NonNull};

use brigade_context::on_fork_once;
use brigade_event::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, DeadlockedThread,
    HeldLockReport, LockDescription, LockKind, LockTag, Mode, ThreadLabel, WaitReason, WaitReport,
};

use crate::lot::{LotWaiter, for_each_waiter};
use crate::prim::{AtomicBool, AtomicPtr, AtomicU64, Lock, Ordering, fence_after_rmw};
use crate::roster::{self, Entry, HeldLock, Wait, WaitRecord};
use crate::task::Task;

/// Threads that one search can hold.
const NODES: usize = 1024;
/// Places in the table of what has been seen; a power of two.
const PLACES: usize = 2 * NODES;
/// Reports remembered, so that one circle is not reported by each of its threads.
const RECENT: usize = 16;

/// What the asking thread is going to wait for.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A lock, to hold it so.
    Lock(&'a LockTag, Mode),
    /// The end of a thread, which has not ended.
    Thread(&'a Task),
    /// The end of all threads of a scope.
    Scope(usize),
}

/// How a thread waits for its predecessor in the search.
#[derive(Clone, Copy)]
enum Via {
    /// It is the asking thread.
    Start,
    /// In the lot, for this address, with this number, to hold it so.
    Lock(usize, u64, Mode),
    /// For its end.
    Join,
    /// For its end, and that of others of its scope.
    Scope,
}

#[derive(Clone, Copy)]
struct Node {
    /// The thread's record: an address until the second look has passed.
    task: NonNull<Task>,
    entry: &'static Entry,
    /// Whom it waits for.
    parent: u16,
    via: Via,
    /// It has what the asking thread wants.
    is_owner: bool,
}

// SAFETY: the records are used as the module says.
unsafe impl Send for Node {}

/// What a search works with. There is one, because searches are rare and short.
struct Search {
    nodes: [Option<Node>; NODES],
    len: usize,
    seen: [(u32, usize); PLACES],
    generation: u32,
    /// Circles that were reported: sums over their waits.
    recent: [u64; RECENT],
    reports: usize,
    is_full: bool,
    /// The number of the asking thread's own wait in the lot.
    my_number: u64,
}

static SEARCH: Lock<Search> = Lock::new(Search {
    nodes: [None; NODES],
    len: 0,
    seen: [(0, 0); PLACES],
    generation: 0,
    recent: [0; RECENT],
    reports: 0,
    is_full: false,
    my_number: 0,
});

static ABANDONED: AtomicU64 = AtomicU64::new(0);

/// What is done with a report; null for the text on standard error.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Decides what is to be done about a deadlock.
pub type DeadlockHandler = fn(&DeadlockReport) -> DeadlockResponse;

/// Sets what is called with each report. It runs on the thread that closes the circle.
pub fn set_deadlock_handler(handler: DeadlockHandler) {
    // ORDER: Release: pairs with the Acquire in `respond`.
    HANDLER.store(handler as *mut (), Ordering::Release);
}

/// Searches that met more threads than they could hold, and were given up.
#[must_use]
pub fn abandoned() -> u64 {
    // ORDER: Relaxed: a statistic.
    ABANDONED.load(Ordering::Relaxed)
}

/// The thread of `me`, which has said that it waits and stands where others find it, is going to wait for `target`.
/// Something returned: it is to panic with this text instead.
///
/// The caller is the thread itself.
///
/// Comes right after the atomic operation by which the thread took its place in the lot or as a joiner; the thread has
/// written its record before that.
#[inline(always)]
pub(crate) fn check(me: &Task, wait: &Wait, target: Target<'_>) -> Option<String> {
    // Between this thread's record and its looks at those of others; its partner is the same fence of the other
    // (module, 1).
    fence_after_rmw();
    if is_certainly_open(me, target) {
        return None;
    }
    search(me, wait, target)
}

#[cold]
#[inline(never)]
fn search(me: &Task, wait: &Wait, target: Target<'_>) -> Option<String> {
    register_fork_handler();
    loop {
        let report = SEARCH.lock().run(me, wait, target)?;
        // The handler may wait for something itself.
        me.end_wait();
        let response = respond(&report);
        me.begin_wait(wait, false);
        match response {
            DeadlockResponse::PanicClosing => return Some(report.to_string()),
            DeadlockResponse::Abort => std::process::abort(),
            // While the handler ran, others did not see that this thread waits. It searches again.
            _ => {}
        }
    }
}

/// By a thread that left its wait because it was told to, before it does anything else: a search that saw it waiting may
/// be using its record, and those of threads that wait for its end (module, 3).
#[cold]
pub(crate) fn pass_search() {
    drop(SEARCH.lock());
}

/// In the child of a fork nobody searches. Called before anybody takes the lock.
fn register_fork_handler() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if !DONE.load(Ordering::Relaxed) {
        // SAFETY: taken by the first of the three, on the same thread.
        let after = || unsafe { SEARCH.release() };
        on_fork_once(&DONE, || SEARCH.acquire(), after, after);
    }
}

/// What nearly all questions come to, without a search: some thread on the way is in no wait that could be part of a
/// circle. If it will be, it asks itself.
#[inline(always)]
fn is_certainly_open(me: &Task, target: Target<'_>) -> bool {
    match target {
        Target::Lock(tag, _) => {
            // SAFETY: null or an entry; entries live for ever.
            let owner = unsafe { tag.owner().cast::<Entry>().as_ref() };
            owner.is_some_and(|owner| {
                !ptr::eq(owner, me.entry()) && !owner.is_nobody() && !is_stopped(owner)
            })
        }
        Target::Thread(task) => {
            is_of_no_use(me) || leads_to_a_free_thread(me.entry(), task.entry())
        }
        Target::Scope(_) => is_of_no_use(me),
    }
}

/// Nobody waits for the thread, directly: it holds nothing, and nobody wants its end.
#[inline(always)]
fn is_of_no_use(me: &Task) -> bool {
    !me.entry().holds_any() && me.joiner().is_none() && me.scope().is_none()
}

/// Follows joins from `entry` on. Threads that join each other are common, and a search for each would be dear.
fn leads_to_a_free_thread(me: &'static Entry, entry: &'static Entry) -> bool {
    const STEPS: usize = 64;
    let mut at = entry;
    for _ in 0..STEPS {
        // A kernel thread that had not begun when it was joined had no entry then: the record names nobody.
        if ptr::eq(at, me) || ptr::eq(at, roster::nobody()) {
            return false;
        }
        match at.wait_record() {
            Some(record) if record.wait.reason == WaitReason::Join => {
                // SAFETY: the object of a join is the address of an entry; entries live for ever.
                at = unsafe { &*ptr::with_exposed_provenance::<Entry>(record.wait.object) };
                if at.is_nobody() {
                    // Joined before its kernel thread had begun: only the search knows what it does now.
                    return false;
                }
            }
            record => return !record.is_some_and(|record| is_part_of_circles(&record)),
        }
    }
    false
}

fn is_stopped(entry: &Entry) -> bool {
    entry
        .wait_record()
        .is_some_and(|record| is_part_of_circles(&record))
}

/// Whether what is waited for has owners, and the wait does not end by itself.
fn is_part_of_circles(record: &WaitRecord) -> bool {
    let has_owners = matches!(
        record.wait.reason,
        WaitReason::Mutex
            | WaitReason::RwLockRead
            | WaitReason::RwLockWrite
            | WaitReason::Once
            | WaitReason::OnceWait
            | WaitReason::InterpreterLock
            | WaitReason::Join
            | WaitReason::Scope
    );
    has_owners && !record.timed
}

/// Reports a deadlock that was found otherwise, as if a search had found it. Returns what the program wants.
pub fn report_deadlock(report: &DeadlockReport) -> DeadlockResponse {
    let response = respond(report);
    if response == DeadlockResponse::Abort {
        std::process::abort();
    }
    response
}

/// Calls the handler.
fn respond(report: &DeadlockReport) -> DeadlockResponse {
    // ORDER: Acquire: pairs with `set_deadlock_handler`.
    let handler = HANDLER.load(Ordering::Acquire);
    if handler.is_null() {
        let text = format!("brigade: {report}\n");
        brigade_context::prim::sys::write_stderr(text.as_bytes());
        return DeadlockResponse::Continue;
    }
    // SAFETY: only handlers are stored.
    let handler = unsafe { std::mem::transmute::<*mut (), DeadlockHandler>(handler) };
    handler(report)
}

impl Search {
    fn run(&mut self, me: &Task, wait: &Wait, target: Target<'_>) -> Option<DeadlockReport> {
        self.len = 0;
        self.is_full = false;
        self.generation = self.generation.wrapping_add(1);
        self.my_number = number_of(me, target);
        self.push(me, 0, Via::Start, target);
        // SAFETY: the asking thread is alive: it is this one.
        unsafe { self.push_waiters_for_end(0, target) };
        let mut next = 0;
        let found = loop {
            let Some(node) = self.nodes[..self.len].get(next).copied().flatten() else {
                break None;
            };
            if node.is_owner {
                break Some(next);
            }
            self.push_waiters_for_locks(&node, next as u16, target);
            next += 1;
        };
        if self.is_full && found.is_none() {
            // ORDER: Relaxed: a statistic.
            ABANDONED.fetch_add(1, Ordering::Relaxed);
        }
        let last = found?;
        if !self.is_still_so(last, target) || self.was_reported(last) {
            return None;
        }
        Some(self.report(last, wait, target))
    }

    /// Adds a thread, unless it is known. It must be alive during the call.
    fn push(&mut self, task: &Task, parent: u16, via: Via, target: Target<'_>) {
        let address = ptr::from_ref(task).addr();
        let mut place = (address >> 6).wrapping_mul(0x9e37_79b9) % PLACES;
        while self.seen[place].0 == self.generation {
            if self.seen[place].1 == address {
                return;
            }
            place = (place + 1) % PLACES;
        }
        if self.len == NODES {
            self.is_full = true;
            return;
        }
        self.seen[place] = (self.generation, address);
        self.nodes[self.len] = Some(Node {
            task: NonNull::from(task),
            entry: task.entry(),
            parent,
            via,
            is_owner: is_owner(task, via, target),
        });
        self.len += 1;
    }

    /// Adds the threads that wait for the end of the last ones pushed, from `first` on, and for their ends, and so on.
    ///
    /// # Safety
    ///
    /// The threads must not be able to end meanwhile.
    unsafe fn push_waiters_for_end(&mut self, first: usize, target: Target<'_>) {
        let mut at = first;
        while let Some(node) = self.nodes[..self.len].get(at).copied().flatten() {
            // SAFETY: the caller's contract; or it waits for the end of such a thread (module, 3).
            let task = unsafe { node.task.as_ref() };
            if let Some(joiner) = task.joiner() {
                // SAFETY: who joins a thread stays until that has ended.
                self.push(unsafe { joiner.as_ref() }, at as u16, Via::Join, target);
            }
            if let Some(scope) = task.scope() {
                // SAFETY: the owner of a scope does not go away before the threads that the scope counts.
                let owner = unsafe { scope.owner.as_ref() };
                let waits = |record: WaitRecord| {
                    record.wait.reason == WaitReason::Scope && record.wait.object == scope.object
                };
                if owner.entry().wait_record().is_some_and(waits) {
                    self.push(owner, at as u16, Via::Scope, target);
                }
            }
            at += 1;
        }
    }

    /// Adds the threads that wait for locks which the thread of `node` holds.
    fn push_waiters_for_locks(&mut self, node: &Node, number: u16, target: Target<'_>) {
        node.entry.for_each_held(|held| {
            // Readers wait for a reader only behind a writer.
            let mut has_writer = false;
            for_each_waiter(held.address, |waiter| {
                // SAFETY: a thread in the lot is alive under the lot's lock, and borrows what it waits for.
                let holds = unsafe { waits_for_holder(waiter, &held, node.entry) };
                has_writer |= holds && waiter.mode == Mode::Exclusive && !waiter.timed;
            });
            for_each_waiter(held.address, |waiter| {
                // SAFETY: the same: it is in the lot, under the lot's lock, at this address.
                let holds = unsafe { waits_for_holder(waiter, &held, node.entry) };
                let conflicts =
                    held.mode == Mode::Exclusive || waiter.mode == Mode::Exclusive || has_writer;
                if holds && !waiter.timed && conflicts {
                    self.push_lot_waiter(waiter, held.address, number, target);
                }
            });
        });
    }

    /// Under the lock of the lot. One that nobody can wait for is left out, so that a crowd at a lock costs little.
    fn push_lot_waiter(
        &mut self,
        waiter: &LotWaiter,
        address: usize,
        parent: u16,
        target: Target<'_>,
    ) {
        // SAFETY: a thread in the lot is alive under the lot's lock.
        let task = unsafe { waiter.task.as_ref() };
        let via = Via::Lock(address, waiter.number, waiter.mode);
        let leads_on = task.entry().holds_any() || task.joiner().is_some();
        if leads_on || task.scope().is_some() || is_owner(task, via, target) {
            let first = self.len;
            self.push(task, parent, via, target);
            // SAFETY: the thread is in the lot, under the lot's lock, and cannot end before it has left.
            unsafe { self.push_waiters_for_end(first, target) };
        }
    }

    /// The second look at the path that ends with `last`.
    fn is_still_so(&self, last: usize, target: Target<'_>) -> bool {
        self.path(last).all(|node| match node.via {
            Via::Start if matches!(target, Target::Lock(..)) => {
                number_of(task_of(node), target) == self.my_number && self.my_number != 0
            }
            Via::Start | Via::Join | Via::Scope => true,
            Via::Lock(address, number, _) => {
                let mut stays = false;
                for_each_waiter(address, |waiter| {
                    stays |= waiter.number == number && waiter.task == node.task;
                });
                stays
            }
        })
    }

    /// Has another thread of the same circle reported it? Remembers it. After the second look.
    fn was_reported(&mut self, last: usize) -> bool {
        let sum = self.path(last).fold(1_u64, |sum, node| {
            let number = match node.via {
                Via::Start => self.my_number,
                Via::Lock(_, number, _) => number,
                Via::Join | Via::Scope => 0,
            };
            // Two threads join each other once at most, so that their numbers tell those circles apart.
            let wait = mix(task_of(node).id.get()).wrapping_add(number);
            sum.wrapping_add(mix(wait))
        });
        let known = self.recent.contains(&sum);
        if !known {
            self.recent[self.reports % RECENT] = sum;
            self.reports += 1;
        }
        known
    }

    /// The nodes from `last` to the asking thread, each followed by the one it waits for.
    fn path(&self, last: usize) -> impl Iterator<Item = &Node> {
        let mut at = Some(last);
        std::iter::from_fn(move || {
            let number = at?;
            let node = self.nodes[number].as_ref()?;
            at = (number != 0).then_some(usize::from(node.parent));
            Some(node)
        })
    }

    /// What is known of the circle, whose threads are stopped.
    fn report(&self, last: usize, wait: &Wait, target: Target<'_>) -> DeadlockReport {
        let path: Vec<&Node> = self.path(last).collect();
        let me = path.len() - 1;
        // Locks that a stopped thread waits for exist: it borrows them.
        let mut known: Vec<usize> = path.iter().filter_map(|node| node.via.address()).collect();
        let object = match target {
            Target::Lock(tag, _) => {
                known.push(tag.address());
                AwaitedObject::Lock(LockDescription::of(tag))
            }
            Target::Thread(task) => AwaitedObject::Thread(label(task)),
            Target::Scope(_) => AwaitedObject::Thread(label(task_of(path[0]))),
        };
        let mut threads = Vec::with_capacity(path.len());
        threads.push(describe(path[me], wait.reason, object, &known));
        for (node, next) in path[..me].iter().zip(&path[1..]) {
            let object = match node.via.address() {
                Some(address) => AwaitedObject::Lock(describe_lock(address, &known)),
                None => AwaitedObject::Thread(label(task_of(next))),
            };
            let record = node.entry.wait_record();
            let reason = record.map_or(WaitReason::None, |record| record.wait.reason);
            threads.push(describe(node, reason, object, &known));
        }
        DeadlockReport::new(DeadlockKind::Cycle, threads)
    }
}

impl Via {
    fn address(&self) -> Option<usize> {
        match self {
            Via::Lock(address, ..) => Some(*address),
            _ => None,
        }
    }
}

/// Has the thread what the asking one wants? It must be alive during the call.
fn is_owner(task: &Task, via: Via, target: Target<'_>) -> bool {
    match target {
        Target::Thread(wanted) => ptr::eq(task, wanted),
        Target::Scope(object) => task.scope().is_some_and(|scope| scope.object == object),
        Target::Lock(tag, mode) => {
            let shared = mode == Mode::Shared;
            // A reader that waits behind a writer waits for it.
            let mut owns = matches!(via, Via::Lock(address, _, Mode::Exclusive) if shared && address == tag.address());
            task.entry().for_each_held(|held| {
                let conflicts = !(shared && held.mode == Mode::Shared);
                owns |= conflicts && is_held(tag, &held, task.entry());
            });
            owns
        }
    }
}

/// Whether an entry of a list of held locks is about this lock: a guard that was forgotten leaves one behind, and another
/// lock may be at the address by now.
fn is_held(tag: &LockTag, held: &HeldLock, holder: &'static Entry) -> bool {
    let is_owner = match held.mode {
        Mode::Exclusive => ptr::eq(tag.owner().cast::<Entry>(), holder),
        Mode::Shared => tag.owner().is_null() && tag.kind() == LockKind::RwLock,
    };
    let class = u32::from(held.class);
    let is_same_class = class == 0 || tag.class() == 0 || class == tag.class();
    held.address == tag.address() && held.rank == tag.rank() && is_owner && is_same_class
}

/// Whether the thread in the lot waits for the lock that `held` is about; one that has not said yet what it waits for
/// searches itself.
///
/// # Safety
///
/// The thread must be in the lot, under its lock, at the address of `held`.
unsafe fn waits_for_holder(waiter: &LotWaiter, held: &HeldLock, holder: &'static Entry) -> bool {
    // SAFETY: the caller's contract.
    let record = unsafe { waiter.task.as_ref() }.entry().wait_record();
    let says_so = record
        .is_some_and(|record| is_part_of_circles(&record) && record.wait.object == held.address);
    // SAFETY: the thread waits for a lock with its tag at the address, and borrows it.
    says_so
        && is_held(
            unsafe { &*ptr::with_exposed_provenance(held.address) },
            held,
            holder,
        )
}

/// The number of the thread's own wait in the lot.
fn number_of(me: &Task, target: Target<'_>) -> u64 {
    let mut number = 0;
    if let Target::Lock(tag, _) = target {
        for_each_waiter(tag.address(), |waiter| {
            if ptr::eq(waiter.task.as_ptr(), me) {
                number = waiter.number;
            }
        });
    }
    number
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^ value >> 29
}

/// The record of a thread that is stopped for good, or that asks.
fn task_of(node: &Node) -> &Task {
    // SAFETY: called after the second look, and for the asking thread.
    unsafe { node.task.as_ref() }
}

/// Number and name.
pub(crate) fn label(task: &Task) -> ThreadLabel {
    ThreadLabel::new(task.id.get(), task.name())
}

/// What may be said of a lock: everything if it is in `known`, else its address, because it may be gone.
fn describe_lock(address: usize, known: &[usize]) -> LockDescription {
    if known.contains(&address) {
        // SAFETY: a thread that is stopped for good waits for the lock, or the asking one does; they borrow it.
        LockDescription::of(unsafe { &*ptr::with_exposed_provenance::<LockTag>(address) })
    } else {
        LockDescription::unknown(address)
    }
}

/// A thread of the circle.
fn describe(
    node: &Node,
    reason: WaitReason,
    object: AwaitedObject,
    known: &[usize],
) -> DeadlockedThread {
    let task = task_of(node);
    let mut wait = WaitReport::new(reason, object);
    if let Some(record) = node.entry.wait_record() {
        wait.called_at = record.wait.site;
        wait.waited_ms = roster::now_ms().saturating_sub(record.since_ms);
    }
    let mut thread = DeadlockedThread::new(label(task), wait);
    thread.green = task.is_green();
    thread.spawned_at = task.spawn_site();
    node.entry.for_each_held(|held| {
        let lock = describe_lock(held.address, known);
        thread
            .holds
            .push(HeldLockReport::new(lock, held.mode, held.site));
    });
    thread
}
