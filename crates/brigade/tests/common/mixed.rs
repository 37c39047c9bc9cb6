//! Green and kernel threads that do the same thing at the same time.

use std::sync::Arc;

use brigade::runtime::{Builder, Model, Runtime};
use brigade::thread::JoinHandle;
use brigade_runtime::park::{WaitRecord, me};

use super::Watch;

/// Runs `test` with 1, 2 and 8 workers.
pub(crate) fn on_workers(test: impl Fn(&Runtime)) {
    for workers in [1, 2, 8] {
        let _watch = Watch::new(&format!("a run with {workers} workers"));
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        test(&runtime);
    }
}

/// Runs `body(index)` on green threads and then, counting on, on kernel threads, and waits for all of them.
pub(crate) fn mixed(
    runtime: &Runtime,
    green: usize,
    kernel: usize,
    body: impl Fn(usize) + Send + Sync + 'static,
) {
    let body = Arc::new(body);
    let greens: Vec<_> = (0..green)
        .map(|index| {
            let body = Arc::clone(&body);
            runtime.spawn(move || body(index))
        })
        .collect();
    let kernels: Vec<_> = (green..green + kernel)
        .map(|index| {
            let body = Arc::clone(&body);
            std::thread::spawn(move || body(index))
        })
        .collect();
    for handle in greens {
        handle.join().expect("no green thread panics");
    }
    for handle in kernels {
        handle.join().expect("no kernel thread panics");
    }
}

/// A kernel thread that tells its number and then runs `body`.
pub(crate) fn numbered<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> (i64, std::thread::JoinHandle<T>) {
    let (tell, told) = std::sync::mpsc::channel();
    let handle = std::thread::spawn(move || {
        tell.send(super::gettid()).expect("the starter waits");
        body()
    });
    (told.recv().expect("the thread tells"), handle)
}

/// Gives the kernel thread away until the kernel thread `tid` of this process waits for a futex in the kernel.
pub(crate) fn until_in_futex(tid: i64) {
    let path = format!("/proc/self/task/{tid}/syscall");
    let number = format!("{} ", libc::SYS_futex);
    while !std::fs::read_to_string(&path).is_ok_and(|call| call.starts_with(&number)) {
        std::thread::yield_now();
    }
}

/// Runs `test` with 1, 2 and 8 workers, and with the models of one kernel thread in all and of one for each thread.
pub(crate) fn everywhere(test: impl Fn(&Runtime)) {
    on_workers(&test);
    super::on_model(Model::ManyToOne, &test);
    super::on_model(Model::OneToOne, &test);
}

/// As [`everywhere`], without the model in which a thread that never waits leaves no other one running.
pub(crate) fn where_computing_freezes_nobody(test: impl Fn(&Runtime)) {
    on_workers(&test);
    super::on_model(Model::OneToOne, &test);
}

/// Runs `body` on a green thread, and returns when it waits inside: what it waits for, and the thread.
pub(crate) fn waiting<T: Send + 'static>(
    runtime: &Runtime,
    body: impl FnOnce() -> T + Send + 'static,
) -> (WaitRecord, JoinHandle<T>) {
    let (tell, told) = std::sync::mpsc::channel();
    let handle = runtime.spawn(move || {
        tell.send(me()).expect("the starter waits");
        body()
    });
    let entry = told.recv().expect("the thread tells");
    loop {
        if let Some(record) = entry.wait_record() {
            return (record, handle);
        }
        assert!(!handle.is_finished(), "the thread did not wait");
        std::thread::yield_now();
    }
}
