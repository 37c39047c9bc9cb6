//! What is refused, each in a child process: machines, limits, calls, overflowed stacks.

mod common;

use brigade_context::*;
use common::*;
use std::ffi::c_void;

/// Runs this test again in a child process with a planted fault, which must give that kind of reason.
fn plant(test: &str, fault: &str, kind: UnsupportedKind) {
    if is_child() {
        let refused = support().expect_err("the planted fault must be seen");
        assert_eq!(refused.kind(), kind);
        assert!(!refused.to_string().is_empty());
        let facts = refused.facts();
        assert!(
            facts.iter().any(|(name, _)| *name == "C library"),
            "{facts:?}"
        );
        return;
    }
    let output = child(test, &[("BRIGADE_PLANT", fault)]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_processor_without_fsgsbase_is_refused() {
    plant(
        "a_processor_without_fsgsbase_is_refused",
        "no-fsgsbase",
        UnsupportedKind::NoFsgsbase,
    );
}

#[test]
fn an_unclassified_word_is_refused() {
    plant(
        "an_unclassified_word_is_refused",
        "unclassified-word",
        UnsupportedKind::UnknownLayout,
    );
}

#[test]
fn a_shadow_stack_is_refused() {
    plant(
        "a_shadow_stack_is_refused",
        "shadow-stack",
        UnsupportedKind::ShadowStack,
    );
}

#[test]
fn thread_locals_in_a_loaded_library_are_refused() {
    plant(
        "thread_locals_in_a_loaded_library_are_refused",
        "foreign-tls",
        UnsupportedKind::ForeignTls,
    );
}

#[test]
fn the_self_check_passes_while_other_threads_come_and_go() {
    const NAME: &str = "the_self_check_passes_while_other_threads_come_and_go";
    if is_child() {
        // The kernel moves the trial threads about, and glibc's list of threads changes.
        for _ in 0..3 {
            std::thread::spawn(|| {
                loop {
                    let churn = std::thread::spawn(|| std::hint::black_box(vec![1u8; 100]).len());
                    churn.join().expect("no panic");
                }
            });
        }
        std::thread::yield_now();
        support().expect("green threads work here");
        std::process::exit(0);
    }
    for round in 0..40 {
        let output = child(NAME, &[]);
        assert!(
            output.status.success(),
            "round {round}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn the_self_check_passes_while_other_threads_change_ids() {
    const NAME: &str = "the_self_check_passes_while_other_threads_change_ids";
    if is_child() {
        let setters: Vec<_> = (0..2)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..200 {
                        // SAFETY: takes a number; the id is the one the process has.
                        assert_eq!(unsafe { libc::setgid(libc::getgid()) }, 0);
                    }
                })
            })
            .collect();
        support().expect("green threads work here");
        for setter in setters {
            setter.join().expect("no panic");
        }
        return;
    }
    for round in 0..40 {
        let output = child(NAME, &[]);
        assert!(
            output.status.success(),
            "round {round}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_child_forked_during_the_self_check_can_use_green_threads() {
    const NAME: &str = "a_child_forked_during_the_self_check_can_use_green_threads";
    if is_child() {
        let check = std::thread::spawn(|| support().is_ok());
        for _ in 0..20 {
            // SAFETY: the child does what the self-check does, and leaves by `_exit`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let code = i32::from(support().is_err());
                // SAFETY: ends the process.
                unsafe { libc::_exit(code) };
            }
            let mut status = 0;
            // SAFETY: the pid is our child's; the status is written by the call.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the forked child failed");
        }
        assert!(check.join().expect("no panic"));
        return;
    }
    for round in 0..20 {
        let output = child(NAME, &[]);
        assert!(
            output.status.success(),
            "round {round}: {}",
            stderr(&output)
        );
    }
}

/// In the child: runs `body` on a green thread. In the parent: the child must die by SIGABRT with all
/// of `texts` on its standard error.
fn dies(test: &str, texts: &[&str], body: fn()) {
    if is_child() {
        support().expect("green threads work here");
        install_overflow_handler(|buffer| {
            buffer[..5].copy_from_slice(b"worm7");
            5
        })
        .expect("handler");
        as_carrier(|| Green::new(body).finish());
        return;
    }
    use std::os::unix::process::ExitStatusExt;
    let output = child(test, &[]);
    let said = stderr(&output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
    for text in texts {
        assert!(said.contains(text), "`{text}` is missing in: {said}");
    }
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "the point of the test")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    recurse(depth + 1) + frame[3]
}

#[test]
fn an_overflowed_stack_names_the_thread_and_its_size() {
    dies(
        "an_overflowed_stack_names_the_thread_and_its_size",
        &["thread 'worm7' has overflowed its stack of 256 KiB"],
        || {
            std::hint::black_box(recurse(0));
        },
    );
}

/// A normal or a priority-inheritance mutex.
fn mutex(protocol: i32) -> Box<libc::pthread_mutex_t> {
    let mut mutex = Box::new(libc::PTHREAD_MUTEX_INITIALIZER);
    // SAFETY: initialises a mutex that nobody uses yet.
    unsafe {
        let mut attr: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attr);
        libc::pthread_mutexattr_setprotocol(&mut attr, protocol);
        libc::pthread_mutex_init(&mut *mutex, &attr);
    }
    mutex
}

