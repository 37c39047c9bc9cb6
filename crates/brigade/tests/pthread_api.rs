//! pthread calls about the calling thread answer for the green thread, or for the kernel thread underneath where only
//! the kernel knows; calls that would end a green thread behind the runtime's back are refused.

mod common;

use std::mem::MaybeUninit;

use common::{child, hop, migrating};

const THREADS: usize = 50;

fn this_thread() -> libc::pthread_t {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() }
}

/// The stack that pthread_getattr_np reports for the calling thread: lowest address and size.
fn reported_stack() -> (usize, usize) {
    let mut attributes = MaybeUninit::uninit();
    let mut lowest = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes are initialised by the first call before they are read and destroyed.
    let results = unsafe {
        [
            libc::pthread_getattr_np(this_thread(), attributes.as_mut_ptr()),
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size),
            libc::pthread_attr_destroy(attributes.as_mut_ptr()),
        ]
    };
    assert_eq!(results, [0; 3]);
    (lowest.addr(), size)
}

#[test]
fn getattr_reports_the_green_threads_own_stack() {
    migrating(THREADS, |_| {
        let (lowest, size) = reported_stack();
        let local = std::ptr::from_ref(&lowest).addr();
        assert!(
            (lowest..lowest + size).contains(&local),
            "{local:#x} is not in [{lowest:#x}, +{size:#x})"
        );
        hop();
        assert_eq!(reported_stack(), (lowest, size));
        // The whole reported stack is usable down to its lowest page.
        // SAFETY: the page belongs to this thread's stack, far below the frames in use.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(lowest + 64).write_volatile(1) };
    });
}

#[test]
fn affinity_is_that_of_the_kernel_thread() {
    migrating(THREADS, |_| {
        hop();
        // SAFETY: the set is written by the first call, within the size given, before the others read it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let size = size_of::<libc::cpu_set_t>();
            assert_eq!(
                libc::pthread_getaffinity_np(this_thread(), size, &raw mut set),
                0
            );
            assert!(libc::CPU_COUNT(&set) >= 1);
            assert_eq!(
                libc::pthread_setaffinity_np(this_thread(), size, &raw const set),
                0
            );
        }
    });
}

#[test]
fn scheduling_parameters_are_those_of_the_kernel_thread() {
    migrating(THREADS, |_| {
        hop();
        let mut policy = -1;
        // SAFETY: both results are written by the first call before the second reads them.
        unsafe {
            let mut parameters: libc::sched_param = std::mem::zeroed();
            assert_eq!(
                libc::pthread_getschedparam(this_thread(), &raw mut policy, &raw mut parameters),
                0
            );
            assert_eq!(policy, libc::SCHED_OTHER);
            assert_eq!(
                libc::pthread_setschedparam(this_thread(), policy, &raw const parameters),
                0
            );
        }
    });
}

#[test]
fn the_cpu_clock_of_the_calling_thread_can_be_read() {
    migrating(THREADS, |_| {
        hop();
        let mut clock = 0;
        // SAFETY: the clock id and the time are written by the calls.
        unsafe {
            assert_eq!(
                libc::pthread_getcpuclockid(this_thread(), &raw mut clock),
                0
            );
            let mut time: libc::timespec = std::mem::zeroed();
            assert_eq!(libc::clock_gettime(clock, &raw mut time), 0);
        }
    });
}

#[test]
fn joining_or_detaching_a_green_threads_pthread_t_is_an_error() {
    migrating(THREADS, |_| {
        let own = this_thread();
        let other = brigade::thread::spawn(move || {
            hop();
            // SAFETY: the thread named is alive and waits for this one; a green thread can be neither joined nor
            // detached through pthread, and the calls must say so.
            unsafe {
                (
                    libc::pthread_join(own, std::ptr::null_mut()),
                    libc::pthread_detach(own),
                )
            }
        });
        hop();
        assert_eq!(
            other.join().expect("the thread does not panic"),
            (libc::EINVAL, libc::EINVAL)
        );
    });
}

#[test]
fn a_kernel_thread_cannot_join_a_green_threads_pthread_t() {
    migrating(5, |_| {
        let own = this_thread();
        // SAFETY: the thread named is alive and waits for this one.
        let kernel_thread =
            std::thread::spawn(move || unsafe { libc::pthread_join(own, std::ptr::null_mut()) });
        hop();
        assert_eq!(
            kernel_thread
                .join()
                .expect("the kernel thread does not panic"),
            libc::EINVAL
        );
    });
}

#[test]
fn pthread_threads_started_by_c_code_are_joined_as_always() {
    extern "C" fn answer(argument: *mut libc::c_void) -> *mut libc::c_void {
        argument
    }
    migrating(THREADS, |index| {
        let mut thread = 0;
        let mut result = std::ptr::null_mut();
        let argument = std::ptr::without_provenance_mut(index + 1);
        // SAFETY: the start routine only returns its argument, and the thread is joined once.
        unsafe {
            assert_eq!(
                libc::pthread_create(&raw mut thread, std::ptr::null(), answer, argument),
                0
            );
            hop();
            assert_eq!(libc::pthread_join(thread, &raw mut result), 0);
        }
        assert_eq!(result.addr(), index + 1);
    });
}

#[test]
fn names_can_be_set_and_read_through_pthread() {
    migrating(THREADS, |_| {
        hop();
        let mut name = [0; 16];
        // SAFETY: the name is a valid string of less than 16 bytes, and the buffer's size is given.
        let results = unsafe {
            [
                libc::pthread_setname_np(this_thread(), c"green".as_ptr()),
                libc::pthread_getname_np(this_thread(), name.as_mut_ptr(), name.len()),
            ]
        };
        assert_eq!(results, [0; 2]);
    });
}

#[test]
fn pthread_exit_on_a_green_thread_is_refused() {
    let ended = child::run("pthread_exit_on_a_green_thread_is_refused", &[], || {
        migrating(2, |_| {
            hop();
            // SAFETY: the call must not get as far as ending anything.
            unsafe { libc::pthread_exit(std::ptr::null_mut()) };
        });
    });
    ended.assert_aborted_saying(&["pthread_exit", "return from the thread"]);
}

#[test]
fn pthread_cancel_of_a_green_thread_is_refused() {
    let ended = child::run("pthread_cancel_of_a_green_thread_is_refused", &[], || {
        migrating(2, |_| {
            hop();
            // SAFETY: the calling thread is alive; the call must not get as far as ending anything.
            unsafe { libc::pthread_cancel(this_thread()) };
        });
    });
    ended.assert_aborted_saying(&["pthread_cancel", "green thread"]);
}

#[test]
fn pthread_exit_on_a_kernel_thread_still_works() {
    extern "C" fn leave(_: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: this is a kernel thread whose frames hold nothing that needs to be dropped.
        unsafe { libc::pthread_exit(std::ptr::without_provenance_mut(5)) }
    }
    migrating(1, |_| hop());
    let mut thread = 0;
    let mut result = std::ptr::null_mut();
    // SAFETY: the start routine is above; the thread is joined once.
    unsafe {
        assert_eq!(
            libc::pthread_create(
                &raw mut thread,
                std::ptr::null(),
                leave,
                std::ptr::null_mut()
            ),
            0
        );
        assert_eq!(libc::pthread_join(thread, &raw mut result), 0);
    }
    assert_eq!(result.addr(), 5);
}
