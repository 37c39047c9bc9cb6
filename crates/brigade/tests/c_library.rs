//! What the C library keeps per thread: character tables, message buffers, locale, resolver state, loader errors.

mod common;

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use common::{hop, migrating};

const THREADS: usize = 200;
const ROUNDS: usize = 10;

unsafe extern "C" {
    fn inet_ntoa(address: u32) -> *const c_char;
    fn __h_errno_location() -> *mut c_int;
    fn strsignal(signal: c_int) -> *const c_char;
}

fn number(index: usize) -> c_int {
    c_int::try_from(index).expect("a small number")
}

/// The text at `text`, which must still be there.
///
/// # Safety
///
/// `text` points to a string that ends with a zero byte and is valid during the call.
unsafe fn text(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the caller promises a valid string.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .expect("the C library writes ASCII")
        .to_owned()
}

#[test]
fn character_tables_are_there_on_every_thread() {
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            hop();
            // SAFETY: each argument is a character code in the range the functions accept.
            unsafe {
                assert!(
                    libc::isalpha(c_int::from(b'x')) != 0 && libc::isalpha(c_int::from(b'1')) == 0
                );
                assert_eq!(libc::toupper(c_int::from(b'a')), c_int::from(b'A'));
            }
        }
    });
}

#[test]
fn the_strerror_buffer_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            // SAFETY: strerror takes any number; its buffer is this thread's and is valid until this thread calls
            // strerror again.
            unsafe {
                let message = libc::strerror(100_000 + number(index));
                hop();
                assert_eq!(text(message), format!("Unknown error {}", 100_000 + index));
            }
        }
    });
}

#[test]
fn the_strsignal_buffer_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            // SAFETY: strsignal takes any number; its buffer is this thread's until its next call.
            unsafe {
                let message = strsignal(1000 + number(index));
                hop();
                assert_eq!(text(message), format!("Unknown signal {}", 1000 + index));
            }
        }
    });
}

#[test]
fn the_inet_ntoa_buffer_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        let address = 0x0a00_0000 + u32::try_from(index).expect("a small number");
        for _ in 0..ROUNDS {
            // SAFETY: inet_ntoa takes any number; its buffer is this thread's until its next call.
            unsafe {
                let message = inet_ntoa(address.to_be());
                hop();
                assert_eq!(text(message), Ipv4Addr::from(address).to_string());
            }
        }
    });
}

#[test]
fn h_errno_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            // SAFETY: the pointer is this thread's h_errno and valid while the thread lives.
            unsafe {
                *__h_errno_location() = number(index);
                hop();
                assert_eq!(*__h_errno_location(), number(index));
            }
        }
    });
}

#[test]
fn the_loader_error_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        let missing = format!("/nonexistent-{index}.so");
        let path = CString::new(missing.clone()).expect("no zero byte");
        for _ in 0..ROUNDS {
            // SAFETY: the path is a valid string; dlerror's buffer is this thread's until its next loader call.
            unsafe {
                assert!(libc::dlopen(path.as_ptr(), libc::RTLD_NOW).is_null());
                hop();
                let message = text(libc::dlerror());
                assert!(message.contains(&missing), "{message}");
                hop();
                assert!(
                    libc::dlerror().is_null(),
                    "the error was not cleared for this thread"
                );
            }
        }
    });
}

#[test]
fn the_locale_belongs_to_the_thread() {
    migrating(THREADS, |index| {
        // SAFETY: the name is a valid string and no base locale is given; the locale is freed after it was
        // replaced by the one before it.
        unsafe {
            let own = libc::newlocale(libc::LC_ALL_MASK, c"C.UTF-8".as_ptr(), std::ptr::null_mut());
            assert!(!own.is_null());
            let first = libc::uselocale(std::ptr::null_mut());
            if index % 2 == 0 {
                assert_eq!(libc::uselocale(own), first);
            }
            let expected = if index % 2 == 0 { own } else { first };
            for _ in 0..ROUNDS {
                hop();
                assert_eq!(libc::uselocale(std::ptr::null_mut()), expected);
                assert!(libc::isalpha(c_int::from(b'x')) != 0);
            }
            libc::uselocale(first);
            libc::freelocale(own);
        }
    });
}

#[test]
fn numbers_parse() {
    migrating(THREADS, |_| {
        for _ in 0..ROUNDS {
            hop();
            // SAFETY: the string is valid and no end pointer is asked for.
            let result = unsafe { libc::strtod(c"1.25".as_ptr(), std::ptr::null_mut()) };
            assert_eq!(result, 1.25);
        }
    });
}

#[test]
fn strtok_works_without_a_yield_between_its_calls() {
    // strtok has one state per process, on kernel threads too, so its callers take turns.
    static TURN: Mutex<()> = Mutex::new(());
    migrating(THREADS, |index| {
        hop();
        let mut words = format!("{index},b\0").into_bytes();
        let turn = TURN.lock().expect("not poisoned");
        // SAFETY: the buffer is writable, ends with a zero byte and outlives both calls, which nobody else interrupts.
        let (first, second) = unsafe {
            let first = text(libc::strtok(words.as_mut_ptr().cast(), c",".as_ptr()));
            (
                first,
                text(libc::strtok(std::ptr::null_mut(), c",".as_ptr())),
            )
        };
        drop(turn);
        assert_eq!((first, second.as_str()), (index.to_string(), "b"));
    });
}

#[test]
fn strtok_r_keeps_its_state_across_migrations() {
    unsafe extern "C" {
        fn strtok_r(
            text: *mut c_char,
            delimiter: *const c_char,
            state: *mut *mut c_char,
        ) -> *mut c_char;
    }
    migrating(THREADS, |index| {
        let mut words = format!("{index},b,c\0").into_bytes();
        let mut state = std::ptr::null_mut();
        let mut next = words.as_mut_ptr().cast();
        for expected in [index.to_string().as_str(), "b", "c"] {
            // SAFETY: the buffer is writable, ends with a zero byte and outlives the loop; the state is ours.
            let word = unsafe { text(strtok_r(next, c",".as_ptr(), &raw mut state)) };
            assert_eq!(word, expected);
            next = std::ptr::null_mut();
            hop();
        }
    });
}
