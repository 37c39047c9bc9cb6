//! A minimal green thread for the tests: a slot, a body, and two contexts.
#![allow(dead_code, reason = "each test binary uses its own part")]

use brigade_context::*;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The carrier's record: which green thread runs on it.
#[repr(C)]
struct Carrier {
    base: CarrierBase,
    running: *mut Inner,
}

struct Inner {
    context: Context,
    host: Context,
    body: Option<Box<dyn FnOnce() + Send>>,
    finished: bool,
}

/// A green thread that runs while somebody resumes it.
pub(crate) struct Green {
    slot: Option<Slot>,
    inner: Box<Inner>,
}

pub(crate) fn class() -> SizeClass {
    SizeClass::for_stack(DEFAULT_STACK_SIZE).expect("the default size is valid")
}

pub(crate) fn new_slot() -> Slot {
    support().expect("green threads work here");
    reserve(class(), 1).expect("address space for one slot");
    let mut slots = Vec::new();
    acquire(class(), &mut slots, 1).expect("one slot");
    slots.pop().expect("the reservation holds")
}

/// Gives slots back.
pub(crate) fn drop_slot(slot: Slot) {
    release(class(), std::iter::once(slot));
    unreserve(class(), 1);
}

impl Green {
    pub(crate) fn new(body: impl FnOnce() + Send + 'static) -> Green {
        Green::on(new_slot(), body)
    }

    pub(crate) fn on(mut slot: Slot, body: impl FnOnce() + Send + 'static) -> Green {
        let mut inner = Box::new(Inner {
            context: Context::empty(),
            host: Context::empty(),
            body: Some(Box::new(body)),
            finished: false,
        });
        // SAFETY: the slot is idle; both live in the `Green` until the thread has finished.
        inner.context = unsafe { prepare(&mut slot, entry, (&raw mut *inner).cast()) }
            .expect("memory for the block");
        Green {
            slot: Some(slot),
            inner,
        }
    }

    /// Runs the thread until it pauses or finishes; true: it has paused.
    pub(crate) fn resume(&mut self) -> bool {
        assert!(!self.inner.finished, "resume of a finished thread");
        let inner = &raw mut *self.inner;
        let record = carrier().cast::<Carrier>();
        assert!(!record.is_null(), "resume outside of `as_carrier`");
        // SAFETY: `as_carrier` keeps the record alive; only this kernel thread uses it.
        unsafe { (*record).running = inner };
        // SAFETY: the context was made by `prepare` or saved by `pause`, and runs nowhere.
        unsafe { switch(&raw mut (*inner).host, &raw const (*inner).context) };
        !self.inner.finished
    }

    pub(crate) fn tp(&self) -> usize {
        self.slot.as_ref().expect("alive").tp()
    }

    /// The slot of a finished thread, as the thread left it.
    pub(crate) fn into_slot(mut self) -> Slot {
        assert!(self.inner.finished, "the thread has not finished");
        self.slot.take().expect("taken once")
    }

    /// Runs to the end and returns the cleaned slot, or `None` when it went to the reaper.
    pub(crate) fn finish(mut self) -> Option<Slot> {
        while !self.inner.finished {
            self.resume();
        }
        let mut slot = self.into_slot();
        // SAFETY: the thread has finished.
        if unsafe { retire(&mut slot) } {
            Some(slot)
        } else {
            reap(class(), slot);
            unreserve(class(), 1);
            None
        }
    }
}

// SAFETY: the body is `Send`, and the thread's own state moves with its block.
unsafe impl Send for Green {}

unsafe extern "C" fn entry(inner: *mut ()) -> ! {
    let inner = inner.cast::<Inner>();
    // SAFETY: the `Green` outlives its thread.
    unsafe {
        let body = (*inner).body.take().expect("a thread starts once");
        body();
        run_destructors();
        (*inner).finished = true;
        switch(&raw mut (*inner).context, &raw const (*inner).host);
    }
    unreachable!("a finished thread was resumed");
}

/// Goes back to whoever resumed the running green thread.
pub(crate) fn pause() {
    let record = carrier().cast::<Carrier>();
    assert!(!record.is_null(), "pause outside of a green thread");
    // SAFETY: `resume` wrote the running thread to its carrier's record; its host waits there.
    unsafe {
        let me = (*record).running;
        switch(&raw mut (*me).context, &raw const (*me).host);
    }
}

/// Runs `f` with the calling kernel thread attached as a carrier.
pub(crate) fn as_carrier<R>(f: impl FnOnce() -> R) -> R {
    let mut record = Carrier {
        base: CarrierBase::new(),
        running: std::ptr::null_mut(),
    };
    let base = (&raw mut record).cast::<CarrierBase>();
    // SAFETY: the record lives to the detach below, on the same kernel thread; the base is its first field.
    unsafe { CarrierBase::attach(base).expect("attach") };
    let result = f();
    // SAFETY: attached above, and no green thread runs.
    unsafe { CarrierBase::detach(base) };
    result
}

/// Runs one test of this binary in a child process that has `CHILD=1`, and more variables.
pub(crate) fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("CHILD", "1")
        .env("RUST_BACKTRACE", "0");
    for (name, value) in variables {
        command.env(name, value);
    }
    command.output().expect("the child starts")
}

pub(crate) fn is_child() -> bool {
    std::env::var_os("CHILD").is_some()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compiles C source into a shared library and returns its path.
pub(crate) fn shared_library(name: &str, source: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let unique = format!("{name}-{}", std::process::id());
    let (input, output) = (
        directory.join(format!("{unique}.c")),
        directory.join(format!("lib{unique}.so")),
    );
    std::fs::write(&input, source).expect("source written");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&output, &input])
        .status()
        .expect("a C compiler is needed for this test");
    assert!(status.success(), "the C compiler failed for {name}");
    output
}

/// Bytes that malloc has handed out.
pub(crate) fn malloc_bytes() -> usize {
    // SAFETY: takes no argument and returns numbers.
    unsafe { libc::mallinfo2().uordblks }
}
