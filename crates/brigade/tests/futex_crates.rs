//! Locks and channels of other crates, unchanged, between green and kernel threads.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Count;
use common::mixed::{mixed, on_workers};

#[test]
fn parking_lot_mutexes_count_exactly() {
    on_workers(|runtime| {
        let total = Arc::new(parking_lot::Mutex::new(0_u64));
        let shared = Arc::clone(&total);
        mixed(runtime, 20, 4, move |index| {
            for round in 0..2000 {
                let mut total = shared.lock();
                *total += 1;
                if (round + index) % 500 == 0 {
                    brigade::thread::yield_now();
                }
            }
        });
        assert_eq!(*total.lock(), 24 * 2000);
    });
}

#[test]
fn parking_lot_read_write_locks_exclude_writers() {
    on_workers(|runtime| {
        let pair = Arc::new(parking_lot::RwLock::new((0_u64, 0_u64)));
        let shared = Arc::clone(&pair);
        mixed(runtime, 12, 4, move |index| {
            for round in 0..1000 {
                if (round + index) % 4 == 0 {
                    let mut pair = shared.write();
                    pair.0 += 1;
                    if round % 100 == 0 {
                        brigade::thread::yield_now();
                    }
                    pair.1 += 1;
                } else {
                    let pair = shared.read();
                    assert_eq!(pair.0, pair.1);
                }
            }
        });
        assert_eq!(*pair.read(), (4000, 4000));
    });
}

#[test]
fn parking_lot_condition_variables_lose_no_token_to_a_timeout() {
    on_workers(|runtime| {
        let state = Arc::new((
            parking_lot::Mutex::new(0_usize),
            parking_lot::Condvar::new(),
        ));
        let shared = Arc::clone(&state);
        mixed(runtime, 8, 2, move |index| {
            let (tokens, arrived) = &*shared;
            for _ in 0..300 {
                let mut tokens = tokens.lock();
                if index % 2 == 0 {
                    *tokens += 1;
                    arrived.notify_one();
                    continue;
                }
                while *tokens == 0 {
                    arrived.wait_for(&mut tokens, Duration::from_micros(50));
                }
                *tokens -= 1;
            }
        });
        assert_eq!(*state.0.lock(), 0);
    });
}

#[test]
fn crossbeam_channels_deliver_every_message_once() {
    on_workers(|runtime| {
        for bound in [0, 3, 1000] {
            let (sender, receiver) = crossbeam_channel::bounded::<usize>(bound);
            let sum = Arc::new(Count::new());
            let (total, messages) = (Arc::clone(&sum), 500);
            let senders: Vec<_> = (0..8)
                .map(|_| parking_lot::Mutex::new(Some(sender.clone())))
                .collect();
            drop(sender);
            mixed(runtime, 12, 4, move |index| {
                if index % 2 == 0 {
                    let sender = senders[index / 2].lock().take().expect("taken once");
                    (0..messages).for_each(|_| sender.send(1).expect("the receivers stay"));
                    return;
                }
                while receiver.recv().is_ok() {
                    total.up();
                }
            });
            assert_eq!(sum.get(), 8 * messages);
        }
    });
}

#[test]
fn crossbeam_selects_between_channels_and_time() {
    on_workers(|runtime| {
        let (left, from_left) = crossbeam_channel::bounded::<usize>(1);
        let (right, from_right) = crossbeam_channel::unbounded::<usize>();
        let sum = Arc::new(Count::new());
        let total = Arc::clone(&sum);
        mixed(runtime, 6, 2, move |index| match index % 4 {
            0 => (0..200).for_each(|_| left.send(1).expect("the receivers stay")),
            1 => (0..200).for_each(|_| right.send(1).expect("the receivers stay")),
            _ => {
                for _ in 0..200 {
                    let mut taken = false;
                    while !taken {
                        crossbeam_channel::select! {
                            recv(from_left) -> message => taken = message.is_ok(),
                            recv(from_right) -> message => taken = message.is_ok(),
                            default(Duration::from_micros(100)) => {}
                        }
                    }
                    total.up();
                }
            }
        });
        assert_eq!(sum.get(), 4 * 200);
    });
}
