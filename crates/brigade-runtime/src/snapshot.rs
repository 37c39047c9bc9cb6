//! All threads, as others see them: without stopping anybody.
//!
//! The records are collected in batches (`roster.rs`, invariant 3) and described afterwards, each by itself. So each
//! line is true of a moment, and the lines are of different ones.

use std::ptr::NonNull;

use brigade_event::{
    AwaitedObject, HeldLockReport, LockDescription, LockTag, ThreadInfo, ThreadLabel, ThreadState,
    WaitReason, WaitReport,
};

use crate::edges::label;
use crate::roster::{self, WaitRecord};
use crate::task::{Task, TaskRef};

/// Calls `f` with each thread that has been spawned and has not ended, and with each kernel thread that has waited
/// through Brigade. Others go on meanwhile: some that end or begin are missed.
///
/// Takes memory for a few hundred threads at a time, however many there are.
pub fn threads(mut f: impl FnMut(ThreadInfo)) {
    let mut batch: Vec<TaskRef> = Vec::with_capacity(roster::READ_BATCH);
    let batch = std::cell::RefCell::new(&mut batch);
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
    let record = task.entry().wait_record();
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
        | WaitReason::OnceWait => AwaitedObject::Lock(LockDescription::unknown(number)),
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
