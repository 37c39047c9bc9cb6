//! The picture of a process in which all threads wait.

use std::panic::Location;
use std::sync::mpsc;

use brigade_runtime::park::{self, Wait};
use brigade_runtime::{RuntimeConfig, SpawnOptions, WaitReason, waits};

#[test]
fn a_thread_that_was_woken_and_has_not_run_yet_does_not_wait() {
    let config = RuntimeConfig::default();
    let runtime = config.build().expect("a runtime");
    let (send, receive) = mpsc::channel();
    let options = SpawnOptions {
        name: None,
        stack: None,
        site: Location::caller(),
        scope: None,
    };
    let thread = runtime
        .spawn(options, move || {
            park::with_current(|current| {
                send.send(current.sleeper()).expect("the test waits");
                let wait = Wait::new(WaitReason::Park, 0, Location::caller());
                current.park(&wait, park::NEVER);
            });
        })
        .expect("a thread");
    let sleeper = receive.recv().expect("the thread sends");
    while waits::picture().is_none() {
        std::thread::yield_now();
    }
    // SAFETY: the thread is parked and stays until it is scheduled.
    let woken = unsafe { sleeper.notify() }.expect("it is parked");
    assert_eq!(waits::picture(), None);
    woken.schedule();
    thread.join().expect("no panic");
}
