//! `select!` and `Select`: one operation happens, none starves, and each expression is evaluated once.

mod common;

use std::cell::Cell;
use std::time::{Duration, Instant};

use brigade::select;
use brigade::sync::channel::{Receiver, Select, after, at, bounded, never, tick, unbounded};
use common::{Watch, on_each_model};

#[test]
fn every_ready_arm_is_chosen_about_as_often() {
    const ROUNDS: usize = 3000;
    let (ones, from_ones) = bounded(1);
    let (twos, from_twos) = unbounded();
    let (room, from_room) = unbounded();
    let (none, gone) = bounded::<usize>(1);
    drop(none);
    let mut chosen = [0; 4];
    for n in 0..ROUNDS {
        let _ = ones.try_send(n);
        let _ = twos.try_send(n);
        select! {
            recv(from_ones) -> _ => chosen[0] += 1,
            recv(from_twos) -> _ => chosen[1] += 1,
            send(room, n) -> _ => chosen[2] += 1,
            recv(gone) -> message => {
                assert!(message.is_err());
                chosen[3] += 1;
            }
        }
    }
    drop(from_room);
    // Far beyond ten standard deviations of a fair choice.
    assert!(chosen.iter().all(|count| *count > ROUNDS / 8), "{chosen:?}");
}

#[test]
fn an_arm_among_many_that_are_not_ready_is_chosen_as_often_as_its_equals() {
    let (sender, one) = unbounded();
    let other = one.clone();
    let silent: Vec<Receiver<usize>> = (0..6).map(|_| never()).collect();
    let mut chosen = [0; 2];
    for n in 0..2000 {
        sender.send(n).expect("the receiver stays");
        let mut select = Select::new();
        let first = select.recv(&one);
        for receiver in &silent {
            select.recv(receiver);
        }
        let last = select.recv(&other);
        let operation = select.select();
        if operation.index() == first {
            chosen[0] += 1;
            assert_eq!(operation.recv(&one), Ok(n));
        } else {
            assert_eq!(operation.index(), last);
            chosen[1] += 1;
            assert_eq!(operation.recv(&other), Ok(n));
        }
    }
    assert!(chosen.iter().all(|count| *count > 700), "{chosen:?}");
}

#[test]
fn expressions_are_evaluated_once_and_messages_only_when_they_are_sent() {
    let (sender, receiver) = bounded(2);
    let (full, _keep) = bounded(0);
    let log = Cell::new(0_u32);
    let note = |digit: u32| log.set(log.get() * 10 + digit);
    for _ in 0..50 {
        log.set(0);
        let got = select! {
            recv({ note(1); never::<u8>() }) -> _ => 1,
            send({ note(2); &full }, { note(8); 1 }) -> _ => 2,
            send({ note(3); sender.clone() }, { note(4); 7 }) -> sent => {
                sent.expect("there is room");
                3
            }
            default({ note(5); Duration::from_secs(60) }) => 4,
        };
        assert_eq!(got, 3);
        assert_eq!(
            log.get(),
            12_354,
            "in the order of the arms, the message last"
        );
        assert_eq!(receiver.recv(), Ok(7));
    }
}

#[test]
fn a_message_that_is_not_sent_is_not_moved() {
    let (sender, _keep) = bounded(0);
    let (other, receiver) = bounded(1);
    let message = vec![1];
    select! {
        send(sender, message) -> _ => unreachable!(),
        default => other.send(message).expect("there is room"),
    }
    assert_eq!(receiver.recv(), Ok(vec![1]));
}

#[test]
fn arms_may_be_blocks_or_expressions_with_or_without_commas() {
    let (sender, receiver) = bounded(1);
    sender.send(1).expect("there is room");
    let value = select! {
        recv(receiver) -> message => { message.unwrap() }
        send(never_sender(), 2) -> _ => 2,
        default() => 3
    };
    assert_eq!(value, 1);
    let value = select! { default => 4 };
    assert_eq!(value, 4);
    let found = loop {
        select! {
            recv(receiver) -> _ => continue,
            default(Duration::ZERO) => break 5,
        }
    };
    assert_eq!(found, 5);
}

