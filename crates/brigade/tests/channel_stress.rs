//! Channels under load: green and kernel threads at both ends, every message counted.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brigade::runtime::Runtime;
use brigade::select;
use brigade::sync::channel::{Receiver, Select, Sender, bounded, unbounded};
use common::mixed::{mixed, on_workers};
use common::on_each_model;

const MESSAGES: usize = 2000;

type Make = fn() -> (Sender<usize>, Receiver<usize>);

/// Every kind of channel, with its name.
fn kinds() -> [(&'static str, Make); 5] {
    [
        ("rendezvous", || bounded(0)),
        ("bounded(1)", || bounded(1)),
        ("bounded(3)", || bounded(3)),
        ("bounded(64)", || bounded(64)),
        ("unbounded", unbounded),
    ]
}

/// What was received: how many, and their sum.
#[derive(Default)]
struct Tally {
    count: AtomicUsize,
    sum: AtomicUsize,
}

impl Tally {
    fn add(&self, message: usize) {
        // ORDER: SeqCst: read after the threads were joined.
        self.count.fetch_add(1, Ordering::SeqCst);
        // ORDER: SeqCst: as above.
        self.sum.fetch_add(message, Ordering::SeqCst);
    }

    #[track_caller]
    fn check(&self, name: &str, messages: usize) {
        // ORDER: SeqCst: the threads were joined.
        assert_eq!(self.count.load(Ordering::SeqCst), messages, "{name}");
        // ORDER: SeqCst: as above.
        let sum = self.sum.load(Ordering::SeqCst);
        assert_eq!(sum, messages * (messages - 1) / 2, "{name}");
    }
}

/// Green and kernel threads, half of each sending and half receiving, by `send` and `receive`.
fn exchange(
    runtime: &Runtime,
    send: impl Fn(&Sender<usize>, usize) + Send + Sync + Copy + 'static,
    receive: impl Fn(&Receiver<usize>) -> Option<usize> + Send + Sync + Copy + 'static,
) {
    for (name, make) in kinds() {
        let (sender, receiver) = make();
        // Numbers of the senders that have not started; the last one takes the sender itself.
        let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
        let tally = Arc::new(Tally::default());
        let counted = Arc::clone(&tally);
        let arrived = AtomicUsize::new(0);
        mixed(runtime, 8, 4, move |index| {
            if index % 2 == 1 {
                while let Some(message) = receive(&receiver) {
                    counted.add(message);
                }
                return;
            }
            let sender = {
                let mut place = sender.lock().expect("nobody panics");
                // ORDER: SeqCst: under the lock.
                if arrived.fetch_add(1, Ordering::SeqCst) == 5 {
                    place.take()
                } else {
                    place.clone()
                }
            };
            let sender = sender.expect("the last of six takes it");
            let own = index / 2;
            for n in 0..MESSAGES {
                send(&sender, n * 6 + own);
            }
        });
        tally.check(name, MESSAGES * 6);
    }
}

fn on_everything(test: impl Fn(&Runtime)) {
    on_workers(&test);
    on_each_model(&test);
}

#[test]
fn every_message_arrives_once() {
    on_everything(|runtime| {
        exchange(
            runtime,
            |sender, message| sender.send(message).expect("receivers stay"),
            |receiver| receiver.recv().ok(),
        );
    });
}

#[test]
fn every_message_arrives_once_with_deadlines_on_both_sides() {
    const SHORT: Duration = Duration::from_micros(50);
    on_everything(|runtime| {
        exchange(
            runtime,
            |sender, mut message| {
                while let Err(error) = sender.send_timeout(message, SHORT) {
                    assert!(error.is_timeout());
                    message = error.into_inner();
                }
            },
            |receiver| loop {
                match receiver.recv_timeout(SHORT) {
                    Ok(message) => return Some(message),
                    Err(error) if error.is_disconnected() => return None,
                    Err(_) => {}
                }
            },
        );
    });
}

#[test]
fn every_message_arrives_once_through_selects_on_both_sides() {
    on_everything(|runtime| {
        exchange(
            runtime,
            |sender, message| {
                select! {
                    send(sender, message) -> sent => sent.expect("receivers stay"),
                }
            },
            |receiver| {
                select! {
                    recv(receiver) -> message => message.ok(),
                }
            },
        );
    });
}

#[test]
fn every_message_arrives_once_between_selects_and_plain_operations() {
    on_everything(|runtime| {
        exchange(
            runtime,
            |sender, message| {
                if message % 3 == 0 {
                    let mut select = Select::new();
                    select.send(sender);
                    let sent = select.select().send(sender, message);
                    sent.expect("receivers stay");
                } else {
                    sender.send(message).expect("receivers stay");
                }
            },
            |receiver| {
                let mut select = Select::new();
                select.recv(receiver);
                match select.select_timeout(Duration::from_micros(20)) {
                    Ok(operation) => operation.recv(receiver).ok(),
                    Err(_) => receiver.recv().ok(),
                }
            },
        );
    });
}

/// Selects over two channels in both directions at once, so that selects meet selects in cycles.
#[test]
fn selects_that_send_and_receive_at_once_pair_up() {
    on_everything(|runtime| {
        for (name, make) in kinds() {
            let (left, from_left) = make();
            let (right, from_right) = make();
            let tally = Arc::new(Tally::default());
            let counted = Arc::clone(&tally);
            mixed(runtime, 4, 2, move |index| {
                // Each thread sends its messages one way and receives as many from the other, in any order.
                let (sender, receiver) = if index % 2 == 0 {
                    (&left, &from_right)
                } else {
                    (&right, &from_left)
                };
                let (mut sent, mut received) = (0, 0);
                while sent < MESSAGES || received < MESSAGES {
                    let message = sent * 6 + index;
                    if sent == MESSAGES {
                        counted.add(receiver.recv().expect("the channel stays"));
                        received += 1;
                    } else if received == MESSAGES {
                        sender.send(message).expect("the channel stays");
                        sent += 1;
                    } else {
                        select! {
                            send(sender, message) -> result => {
                                result.expect("the channel stays");
                                sent += 1;
                            }
                            recv(receiver) -> message => {
                                counted.add(message.expect("the channel stays"));
                                received += 1;
                            }
                        }
                    }
                }
            });
            tally.check(name, MESSAGES * 6);
        }
    });
}

#[test]
fn messages_of_one_sender_to_one_receiver_keep_their_order() {
    on_everything(|runtime| {
        for (name, make) in kinds() {
            let (sender, receiver) = make();
            mixed(runtime, 1, 1, move |index| {
                for n in 0..MESSAGES {
                    if index == 0 {
                        sender.send(n).expect("the receiver stays");
                    } else {
                        assert_eq!(receiver.recv(), Ok(n), "{name}");
                    }
                }
            });
        }
    });
}

#[test]
fn a_disconnection_wakes_everybody_who_waits() {
    on_everything(|runtime| {
        for (_, make) in kinds() {
            for _ in 0..20 {
                // The middle thread takes the only sender with it.
                let (sender, receiver) = make();
                let sender = std::sync::Mutex::new(Some(sender));
                mixed(runtime, 4, 2, move |index| {
                    if index == 2 {
                        drop(sender.lock().expect("nobody panics").take());
                    } else if index % 2 == 0 {
                        assert!(receiver.recv().is_err());
                    } else {
                        select! {
                            recv(receiver) -> message => assert!(message.is_err()),
                        }
                    }
                });

                let (sender, receiver) = make();
                while sender.capacity().is_some() && sender.try_send(0).is_ok() {}
                let receiver = std::sync::Mutex::new(Some(receiver));
                mixed(runtime, 4, 2, move |index| {
                    if index == 2 {
                        drop(receiver.lock().expect("nobody panics").take());
                    } else if sender.capacity().is_none() {
                        // Never waits; fails from some moment on.
                        while sender.send(1).is_ok() {
                            brigade::thread::yield_now();
                        }
                    } else if index % 2 == 0 {
                        assert!(sender.send(1).is_err());
                    } else {
                        select! {
                            send(sender, 1) -> sent => assert!(sent.is_err()),
                        }
                    }
                });
            }
        }
    });
}
