use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crate::channel::array::{Array, Refused};
use crate::channel::counter::Channel;

fn send<T>(ring: &Array<T>, message: T) -> Result<(), Refused> {
    // SAFETY: the claim is new, and used here only.
    ring.claim_to_send()
        .map(|claim| unsafe { ring.write(claim, message) })
}

fn recv<T>(ring: &Array<T>) -> Result<T, Refused> {
    // SAFETY: the claim is new, and used here only.
    ring.claim_to_recv()
        .map(|claim| unsafe { ring.read(claim) })
}

#[test]
fn a_ring_of_any_size_is_first_in_first_out_for_many_laps() {
    for capacity in [1, 2, 3, 4, 7] {
        let ring = Array::new(capacity);
        let (mut sent, mut received) = (0, 0);
        for round in 0..6 * capacity {
            for _ in 0..=round % capacity {
                assert_eq!(ring.is_full(), ring.len() == capacity);
                if ring.is_full() {
                    assert_eq!(send(&ring, sent), Err(Refused::NotReady));
                } else {
                    assert_eq!(send(&ring, sent), Ok(()));
                    sent += 1;
                }
                assert_eq!(ring.len(), sent - received);
            }
            for _ in 0..round % 3 {
                let expected = (received < sent).then_some(received);
                assert_eq!(recv(&ring).ok(), expected);
                received += usize::from(expected.is_some());
            }
            assert_eq!(ring.is_empty(), sent == received);
        }
    }
}

#[test]
fn what_is_left_in_a_ring_is_dropped_with_it() {
    let witness = Rc::new(());
    let ring = Array::new(4);
    for _ in 0..3 {
        assert_eq!(send(&ring, Rc::clone(&witness)), Ok(()));
    }
    drop(recv(&ring));
    assert_eq!(Rc::strong_count(&witness), 3);
    drop(ring);
    assert_eq!(Rc::strong_count(&witness), 1);
}

#[test]
fn a_closed_ring_takes_nothing_and_gives_what_it_has() {
    let ring = Array::new(2);
    assert_eq!(send(&ring, 1), Ok(()));
    ring.disconnect_senders();
    assert_eq!(send(&ring, 2), Err(Refused::Disconnected));
    assert_eq!(recv(&ring), Ok(1));
    assert_eq!(recv(&ring), Err(Refused::Disconnected));
}

#[test]
fn a_slot_that_was_claimed_for_later_hides_those_behind_it_until_it_is_used() {
    let ring = Array::new(2);
    let claim = ring.claim_to_send().expect("there is room");
    ring.postpone(claim);
    assert_eq!(send(&ring, 2), Ok(()));
    assert_eq!(recv(&ring), Err(Refused::NotReady));
    assert_eq!(send(&ring, 3), Err(Refused::NotReady));
    // SAFETY: claimed and postponed above.
    unsafe { ring.write_late(claim, 1) };
    assert_eq!(recv(&ring), Ok(1));

    let claim = ring.claim_to_recv().expect("there is a message");
    ring.postpone(claim);
    assert_eq!(send(&ring, 3), Ok(()));
    assert_eq!(send(&ring, 4), Err(Refused::NotReady));
    // SAFETY: claimed and postponed above.
    assert_eq!(unsafe { ring.read_late(claim) }, 2);
    assert_eq!(send(&ring, 4), Ok(()));
    assert_eq!((recv(&ring), recv(&ring)), (Ok(3), Ok(4)));
}

#[test]
fn a_slot_that_was_given_up_is_skipped_wherever_it_is() {
    for place in 0..3 {
        let ring = Array::new(3);
        for n in 0..3 {
            if n == place {
                let claim = ring.claim_to_send().expect("there is room");
                ring.postpone(claim);
                ring.void(claim);
            } else {
                assert_eq!(send(&ring, n), Ok(()));
            }
        }
        let rest: Vec<usize> = std::iter::from_fn(|| recv(&ring).ok()).collect();
        let expected: Vec<usize> = (0..3).filter(|n| *n != place).collect();
        assert_eq!(rest, expected);
        assert!(ring.is_empty());
        for n in 0..3 {
            assert_eq!(send(&ring, n), Ok(()), "all slots are free again");
        }
    }
}

#[test]
fn messages_pass_between_threads() {
    let ring = Arc::new(Array::new(2));
    let sender = {
        let ring = Arc::clone(&ring);
        thread::spawn(move || {
            for n in 0..50 {
                while send(&ring, Box::new(n)).is_err() {
                    thread::yield_now();
                }
            }
        })
    };
    for n in 0..50 {
        loop {
            if let Ok(message) = recv(&ring) {
                assert_eq!(*message, n);
                break;
            }
            thread::yield_now();
        }
    }
    sender.join().expect("no panic");
}

#[test]
fn the_two_sides_of_a_ring_share_no_cache_line() {
    let ring = Array::<u8>::new(1);
    let (senders, receivers) = (&raw const ring.senders, &raw const ring.receivers);
    // What all read lies between the two, a line from each.
    assert_eq!(receivers.addr() - senders.addr(), 128);
}
