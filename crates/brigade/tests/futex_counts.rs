//! The futex calls themselves, with green and kernel threads on one word: who is woken, how many, in which turn.

mod common;

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;

use brigade::runtime::{Builder, Runtime};
use common::mixed::{mixed, numbered, on_workers, until_in_futex};
use common::{Count, Watch};
use libc::timespec;

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;
const ALL: u32 = i32::MAX as u32;

/// A futex operation with a time or a second number, a second word and a third number.
fn operation(
    word: &AtomicU32,
    operation: c_int,
    value: u32,
    fourth: usize,
    second: &AtomicU32,
    third: u32,
) -> i64 {
    // SAFETY: the words are alive, and a time, where there is one, is valid.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            value,
            fourth,
            second.as_ptr(),
            third,
        )
    };
    match result {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        result => result,
    }
}

fn wake(word: &AtomicU32, most: u32) -> usize {
    let woken = operation(word, libc::FUTEX_WAKE | PRIVATE, most, 0, word, 0);
    usize::try_from(woken).expect("a wake does not fail")
}

fn wait(word: &AtomicU32) -> i64 {
    operation(word, libc::FUTEX_WAIT | PRIVATE, 0, 0, word, 0)
}

/// Waits for at most `ns`.
fn wait_for(word: &AtomicU32, ns: i64) -> i64 {
    let time = timespec {
        tv_sec: 0,
        tv_nsec: ns,
    };
    let at = &raw const time as usize;
    operation(word, libc::FUTEX_WAIT | PRIVATE, 0, at, word, 0)
}

fn zero() -> Arc<AtomicU32> {
    Arc::new(AtomicU32::new(0))
}

/// Keeps doing `work` on a kernel thread until so many green and kernel threads have run `body`.
fn beside(
    runtime: &Runtime,
    (green, kernel): (usize, usize),
    body: impl Fn(usize) + Send + Sync + 'static,
    work: impl Fn() + Send + 'static,
) {
    let done = Arc::new(Count::new());
    let ended = Arc::clone(&done);
    let worker = thread::spawn(move || {
        while ended.get() == 0 {
            work();
            thread::yield_now();
        }
    });
    mixed(runtime, green, kernel, body);
    done.set(1);
    worker.join().expect("no panic");
}

#[test]
fn wakes_add_up_to_the_waiters_and_never_exceed_what_was_asked_for() {
    on_workers(|runtime| {
        let (word, woken) = (zero(), Arc::new(Count::new()));
        let (waited_on, sum) = (Arc::clone(&word), Arc::clone(&woken));
        let wake_three = move || {
            let now = wake(&word, 3);
            assert!(now <= 3, "{now} were woken");
            (0..now).for_each(|_| {
                sum.up();
            });
        };
        let (green, kernel, rounds) = (10, 5, 50);
        let body = move |_| (0..rounds).for_each(|_| assert_eq!(wait(&waited_on), 0));
        beside(runtime, (green, kernel), body, wake_three);
        assert_eq!(woken.get(), (green + kernel) * rounds);
    });
}

#[test]
fn a_wake_is_never_spent_on_a_wait_that_reports_a_timeout() {
    on_workers(|runtime| {
        let (word, sent, got) = (zero(), Arc::new(Count::new()), Arc::new(Count::new()));
        let timeouts = Arc::new(Count::new());
        let (waited_on, received) = (Arc::clone(&word), Arc::clone(&got));
        let (sum, late) = (Arc::clone(&sent), Arc::clone(&timeouts));
        let wake_one = move || {
            (0..wake(&word, 1)).for_each(|_| {
                sum.up();
            })
        };
        let body = move |index: usize| {
            for round in 0..2000_usize {
                // Mostly so short that the time is up when the wake comes, or nearly.
                let ns = (round * 7919 + index * 104_729) % 5000;
                match wait_for(&waited_on, i64::try_from(ns).expect("a small number")) {
                    0 => received.up(),
                    result => {
                        assert_eq!(result, -i64::from(libc::ETIMEDOUT));
                        late.up()
                    }
                };
            }
        };
        beside(runtime, (12, 4), body, wake_one);
        assert_eq!(got.get(), sent.get(), "waits that were woken, and wakes");
        assert!(
            timeouts.get() > 0,
            "no wait timed out: the race was not run"
        );
        assert!(got.get() > 0, "no wait was woken: the race was not run");
    });
}

#[test]
fn waits_for_another_value_do_not_wait() {
    let word = zero();
    let changed = || operation(&word, libc::FUTEX_WAIT | PRIVATE, 1, 0, &word, 0);
    assert_eq!(brigade::run(changed), -i64::from(libc::EAGAIN));
}

