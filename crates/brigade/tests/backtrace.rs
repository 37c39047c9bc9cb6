//! A backtrace of a green thread shows the thread's frames and ends at its root.

mod common;

use std::backtrace::Backtrace;

use common::{hop, migrating};

/// Frames of the kernel thread underneath, which are no part of the green thread.
const FOREIGN_FRAMES: [&str; 4] = [
    "start_thread",
    "clone3",
    "__clone",
    "std::sys::thread::unix",
];

#[inline(never)]
fn descend(depth: usize) -> String {
    if depth == 0 {
        hop();
        return Backtrace::force_capture().to_string();
    }
    let trace = descend(depth - 1);
    std::hint::black_box(trace)
}

#[test]
fn a_backtrace_ends_at_the_threads_root() {
    migrating(20, |_| {
        let trace = descend(5);
        assert!(
            trace.matches("descend").count() >= 6,
            "frames are missing:\n{trace}"
        );
        assert!(
            trace.contains("a_backtrace_ends_at_the_threads_root"),
            "the body is missing:\n{trace}"
        );
        for foreign in FOREIGN_FRAMES {
            assert!(
                !trace.contains(foreign),
                "the trace runs on into {foreign}:\n{trace}"
            );
        }
    });
}

#[test]
fn a_backtrace_taken_while_unwinding_is_complete() {
    struct Captures;
    impl Drop for Captures {
        fn drop(&mut self) {
            let trace = descend(1);
            assert!(
                trace.contains("a_backtrace_taken_while_unwinding_is_complete"),
                "{trace}"
            );
        }
    }
    migrating(20, |index| {
        let result = std::panic::catch_unwind(|| {
            let _captures = Captures;
            std::panic::resume_unwind(Box::new(index));
        });
        assert!(result.is_err());
    });
}
