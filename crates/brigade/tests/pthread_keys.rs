//! pthread keys: values per green thread, in both levels of glibc's table, and destructors at the thread's end.

mod common;

use std::ffi::c_void;
use std::time::Duration;

use common::{Count, alone_with_migrating_runtime, child, hop, memory, migrating, migrating_on};

/// More than the 32 keys whose values glibc keeps inside its thread descriptor.
const KEYS: usize = 40;
const THREADS: usize = 300;

type Key = libc::pthread_key_t;

fn new_key(destructor: unsafe extern "C" fn(*mut c_void)) -> Key {
    let mut key = 0;
    // SAFETY: the key is written by the call; the destructor is a function of this test.
    let result = unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) };
    assert_eq!(result, 0);
    key
}

fn get(key: Key) -> *mut c_void {
    // SAFETY: the key was created and is never deleted.
    unsafe { libc::pthread_getspecific(key) }
}

fn set(key: Key, value: *mut c_void) {
    // SAFETY: as in `get`.
    let result = unsafe { libc::pthread_setspecific(key, value) };
    assert_eq!(result, 0);
}

fn boxed(value: usize) -> *mut c_void {
    Box::into_raw(Box::new(value)).cast()
}

/// The number behind a value made by [`boxed`].
///
/// # Safety
///
/// `value` came from [`boxed`] and was not freed.
unsafe fn number(value: *mut c_void) -> usize {
    // SAFETY: the caller promises a live box of a usize.
    unsafe { *value.cast::<usize>() }
}

#[test]
fn forty_keys_keep_their_values_and_run_their_destructors_once() {
    static DESTROYED: Count = Count::new();
    unsafe extern "C" fn destroy(value: *mut c_void) {
        hop();
        // SAFETY: every value of these keys came from `boxed`, and a destructor gets each value once.
        drop(unsafe { Box::from_raw(value.cast::<usize>()) });
        DESTROYED.up();
    }
    let keys: Vec<_> = (0..KEYS).map(|_| new_key(destroy)).collect();
    alone_with_migrating_runtime(|runtime| {
        for round in 1..=3 {
            let keys = keys.clone();
            migrating_on(runtime, THREADS, move |index| {
                for &key in &keys {
                    assert!(
                        get(key).is_null(),
                        "a new thread saw another thread's value"
                    );
                    set(key, boxed(index + key as usize));
                }
                for _ in 0..5 {
                    hop();
                    for &key in &keys {
                        // SAFETY: the value was set above.
                        let result = unsafe { number(get(key)) };
                        assert_eq!(result, index + key as usize);
                    }
                }
            });
            assert_eq!(DESTROYED.get(), THREADS * KEYS * round);
        }
    });
}

#[test]
fn a_key_without_a_destructor_starts_empty_on_a_used_stack() {
    let keys: Vec<Key> = (0..KEYS)
        .map(|_| {
            let mut key = 0;
            // SAFETY: the key is written by the call.
            let result = unsafe { libc::pthread_key_create(&raw mut key, None) };
            assert_eq!(result, 0);
            key
        })
        .collect();
    alone_with_migrating_runtime(|runtime| {
        for _ in 0..3 {
            let keys = keys.clone();
            migrating_on(runtime, THREADS, move |index| {
                for &key in &keys {
                    assert!(
                        get(key).is_null(),
                        "a used stack brought an old value along"
                    );
                    set(key, std::ptr::without_provenance_mut(index + 1));
                }
                hop();
                assert!(keys.iter().all(|&key| get(key).addr() == index + 1));
            });
        }
    });
}

#[test]
fn a_destructor_that_sets_its_key_again_runs_again_up_to_the_limit() {
    static RUNS: Count = Count::new();
    static KEY: Count = Count::new();
    unsafe extern "C" fn set_again(value: *mut c_void) {
        RUNS.up();
        hop();
        set(KEY.get() as Key, value);
    }
    KEY.set(new_key(set_again) as usize);
    migrating(THREADS, |_| {
        hop();
        set(KEY.get() as Key, std::ptr::dangling_mut());
    });
    // PTHREAD_DESTRUCTOR_ITERATIONS is four in glibc.
    assert_eq!(RUNS.get(), 4 * THREADS);
}

