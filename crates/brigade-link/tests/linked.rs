//! A test binary whose hooks must be live.

#[test]
fn hooks_are_live_in_a_test_binary() {
    let found = brigade_link::check();
    assert!(found.is_ok(), "{found:?}");
}
