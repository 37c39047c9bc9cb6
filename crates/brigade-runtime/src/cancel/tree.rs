//! Tokens that are cancelled together, and who waits for that: the protocol.
//!
//! A [`Node`] is a token. It has a parent, unless it is the root of its tree, and ends at the latest with it. Who waits
//! is in a list of the node: threads, whose [`Waiter`]s lie on their stacks, and tasks, whose [`Slot`]s are counted.
//!
//! # States of a node
//!
//! | word | meaning | who leaves it |
//! |---|---|---|
//! | `LIVE` | not cancelled; the deadline may have passed, which nobody notes here | who cancels it or one of its ancestors |
//! | `CANCELLED` | cancelled before its deadline | nobody |
//! | `EXPIRED` | cancelled after its deadline, of which it had died already | nobody |
//!
//! # Who owns what
//!
//! | what | is protected by |
//! |---|---|
//! | the links between the nodes of a tree, and which of them are linked | the lock `family` of the root |
//! | a step of a node's word | `family` and the node's lock `waiting`, in this order |
//! | the lists of a node, and what of a waiter or slot is in a cell | the node's lock `waiting` |
//!
//! # Invariants
//!
//! 1. *No lost cancellation.* The word is looked at in the critical section that puts a waiter into the list, and
//!    changes in the one that takes all of them out.
//! 2. *All or none.* If a node has ended, so has its whole subtree: one critical section of `family` ends all of them,
//!    and in another one a new child takes over the word of its parent.
//! 3. *Lifetime of nodes.* A node is counted by its handles and its children. It leaves the tree, under `family`, before
//!    it is freed; so what is found under `family` is alive. The root outlives its tree.
//! 4. *Lifetime of waiters.* A waiter and its thread are touched by others only under `waiting`, while the waiter is in
//!    the list or between its removal and the end of that critical section; the thread passes the lock before it goes on.
//! 5. *Slots.* One that is in the list is counted by the list; one that was taken out belongs, with its waker, to who
//!    took it out. Who finds the node ended does not touch its slot.
//! 6. Nothing is allocated, freed or scheduled, and nothing foreign runs, under the locks.
//!
//! # Rejected
//!
//! A lock per node for the links: a cancellation and a new grandchild would have to take several in the same order. A
//! waiter in the list of each ancestor: a wait would cost as much as the tree is deep. `Arc` for the nodes: the end of a
//! long chain of them would need a frame for each.

use core::cell::{Cell, UnsafeCell};
use core::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Waker;

use crate::lot::Sleep;
use crate::prim::{AtomicU32, AtomicUsize, Lock, NEVER, Ordering, fence};

/// Not cancelled.
pub(crate) const LIVE: u32 = 0;
/// Cancelled before its deadline.
pub(crate) const CANCELLED: u32 = 1;
/// Cancelled when its deadline had passed.
pub(crate) const EXPIRED: u32 = 2;

/// A thread that waits; see the module.
pub(crate) struct Waiter<S> {
    sleeper: S,
    is_queued: Cell<bool>,
    previous: Cell<*const Waiter<S>>,
    next: Cell<*const Waiter<S>>,
}

