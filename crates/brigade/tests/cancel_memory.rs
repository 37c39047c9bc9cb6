//! What is left of tokens and scopes when they are gone. Alone in its process, because it looks at all of the memory.

mod common;

use std::time::Duration;

use brigade::cancel::{self, CancelToken};
use brigade::sync::Event;
use common::Watch;
use common::memory::allocated_bytes;

/// Far less than what would be left: each round makes some hundred bytes.
const SLACK_BYTES: usize = 1 << 20;
const ROUNDS: usize = 20_000;

fn round() {
    let root = CancelToken::new();
    let tokens = [root.child(), root.child().child(), root.child()];
    drop(root.clone());
    let event = Event::new();
    let slept = tokens[1].child_with_timeout(Duration::ZERO);
    assert!(slept.wait(&event).is_err());
    cancel::scope(|s| {
        let waits = s.spawn(|| CancelToken::current().child().wait(&event));
        s.token().cancel();
        assert!(waits.join().expect("no panic").is_err());
    });
    drop(tokens);
}

#[test]
fn nothing_is_left_of_tokens_scopes_and_waits() {
    let _watch = Watch::new("memory of tokens");
    brigade::run(|| {
        // What the runtime keeps for later comes first.
        (0..ROUNDS / 10).for_each(|_| round());
        let before = allocated_bytes();
        (0..ROUNDS).for_each(|_| round());
        let growth = allocated_bytes().saturating_sub(before);
        assert!(growth < SLACK_BYTES, "{growth} bytes are left");
    });
}
