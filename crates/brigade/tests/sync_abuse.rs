//! Locks and channels used in ways that are allowed and unusual.

mod common;

use std::cell::RefCell;
use std::mem;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::runtime::Runtime;
use brigade::select;
use brigade::sync::channel::{self, Receiver, Sender, bounded, unbounded};
use brigade::sync::{
    Barrier, Condvar, Event, Mutex, MutexGuard, Once, OnceLock, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Semaphore, WaitGroup,
};
use brigade_event::{Mode, WaitReason};
use brigade_runtime::park::lot::{Parked, Request, park, unpark_one};
use brigade_runtime::park::{NEVER, Wait, now_ns, with_current};
use common::Watch;
use common::mixed::{everywhere, mixed};

/// What the destructors of thread-locals share.
#[derive(Default)]
struct Shared {
    mutex: Mutex<usize>,
    rwlock: RwLock<usize>,
    changed: Condvar,
    once: OnceLock<usize>,
    inits: AtomicUsize,
}

/// Uses everything when its thread ends.
struct AtEnd(Arc<Shared>, Sender<usize>, Sender<usize>, Receiver<usize>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        let AtEnd(shared, met, room, back) = self;
        for _ in 0..100 {
            *shared.mutex.lock().unwrap() += 1;
            assert!(*shared.rwlock.read().unwrap() < usize::MAX);
            *shared.rwlock.write().unwrap() += 1;
        }
        shared.once.get_or_init(|| {
            brigade::thread::yield_now();
            // ORDER: SeqCst: read after the threads were joined.
            shared.inits.fetch_add(1, Ordering::SeqCst)
        });
        let guard = shared.mutex.lock().unwrap();
        drop(shared.changed.wait_timeout(guard, Duration::from_millis(1)));
        shared.changed.notify_all();
        met.send(1).unwrap();
        select! {
            send(room, 1) -> sent => sent.unwrap(),
            recv(back) -> _ => unreachable!("nobody sends"),
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

#[test]
fn destructors_of_thread_locals_may_lock_wait_send_and_select() {
    const THREADS: usize = 16;
    everywhere(|runtime: &Runtime| {
        let shared = Arc::new(Shared::default());
        let (met, meets) = bounded(0);
        let (room, rooms) = bounded(1);
        let (_keep, back) = bounded(0);
        let theirs = Arc::clone(&shared);
        let collector = std::thread::spawn(move || {
            for _ in 0..THREADS {
                meets.recv().unwrap();
                rooms.recv().unwrap();
            }
        });
        mixed(runtime, THREADS / 2, THREADS / 2, move |_| {
            let at_end = AtEnd(Arc::clone(&theirs), met.clone(), room.clone(), back.clone());
            LAST.with(|last| *last.borrow_mut() = Some(at_end));
        });
        collector.join().unwrap();
        assert_eq!(*shared.mutex.lock().unwrap(), THREADS * 100);
        assert_eq!(*shared.rwlock.read().unwrap(), THREADS * 100);
        // ORDER: SeqCst: the threads were joined.
        assert_eq!(shared.inits.load(Ordering::SeqCst), 1);
    });
}

/// Waits with times that are mostly too short, beside waits without a time.
#[test]
fn waits_for_locks_that_time_out_lose_no_wake() {
    const ROUNDS: usize = 400;
    everywhere(|runtime: &Runtime| {
        let state = Arc::new((Mutex::new(0), RwLock::new(0)));
        let tries = Arc::new(AtomicUsize::new(0));
        let (theirs, counted) = (Arc::clone(&state), Arc::clone(&tries));
        mixed(runtime, 8, 4, move |index| {
            let (mutex, rwlock) = &*theirs;
            let time = Duration::from_micros(index as u64 * 20);
            let count = || {
                // ORDER: SeqCst: read after the threads were joined.
                counted.fetch_add(1, Ordering::SeqCst);
            };
            for round in 0..ROUNDS {
                match (index + round) % 3 {
                    0 => {
                        *mutex.lock().unwrap() += 1;
                        *rwlock.write().unwrap() += 1;
                        count();
                    }
                    1 => {
                        if let Ok(mut guard) = mutex.try_lock_for(time) {
                            *guard += 1;
                            brigade::thread::yield_now();
                            drop(guard);
                            *rwlock.write().unwrap() += 1;
                            count();
                        }
                        let _ = rwlock.try_write_for(time).map(|guard| *guard);
                    }
                    _ => {
                        let first = rwlock.read().map(|guard| {
                            brigade::thread::yield_now();
                            *guard
                        });
                        assert!(first.unwrap() <= *rwlock.read().unwrap());
                        let _ = rwlock.try_read_for(time).map(|guard| *guard);
                    }
                }
            }
        });
        // ORDER: SeqCst: the threads were joined.
        let expected = tries.load(Ordering::SeqCst);
        assert_eq!(*state.0.lock().unwrap(), expected);
        assert_eq!(*state.1.read().unwrap(), expected);
    });
}

#[repr(align(256))]
#[derive(Debug, PartialEq)]
struct Wide(u8);

impl Wide {
    fn assert_aligned(&self) {
        assert_eq!(std::ptr::from_ref(self).addr() % 256, 0);
    }
}

fn kinds<T>() -> [(Sender<T>, Receiver<T>); 4] {
    [bounded(0), bounded(1), bounded(5), unbounded()]
}

#[test]
fn messages_and_values_of_any_alignment_and_of_no_size_pass() {
    everywhere(|runtime: &Runtime| {
        for ((wide, wides), (nothing, nothings)) in kinds().into_iter().zip(kinds::<()>()) {
            let sender = runtime.spawn(move || {
                for n in 0..200 {
                    wide.send(Wide(n)).unwrap();
                    nothing.send(()).unwrap();
                }
            });
            let receiver = runtime.spawn(move || {
                for n in 0..200 {
                    let message = if n % 2 == 0 {
                        wides.recv().unwrap()
                    } else {
                        select! { recv(wides) -> message => message.unwrap() }
                    };
                    message.assert_aligned();
                    assert_eq!(message, Wide(n));
                    nothings.recv().unwrap();
                }
                assert!(wides.recv().is_err() && nothings.recv().is_err());
            });
            sender.join().unwrap();
            receiver.join().unwrap();
        }
        let mutex = Mutex::new(Wide(1));
        mutex.lock().unwrap().assert_aligned();
        let rwlock = Box::new(RwLock::new(Wide(1)));
        rwlock.write().unwrap().assert_aligned();
    });
}

/// A message that has a handle of its own channel and uses it when it is dropped.
struct Echo(Option<Sender<Echo>>, Arc<AtomicUsize>);

impl Drop for Echo {
    fn drop(&mut self) {
        // ORDER: SeqCst: read by the same thread, or after a join.
        self.1.fetch_add(1, Ordering::SeqCst);
        if let Some(sender) = self.0.take() {
            let nested = Echo(None, Arc::clone(&self.1));
            assert!(sender.try_send(nested).is_err(), "the receiver is gone");
        }
    }
}

#[test]
fn a_message_may_use_its_channel_when_it_is_dropped_with_it() {
    let _watch = Watch::new("messages with handles of their own channel");
    for (sender, receiver) in kinds() {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut sent = 0;
        for _ in 0..40 {
            let message = Echo(Some(sender.clone()), Arc::clone(&drops));
            match sender.try_send(message) {
                Ok(()) => sent += 1,
                // Its destructor would find the channel open.
                Err(error) => drop(mem::take(&mut error.into_inner().0)),
            }
        }
        drop(sender);
        // ORDER: SeqCst: the same thread.
        let refused = drops.load(Ordering::SeqCst);
        assert_eq!(refused, 40 - sent);
        drop(receiver);
        // ORDER: SeqCst: the same thread.
        assert_eq!(drops.load(Ordering::SeqCst), refused + 2 * sent);
    }
}

/// A place that has a mutex and then something else.
enum Place {
    Mutex(Mutex<()>),
    Once(Once),
}

#[test]
fn a_forgotten_guard_of_a_freed_mutex_is_no_reason_to_call_another_thread_reentrant() {
    let _watch = Watch::new("a once in the place of a mutex");
    let mut place = Place::Mutex(Mutex::new(()));
    if let Place::Mutex(mutex) = &place {
        mem::forget(mutex.lock());
    }
    place = Place::Once(Once::new());
    let Place::Once(once) = &place else {
        unreachable!()
    };
    let (inside, outside) = (Event::new(), Event::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            once.call_once(|| {
                inside.set();
                outside.wait();
            });
        });
        inside.wait();
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            outside.set();
        });
        once.call_once(|| unreachable!("the other thread does it"));
    });
    assert!(once.is_completed());
}

