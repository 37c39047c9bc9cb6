//! C++ `thread_local` objects and exceptions on threads that migrate.

mod common;

use std::sync::Mutex;

use common::library::Library;
use common::{hop, migrating};

const THREADS: usize = 500;
const ROUNDS: i32 = 10;

/// The tests count living objects of the whole process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

extern "C" fn hop_for_c() {
    hop();
}

fn library() -> Library {
    Library::load(brigade_testlibs::tls_cpp())
}

fn living_objects(library: Library) -> i64 {
    // SAFETY: the library exports `long cpp_living_objects()`.
    unsafe { library.call(c"cpp_living_objects") }
}

#[test]
fn each_thread_has_its_object_and_destroys_it_at_its_end() {
    let _turn = TURN.lock();
    let library = library();
    assert_eq!(living_objects(library), 0);
    migrating(THREADS, move |_| {
        for round in 1..=ROUNDS {
            // SAFETY: the library exports `int cpp_bump()`.
            let result = unsafe { library.call::<i32>(c"cpp_bump") };
            assert_eq!(result, round);
            hop();
        }
        assert!(living_objects(library) > 0);
    });
    assert_eq!(living_objects(library), 0, "an object outlived its thread");
}

#[test]
fn exceptions_are_caught_and_rethrown_across_migrations() {
    let library = library();
    migrating(THREADS, move |index| {
        let value = i32::try_from(index).expect("a small number");
        for _ in 0..ROUNDS {
            // SAFETY: the library exports `int cpp_throw_and_rethrow(int, void (*)())`, and the callback does not
            // unwind.
            let caught: i32 =
                unsafe { library.call_number_with(c"cpp_throw_and_rethrow", value, hop_for_c) };
            assert_eq!(caught, value);
        }
    });
}

#[test]
fn the_count_of_exceptions_in_flight_belongs_to_the_thread() {
    let library = library();
    migrating(THREADS, move |_| {
        for _ in 0..ROUNDS {
            // SAFETY: the library exports `int cpp_unwind_through(void (*)())`, and the callback does not unwind.
            let result = unsafe { library.call_with::<i32>(c"cpp_unwind_through", hop_for_c) };
            assert_eq!(result, 1);
        }
    });
}
