//! Libraries with thread-locals that are loaded while green threads live.

mod common;

use common::*;
use std::ffi::{CString, c_void};
use std::path::Path;

type Bump = unsafe extern "C" fn() -> i64;

fn load(path: &Path) -> *mut c_void {
    let name = CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
    // SAFETY: loads a library of this test.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "dlopen failed");
    handle
}

fn bump(handle: *mut c_void) -> Bump {
    // SAFETY: the function of that name has this signature in all libraries of this test.
    unsafe {
        let address = libc::dlsym(handle, c"bump".as_ptr());
        assert!(!address.is_null());
        std::mem::transmute::<*mut c_void, Bump>(address)
    }
}

const DYNAMIC: &str = "
    __thread long counter = 40; __thread char pad[4096] = {1, 2, 3};
    long bump(void) { pad[100]++; return pad[2] == 3 ? ++counter : -1; }
";

#[test]
fn dynamic_thread_locals_are_each_threads_own_and_fresh_after_recycling() {
    const LIBRARIES: usize = 20;
    as_carrier(|| {
        let mut early: Vec<Green> = (0..4).map(|_| Green::new(pause)).collect();
        early.iter_mut().for_each(|g| assert!(g.resume()));
        // More modules than the first module vector has room for: glibc resizes it.
        let bumps: Vec<Bump> = (0..LIBRARIES)
            .map(|i| bump(load(&shared_library(&format!("dynamic{i}"), DYNAMIC))))
            .collect();
        let mut slot = new_slot();
        let mut lost = 0;
        for round in 0..50 {
            let bumps = bumps.clone();
            let before = malloc_bytes();
            let green = Green::on(slot, move || {
                for expected in [41, 42] {
                    for bump in &bumps {
                        // SAFETY: the libraries stay loaded.
                        assert_eq!(unsafe { bump() }, expected);
                    }
                    pause();
                }
            });
            slot = green.finish().expect("no residue");
            if round > 5 {
                lost += malloc_bytes() as isize - before as isize;
            }
        }
        assert!(lost < 64 * 1024, "{lost} bytes of thread-locals were lost");
        drop_slot(slot);
        early
            .into_iter()
            .filter_map(Green::finish)
            .for_each(drop_slot);
    });
}

const INITIAL_EXEC: &str = "
    __attribute__((tls_model(\"initial-exec\"))) __thread long counter = 1234567;
    long bump(void) { return ++counter; }
";

/// Loads an initial-exec library while green threads live, and counts in old and new ones.
fn load_initial_exec() {
    as_carrier(|| {
        let path = shared_library("initial", INITIAL_EXEC);
        let (to_old, from_test) = std::sync::mpsc::channel::<usize>();
        let mut old = Green::new(move || {
            pause();
            let bump = from_test.recv().expect("sent before");
            // SAFETY: the address of `bump` in the loaded library.
            let bump = unsafe { std::mem::transmute::<usize, Bump>(bump) };
            // SAFETY: the library stays loaded.
            assert_eq!(unsafe { [bump(), bump()] }, [1234568, 1234569]);
        });
        old.resume();
        let pooled = Green::new(pause).finish().expect("no residue");
        let function = bump(load(&path));
        to_old.send(function as usize).expect("the thread lives");
        drop_slot(old.finish().expect("no residue"));
        for slot in [pooled, new_slot()] {
            let green = Green::on(slot, move || {
                // SAFETY: the library stays loaded.
                assert_eq!(unsafe { function() }, 1234568);
            });
            drop_slot(green.finish().expect("no residue"));
        }
    });
}

#[test]
fn initial_exec_thread_locals_get_their_values_in_all_blocks() {
    if is_child() {
        return load_initial_exec();
    }
    let output = child(
        "initial_exec_thread_locals_get_their_values_in_all_blocks",
        &[("BRIGADE_TLS_SURPLUS", "256")],
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

const LARGE: &str = "
    __attribute__((tls_model(\"initial-exec\"))) __thread long big[120] = {7};
    long bump(void) { return ++big[0]; }
";

#[test]
fn initial_exec_thread_locals_without_room_are_refused_with_the_way_out() {
    if is_child() {
        as_carrier(|| drop_slot(Green::new(pause).finish().expect("clean")));
        load(&shared_library("large", LARGE));
        unreachable!("the load must end the process");
    }
    let output = child(
        "initial_exec_thread_locals_without_room_are_refused_with_the_way_out",
        &[],
    );
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("BRIGADE_TLS_SURPLUS=") && said.contains("initial-exec"),
        "{said}"
    );
}
