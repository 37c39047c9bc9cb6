//! `thread::Builder`: names and stack sizes, the good and the absurd.

mod common;

use std::io::ErrorKind;

use brigade::thread::{self, Builder};
use common::{child, on_each_model};

/// Uses at least `depth` KiB of stack and returns `depth`.
#[inline(never)]
fn use_stack(depth: usize) -> usize {
    let frame = std::hint::black_box([1_u8; 1024]);
    if depth == 0 {
        0
    } else {
        use_stack(depth - 1) + usize::from(frame[depth % 1024])
    }
}

#[test]
fn a_name_is_seen_from_inside_and_outside() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let inside = || thread::current().name().map(str::to_owned);
            let named = Builder::new()
                .name("a name".into())
                .spawn(inside)
                .expect("a thread");
            assert_eq!(named.thread().name(), Some("a name"));
            assert_eq!(named.join().expect("no panic").as_deref(), Some("a name"));
            let unnamed = Builder::new().spawn(inside).expect("a thread");
            assert_eq!(unnamed.thread().name(), None);
            assert_eq!(unnamed.join().expect("no panic"), None);
        });
    });
}

#[test]
fn the_stack_is_as_large_as_asked_for() {
    on_each_model(|runtime| {
        runtime.run(|| {
            for kib in [512, 4 * 1024, 32 * 1024] {
                // A debug frame of `use_stack` is larger than its array, so a third of the stack is used.
                let handle = Builder::new()
                    .stack_size(kib * 1024)
                    .spawn(move || use_stack(kib / 3));
                assert_eq!(handle.expect("a thread").join().expect("no panic"), kib / 3);
            }
        });
    });
}

#[test]
fn a_runtimes_stack_size_is_the_default_of_its_threads() {
    let runtime = brigade::runtime::Builder::new()
        .stack_size(8 << 20)
        .build()
        .expect("a runtime");
    assert_eq!(
        runtime.spawn(|| use_stack(2048)).join().expect("no panic"),
        2048
    );
    assert_eq!(
        runtime.run(|| thread::spawn(|| use_stack(2048)).join().expect("no panic")),
        2048
    );
}

#[test]
fn an_absurd_stack_size_is_an_error_and_no_abort() {
    on_each_model(|runtime| {
        runtime.run(|| {
            for size in [usize::MAX, usize::MAX / 2, 1 << 46] {
                let error = Builder::new()
                    .stack_size(size)
                    .spawn(|| ())
                    .expect_err("no such stack exists");
                let message = error.to_string();
                assert!(
                    message.contains("stack"),
                    "the message names no stack: {message}"
                );
            }
            thread::spawn(|| ()).join().expect("the runtime goes on");
        });
    });
}

#[test]
fn a_stack_size_of_zero_is_an_invalid_input() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let error = Builder::new()
                .stack_size(0)
                .spawn(|| ())
                .expect_err("no thread runs without a stack");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("stack"), "{error}");
        });
    });
}

#[test]
fn a_tiny_stack_size_is_raised_to_one_that_works() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let handle = Builder::new()
                .stack_size(1)
                .spawn(|| format!("{:?}", thread::current().id()).len());
            assert!(handle.expect("a thread").join().expect("no panic") > 0);
        });
    });
}

#[test]
fn a_runtime_with_an_absurd_stack_size_is_an_error() {
    for size in [0, usize::MAX] {
        let error = brigade::runtime::Builder::new()
            .stack_size(size)
            .build()
            .expect_err("no such stack exists");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("stack"), "{error}");
    }
}

#[test]
fn a_builder_without_a_runtime_starts_the_default_one() {
    let ended = child::run(
        "a_builder_without_a_runtime_starts_the_default_one",
        &[],
        || {
            let handle = Builder::new()
                .name("first".into())
                .spawn(|| 3)
                .expect("a thread");
            assert_eq!(handle.join().expect("no panic"), 3);
        },
    );
    ended.assert_success();
}