fn never_sender() -> brigade::sync::channel::Sender<u8> {
    let (sender, receiver) = bounded(0);
    std::mem::forget(receiver);
    sender
}

#[test]
fn the_default_of_a_select_comes_at_once_or_after_its_time() {
    let (_sender, receiver) = bounded::<u8>(0);
    select! {
        recv(receiver) -> _ => unreachable!(),
        default => {}
    }
    let start = Instant::now();
    select! {
        recv(receiver) -> _ => unreachable!(),
        default(Duration::from_millis(20)) => {}
    }
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_select_waits_for_whichever_comes_first() {
    on_each_model(|runtime| {
        let (one, ones) = bounded(0);
        let (two, twos) = bounded(1);
        let (three, threes) = unbounded();
        let sums = runtime.spawn(move || {
            let mut sums = [0; 3];
            for _ in 0..300 {
                select! {
                    recv(ones) -> message => sums[0] += message.expect("a sender"),
                    recv(twos) -> message => sums[1] += message.expect("a sender"),
                    recv(threes) -> message => sums[2] += message.expect("a sender"),
                }
            }
            (sums, ones, twos, threes)
        });
        let senders = [one, two, three].map(|sender| {
            runtime.spawn(move || {
                for n in 0..100 {
                    sender.send(n).expect("the receiver stays");
                }
                sender
            })
        });
        let sums = sums.join().expect("no panic").0;
        assert_eq!(sums, [4950; 3]);
        for sender in senders {
            drop(sender.join().expect("no panic"));
        }
    });
}

#[test]
fn a_removed_operation_is_not_chosen() {
    let (sender, receiver) = bounded(1);
    let (_keep, silent) = bounded::<u8>(1);
    sender.send(1_u8).expect("there is room");
    let mut select = Select::new();
    let first = select.recv(&receiver);
    select.recv(&silent);
    select.remove(first);
    assert!(select.try_select().is_err());
    assert!(select.select_timeout(Duration::from_millis(1)).is_err());
}

#[test]
fn a_select_with_a_disconnected_channel_is_ready() {
    let _watch = Watch::new("a disconnected select");
    for capacity in [0, 1] {
        let (sender, receiver) = bounded::<u8>(capacity);
        drop(receiver);
        select! {
            send(sender, 1) -> sent => assert!(sent.is_err()),
        }
        let (sender, receiver) = bounded::<u8>(capacity);
        drop(sender);
        select! {
            recv(receiver) -> message => assert!(message.is_err()),
        }
    }
}

#[test]
fn timers_tell_when_they_were_due_and_not_before() {
    let _watch = Watch::new("timers");
    let start = Instant::now();
    let due = start + Duration::from_millis(20);
    assert_eq!(at(due).recv(), Ok(due));
    assert!(Instant::now() >= due);

    let timer = after(Duration::from_millis(10));
    assert_eq!(timer.capacity(), Some(1));
    let before = Instant::now();
    select! {
        recv(timer) -> due => assert!(due.expect("timers stay connected") >= start),
        recv(never::<u8>()) -> _ => unreachable!(),
    }
    assert!(before.elapsed() < Duration::from_secs(60));
    assert!(timer.try_recv().unwrap_err().is_empty(), "once");
    assert!(
        timer
            .recv_timeout(Duration::from_millis(1))
            .unwrap_err()
            .is_timeout()
    );

    let ticker = tick(Duration::from_millis(2));
    let ticks: Vec<Instant> = ticker.iter().take(5).collect();
    assert!(
        ticks
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_millis(2))
    );
    assert!(after(Duration::MAX).try_recv().is_err());
}

#[test]
fn one_tick_goes_to_one_of_its_receivers() {
    on_each_model(|runtime| {
        let timer = after(Duration::from_millis(5));
        let receivers: Vec<_> = (0..8)
            .map(|_| {
                let timer = timer.clone();
                runtime.spawn(move || timer.recv_timeout(Duration::from_millis(200)).is_ok())
            })
            .collect();
        let got = receivers.into_iter().filter(|_| true);
        let count = got.filter_map(|r| r.join().ok()).filter(|got| *got).count();
        assert_eq!(count, 1);
    });
}
