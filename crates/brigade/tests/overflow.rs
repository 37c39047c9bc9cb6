//! A stack overflow names the green thread and aborts; every other fault goes where it went before.

mod common;

use brigade::runtime::Builder;
use common::{child, hop, migrating, migrating_runtime};

const STACK_SIZE: usize = 128 * 1024;

/// Recurses until the stack ends.
#[inline(never)]
#[expect(unconditional_recursion, reason = "the stack must overflow")]
fn overflow(depth: usize) -> usize {
    let frame = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + frame[depth % 64]
}

/// Reads from an address that is never mapped.
fn read_from_nowhere() {
    let nowhere: *const u8 = std::ptr::without_provenance(8);
    // SAFETY: none; the kernel answers with SIGSEGV, which is what the test wants.
    unsafe { std::hint::black_box(nowhere.read_volatile()) };
}

#[test]
fn the_message_names_the_thread_and_its_stack_size() {
    let ended = child::run(
        "the_message_names_the_thread_and_its_stack_size",
        &[],
        || {
            migrating(1, |_| {
                hop();
                let thread = brigade::thread::Builder::new()
                    .name("the deep one".into())
                    .stack_size(STACK_SIZE);
                let handle = thread
                    .spawn(|| overflow(0))
                    .expect("a thread can be spawned");
                _ = handle.join();
            });
        },
    );
    ended.assert_aborted_saying(&["the deep one", "overflow", "stack"]);
    let size = ["131072", "128 KiB"]
        .iter()
        .any(|size| ended.stderr.contains(size));
    assert!(size, "the message does not name the stack size: {ended:#?}");
}

#[test]
fn the_message_of_a_thread_without_a_name_is_clear_too() {
    let ended = child::run(
        "the_message_of_a_thread_without_a_name_is_clear_too",
        &[],
        || {
            let runtime = Builder::new()
                .workers(1)
                .stack_size(STACK_SIZE)
                .build()
                .expect("a runtime");
            _ = runtime.spawn(|| overflow(0)).join();
        },
    );
    ended.assert_aborted_saying(&["overflow"]);
}

#[test]
fn overflow_while_others_run_is_reported_as_well() {
    let ended = child::run("overflow_while_others_run_is_reported_as_well", &[], || {
        let runtime = migrating_runtime();
        let others: Vec<_> = (0..10)
            .map(|_| {
                runtime.spawn(|| {
                    loop {
                        hop();
                    }
                })
            })
            .collect();
        _ = runtime.spawn(|| overflow(0)).join();
        others
            .into_iter()
            .for_each(|other: brigade::thread::JoinHandle<()>| _ = other.join());
    });
    ended.assert_aborted_saying(&["overflow"]);
}

/// Exit code of [`leave_with_own_code`].
const OWN_CODE: i32 = 42;

extern "C" fn leave_with_own_code(_signal: libc::c_int) {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { libc::_exit(OWN_CODE) };
}

#[test]
fn a_fault_elsewhere_goes_to_the_handler_installed_before() {
    let ended = child::run(
        "a_fault_elsewhere_goes_to_the_handler_installed_before",
        &[],
        || {
            let handler: extern "C" fn(libc::c_int) = leave_with_own_code;
            // SAFETY: the handler is async-signal-safe.
            unsafe { libc::signal(libc::SIGSEGV, handler as libc::sighandler_t) };
            migrating(1, |_| {
                hop();
                read_from_nowhere();
            });
        },
    );
    assert_eq!(ended.code(), Some(OWN_CODE), "{ended:#?}");
}

#[test]
fn a_fault_elsewhere_without_a_handler_ends_the_process_with_sigsegv() {
    let ended = child::run(
        "a_fault_elsewhere_without_a_handler_ends_the_process_with_sigsegv",
        &[],
        || {
            migrating(1, |_| {
                hop();
                read_from_nowhere();
            });
        },
    );
    assert_eq!(ended.signal(), Some(libc::SIGSEGV), "{ended:#?}");
    assert!(
        !ended.stderr.contains("overflow"),
        "a plain fault was called an overflow: {ended:#?}"
    );
}

#[test]
fn an_overflow_on_a_kernel_thread_is_still_reported_by_std() {
    let ended = child::run(
        "an_overflow_on_a_kernel_thread_is_still_reported_by_std",
        &[],
        || {
            migrating(1, |_| hop());
            let thread = std::thread::Builder::new()
                .name("kernel one".into())
                .spawn(|| overflow(0));
            _ = thread.expect("a kernel thread can be spawned").join();
        },
    );
    ended.assert_aborted_saying(&["kernel one", "has overflowed its stack"]);
}