#[test]
fn a_key_destructor_may_use_a_rust_thread_local_for_the_first_time() {
    static TOUCHED: Count = Count::new();
    static DROPPED: Count = Count::new();
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            hop();
            DROPPED.up();
        }
    }
    thread_local! {
        static COUNTED: Counted = const { Counted };
    }
    unsafe extern "C" fn touch(_: *mut c_void) {
        COUNTED.with(|_| hop());
        TOUCHED.up();
    }
    let key = new_key(touch);
    migrating(THREADS, move |_| {
        hop();
        set(key, std::ptr::dangling_mut());
    });
    assert_eq!(TOUCHED.get(), THREADS);
    // On a kernel thread glibc is past the thread-locals by then and leaves the value undropped; a green thread may
    // drop it, but not twice.
    assert!(DROPPED.get() <= THREADS);
}

#[test]
fn a_deleted_key_runs_no_destructor() {
    static RUNS: Count = Count::new();
    static SET: Count = Count::new();
    unsafe extern "C" fn count(_: *mut c_void) {
        RUNS.up();
    }
    migrating(1, |_| {
        let key = new_key(count);
        let threads: Vec<_> = (0..10)
            .map(|_| {
                brigade::thread::spawn(move || {
                    set(key, std::ptr::dangling_mut());
                    SET.up();
                    brigade::thread::park();
                })
            })
            .collect();
        SET.wait_for(10);
        // SAFETY: the key was created above and is deleted once; the threads do not use it after this.
        let result = unsafe { libc::pthread_key_delete(key) };
        assert_eq!(result, 0);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    });
    assert_eq!(RUNS.get(), 0);
}

/// The least that is allocated while dead threads are cleaned up in the background.
fn allocated_when_cleaned_up() -> usize {
    const LOOKS: usize = 30;
    let look = |_| {
        std::thread::sleep(Duration::from_millis(10));
        memory::allocated_bytes()
    };
    (0..LOOKS).map(look).min().unwrap_or_default()
}

#[test]
fn what_the_c_library_keeps_per_thread_is_freed_with_the_thread() {
    let name = "what_the_c_library_keeps_per_thread_is_freed_with_the_thread";
    let ended = child::run(name, &[], || {
        const ROUNDS: usize = 12;
        unsafe extern "C" fn free(value: *mut c_void) {
            // SAFETY: every value of these keys came from `boxed`.
            drop(unsafe { Box::from_raw(value.cast::<usize>()) });
        }
        let keys: Vec<_> = (0..KEYS).map(|_| new_key(free)).collect();
        let mut allocated = Vec::new();
        alone_with_migrating_runtime(|runtime| {
            for _ in 0..ROUNDS {
                let keys = keys.clone();
                migrating_on(runtime, THREADS, move |index| {
                    // SAFETY: strerror takes any number; dlopen gets a valid string.
                    unsafe {
                        libc::strerror(100_000 + index as i32);
                        hop();
                        assert!(
                            libc::dlopen(c"/nonexistent.so".as_ptr(), libc::RTLD_NOW).is_null()
                        );
                    }
                    keys.iter().for_each(|&key| set(key, boxed(index)));
                });
                allocated.push(allocated_when_cleaned_up());
            }
        });
        // Buffers of at least 200 bytes per thread were left behind: 10 rounds of leaks would be 600 kB and more.
        let growth = allocated[ROUNDS - 1].saturating_sub(allocated[2]);
        assert!(
            growth < 150_000,
            "the heap grew by {growth} bytes: {allocated:?}"
        );
    });
    ended.assert_success();
}
