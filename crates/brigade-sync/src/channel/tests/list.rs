use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crate::channel::array::Refused;
use crate::channel::counter::Channel;
use crate::channel::list::List;
use crate::channel::prim::BLOCK_MESSAGES;

fn recv<T>(list: &List<T>) -> Result<T, Refused> {
    // SAFETY: the claim is one of this list.
    list.claim_to_recv()
        .map(|claim| unsafe { list.read(claim) })
}

#[test]
fn a_list_is_first_in_first_out_over_many_blocks() {
    let list = List::new();
    let (mut sent, mut received) = (0, 0);
    for round in 0..12 {
        for _ in 0..BLOCK_MESSAGES / 2 + round {
            assert_eq!(list.send(sent), Ok(()));
            sent += 1;
            assert_eq!(list.len(), sent - received);
        }
        for _ in 0..BLOCK_MESSAGES / 2 + 2 {
            let expected = (received < sent).then_some(received);
            assert_eq!(recv(&list).ok(), expected);
            received += usize::from(expected.is_some());
            assert_eq!(list.len(), sent - received);
        }
        assert_eq!(list.is_empty(), sent == received);
    }
}

#[test]
fn what_is_left_in_a_list_is_dropped_with_it() {
    for count in [0, 1, BLOCK_MESSAGES - 1, BLOCK_MESSAGES, 3 * BLOCK_MESSAGES] {
        let witness = Rc::new(());
        let list = List::new();
        for _ in 0..count {
            assert!(list.send(Rc::clone(&witness)).is_ok());
        }
        drop(list);
        assert_eq!(Rc::strong_count(&witness), 1);
    }
}

#[test]
fn a_closed_list_takes_nothing_and_gives_what_it_has() {
    let list = List::new();
    assert_eq!(list.send(1), Ok(()));
    list.disconnect_senders();
    assert_eq!(list.send(2), Err(2));
    assert_eq!(recv(&list), Ok(1));
    assert_eq!(recv(&list), Err(Refused::Disconnected));
}

#[test]
fn a_claim_keeps_its_block_however_far_the_others_get() {
    let list = List::new();
    for n in 0..3 * BLOCK_MESSAGES {
        assert_eq!(list.send(n), Ok(()));
    }
    let late = list.claim_to_recv().expect("there is a message");
    for n in 1..3 * BLOCK_MESSAGES {
        assert_eq!(recv(&list), Ok(n));
    }
    // SAFETY: the claim is one of this list, and used here only.
    assert_eq!(unsafe { list.read(late) }, 0);
}

#[test]
fn messages_pass_between_threads() {
    let list = Arc::new(List::new());
    let senders: Vec<_> = (0..2)
        .map(|own| {
            let list = Arc::clone(&list);
            thread::spawn(move || {
                for n in 0..2 * BLOCK_MESSAGES {
                    list.send(Box::new((own, n))).expect("open");
                }
            })
        })
        .collect();
    let mut next = [0; 2];
    while next != [2 * BLOCK_MESSAGES; 2] {
        match recv(&list) {
            Ok(message) => {
                let (own, n): (usize, usize) = *message;
                assert_eq!(n, next[own]);
                next[own] += 1;
            }
            Err(_) => thread::yield_now(),
        }
    }
    for sender in senders {
        sender.join().expect("no panic");
    }
}
