//! Libraries with thread-local storage that are loaded while green threads run.

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::library::Library;
use common::{Count, alone_with_migrating_runtime, child, hop, migrating, migrating_on};

const THREADS: usize = 300;
const ROUNDS: i32 = 10;
const LIBRARIES: usize = 40;

/// A C `int name(void)` of the dynamic library.
fn bump(library: Library) -> i32 {
    // SAFETY: the library exports `int dynamic_bump(void)`.
    unsafe { library.call(c"dynamic_bump") }
}

fn image_is_intact(library: Library) -> bool {
    // SAFETY: the library exports `int dynamic_image_is_intact(void)`.
    unsafe { library.call::<i32>(c"dynamic_image_is_intact") != 0 }
}

fn address(library: Library) -> usize {
    // SAFETY: the library exports `void *dynamic_address(void)`.
    unsafe { library.call(c"dynamic_address") }
}

/// A fresh copy of the dynamic library, so that the loader sees one more module.
fn copy_of_dynamic(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.so", std::process::id()));
    std::fs::copy(brigade_testlibs::tls_dynamic(), &path)
        .expect("the target directory is writable");
    path
}

/// Lets the thread with number `loader` fill the cell, and waits until somebody has.
fn loaded<T: Copy>(cell: &'static OnceLock<T>, load: Option<impl FnOnce() -> T>) -> T {
    if let Some(load) = load {
        cell.get_or_init(load);
    }
    loop {
        match cell.get() {
            Some(library) => return *library,
            None => hop(),
        }
    }
}

#[test]
fn a_library_loaded_mid_run_has_its_storage_in_every_thread_and_fresh_in_the_next() {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let path = copy_of_dynamic("mid-run");
    let load_from = path.clone();
    alone_with_migrating_runtime(|runtime| {
        migrating_on(runtime, THREADS, move |index| {
            hop();
            let load = (index == THREADS / 2).then_some(|| Library::load(&load_from));
            let library = loaded(&LIBRARY, load);
            let first_address = address(library);
            assert!(image_is_intact(library));
            for round in 0..ROUNDS {
                assert_eq!(bump(library), 8 + round);
                hop();
                assert_eq!(address(library), first_address, "the storage moved");
                assert!(image_is_intact(library));
            }
        });
        migrating_on(runtime, THREADS, |_| {
            let library = *LIBRARY.get().expect("loaded in the first run");
            assert!(
                image_is_intact(library),
                "a used stack brought its old storage along"
            );
            assert_eq!(bump(library), 8);
            hop();
            assert_eq!(bump(library), 9);
        });
    });
    std::fs::remove_file(path).expect("the copy is ours");
}

#[test]
fn forty_libraries_make_the_module_table_of_living_threads_grow() {
    static HANDLES: OnceLock<[Library; LIBRARIES]> = OnceLock::new();
    let paths: Vec<_> = (0..LIBRARIES)
        .map(|number| copy_of_dynamic(&format!("forty-{number}")))
        .collect();
    let load_from = paths.clone();
    migrating(THREADS, move |index| {
        let load = (index == 0).then_some(|| {
            std::array::from_fn(|number| {
                hop();
                Library::load(&load_from[number])
            })
        });
        let libraries = loaded(&HANDLES, load);
        for round in 0..3 {
            for &library in &libraries {
                assert_eq!(bump(library), 8 + round);
            }
            hop();
        }
        assert!(libraries.iter().all(|&library| image_is_intact(library)));
    });
    for path in paths {
        std::fs::remove_file(path).expect("the copy is ours");
    }
}

#[test]
fn a_library_loaded_by_a_kernel_thread_has_its_storage_in_living_green_threads() {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    static STARTED: Count = Count::new();
    let path = copy_of_dynamic("kernel-thread");
    let load_from = path.clone();
    let kernel_thread = std::thread::spawn(move || {
        STARTED.kernel_wait_for(THREADS);
        LIBRARY.get_or_init(|| Library::load(&load_from));
    });
    migrating(THREADS, |_| {
        STARTED.up();
        let library = loaded(&LIBRARY, None::<fn() -> Library>);
        assert!(image_is_intact(library));
        assert_eq!(bump(library), 8);
        hop();
        assert_eq!(bump(library), 9);
    });
    kernel_thread
        .join()
        .expect("the kernel thread does not panic");
    std::fs::remove_file(path).expect("the copy is ours");
}

/// The value that the small initial-exec library shows the calling thread.
fn static_value(library: Library) -> i64 {
    // SAFETY: the library exports `long static_value(void)`.
    unsafe { library.call(c"static_value") }
}

/// Every thread, born before or after the library was loaded, must see the initial value and then its own.
fn check_initial_exec_library(load_on_green_thread: bool) {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    static STARTED: Count = Count::new();
    let load = || Library::load(brigade_testlibs::tls_static_small());
    if !load_on_green_thread {
        std::thread::spawn(move || {
            STARTED.kernel_wait_for(THREADS);
            LIBRARY.get_or_init(load);
        });
    }
    alone_with_migrating_runtime(|runtime| {
        for _ in 0..2 {
            migrating_on(runtime, THREADS, move |index| {
                STARTED.up();
                hop();
                let load = (load_on_green_thread && index == THREADS / 2).then_some(load);
                let library = loaded(&LIBRARY, load);
                assert_eq!(
                    static_value(library),
                    1_234_567,
                    "the initial value is wrong"
                );
                for round in 1..=i64::from(ROUNDS) {
                    // SAFETY: the library exports `long static_bump(void)`.
                    let result = unsafe { library.call::<i64>(c"static_bump") };
                    assert_eq!(result, 1_234_567 + round);
                    hop();
                    assert_eq!(static_value(library), 1_234_567 + round);
                }
            });
        }
    });
}

/// Asks for room for libraries with initial-exec storage in each block.
const SURPLUS: [(&str, &str); 1] = [("BRIGADE_TLS_SURPLUS", "512")];

#[test]
fn an_initial_exec_library_that_fits_is_patched_into_living_blocks() {
    let name = "an_initial_exec_library_that_fits_is_patched_into_living_blocks";
    child::run(name, &SURPLUS, || check_initial_exec_library(true)).assert_success();
}

#[test]
fn an_initial_exec_library_loaded_by_a_kernel_thread_is_patched_into_living_blocks() {
    let name = "an_initial_exec_library_loaded_by_a_kernel_thread_is_patched_into_living_blocks";
    child::run(name, &SURPLUS, || check_initial_exec_library(false)).assert_success();
}

#[test]
fn an_initial_exec_library_that_does_not_fit_is_refused_with_a_message() {
    let name = "an_initial_exec_library_that_does_not_fit_is_refused_with_a_message";
    let ended = child::run(name, &[], || {
        migrating(2, |_| {
            hop();
            Library::load(brigade_testlibs::tls_static_large());
        });
    });
    ended.assert_aborted_saying(&["initial-exec", "BRIGADE_TLS_SURPLUS"]);
}