impl<S> Waiter<S> {
    /// One that is in no list.
    pub(crate) fn new(sleeper: S) -> Waiter<S> {
        Waiter {
            sleeper,
            is_queued: Cell::new(false),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }
}

/// A task that waits; see the module.
pub(crate) struct Slot {
    waker: UnsafeCell<Option<Waker>>,
    is_queued: Cell<bool>,
    previous: Cell<*const Slot>,
    next: Cell<*const Slot>,
}

// SAFETY: the cells are used under the lock of the node, or by who has taken the slot out (invariant 5).
unsafe impl Send for Slot {}
// SAFETY: as for `Send`.
unsafe impl Sync for Slot {}

impl Slot {
    /// One that is in no list.
    pub(crate) fn new() -> Arc<Slot> {
        Arc::new(Slot {
            waker: UnsafeCell::new(None),
            is_queued: Cell::new(false),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        })
    }
}

/// Slots that were taken out, linked by `next`, with their counts.
pub(crate) struct Slots(*const Slot);

impl Slots {
    /// Wakes the tasks, outside of all locks.
    pub(crate) fn wake(self) {
        let mut at = self.0;
        while !at.is_null() {
            // SAFETY: the count of the list came with the slot.
            let slot = unsafe { Arc::from_raw(at) };
            at = slot.next.get();
            // SAFETY: the slot was taken out, so its waker is ours (invariant 5).
            let waker = unsafe { (*slot.waker.get()).take() };
            drop(slot);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Who waits for the end of a node.
struct Waiting<S> {
    threads: *const Waiter<S>,
    slots: *const Slot,
}

// SAFETY: used only under the lock that it is behind; invariants 4 and 5 keep what it points to alive.
unsafe impl<S: Send> Send for Waiting<S> {}

/// The place of a node in its tree; under `family`.
struct Links<S> {
    is_linked: Cell<bool>,
    first_child: Cell<*const Node<S>>,
    previous: Cell<*const Node<S>>,
    next: Cell<*const Node<S>>,
}

/// A token; see the module.
pub(crate) struct Node<S> {
    refs: AtomicUsize,
    word: AtomicU32,
    /// Nanoseconds of `CLOCK_MONOTONIC`: the earliest of its own and its ancestors'.
    deadline_ns: u64,
    waiting: Lock<Waiting<S>>,
    parent: Option<NonNull<Node<S>>>,
    /// Null at the root itself.
    root: *const Node<S>,
    /// Used at the root.
    family: Lock<()>,
    links: Links<S>,
}

// SAFETY: the table in the module says what protects the cells; a sleeper may be notified from any thread.
unsafe impl<S: Send> Send for Node<S> {}
// SAFETY: as for `Send`.
unsafe impl<S: Send> Sync for Node<S> {}

impl<S> Node<S> {
    fn new(word: u32, deadline_ns: u64, parent: Option<&NodeRef<S>>) -> Box<Node<S>> {
        let root = parent.map_or(ptr::null(), |parent| ptr::from_ref(parent.root()));
        Box::new(Node {
            refs: AtomicUsize::new(1),
            word: AtomicU32::new(word),
            deadline_ns,
            waiting: Lock::new(Waiting {
                threads: ptr::null(),
                slots: ptr::null(),
            }),
            parent: parent.map(|parent| parent.clone().into_raw()),
            root,
            family: Lock::new(()),
            links: Links {
                is_linked: Cell::new(false),
                first_child: Cell::new(ptr::null()),
                previous: Cell::new(ptr::null()),
                next: Cell::new(ptr::null()),
            },
        })
    }

    fn root(&self) -> &Node<S> {
        // SAFETY: null, or the root, which outlives its tree (invariant 3).
        unsafe { self.root.as_ref() }.unwrap_or(self)
    }

    fn parent(&self) -> Option<&Node<S>> {
        // SAFETY: a node counts its parent.
        self.parent.map(|parent| unsafe { parent.as_ref() })
    }

    /// The deadline, or `u64::MAX`.
    pub(crate) fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// The word, which becomes other than `LIVE` when it ends.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// `LIVE`, `CANCELLED` or `EXPIRED`. What was done before it was cancelled is then seen.
    #[inline]
    pub(crate) fn state(&self) -> u32 {
        // ORDER: Acquire: pairs with the Release in `end`.
        self.word.load(Ordering::Acquire)
    }

    /// Under `family`: makes `self` a child of `parent`.
    fn link(&self, parent: &Node<S>) {
        let first = parent.links.first_child.get();
        self.links.next.set(first);
        // SAFETY: what is linked is alive (invariant 3).
        if let Some(first) = unsafe { first.as_ref() } {
            first.links.previous.set(self);
        }
        parent.links.first_child.set(self);
        self.links.is_linked.set(true);
    }

    /// Under `family`: takes `self` out of the tree, if it is in it.
    fn unlink(&self, parent: &Node<S>) {
        if !self.links.is_linked.replace(false) {
            return;
        }
        let (previous, next) = (self.links.previous.get(), self.links.next.get());
        // SAFETY: what is linked is alive (invariant 3), here and below.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.links.next.set(next),
            None => parent.links.first_child.set(next),
        }
        // SAFETY: as above: the neighbour is linked.
        if let Some(next) = unsafe { next.as_ref() } {
            next.links.previous.set(previous);
        }
    }

    /// Under `family`: the node after `self` in the subtree of `top`, which is entered only if `enters`.
    fn after(&self, top: &Node<S>, enters: bool) -> Option<&Node<S>> {
        // SAFETY: what is linked is alive (invariant 3), here and below.
        let child = unsafe { self.links.first_child.get().as_ref() };
        if let Some(child) = child.filter(|_| enters) {
            return Some(child);
        }
        let mut at = self;
        while !ptr::eq(at, top) {
            // SAFETY: as above: the neighbour is linked.
            if let Some(next) = unsafe { at.links.next.get().as_ref() } {
                return Some(next);
            }
            at = at.parent()?;
        }
        None
    }

    /// Puts the task's slot into the list, with `waker`, or changes its waker. Gives back what was not needed any more,
    /// to be dropped outside of the lock. `Err`: the node has ended, and the slot must not be used again.
    pub(crate) fn enlist(&self, slot: &Arc<Slot>, waker: Waker) -> Result<Option<Waker>, Waker> {
        let mut waiting = self.waiting.lock();
        // ORDER: Relaxed: the word changes under the lock that this thread holds.
        if self.word.load(Ordering::Relaxed) != LIVE {
            return Err(waker);
        }
        if !slot.is_queued.replace(true) {
            slot.next.set(waiting.slots);
            // SAFETY: a slot in the list is counted by it (invariant 5).
            if let Some(first) = unsafe { waiting.slots.as_ref() } {
                first.previous.set(Arc::as_ptr(slot));
            }
            waiting.slots = Arc::into_raw(Arc::clone(slot));
        }
        // SAFETY: the slot is in the list, and this thread holds the lock (invariant 5).
        Ok(unsafe { (*slot.waker.get()).replace(waker) })
    }

    /// Takes the task's slot out of the list, if it is in it, and gives its waker back.
    pub(crate) fn delist(&self, slot: &Arc<Slot>) -> Option<Waker> {
        let mut waiting = self.waiting.lock();
        if !slot.is_queued.replace(false) {
            return None;
        }
        let (previous, next) = (slot.previous.get(), slot.next.get());
        // SAFETY: a slot in the list is counted by it (invariant 5), here and below.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => waiting.slots = next,
        }
        // SAFETY: as above: the neighbour is in the list.
        if let Some(next) = unsafe { next.as_ref() } {
            next.previous.set(previous);
        }
        // SAFETY: it was in the list (invariant 5), whose count goes; the caller has another one.
        unsafe {
            Arc::decrement_strong_count(Arc::as_ptr(slot));
            (*slot.waker.get()).take()
        }
    }
}

impl<S: Sleep> Node<S> {
    /// Puts a waiter into the list; false: the node has ended, and nothing was done.
    ///
    /// # Safety
    ///
    /// The waiter is in no list, and stays where it is until [`Node::leave`]; its sleeper is the current thread.
    pub(crate) unsafe fn enter(&self, waiter: &Waiter<S>) -> bool {
        let mut waiting = self.waiting.lock();
        // ORDER: Relaxed: the word changes under the lock that this thread holds.
        if self.word.load(Ordering::Relaxed) != LIVE {
            return false;
        }
        waiter.previous.set(ptr::null());
        waiter.next.set(waiting.threads);
        // SAFETY: a waiter in the list is alive (invariant 4).
        if let Some(first) = unsafe { waiting.threads.as_ref() } {
            first.previous.set(waiter);
        }
        waiter.is_queued.set(true);
        waiting.threads = waiter;
        true
    }

