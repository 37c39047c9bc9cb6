//! Sending and receiving.

use std::time::Duration;

use super::{Alive, Message, model, spawn};
use crate::channel::{Receiver, Sender, bounded, unbounded};

type Pair = (Sender<Message>, Receiver<Message>);

fn one_to_one(preemptions: usize, messages: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let made = alive.clone();
        let sends = spawn(move || {
            for number in 0..messages {
                assert!(sender.send(made.message(number)).is_ok());
            }
        });
        for number in 0..messages {
            assert_eq!(receiver.recv().unwrap().0, number);
        }
        sends.join().unwrap();
        assert!(receiver.recv().is_err());
        alive.check_none();
    });
}

fn two_to_one(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let senders: Vec<_> = [1, 2]
            .into_iter()
            .map(|number| {
                let (sender, message) = (sender.clone(), alive.message(number));
                spawn(move || assert!(sender.send(message).is_ok()))
            })
            .collect();
        drop(sender);
        assert_eq!(receiver.recv().unwrap().0 + receiver.recv().unwrap().0, 3);
        assert!(receiver.recv().is_err());
        senders.into_iter().for_each(|s| s.join().unwrap());
        alive.check_none();
    });
}

fn one_to_two(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let other = {
            let receiver = receiver.clone();
            spawn(move || receiver.recv().unwrap().0)
        };
        let made = alive.clone();
        let sends = spawn(move || {
            assert!(sender.send(made.message(1)).is_ok());
            assert!(sender.send(made.message(2)).is_ok());
        });
        let own = receiver.recv().unwrap().0;
        assert_eq!(own + other.join().unwrap(), 3);
        sends.join().unwrap();
        alive.check_none();
    });
}

/// A receiver whose time is up at once, and a sender.
fn deadline(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let message = alive.message(1);
        let late = {
            let receiver = receiver.clone();
            spawn(move || receiver.recv_timeout(Duration::ZERO).is_ok())
        };
        let sent = sender.send_timeout(message, Duration::ZERO);
        let is_sent = sent.is_ok();
        drop(sent);
        let is_received = late.join().unwrap();
        let left = receiver.try_recv().is_ok();
        assert_eq!(is_sent, is_received ^ left);
        drop((sender, receiver));
        alive.check_none();
    });
}

/// Disconnection by the other side, of a sender that may wait for room and of a receiver.
fn disconnection(preemptions: usize, make: fn() -> Pair, room: usize) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        for number in 0..room {
            assert!(sender.try_send(alive.message(number)).is_ok());
        }
        let message = alive.message(9);
        let sends = spawn(move || sender.send(message).is_ok());
        drop(receiver);
        assert!(!sends.join().unwrap() || room == 0);
        alive.check_none();
    });
    model(preemptions, move || {
        let (sender, receiver) = make();
        let receives = spawn(move || receiver.recv().is_err());
        drop(sender);
        assert!(receives.join().unwrap());
    });
}

#[test]
fn a_ring_of_one_passes_messages_in_order() {
    one_to_one(3, 2, || bounded(1));
}

#[test]
fn a_ring_of_one_takes_from_two() {
    two_to_one(1, || bounded(1));
}

#[test]
fn a_ring_of_two_takes_from_two() {
    two_to_one(2, || bounded(2));
}

#[test]
fn a_ring_of_one_gives_to_two() {
    one_to_two(1, || bounded(1));
}

#[test]
fn a_ring_loses_nothing_to_deadlines() {
    deadline(3, || bounded(1));
}

#[test]
fn a_ring_tells_those_who_wait_that_it_is_disconnected() {
    disconnection(3, || bounded(1), 1);
}

#[test]
fn a_list_passes_messages_in_order_over_the_end_of_a_block() {
    one_to_one(2, 4, unbounded);
}

#[test]
fn a_list_takes_from_two() {
    two_to_one(2, unbounded);
}

#[test]
fn a_list_gives_to_two() {
    one_to_two(2, unbounded);
}

/// The block is freed by whoever reads last, and the next one is being put in place meanwhile.
#[test]
fn the_readers_of_a_block_free_it_once() {
    model(2, || {
        let alive = Alive::new();
        let (sender, receiver) = unbounded();
        for number in 0..2 {
            assert!(sender.send(alive.message(number)).is_ok());
        }
        let other = {
            let receiver = receiver.clone();
            spawn(move || receiver.recv().unwrap().0 + receiver.recv().unwrap().0)
        };
        let made = alive.clone();
        let sends = spawn(move || {
            assert!(sender.send(made.message(2)).is_ok());
            assert!(sender.send(made.message(3)).is_ok());
        });
        let own = receiver.recv().unwrap().0 + receiver.recv().unwrap().0;
        assert_eq!(own + other.join().unwrap(), 6);
        sends.join().unwrap();
        drop(receiver);
        alive.check_none();
    });
}

#[test]
fn a_list_loses_nothing_to_deadlines() {
    deadline(3, unbounded);
}

#[test]
fn a_list_tells_those_who_wait_that_it_is_disconnected() {
    model(3, || {
        let (sender, receiver) = unbounded::<u8>();
        let receives = spawn(move || receiver.recv().is_err());
        drop(sender);
        assert!(receives.join().unwrap());
    });
    // A send beside the end of the receiver: it fails, or its message is dropped.
    model(3, || {
        let alive = Alive::new();
        let (sender, receiver) = unbounded();
        let message = alive.message(1);
        let sends = spawn(move || drop(sender.send(message)));
        drop(receiver);
        sends.join().unwrap();
        alive.check_none();
    });
}

#[test]
fn a_rendezvous_passes_messages_in_order() {
    one_to_one(3, 2, || bounded(0));
}

#[test]
fn a_rendezvous_takes_from_two() {
    two_to_one(2, || bounded(0));
}

#[test]
fn a_rendezvous_gives_to_two() {
    one_to_two(2, || bounded(0));
}

#[test]
fn a_rendezvous_and_a_deadline_agree_on_who_was_first() {
    deadline(3, || bounded(0));
}

#[test]
fn a_rendezvous_tells_those_who_wait_that_it_is_disconnected() {
    model(3, || {
        let alive = Alive::new();
        let (sender, receiver) = bounded(0);
        let message = alive.message(1);
        let sends = spawn(move || sender.send(message).is_err());
        drop(receiver);
        assert!(sends.join().unwrap());
        alive.check_none();
    });
    model(3, || {
        let (sender, receiver) = bounded::<u8>(0);
        let receives = spawn(move || receiver.recv().is_err());
        drop(sender);
        assert!(receives.join().unwrap());
    });
}
