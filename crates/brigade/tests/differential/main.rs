//! The same calls, hooked on a green thread and unhooked on a kernel thread: results, errno, bytes and flags agree.
//!
//! A *script* makes its descriptors, calls, and notes what it saw. The reference runs it on a kernel thread with plain
//! system calls; then it runs through libc's names on green threads of runtimes with 1, 2 and 8 workers. The notes must
//! be equal, and a run that does not end fails.

#[path = "../common/mod.rs"]
mod common;

mod accept;
mod calls;
mod connect;
mod files;
mod objects;
mod pollers;
mod receive;
mod send;
mod timeouts;

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use calls::Via;

/// A run that takes longer counts as hung, in seconds.
const HANG_AFTER_SECONDS: u64 = 60;

/// One run of a script.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) via: Via,
    notes: RefCell<Vec<String>>,
}

impl Run {
    fn new(via: Via) -> Run {
        Run {
            via,
            notes: RefCell::default(),
        }
    }

    /// Notes what the caller of a call saw. Not to be noted: whatever differs from run to run, such as numbers of
    /// descriptors.
    pub(crate) fn note(&self, what: impl Debug, seen: impl Debug) {
        let note = format!("{what:?}: {seen:?}");
        if std::env::var_os("DIFFERENTIAL_TRACE").is_some() {
            eprintln!("{:?} {note}", self.via);
        }
        self.notes.borrow_mut().push(note);
    }
}

fn runtimes() -> &'static [Runtime; 3] {
    static RUNTIMES: OnceLock<[Runtime; 3]> = OnceLock::new();
    RUNTIMES.get_or_init(|| {
        [1, 2, 8].map(|workers| {
            Builder::new()
                .workers(workers)
                .build()
                .expect("a runtime with some workers")
        })
    })
}

#[track_caller]
fn ended(what: &str, notes: &mpsc::Receiver<Vec<String>>) -> Vec<String> {
    match notes.recv_timeout(Duration::from_secs(HANG_AFTER_SECONDS)) {
        Ok(notes) => notes,
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(RecvTimeoutError::Disconnected) => panic!("{what} panicked"),
    }
}

/// Runs `script` unhooked and hooked, and compares the notes.
#[track_caller]
pub(crate) fn same(script: impl Fn(&Run) + Copy + Send + 'static) {
    let (tell, reference) = mpsc::channel();
    std::thread::spawn(move || {
        let run = Run::new(Via::Kernel);
        script(&run);
        let _ = tell.send(run.notes.into_inner());
    });
    let reference = ended("the reference", &reference);
    assert!(!reference.is_empty(), "the script noted nothing");
    for (runtime, workers) in runtimes().iter().zip([1, 2, 8]) {
        let (tell, hooked) = mpsc::channel();
        runtime.spawn(move || {
            let run = Run::new(Via::Libc);
            script(&run);
            let _ = tell.send(run.notes.into_inner());
        });
        let hooked = ended(&format!("on {workers} workers: the script"), &hooked);
        for (hooked, reference) in hooked.iter().zip(&reference) {
            assert_eq!(hooked, reference, "hooked (left) on {workers} workers");
        }
        assert_eq!(hooked.len(), reference.len());
    }
}

/// Runs `f` on a kernel thread after a while, in which the caller's next call should have begun to wait. Nothing
/// depends on that: a call that begins later finds at once what it would have waited for.
pub(crate) fn later<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(3));
        f()
    })
}