    /// By a waiter's thread: leaves the list, if it is still in it, and passes the lock in any case.
    pub(crate) fn leave(&self, waiter: &Waiter<S>) {
        let mut waiting = self.waiting.lock();
        if !waiter.is_queued.replace(false) {
            return;
        }
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: a waiter in the list is alive (invariant 4), here and below.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => waiting.threads = next,
        }
        // SAFETY: as above: the neighbour is in the list.
        if let Some(next) = unsafe { next.as_ref() } {
            next.previous.set(previous);
        }
    }

    /// Cancels the node and all below it, and passes the threads that were parked to `wake`, which must not do more than
    /// note them. The slots are to be woken after that.
    pub(crate) fn cancel(&self, now_ns: u64, mut wake: impl FnMut(S::Runnable)) -> Slots {
        let mut slots = Slots(ptr::null());
        if self.state() != LIVE {
            return slots;
        }
        let _family = self.root().family.lock();
        let mut at = Some(self);
        while let Some(node) = at {
            // What has ended before has ended with all below it (invariant 2).
            let ends = node.end(now_ns, &mut wake, &mut slots);
            at = node.after(self, ends);
        }
        slots
    }

    /// Under `family`: ends this node alone; false: it has ended before.
    fn end(&self, now_ns: u64, wake: &mut impl FnMut(S::Runnable), slots: &mut Slots) -> bool {
        let mut waiting = self.waiting.lock();
        // ORDER: Relaxed: the word changes under the lock that this thread holds.
        if self.word.load(Ordering::Relaxed) != LIVE {
            return false;
        }
        let is_late = self.deadline_ns != NEVER && now_ns >= self.deadline_ns;
        // ORDER: Release: pairs with the Acquire in `state` and in `in_time.rs`. Before the notifications, so that none
        // is taken for an older one.
        self.word
            .store(if is_late { EXPIRED } else { CANCELLED }, Ordering::Release);
        let mut at = core::mem::replace(&mut waiting.threads, ptr::null());
        // SAFETY: a waiter that is taken out in this critical section is alive (invariant 4).
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            waiter.is_queued.set(false);
            // SAFETY: the thread passes this lock before it goes on (invariant 4).
            if let Some(runnable) = unsafe { waiter.sleeper.notify() } {
                wake(runnable);
            }
        }
        let mut at = core::mem::replace(&mut waiting.slots, ptr::null());
        // SAFETY: a slot that is taken out brings its count along (invariant 5).
        while let Some(slot) = unsafe { at.as_ref() } {
            at = slot.next.get();
            slot.is_queued.set(false);
            slot.next.set(slots.0);
            slots.0 = slot;
        }
        true
    }
}

