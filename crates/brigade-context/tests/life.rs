//! The life of slots and contexts.

use brigade_context::*;

#[test]
fn this_machine_passes_the_self_check() {
    let support = support().expect("green threads work here");
    for (name, value) in support.facts() {
        println!("{name}: {value}");
    }
}
