//! Tasks that stay on their thread.
//!
//! A thread has a queue of its own, made at its first [`spawn_local`]. Their wakers may be called by anybody: they queue
//! the task and wake the thread. Only the thread itself polls them, while it is in [`block_on`](crate::block_on).
//!
//! # Invariants
//!
//! 1. A local task is polled and dropped by its thread alone. When the thread ends, its thread-locals do: the queue
//!    closes, all tasks that are left are woken, hence queued, and dropped there and then.
//! 2. After that no task of the thread is left, so a waker that comes later does nothing.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use async_task::Builder;

use crate::executor::Runnable;
use crate::join::{JoinHandle, Shielded};
use crate::parker::Parker;
use crate::prim::Lock;

/// Tasks polled between two looks at the future of `block_on`.
const BATCH: usize = 64;

thread_local! {
    static LOCAL: Local = Local::new();
    /// Whether the thread has ever had such a task.
    static IS_USED: Cell<bool> = const { Cell::new(false) };
}

/// What wakers of the thread's tasks know.
struct Inbox {
    queue: Lock<VecDeque<Runnable>>,
    /// The thread, when it waits in `block_on`.
    parker: Lock<Option<Arc<Parker>>>,
}

struct Local {
    inbox: Arc<Inbox>,
    /// A waker of each task that has not ended, by number.
    alive: Rc<RefCell<HashMap<u64, Waker>>>,
    next: Cell<u64>,
}

impl Local {
    fn new() -> Local {
        Local {
            inbox: Arc::new(Inbox {
                queue: Lock::new(VecDeque::new()),
                parker: Lock::new(None),
            }),
            alive: Rc::new(RefCell::new(HashMap::new())),
            next: Cell::new(0),
        }
    }
}

impl Inbox {
    fn push(&self, runnable: Runnable) {
        self.queue.lock().push_back(runnable);
        let parker = self.parker.lock().clone();
        if let Some(parker) = parker {
            parker.wake();
        }
    }

    fn pop(&self) -> Option<Runnable> {
        self.queue.lock().pop_front()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // What a task drops may spawn or wake others of this thread.
        loop {
            let wakers = mem::take(&mut *self.alive.borrow_mut());
            if wakers.is_empty() {
                break;
            }
            wakers.into_values().for_each(Waker::wake);
            while let Some(runnable) = self.inbox.pop() {
                drop(runnable);
            }
        }
        while let Some(runnable) = self.inbox.pop() {
            drop(runnable);
        }
    }
}

/// Takes a task out of the list of those that have not ended.
struct Listed {
    alive: Rc<RefCell<HashMap<u64, Waker>>>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let waker = self.alive.borrow_mut().remove(&self.number);
        drop(waker);
    }
}

/// Starts a task that stays on the current thread, and may use what must not leave it.
///
/// It runs while the thread is in [`block_on`](crate::block_on) (or joins a task, which is the same), and only then: a task
/// of [`spawn`](crate::spawn) that awaits it, without a `block_on` around, waits in vain. What has not
/// ended when the thread ends is dropped then; its handle says that it was cancelled.
///
/// # Blocking
///
/// Does not block. A task that blocks holds up its thread, and with it the thread's other tasks. If it blocks in
/// [`block_on`](crate::block_on) the others are polled in there, on top of it: it goes on when those that block likewise
/// have returned, and many of them need much stack. Tasks should await instead.
///
/// # Panics
///
/// If the thread's thread-locals are being destroyed.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// use brigade_task::{block_on, spawn_local};
///
/// let count = Rc::new(Cell::new(0));
/// let theirs = Rc::clone(&count);
/// let task = spawn_local(async move { theirs.set(theirs.get() + 1) });
/// block_on(task).unwrap();
/// assert_eq!(count.get(), 1);
/// ```
///
/// A task that panics ends alone:
///
/// ```
/// use brigade_task::{block_on, spawn_local};
///
/// let error = block_on(spawn_local(async { panic!("oh") })).unwrap_err();
/// assert!(error.is_panic());
/// ```
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    IS_USED.set(true);
    LOCAL.with(|local| {
        let number = local.next.get();
        local.next.set(number + 1);
        let listed = Listed {
            alive: Rc::clone(&local.alive),
            number,
        };
        let inbox = Arc::clone(&local.inbox);
        let schedule = move |runnable| inbox.push(runnable);
        let shielded = Shielded::new(future, listed);
        let (runnable, task) = Builder::new()
            .metadata(None)
            .spawn_local(|_| shielded, schedule);
        local.alive.borrow_mut().insert(number, runnable.waker());
        runnable.schedule();
        JoinHandle::new(task)
    })
}

/// Polls some tasks of the thread; false if there are none. From now on wakers of its tasks wake `parker`.
pub(crate) fn run_some(parker: &Arc<Parker>) -> bool {
    if !IS_USED.get() {
        return false;
    }
    let Ok(inbox) = LOCAL.try_with(|local| Arc::clone(&local.inbox)) else {
        return false;
    };
    {
        let mut known = inbox.parker.lock();
        if !known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, parker))
        {
            *known = Some(Arc::clone(parker));
        }
    }
    let mut ran = false;
    for _ in 0..BATCH {
        let Some(runnable) = inbox.pop() else {
            break;
        };
        ran = true;
        runnable.run();
    }
    ran
}

/// Whether a task of the thread is to be polled.
pub(crate) fn has_work() -> bool {
    LOCAL
        .try_with(|local| !local.inbox.queue.lock().is_empty())
        .unwrap_or(false)
}