/// A counted reference to a node.
pub(crate) struct NodeRef<S>(NonNull<Node<S>>);

// SAFETY: the node is `Sync`, and the count is atomic.
unsafe impl<S: Send> Send for NodeRef<S> {}
// SAFETY: as for `Send`.
unsafe impl<S: Send> Sync for NodeRef<S> {}

impl<S> NodeRef<S> {
    /// A node without a parent.
    pub(crate) fn root_of_tree(deadline_ns: u64) -> NodeRef<S> {
        NodeRef(NonNull::from(Box::leak(Node::new(LIVE, deadline_ns, None))))
    }

    /// A child, which ends with its parent, or at the deadline.
    pub(crate) fn child(&self, deadline_ns: u64) -> NodeRef<S> {
        let deadline_ns = deadline_ns.min(self.deadline_ns);
        let child = Box::leak(Node::new(LIVE, deadline_ns, Some(self)));
        {
            let _family = self.root().family.lock();
            // ORDER: Relaxed: the parent's word changes under the lock that this thread holds.
            let word = self.word.load(Ordering::Relaxed);
            if word == LIVE {
                child.link(self);
            } else {
                // ORDER: Release: pairs with the Acquire in `state`, and passes on what the lock has shown this thread.
                child.word.store(word, Ordering::Release);
            }
        }
        NodeRef(NonNull::from(child))
    }

    fn into_raw(self) -> NonNull<Node<S>> {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl<S> Clone for NodeRef<S> {
    fn clone(&self) -> NodeRef<S> {
        // ORDER: Relaxed: a new reference is made from an existing one, which keeps the node alive.
        if self.refs.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
            // As `Arc` does: the count must not wrap.
            std::process::abort();
        }
        NodeRef(self.0)
    }
}

impl<S> core::ops::Deref for NodeRef<S> {
    type Target = Node<S>;

    fn deref(&self) -> &Node<S> {
        // SAFETY: the reference keeps the node alive.
        unsafe { self.0.as_ref() }
    }
}

impl<S> Drop for NodeRef<S> {
    fn drop(&mut self) {
        let mut at = Some(self.0);
        while let Some(place) = at {
            // SAFETY: a reference to the node is ours to give back: this one, or the one that a child counted.
            let node = unsafe { place.as_ref() };
            // ORDER: Release: all uses of the node come before it is freed.
            if node.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            // ORDER: Acquire: pairs with the Release of the other references' ends.
            fence(Ordering::Acquire);
            if let Some(parent) = node.parent() {
                let _family = node.root().family.lock();
                node.unlink(parent);
            }
            at = node.parent;
            // SAFETY: allocated as a box; the last reference is gone, and nobody finds the node any more.
            drop(unsafe { Box::from_raw(place.as_ptr()) });
        }
    }
}