#[test]
fn a_wake_that_ends_another_wait_of_the_thread_is_not_lost() {
    everywhere(|runtime: &Runtime| {
        mixed(runtime, 1, 1, |index| {
            // As a handler of deadlocks may: it waits while its thread is in the lot.
            let wait = Wait::new(WaitReason::Park, 0, Location::caller());
            let address = index.wrapping_mul(8) + 8;
            let parked = with_current(|current| {
                let request = Request {
                    current,
                    address,
                    mode: Mode::Exclusive,
                    wait: &wait,
                    deadline_ns: NEVER,
                    front: false,
                };
                let queued = || {
                    unpark_one(address, |_| 7);
                    current.park(&wait, now_ns() + 1_000_000);
                    None::<()>
                };
                park(&request, || true, queued)
            });
            assert_eq!(parked, Parked::Woken(7));
        });
    });
}

fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
fn is_shared<T: Send + Sync>() {}
fn is_sync<T: Sync>() {}

#[test]
fn the_traits_are_those_of_std_and_crossbeam() {
    type Bad = std::cell::Cell<u8>;
    is_unwind_safe::<Mutex<Bad>>();
    is_unwind_safe::<MutexGuard<'static, Bad>>();
    is_unwind_safe::<RwLock<Bad>>();
    is_unwind_safe::<RwLockWriteGuard<'static, Bad>>();
    is_unwind_safe::<RwLockReadGuard<'static, u8>>();
    is_unwind_safe::<(Condvar, Once, Barrier, Event, Semaphore, WaitGroup)>();
    is_unwind_safe::<(Sender<Bad>, Receiver<Bad>)>();
    is_shared::<Mutex<Bad>>();
    is_shared::<(Condvar, Once, Barrier, Event, Semaphore, WaitGroup)>();
    is_shared::<(Sender<Bad>, Receiver<Bad>, channel::Select<'static>)>();
    is_sync::<(MutexGuard<'static, u8>, RwLockReadGuard<'static, u8>)>();
}
