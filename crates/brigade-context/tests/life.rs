//! The life of slots and contexts: switch, thread-locals, destructors, cleaning, trim.

mod common;

use brigade_context::*;
use common::*;
use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

#[test]
fn this_machine_passes_the_self_check() {
    let support = support().expect("green threads work here");
    let fact = |name| support.facts().iter().any(|(n, _)| *n == name);
    assert!(fact("malloc") && fact("guards") && fact("thread descriptor"));
}

fn mxcsr() -> u32 {
    let mut value = 0u32;
    // SAFETY: stores the register to the local.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack)) };
    value
}

fn x87_control() -> u16 {
    let mut value = 0u16;
    // SAFETY: stores the register to the local.
    unsafe { asm!("fnstcw [{}]", in(reg) &raw mut value, options(nostack)) };
    value
}

/// Rounding towards zero in both units, exceptions masked.
fn round_to_zero() {
    let (mxcsr, control) = (0x7f80u32, 0x0f7fu16);
    // SAFETY: both are valid control words with all exceptions masked.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack));
        asm!("fldcw [{}]", in(reg) &raw const control, options(nostack));
    }
}

#[test]
fn a_switch_keeps_values_and_floating_point_control() {
    as_carrier(|| {
        let host = (mxcsr(), x87_control());
        let mut green = Green::new(|| {
            assert_eq!((mxcsr() & 0xffc0, x87_control()), (0x1f80, 0x037f));
            round_to_zero();
            let seeds: [u64; 24] = std::array::from_fn(|i| std::hint::black_box(i as u64 * 77));
            let floats: [f64; 8] = std::array::from_fn(|i| std::hint::black_box(i as f64 * 0.5));
            for round in 0..100 {
                pause();
                assert_eq!(
                    (mxcsr() & 0xffc0, x87_control()),
                    (0x7f80, 0x0f7f),
                    "round {round}"
                );
                let sum: u64 = seeds.iter().sum();
                assert_eq!(sum, 77 * (23 * 24 / 2));
                assert_eq!(floats[7], 3.5);
            }
        });
        while green.resume() {
            assert_eq!((mxcsr() & 0xffc0, x87_control()), (host.0 & 0xffc0, host.1));
        }
        drop_slot(green.finish().expect("no residue"));
    });
}

thread_local! {
    static LIST: RefCell<Vec<Rc<usize>>> = const { RefCell::new(Vec::new()) };
    static LAZY: Cell<usize> = Cell::new(String::from("seventeen bytes !!").len() - 1);
}

fn check_own_thread_locals(me: usize) {
    let id = std::thread::current().id();
    for round in 0..50 {
        LIST.with(|list| {
            let mut list = list.borrow_mut();
            assert_eq!(list.len(), round);
            list.push(Rc::new(me));
            // A borrow and a reference held over a pause.
            pause();
            assert!(list.iter().all(|value| **value == me));
        });
        // SAFETY: libc's own address of this thread's errno.
        unsafe { *libc::__errno_location() = me as i32 };
        LAZY.set(LAZY.get() + me);
        pause();
        // SAFETY: libc's own address of this thread's errno, asked for again.
        assert_eq!(unsafe { *libc::__errno_location() }, me as i32);
        assert_eq!(LAZY.get(), 17 + me * (round + 1));
        assert_eq!(std::thread::current().id(), id);
    }
}

#[test]
fn thread_locals_follow_threads_that_change_carriers() {
    const THREADS: usize = 20;
    let (to_first, first) = channel::<Green>();
    let (to_second, second) = channel::<Green>();
    let finished = Arc::new(AtomicUsize::new(0));
    for me in 0..THREADS {
        let finished = Arc::clone(&finished);
        let body = move || {
            check_own_thread_locals(me);
            finished.fetch_add(1, Ordering::Relaxed);
        };
        to_first.send(Green::new(body)).expect("receiver lives");
    }
    // Each carrier hands every thread to the other one after each pause.
    let left = Arc::new(AtomicUsize::new(THREADS));
    let carry = |from: std::sync::mpsc::Receiver<Green>, to: std::sync::mpsc::Sender<Green>| {
        let left = Arc::clone(&left);
        std::thread::spawn(move || {
            as_carrier(|| {
                while left.load(Ordering::Acquire) != 0 {
                    let Ok(mut green) = from.try_recv() else {
                        std::thread::yield_now();
                        continue;
                    };
                    if green.resume() {
                        // The other side may be gone only when nothing is left.
                        to.send(green).expect("the other carrier lives");
                    } else {
                        if let Some(slot) = green.finish() {
                            drop_slot(slot);
                        }
                        left.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                from
            })
        })
    };
    let one = carry(first, to_second);
    let two = carry(second, to_first);
    let _ends = (
        one.join().expect("first carrier"),
        two.join().expect("second carrier"),
    );
    assert_eq!(finished.load(Ordering::Relaxed), THREADS);
}

/// Two threads on one carrier; each must find its own values after the other ran.
fn two_threads_with_own_values() {
    as_carrier(|| {
        let values = |value: u64| {
            move || {
                PLAIN.set(value);
                // SAFETY: libc's own address of this thread's errno.
                unsafe { *libc::__errno_location() = value as i32 };
                pause();
                // SAFETY: libc's own address of this thread's errno, asked for again.
                let errno = unsafe { *libc::__errno_location() };
                if (PLAIN.get(), errno) != (value, value as i32) {
                    // No panic: unwinding itself needs sound thread-locals.
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(99) };
                }
            }
        };
        let mut threads = [Green::new(values(1)), Green::new(values(2))];
        while threads
            .iter_mut()
            .map(Green::resume)
            .fold(false, |a, b| a | b)
        {}
    });
}

#[test]
fn the_tests_can_fail_without_the_thread_pointer_every_value_is_shared() {
    if is_child() {
        return two_threads_with_own_values();
    }
    two_threads_with_own_values();
    let name = "the_tests_can_fail_without_the_thread_pointer_every_value_is_shared";
    let good = child(name, &[]);
    assert!(good.status.success(), "{}", stderr(&good));
    let control = child(name, &[("BRIGADE_PLANT", "keep-thread-pointer")]);
    assert_eq!(control.status.code(), Some(99), "{}", stderr(&control));
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        // Destructors may pause.
        pause();
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    static COUNTED: RefCell<Option<Counted>> = const { RefCell::new(None) };
    static PLAIN: Cell<u64> = const { Cell::new(0x1234_5678) };
}

#[test]
fn destructors_run_once_and_a_recycled_block_is_fresh() {
    as_carrier(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut slot = Some(new_slot());
        for round in 0..100 {
            let counter = Arc::clone(&drops);
            let green = Green::on(slot.take().expect("recycled"), move || {
                assert_eq!(PLAIN.replace(1), 0x1234_5678);
                // SAFETY: libc's own address of this thread's errno.
                let errno = unsafe { &mut *libc::__errno_location() };
                assert_eq!(std::mem::replace(errno, 5), 0);
                assert!(COUNTED.with(|c| c.borrow_mut().replace(Counted(counter)).is_none()));
            });
            // None here would mean that a plain destructor counts as residue.
            slot = green.finish();
            assert!(
                slot.is_some(),
                "the slot went to the reaper in round {round}"
            );
            assert_eq!(drops.load(Ordering::Relaxed), round + 1);
        }
        drop_slot(slot.expect("recycled"));
    });
}