/// Starts threads of both kinds that wait for `word`, each counted when it is woken; returns when all wait.
fn all_wait(
    runtime: &Runtime,
    word: &Arc<AtomicU32>,
    green: usize,
    kernel: usize,
) -> [Arc<Count>; 2] {
    let woken = [Arc::new(Count::new()), Arc::new(Count::new())];
    let waiter = |counter: &Arc<Count>| {
        let (word, counter) = (Arc::clone(word), Arc::clone(counter));
        move || {
            assert_eq!(wait(&word), 0);
            counter.up();
        }
    };
    let parks = runtime.metrics().parks;
    (0..green).for_each(|_| drop(runtime.spawn(waiter(&woken[0]))));
    while runtime.metrics().parks < parks + green as u64 {
        thread::yield_now();
    }
    for _ in 0..kernel {
        until_in_futex(numbered(waiter(&woken[1])).0);
    }
    woken
}

#[test]
fn neither_green_nor_kernel_threads_are_passed_over() {
    let _watch = Watch::new("fairness");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    // Every 16th wake serves the kernel first on average, and every second once it was seen to have waiters.
    for (green, kernel, wakes, lone) in [(200, 1, 100, 1), (1, 30, 20, 0)] {
        let word = zero();
        let woken = all_wait(&runtime, &word, green, kernel);
        (0..wakes).for_each(|_| assert_eq!(wake(&word, 1), 1));
        woken[lone].kernel_wait_for(1);
        assert_eq!(wake(&word, ALL), green + kernel - wakes);
        woken[1 - lone].kernel_wait_for(green + kernel - 1);
    }
}

/// Runs `body` on a green thread until `act`, made again and again, has ended it.
fn until_ended(body: impl Fn() -> i64 + Send + 'static, act: impl Fn()) -> i64 {
    let _watch = Watch::new("a green thread that waits");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let waiter = runtime.spawn(body);
    while !waiter.is_finished() {
        act();
        thread::yield_now();
    }
    waiter.join().expect("no panic")
}

#[test]
fn requeuing_loses_no_green_thread() {
    for code in [libc::FUTEX_REQUEUE, libc::FUTEX_CMP_REQUEUE] {
        let (first, second) = (zero(), zero());
        let waited_on = Arc::clone(&first);
        let requeue = || {
            let moved = operation(&first, code | PRIVATE, 0, 1, &second, 0);
            assert!((0..=1).contains(&moved), "{moved} moved");
        };
        assert_eq!(until_ended(move || wait(&waited_on), requeue), 0);
    }
}

#[test]
fn wake_op_wakes_green_threads_on_both_words() {
    for on_second in [false, true] {
        let (first, second) = (zero(), zero());
        let waited_on = Arc::clone(if on_second { &second } else { &first });
        // Adds 0 to the second word; wakes on it if it was 0.
        let add_nothing = 1 << 28;
        let wake_both = || {
            let woken = operation(
                &first,
                libc::FUTEX_WAKE_OP | PRIVATE,
                1,
                1,
                &second,
                add_nothing,
            );
            assert!((0..=2).contains(&woken), "{woken} woken");
        };
        assert_eq!(until_ended(move || wait(&waited_on), wake_both), 0);
    }
}

#[test]
fn a_wake_with_other_bits_or_of_a_shared_word_wakes_nobody() {
    let _watch = Watch::new("a green thread that waits");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let (word, entered) = (zero(), Arc::new(Count::new()));
    let (waited_on, inside) = (Arc::clone(&word), Arc::clone(&entered));
    let waiter = runtime.spawn(move || {
        inside.up();
        operation(
            &waited_on,
            libc::FUTEX_WAIT_BITSET | PRIVATE,
            0,
            0,
            &waited_on,
            0b100,
        )
    });
    entered.kernel_wait_for(1);
    // One worker: when this thread runs, the other one waits.
    runtime.run(|| ());
    let wake_bits = |code, bits| operation(&word, code, ALL, 0, &word, bits);
    assert_eq!(wake_bits(libc::FUTEX_WAKE_BITSET | PRIVATE, 0b011), 0);
    assert_eq!(wake_bits(libc::FUTEX_WAKE_BITSET, 0b100), 0);
    assert_eq!(wake_bits(libc::FUTEX_WAKE, 0), 0);
    assert_eq!(wake_bits(libc::FUTEX_WAKE_BITSET | PRIVATE, 0b110), 1);
    assert_eq!(waiter.join().expect("no panic"), 0);
}

#[test]
fn waking_none_wakes_one_as_in_the_kernel() {
    for count in [0, u32::MAX, 1] {
        let kernel = {
            let word = zero();
            let waited_on = Arc::clone(&word);
            let waiter = thread::spawn(move || wait(&waited_on));
            let mut woken = 0;
            while woken == 0 {
                woken = wake(&word, count);
            }
            assert_eq!(waiter.join().expect("no panic"), 0);
            woken
        };
        let word = zero();
        let (waited_on, most) = (Arc::clone(&word), Arc::new(Count::new()));
        let seen = Arc::clone(&most);
        until_ended(
            move || wait(&waited_on),
            || {
                let woken = wake(&word, count);
                if woken > 0 {
                    seen.set(woken);
                }
            },
        );
        assert_eq!(most.get(), kernel, "FUTEX_WAKE of {count}");
    }
}
