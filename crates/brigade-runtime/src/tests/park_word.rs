//! The park word by hand.

use crate::park_word::ParkWord;

#[test]
fn a_notification_before_the_park_prevents_it() {
    let word = ParkWord::new();
    assert!(!word.notify(), "a running thread must not be queued");
    assert!(word.take_notification());
    assert!(!word.take_notification());
    assert!(word.commit_park());
    assert!(word.parked_value().is_some());
}

#[test]
fn a_notification_between_look_and_commit_wins() {
    let word = ParkWord::new();
    assert!(!word.take_notification());
    assert!(!word.notify());
    assert!(!word.commit_park(), "the thread must be queued again");
    word.dispatch();
    assert!(!word.take_notification());
}

#[test]
fn of_two_wakers_one_queues_the_thread() {
    let word = ParkWord::new();
    assert!(word.commit_park());
    assert!(word.notify());
    assert!(!word.notify());
    word.dispatch();
    assert!(
        word.commit_park(),
        "the second wake-up must not be left over"
    );
}