static KEY_CALLS: AtomicUsize = AtomicUsize::new(0);
static KEY: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn key_destructor(value: *mut libc::c_void) {
    KEY_CALLS.fetch_add(1, Ordering::Relaxed);
    if value as usize > 1 {
        // A destructor that sets its key again is called again, as often as POSIX says.
        let key = KEY.load(Ordering::Relaxed) as u32;
        // SAFETY: the key lives to the end of the test; the value is only counted down.
        unsafe { libc::pthread_setspecific(key, (value as usize - 1) as *const _) };
    }
}

#[test]
fn key_destructors_repeat_and_values_do_not_reach_the_next_thread() {
    let (mut key, mut plain) = (0, 0);
    // SAFETY: two keys, deleted below.
    unsafe {
        assert_eq!(libc::pthread_key_create(&mut key, Some(key_destructor)), 0);
        assert_eq!(libc::pthread_key_create(&mut plain, None), 0);
    }
    KEY.store(key as usize, Ordering::Relaxed);
    as_carrier(|| {
        let mut slot = new_slot();
        for _ in 0..3 {
            let green = Green::on(slot, move || {
                // SAFETY: the keys are alive; the values are never dereferenced.
                unsafe {
                    assert!(libc::pthread_getspecific(key).is_null());
                    assert!(libc::pthread_getspecific(plain).is_null());
                    libc::pthread_setspecific(key, 3 as *const _);
                    libc::pthread_setspecific(plain, 9 as *const _);
                }
            });
            slot = green.finish().expect("first-level keys are no residue");
        }
        drop_slot(slot);
    });
    assert_eq!(KEY_CALLS.load(Ordering::Relaxed), 9);
    // SAFETY: the keys were made in this test, and no thread uses them any more.
    unsafe {
        (
            libc::pthread_key_delete(key),
            libc::pthread_key_delete(plain),
        )
    };
}

#[test]
fn on_carrier_uses_the_kernel_threads_block_and_brings_errno_back() {
    assert!(!on_green());
    assert_eq!(on_carrier(|| 5), 5);
    as_carrier(|| {
        assert!(!on_green(), "a carrier itself is not green");
        PLAIN.set(77);
        let green = Green::new(|| {
            assert!(on_green());
            let seen = on_carrier(|| {
                assert!(!on_green());
                // SAFETY: libc's own address of the carrier's errno.
                unsafe { *libc::__errno_location() = 33 };
                PLAIN.get()
            });
            assert_eq!(seen, 77);
            assert_eq!(PLAIN.get(), 0x1234_5678);
            // SAFETY: libc's own address of this thread's errno.
            assert_eq!(unsafe { *libc::__errno_location() }, 33);
        });
        drop_slot(green.finish().expect("no residue"));
        PLAIN.set(0x1234_5678);
    });
}

#[test]
fn slots_have_the_shape_that_is_promised() {
    let slot = new_slot();
    assert_eq!(slot.guard().start % slot.size(), 0);
    assert_eq!(slot.guard().end, slot.limit());
    assert!(slot.limit() < slot.top() && slot.top() < slot.tp());
    assert_eq!(slot.top() % 16, 0);
    assert!(size_of::<Slot>() <= 24);
    drop_slot(slot);
}

#[test]
fn absurd_stack_sizes_are_refused_with_a_clear_text() {
    for bytes in [0, MAX_STACK_SIZE + 1, usize::MAX] {
        let error = SizeClass::for_stack(bytes).expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("stack of"), "{error}");
    }
    support().expect("green threads work here");
    assert!(SizeClass::for_stack(1).expect("rounded up").slot_bytes() >= MIN_STACK_SIZE);
    assert_eq!(class().slot_bytes(), DEFAULT_STACK_SIZE);
}
