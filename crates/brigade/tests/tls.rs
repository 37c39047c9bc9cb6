//! Thread-locals and errno belong to the green thread, whatever kernel thread it runs on.
//!
//! The control at the end runs the same checks with the thread pointer left unswitched: there they must fail, which
//! proves that they can.

mod common;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use common::{child, hop, migrating};

thread_local! {
    static BOXES: RefCell<Vec<Rc<usize>>> = const { RefCell::new(Vec::new()) };
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static TEXT: RefCell<String> = RefCell::new(String::from("initial"));
    static ONCE: OnceCell<usize> = const { OnceCell::new() };
}

const THREADS: usize = 1000;
const ROUNDS: usize = 20;

fn errno() -> i32 {
    // SAFETY: the pointer is this thread's errno and valid while the thread lives.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value };
}

/// `Rc`s in a `RefCell`, with a borrow and a clone held across each migration.
fn check_shared_boxes(index: usize) {
    assert_eq!(
        NUMBER.replace(index),
        0,
        "a new thread saw another thread's number"
    );
    BOXES.with(|boxes| {
        assert!(
            boxes.borrow().is_empty(),
            "a new thread saw another thread's boxes"
        );
        boxes.borrow_mut().push(Rc::new(index));
    });
    for _ in 0..ROUNDS {
        BOXES.with(|boxes| {
            let borrowed = boxes.borrow();
            let before: *const Vec<Rc<usize>> = &*borrowed;
            let clone = Rc::clone(&borrowed[0]);
            hop();
            assert_eq!(
                before,
                BOXES.with(RefCell::as_ptr).cast_const(),
                "the thread-local moved"
            );
            assert!(boxes.try_borrow_mut().is_err(), "the borrow was forgotten");
            assert_eq!((*clone, Rc::strong_count(&clone)), (index, 2));
            drop(clone);
            assert_eq!(Rc::strong_count(&borrowed[0]), 1);
        });
        assert_eq!(NUMBER.get(), index);
    }
}

/// errno set before each migration is there after it.
fn check_errno(index: usize) {
    for round in 0..ROUNDS {
        let value = i32::try_from(index + round).expect("a small number");
        set_errno(value);
        hop();
        assert_eq!(errno(), value);
    }
}

#[test]
fn values_in_thread_locals_stay_with_their_thread() {
    migrating(THREADS, check_shared_boxes);
}

#[test]
fn lazily_initialised_thread_locals_are_initialised_once_per_thread() {
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            assert_eq!(ONCE.with(|once| *once.get_or_init(|| index)), index);
            hop();
        }
        TEXT.with_borrow(|text| assert_eq!(text, "initial"));
        TEXT.with_borrow_mut(|text| *text = index.to_string());
        hop();
        TEXT.with_borrow(|text| assert_eq!(*text, index.to_string()));
    });
}

#[test]
fn a_reference_inside_local_key_with_survives_migration() {
    migrating(THREADS, |index| {
        NUMBER.with(|number| {
            number.set(index);
            let address: *const Cell<usize> = number;
            for _ in 0..ROUNDS {
                hop();
                assert_eq!(number.get(), index);
                NUMBER.with(|again| assert_eq!(address, std::ptr::from_ref(again)));
            }
        });
    });
}

#[test]
fn errno_travels_with_its_thread() {
    migrating(THREADS, check_errno);
}

#[test]
fn errno_survives_parking_and_sleeping() {
    migrating(64, |index| {
        let value = i32::try_from(index + 1).expect("a small number");
        set_errno(value);
        brigade::thread::current().unpark();
        brigade::thread::park();
        brigade::thread::sleep(std::time::Duration::from_micros(100));
        assert_eq!(errno(), value);
        hop();
    });
}

#[test]
fn kernel_threads_keep_their_own_thread_locals_while_carrying_green_threads() {
    NUMBER.set(usize::MAX);
    migrating(100, |index| {
        assert_eq!(NUMBER.replace(index), 0);
        hop();
        assert_eq!(NUMBER.get(), index);
    });
    assert_eq!(NUMBER.get(), usize::MAX);
}

/// What the control runs, with and without the planted fault.
fn checks_of_the_control() {
    println!("checks begin");
    migrating(THREADS, |index| {
        check_shared_boxes(index);
        check_errno(index);
    });
}

#[test]
fn the_control_passes_without_the_planted_fault() {
    let ended = child::run(
        "the_control_passes_without_the_planted_fault",
        &[],
        checks_of_the_control,
    );
    ended.assert_success();
    assert!(ended.stdout.contains("checks begin"));
}

#[test]
fn without_the_thread_pointer_switch_the_checks_fail() {
    const ATTEMPTS: usize = 10;
    let plant = [("BRIGADE_PLANT", "keep-thread-pointer")];
    // Now and then the runtime itself stumbles before a check does: it keeps its own word in that storage. Every
    // attempt must fail, and one of them on a check.
    for _ in 0..ATTEMPTS {
        let ended = child::run_or_hang(
            "without_the_thread_pointer_switch_the_checks_fail",
            &plant,
            checks_of_the_control,
        );
        assert!(
            ended.stdout.contains("checks begin"),
            "the child did not get as far as the checks: {ended:#?}"
        );
        assert!(
            !ended.succeeded(),
            "the checks passed although no thread had storage of its own: {ended:#?}"
        );
        if ended.stderr.contains("another thread's") {
            return;
        }
    }
    panic!("in {ATTEMPTS} attempts the planted fault was never found by a check");
}