unsafe extern "C" {
    fn pthread_exit(value: *mut c_void) -> !;
    fn pthread_getcpuclockid(thread: libc::pthread_t, clock: *mut libc::clockid_t) -> i32;
}

#[test]
fn a_priority_inheritance_mutex_is_refused_on_a_green_thread() {
    dies(
        "a_priority_inheritance_mutex_is_refused_on_a_green_thread",
        &["worm7", "priority-inheritance mutex"],
        || {
            let mut mutex = mutex(libc::PTHREAD_PRIO_INHERIT);
            // SAFETY: the mutex is initialised.
            unsafe { libc::pthread_mutex_lock(&mut *mutex) };
        },
    );
}

#[test]
fn other_mutexes_and_kernel_threads_pass_through() {
    support().expect("green threads work here");
    let mut on_kernel_thread = mutex(libc::PTHREAD_PRIO_INHERIT);
    // SAFETY: the mutex is initialised, locked and unlocked by this thread.
    unsafe {
        assert_eq!(libc::pthread_mutex_lock(&mut *on_kernel_thread), 0);
        assert_eq!(
            libc::pthread_mutex_trylock(&mut *on_kernel_thread),
            libc::EBUSY
        );
        assert_eq!(libc::pthread_mutex_unlock(&mut *on_kernel_thread), 0);
    }
    as_carrier(|| {
        let green = Green::new(|| {
            let mut mutex = mutex(libc::PTHREAD_PRIO_NONE);
            // SAFETY: the mutex was initialised, stays where it is, and is unlocked by its owner.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(&mut *mutex), 0);
                assert_eq!(libc::pthread_mutex_trylock(&mut *mutex), libc::EBUSY);
                assert_eq!(libc::pthread_mutex_unlock(&mut *mutex), 0);
            }
        });
        drop_slot(green.finish().expect("no residue"));
    });
}

#[test]
fn pthread_exit_is_refused_on_a_green_thread() {
    dies(
        "pthread_exit_is_refused_on_a_green_thread",
        &["worm7", "pthread_exit"],
        // SAFETY: refused before anything happens.
        || unsafe { pthread_exit(std::ptr::null_mut()) },
    );
}

#[test]
fn pthread_cancel_of_a_green_thread_is_refused() {
    dies(
        "pthread_cancel_of_a_green_thread_is_refused",
        &["worm7", "pthread_cancel"],
        // SAFETY: refused before anything happens.
        || unsafe {
            libc::pthread_cancel(libc::pthread_self());
        },
    );
}

