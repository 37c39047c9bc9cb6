//! All threads, as others see them: without stopping anybody.
//!
//! The records are collected in batches (`roster.rs`, invariant 3) and described afterwards, each by itself. So each
//! line is true of a moment, and the lines are of different ones.

use std::cell::RefCell;
use std::ptr::NonNull;

use brigade_event::{
    AwaitedObject, HeldLockReport, LockDescription, LockTag, ThreadInfo, ThreadLabel, ThreadState,
    WaitReason, WaitReport,
};

use crate::edges::label;
use crate::fd;
use crate::prim::{AtomicUsize, Ordering};
use crate::roster::{self, WaitRecord};
use crate::task::{Task, TaskRef};

/// Calls `f` with each thread that has been spawned and has not ended, and with each kernel thread that has waited
/// through Brigade. Others go on meanwhile: some that end or begin are missed.
///
/// Takes memory for a few hundred threads at a time, however many there are.
pub fn threads(mut f: impl FnMut(ThreadInfo)) {
    let mut batch: Vec<TaskRef> = Vec::with_capacity(roster::READ_BATCH);
    let batch = RefCell::new(&mut batch);
    roster::for_each_task(
        |task| {
            // SAFETY: the entry points to the record, which is therefore alive during the call.
            batch
                .borrow_mut()
                .push(unsafe { TaskRef::acquire(task.cast()) });
        },
        || {
            for task in batch.borrow_mut().drain(..) {
                f(describe(&task));
            }
        },
    );
}

fn describe(task: &Task) -> ThreadInfo {
    let mut info = ThreadInfo::new(label(task), task.spawn_site());
    let now_ms = roster::now_ms();
    let record = task.entry().wait_record().filter(|_| !task.is_woken());
    info.green = task.is_green();
    info.switches = u64::from(task.switches());
    info.age_ms = now_ms.saturating_sub(task.born_ms);
    info.state = match record {
        _ if task.is_done() => ThreadState::Terminated,
        Some(record) => ThreadState::Waiting(record.wait.reason),
        None if task.is_running() || !task.is_green() => ThreadState::Running,
        None if task.switches() == 0 => ThreadState::New,
        None => ThreadState::Runnable,
    };
    info.waits_for = record.map(|record| wait_report(&record, now_ms));
    task.entry().for_each_held(|held| {
        let lock = LockDescription::unknown(held.address);
        info.holds
            .push(HeldLockReport::new(lock, held.mode, held.site));
    });
    info
}

/// A wait, as far as it can be told without touching what is waited for.
pub(crate) fn wait_report(record: &WaitRecord, now_ms: u64) -> WaitReport {
    let number = record.wait.object;
    let object = match record.wait.reason {
        WaitReason::Futex => AwaitedObject::Foreign(number),
        WaitReason::Read | WaitReason::Write => AwaitedObject::Descriptor(number as i32),
        WaitReason::Mutex
        | WaitReason::RwLockRead
        | WaitReason::RwLockWrite
        | WaitReason::Once
        | WaitReason::OnceWait
        | WaitReason::InterpreterLock => AwaitedObject::Lock(LockDescription::unknown(number)),
        WaitReason::Join => thread_at(number).map_or(AwaitedObject::Nothing, AwaitedObject::Thread),
        WaitReason::Scope | WaitReason::Sleep | WaitReason::Park => AwaitedObject::Nothing,
        _ if number == 0 => AwaitedObject::Nothing,
        _ => AwaitedObject::Unowned(number),
    };
    let mut wait = WaitReport::new(record.wait.reason, object);
    wait.called_at = record.wait.site;
    wait.waited_ms = now_ms.saturating_sub(record.since_ms);
    wait.timed = record.timed;
    wait
}

/// A lock at the address of its tag.
///
/// # Safety
///
/// A thread must wait for it, and go on waiting while this runs.
#[must_use]
pub unsafe fn describe_stuck_lock(address: usize) -> LockDescription {
    // SAFETY: who waits for a lock borrows it.
    LockDescription::of(unsafe { &*std::ptr::with_exposed_provenance::<LockTag>(address) })
}

/// The thread whose entry is at this address, if it is still there.
fn thread_at(address: usize) -> Option<ThreadLabel> {
    let mut found: Option<TaskRef> = None;
    roster::with_task_of(address, |task: NonNull<()>| {
        // SAFETY: the entry points to the record, which is therefore alive during the call.
        found = Some(unsafe { TaskRef::acquire(task.as_ptr().cast()) });
    });
    found.map(|task| label(&task))
}

/// What all green threads of the process wait for, at about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// How many there are.
    pub threads: usize,
    /// A number that is another one after any of them has run.
    pub sum: u64,
    /// Addresses of the futexes among what they wait for.
    pub futexes: Vec<usize>,
}

/// The picture, if there are green threads and each is parked, without a deadline, for something that only a thread of
/// this process can give, and nobody has woken it.
#[must_use]
pub fn picture() -> Option<Picture> {
    let mut picture = Picture {
        threads: 0,
        sum: 0,
        futexes: Vec::new(),
    };
    let alarms = fd::has_alarms();
    // ORDER: Acquire: pairs with the Release in `note_foreign_wakers`.
    let mut all_wait = FOREIGN_WAKERS.load(Ordering::Acquire) == 0;
    let batch = RefCell::new(Vec::with_capacity(roster::READ_BATCH));
    roster::for_each_task(
        |task| {
            // SAFETY: the entry points to the record, which is therefore alive during the call.
            let task = unsafe { &*task.cast::<Task>() };
            if !task.is_green() {
                // A waker may be anybody's; that of a green thread is seen below.
                all_wait &= task
                    .entry()
                    .wait_record()
                    .is_none_or(|record| record.wait.reason != WaitReason::BlockOn);
                return;
            }
            picture.threads += 1;
            let record = task.entry().wait_record().filter(|record| {
                !record.timed
                    && is_internal(record.wait.reason)
                    && !(alarms && record.wait.reason == WaitReason::Alarm)
                    && task.park.is_parked()
            });
            let Some(record) = record else {
                all_wait = false;
                return;
            };
            let wait = (task.entry().address() as u64) ^ u64::from(record.epoch) << 48;
            let mixed = (wait ^ wait >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            picture.sum = picture.sum.wrapping_add(mixed);
            if record.wait.reason == WaitReason::Futex {
                batch.borrow_mut().push(record.wait.object);
            }
        },
        || picture.futexes.append(&mut batch.borrow_mut()),
    );
    (all_wait && picture.threads > 0).then_some(picture)
}

/// Whether only a thread of the process can end such a wait.
fn is_internal(reason: WaitReason) -> bool {
    !matches!(
        reason,
        WaitReason::Sleep
            | WaitReason::Read
            | WaitReason::Write
            | WaitReason::Poll
            | WaitReason::Child
            | WaitReason::BlockOn
    )
}

/// Things that wait and are no threads, and may wake some.
static FOREIGN_WAKERS: AtomicUsize = AtomicUsize::new(0);

/// There are (`true`), or are no longer, tasks or the like that may wake threads and that no snapshot shows. While there
/// are, nobody can tell whether all threads wait in vain.
pub fn note_foreign_wakers(exist: bool) {
    if exist {
        // ORDER: Release: pairs with the Acquire in `picture`.
        FOREIGN_WAKERS.fetch_add(1, Ordering::Release);
    } else {
        // ORDER: Release: as above.
        FOREIGN_WAKERS.fetch_sub(1, Ordering::Release);
    }
}
