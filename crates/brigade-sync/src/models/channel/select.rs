//! Several operations at once, of which one happens.

use super::{Alive, Message, model, spawn};
use crate::channel::{Receiver, Select, Sender, bounded, unbounded};
use crate::select;

type Pair = (Sender<Message>, Receiver<Message>);

/// A select over two channels, each with a sender of its own: one message is received, the other one stays.
fn one_of_two(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (one, ones) = make();
        let (two, twos) = make();
        let message = alive.message(1);
        let sends = spawn(move || assert!(one.send(message).is_ok()));
        let message = alive.message(2);
        let sends_too = spawn(move || assert!(two.send(message).is_ok()));
        let first = select! {
            recv(ones) -> message => message.unwrap().0,
            recv(twos) -> message => message.unwrap().0,
        };
        let rest = if first == 1 { &twos } else { &ones };
        assert_eq!(rest.recv().unwrap().0, 3 - first);
        sends.join().unwrap();
        sends_too.join().unwrap();
        assert!(ones.try_recv().is_err() && twos.try_recv().is_err());
        alive.check_none();
    });
}

/// Two selects that meet each other on one channel.
fn meeting(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let message = alive.message(1);
        let sends = spawn(move || {
            select! {
                send(sender, message) -> sent => assert!(sent.is_ok()),
            }
        });
        let received = select! {
            recv(receiver) -> message => message.unwrap().0,
        };
        assert_eq!(received, 1);
        sends.join().unwrap();
        alive.check_none();
    });
}

/// A select that gives its send up, beside a receiver and another sender: the receiver gets the other message.
fn giving_up(preemptions: usize, make: fn() -> Pair) {
    model(preemptions, move || {
        let alive = Alive::new();
        let (sender, receiver) = make();
        let message = alive.message(1);
        let receives = spawn(move || receiver.recv().unwrap().0);
        let gave_up = (|| {
            select! {
                send(sender, return true) -> sent => drop(sent),
            }
            false
        })();
        assert!(gave_up);
        assert!(sender.send(message).is_ok());
        assert_eq!(receives.join().unwrap(), 1);
        alive.check_none();
    });
}

#[test]
fn a_select_takes_one_of_two_from_rings() {
    one_of_two(2, || bounded(1));
}

#[test]
fn a_select_takes_one_of_two_from_lists() {
    one_of_two(1, unbounded);
}

#[test]
fn a_select_takes_one_of_two_from_rendezvous() {
    one_of_two(1, || bounded(0));
}

#[test]
fn selects_meet_at_a_ring() {
    meeting(3, || bounded(1));
}

#[test]
fn selects_meet_at_a_list() {
    meeting(3, unbounded);
}

#[test]
fn selects_meet_at_a_rendezvous() {
    meeting(2, || bounded(0));
}

#[test]
fn a_send_to_a_ring_that_is_given_up_leaves_no_trace() {
    giving_up(2, || bounded(1));
}

#[test]
fn a_send_at_a_rendezvous_that_is_given_up_leaves_no_trace() {
    giving_up(2, || bounded(0));
}

/// Two senders wait for room behind a select that has claimed the only slot.
#[test]
fn those_behind_a_claimed_slot_are_woken_when_it_is_used() {
    model(2, || {
        let alive = Alive::new();
        let (sender, receiver) = bounded::<Message>(1);
        let mut select = Select::new();
        select.send(&sender);
        let operation = select.select();
        let receives = spawn(move || receiver.recv().unwrap().0 + receiver.recv().unwrap().0);
        let sends = {
            let (sender, message) = (sender.clone(), alive.message(2));
            spawn(move || assert!(sender.send(message).is_ok()))
        };
        assert!(operation.send(&sender, alive.message(1)).is_ok());
        assert_eq!(receives.join().unwrap(), 3);
        sends.join().unwrap();
        alive.check_none();
    });
}