#[test]
fn functions_about_a_thread_answer_for_the_green_thread_or_its_carrier() {
    as_carrier(|| {
        let slot = new_slot();
        let (limit, tp) = (slot.limit(), slot.tp());
        let green = Green::on(slot, move || {
            // SAFETY: all pointers are to locals; the attribute is initialised by the first call.
            unsafe {
                let me = libc::pthread_self();
                assert_eq!(me as usize, tp);
                let mut attr: libc::pthread_attr_t = std::mem::zeroed();
                assert_eq!(libc::pthread_getattr_np(me, &mut attr), 0);
                let (mut low, mut size) = (std::ptr::null_mut(), 0);
                libc::pthread_attr_getstack(&attr, &mut low, &mut size);
                assert_eq!(low as usize, limit);
                let here = &raw const size as usize;
                assert!(here > limit && here < limit + size);
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                assert_eq!(
                    libc::pthread_getaffinity_np(me, size_of_val(&set), &mut set),
                    0
                );
                assert_eq!(libc::pthread_setaffinity_np(me, size_of_val(&set), &set), 0);
                let (mut policy, mut param) = (0, std::mem::zeroed());
                assert_eq!(libc::pthread_getschedparam(me, &mut policy, &mut param), 0);
                assert_eq!(libc::pthread_setschedparam(me, policy, &param), 0);
                let (mut clock, mut time) = (0, std::mem::zeroed());
                assert_eq!(pthread_getcpuclockid(me, &mut clock), 0);
                assert_eq!(libc::clock_gettime(clock, &mut time), 0);
                assert_eq!(libc::pthread_join(me, std::ptr::null_mut()), libc::EINVAL);
                assert_eq!(libc::pthread_detach(me), libc::EINVAL);
            }
        });
        green.finish().into_iter().for_each(drop_slot);
    });
}

#[test]
fn ids_are_changed_as_the_kernel_thread() {
    as_carrier(|| {
        let green = Green::new(|| {
            // SAFETY: sets the ids that the process has already.
            unsafe {
                let (uid, gid) = (libc::getuid(), libc::getgid());
                assert_eq!(libc::setreuid(uid, libc::geteuid()), 0);
                assert_eq!(libc::setregid(gid, libc::getegid()), 0);
                assert_eq!(libc::setresuid(uid, libc::geteuid(), uid), 0);
            }
        });
        drop_slot(green.finish().expect("no residue"));
    });
}

extern "C" fn own_handler(_signal: i32) {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(42) };
}

#[test]
fn other_faults_go_to_the_handler_before() {
    if is_child() {
        // SAFETY: the handler only ends the process; the null write is meant.
        unsafe {
            libc::signal(libc::SIGSEGV, own_handler as *const () as usize);
            install_overflow_handler(|_| 0).expect("handler");
            std::ptr::null_mut::<u8>()
                .wrapping_add(16)
                .write_volatile(1);
        }
    }
    let output = child("other_faults_go_to_the_handler_before", &[]);
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
}

#[test]
fn the_address_space_limit_is_named() {
    if is_child() {
        support().expect("green threads work here");
        let limit = libc::rlimit {
            rlim_cur: 2 << 30,
            rlim_max: 2 << 30,
        };
        // SAFETY: lowers a limit of this child.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let error = reserve(class(), 100_000).expect_err("25 GB cannot be reserved");
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        reserve(class(), 100).expect("a small request still works");
        return;
    }
    let output = child("the_address_space_limit_is_named", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn without_guard_advice_the_mapping_limit_is_named_before_it_is_hit() {
    if is_child() {
        support().expect("green threads work here");
        let error = reserve(class(), 500).expect_err("more than the planted limit allows");
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
        reserve(class(), 50).expect("a few fit");
        as_carrier(|| drop_slot(Green::new(pause).finish().expect("clean")));
        return;
    }
    let output = child(
        "without_guard_advice_the_mapping_limit_is_named_before_it_is_hit",
        &[("BRIGADE_PLANT", "no-guard-install,max-map-count=400")],
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn mprotect_guards_catch_an_overflow_too() {
    if is_child() {
        dies("", &[], || {
            std::hint::black_box(recurse(0));
        });
    }
    let output = child(
        "mprotect_guards_catch_an_overflow_too",
        &[("BRIGADE_PLANT", "no-guard-install")],
    );
    assert!(
        stderr(&output).contains("has overflowed its stack"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_child_of_a_fork_on_a_green_thread_is_an_ordinary_thread() {
    as_carrier(|| {
        let green = Green::new(|| {
            let before = fork_generation();
            // SAFETY: the child only makes what the fork handlers allow, and leaves by _exit.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let mut good = fork_generation() == before + 1 && !on_green();
                good &= std::thread::spawn(|| vec![1u8; 5000].len())
                    .join()
                    .is_ok_and(|n| n == 5000);
                good &= reserve(class(), 10_000).is_ok();
                // SAFETY: ends the child.
                unsafe { libc::_exit(if good { 0 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: waits for our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
            assert_eq!(fork_generation(), before);
            assert!(on_green());
        });
        green.finish().into_iter().for_each(drop_slot);
    });
}
