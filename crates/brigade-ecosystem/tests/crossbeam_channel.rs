//! `crossbeam-channel`: channels among green threads, and between green and kernel threads.

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use crossbeam_channel::{RecvTimeoutError, after, bounded, select, unbounded};

#[test]
fn timed_receives_overlap() {
    on_two_workers(|runtime| {
        let results = Overlap::of(SLOW).check(runtime, vec![(); 40], |_, ()| {
            let (_sender, receiver) = bounded::<()>(0);
            receiver.recv_timeout(SLOW)
        });
        assert_eq!(results, vec![Err(RecvTimeoutError::Timeout); 40]);
    });
}

#[test]
fn selects_over_a_timer_overlap() {
    on_two_workers(|runtime| {
        let results = Overlap::of(SLOW).check(runtime, vec![(); 40], |_, ()| {
            let (_sender, receiver) = unbounded::<()>();
            let timer = after(SLOW);
            select! {
                recv(receiver) -> _ => false,
                recv(timer) -> _ => true,
            }
        });
        assert_eq!(results, vec![true; 40]);
    });
}

/// Sends every number once through channels of this capacity, from green and kernel threads to green and kernel
/// threads.
fn every_message_arrives_once(capacity: Option<usize>) {
    const THREADS: usize = 8;
    const MESSAGES: usize = 2000;
    on_two_workers(|runtime| {
        let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
        let receive = move || receiver.iter().collect::<Vec<usize>>();
        let kernel_receivers: Vec<_> = (0..2)
            .map(|_| std::thread::spawn(receive.clone()))
            .collect();
        let green_receivers: Vec<_> = (0..THREADS)
            .map(|_| runtime.spawn(receive.clone()))
            .collect();
        drop(receive);
        let send = move |index: usize| {
            for message in 0..MESSAGES {
                sender.send(index * MESSAGES + message).expect("receivers");
            }
        };
        let beside = send.clone();
        let kernel_sender = std::thread::spawn(move || beside(THREADS));
        on_green_threads(runtime, THREADS, send);
        kernel_sender.join().expect("a sender");
        let from_kernel = kernel_receivers
            .into_iter()
            .flat_map(|receiver| receiver.join().expect("a receiver"));
        let from_green = green_receivers
            .into_iter()
            .flat_map(|receiver| receiver.join().expect("a receiver"));
        let mut seen: Vec<usize> = from_kernel.chain(from_green).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..(THREADS + 1) * MESSAGES).collect::<Vec<_>>());
    });
}

#[test]
fn every_message_of_a_rendezvous_channel_arrives_once() {
    every_message_arrives_once(Some(0));
}

#[test]
fn every_message_of_a_bounded_channel_arrives_once() {
    every_message_arrives_once(Some(3));
}

#[test]
fn every_message_of_an_unbounded_channel_arrives_once() {
    every_message_arrives_once(None);
}

#[test]
fn a_select_over_two_channels_takes_every_message_once() {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 1000;
    on_two_workers(|runtime| {
        let (left, from_left) = bounded(1);
        let (right, from_right) = bounded(0);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let (from_left, from_right) = (from_left.clone(), from_right.clone());
                runtime.spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        let message = select! {
                            recv(from_left) -> message => message,
                            recv(from_right) -> message => message,
                        };
                        // A channel is closed: what is left is in the other.
                        let Ok(message) = message else { break };
                        seen.push(message);
                    }
                    seen.extend(from_left.iter().chain(from_right.iter()));
                    seen
                })
            })
            .collect();
        drop((from_left, from_right));
        on_green_threads(runtime, SENDERS, move |index| {
            for message in 0..MESSAGES {
                let to = if message % 2 == 0 { &left } else { &right };
                to.send(index * MESSAGES + message).expect("receivers");
            }
        });
        let mut seen: Vec<usize> = receivers
            .into_iter()
            .flat_map(|receiver| receiver.join().expect("a receiver"))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..SENDERS * MESSAGES).collect::<Vec<_>>());
    });
}
