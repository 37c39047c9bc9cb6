//! `parking_lot`: its locks among green threads, and between green and kernel threads.

use std::sync::Arc;

use brigade_ecosystem::count::Count;
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use parking_lot::{Condvar, Mutex, RwLock};

#[test]
fn timed_waits_overlap() {
    on_two_workers(|runtime| {
        let timed_out = Overlap::of(SLOW).check(runtime, vec![(); 40], |_, ()| {
            let (mutex, condvar) = (Mutex::new(()), Condvar::new());
            condvar.wait_for(&mut mutex.lock(), SLOW).timed_out()
        });
        assert_eq!(timed_out, vec![true; 40]);
    });
}

#[test]
fn readers_overlap_and_waiting_writers_hold_no_kernel_thread() {
    on_two_workers(|runtime| {
        let lock = Arc::new(RwLock::new(0_usize));
        let guard = lock.read();
        let writers: Vec<_> = (0..40)
            .map(|_| {
                let lock = Arc::clone(&lock);
                runtime.spawn(move || *lock.write() += 1)
            })
            .collect();
        // Recursive, because writers wait already.
        let readers = vec![Arc::clone(&lock); 40];
        Overlap::of(SLOW).check(runtime, readers, |_, lock| {
            let number = lock.read_recursive();
            std::thread::sleep(SLOW);
            assert_eq!(*number, 0, "a writer came in beside a reader");
        });
        drop(guard);
        for writer in writers {
            writer.join().expect("a writer");
        }
        assert_eq!(*lock.read(), 40);
    });
}

#[test]
fn a_mutex_between_green_and_kernel_threads_loses_no_update() {
    const GREEN: usize = 32;
    const KERNEL: usize = 3;
    const ROUNDS: usize = 5000;
    on_two_workers(|runtime| {
        let sum = Arc::new(Mutex::new(0_usize));
        let inside = Arc::new(Count::new());
        let add = {
            let sum = Arc::clone(&sum);
            move |index: usize| {
                for round in 0..ROUNDS {
                    let mut sum = sum.lock();
                    let entered = inside.up();
                    // Two updates, so that another thread inside would show.
                    *sum += index;
                    if round % 64 == 0 {
                        brigade::thread::yield_now();
                    }
                    *sum += 1;
                    assert_eq!(inside.get(), entered + 1, "two threads hold the lock");
                }
            }
        };
        let kernel: Vec<_> = (0..KERNEL)
            .map(|index| {
                let add = add.clone();
                std::thread::spawn(move || add(index))
            })
            .collect();
        on_green_threads(runtime, GREEN, add);
        for thread in kernel {
            thread.join().expect("a kernel thread");
        }
        let expected: usize = (0..GREEN).chain(0..KERNEL).map(|n| (n + 1) * ROUNDS).sum();
        assert_eq!(*sum.lock(), expected);
    });
}

#[test]
fn every_item_passes_once_through_a_condvar_between_green_and_kernel_threads() {
    const PRODUCERS: usize = 8;
    const CONSUMERS: usize = 8;
    const ITEMS: usize = 2000;
    on_two_workers(|runtime| {
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let take = {
            let queue = Arc::clone(&queue);
            move || {
                let (items, filled) = &*queue;
                let mut sum = 0;
                for _ in 0..PRODUCERS * ITEMS / CONSUMERS {
                    let mut items = items.lock();
                    filled.wait_while(&mut items, |items: &mut Vec<usize>| items.is_empty());
                    sum += items.pop().expect("it is not empty");
                }
                sum
            }
        };
        // Half of the consumers are kernel threads.
        let kernel: Vec<_> = (0..CONSUMERS / 2)
            .map(|_| std::thread::spawn(take.clone()))
            .collect();
        let green: Vec<_> = (0..CONSUMERS / 2)
            .map(|_| runtime.spawn(take.clone()))
            .collect();
        on_green_threads(runtime, PRODUCERS, move |index| {
            let (items, filled) = &*queue;
            for item in 0..ITEMS {
                items.lock().push(index * ITEMS + item);
                filled.notify_one();
            }
        });
        let of_kernel = kernel
            .into_iter()
            .map(|thread| thread.join().expect("a sum"));
        let of_green = green
            .into_iter()
            .map(|thread| thread.join().expect("a sum"));
        let sum: usize = of_kernel.chain(of_green).sum();
        assert_eq!(sum, (0..PRODUCERS * ITEMS).sum::<usize>());
    });
}
